"""BSC beside an engine, and alone as its own process (SPEC 10)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import redis.asyncio as redis
from support.house import KEY, SECRET, House, engine, exchange, house, until

from quantum_trader.bsc.lifespan import Lifespan
from quantum_trader.bsc.status import StatusFile
from quantum_trader.bsc.watch_log import WatchLog
from quantum_trader.domain.clock import SystemClock
from quantum_trader.domain.trading import Leg
from quantum_trader.exchange.simulator import EmbeddedExchange, FaultKind
from quantum_trader.stores.address import embedded_url
from quantum_trader.stores.embedded import EmbeddedServer


class Owner:
    """The account's owner, trading past every engine."""

    def __init__(self, venue: EmbeddedExchange) -> None:
        self._venue = venue.venue
        self._account = self._venue.accounts[KEY]
        self._clock = SystemClock()

    def loses(self, symbol: str = "XRPUSDT", qty: int = 100) -> None:
        """Buy, and see the price fall by 3.1 %."""
        now_ms = self._clock.now_ms()
        price = self._venue.quote(symbol, now_ms).last
        self._venue.market.pin(symbol, price, now_ms)
        params = {"symbol": symbol, "side": "BUY", "type": "MARKET", "quantity": str(qty)}
        self._venue.place(self._account, params, now_ms)
        self._venue.market.pin(symbol, price * Decimal("0.969"), now_ms)

    def falls(self, symbol: str, share: str) -> None:
        """See the price fall by ``share``, a fraction."""
        now_ms = self._clock.now_ms()
        price = self._venue.quote(symbol, now_ms).last
        self._venue.market.pin(symbol, price * (1 - Decimal(share)), now_ms)

    def deleveraged(self, symbol: str) -> None:
        """Lose the position to auto-deleveraging."""
        self._venue.deleverage(self._account, Leg(symbol), self._clock.now_ms())

    def amount(self, symbol: str = "XRPUSDT") -> Decimal:
        return self._account.amount(Leg(symbol))

    @property
    def bsc_orders(self) -> list[Any]:
        return [order for order in self._account.orders.values() if order.client_order_id.startswith("bsc-")]


def environment(state_dir: Path, url: str, redis_url: str) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("QT_")},
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "QT_MODE": "testnet",
        "QT_STATE_DIR": str(state_dir),
        "QT_EXCHANGE__REST_URL": url,
        "QT_REDIS__URL": redis_url,
        "BINANCE_TESTNET_API_KEY": KEY,
        "BINANCE_TESTNET_API_SECRET": SECRET,
    }


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "quantum_trader", "bsc", *words]


@asynccontextmanager
async def bsc_run(env: dict[str, str], *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run ``bsc run`` as its own process, and end it with SIGTERM."""
    process = await asyncio.create_subprocess_exec(
        *command("run", *words), env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        _, complaints = await asyncio.wait_for(process.communicate(), 20)
        assert (process.returncode, complaints) == (0, b"")


async def ask(env: dict[str, str], *words: str) -> tuple[int, str, str]:
    """Run a bsc command to its end: exit code, what it said, what it complained of."""
    process = await asyncio.create_subprocess_exec(
        *command(*words), env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    said, complained = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode or 0, said.decode(), complained.decode()


async def holds(condition: Callable[[], bool]) -> bool:
    return condition()


def sign(pack: Path) -> None:
    pack.write_text(json.dumps({**json.loads(pack.read_text()), "signed_by": "Ada"}))


async def good_polls(state_dir: Path, wanted: int) -> bool:
    """Whether so many polls were good, and the last of them is in the status: that is written last."""
    polls, status = WatchLog(state_dir / "bsc").read(), StatusFile(state_dir / "bsc").read()
    if status is None or status["last_good_poll_ms"] != polls.last_good_ms:
        return False
    return polls.coverage(0, 2**53).good_polls >= wanted


async def test_inc33_an_active_kill_switch_does_not_stop_bsc(tmp_path: Path) -> None:
    async with exchange() as (venue, url):
        owner = Owner(venue)
        async with engine(tmp_path, venue, url) as first:
            await first.redis.set(first.keys.kill, "1")
        owner.loses()
        async with engine(tmp_path, venue, url) as second:
            assert await second.redis.get(second.keys.kill) == b"1"
            await until(lambda: holds(lambda: owner.amount() == 0), 10, "the close")
        assert len(owner.bsc_orders) == 1


async def test_a_dead_pipeline_does_not_stop_bsc(running: House) -> None:
    bsc: Any = running.app._bsc
    running.app._consuming.cancel()  # type: ignore[union-attr]
    owner = Owner(running.venue)
    owner.loses()
    await bsc._watchdog.poll()
    assert owner.amount() == 0


async def test_a_demoted_bsc_closes_nothing_and_opens_are_refused(running: House, tmp_path: Path) -> None:
    bsc: Any = running.app._bsc
    await running.until_watched()
    Lifespan(tmp_path / "bsc").demote(SystemClock().now_ms(), "drill")
    await bsc._watchdog.poll()

    async def told() -> bool:
        return b"OBSERVER" in (await running.redis.get(running.keys.bsc_health) or b"")

    await until(told, 20, "the health key")
    result = await running.open("XRPUSDT", qty=20)
    assert (result["decision"], result["reason"]) == ("BLOCKED", "bsc_demoted")
    owner = Owner(running.venue)
    owner.loses("ADAUSDT")
    await bsc._watchdog.poll()
    assert owner.amount("ADAUSDT") == 100


async def test_inc102_where_bsc_is_required_its_blindness_blocks_opens_and_no_exit(tmp_path: Path) -> None:
    async with house(tmp_path, bsc={"required": True}) as running:
        bsc: Any = running.app._bsc
        await running.until_watched()
        assert (await running.open("XRPUSDT", qty=20))["decision"] == "FILLED"
        running.fault(FaultKind.STATUS_BEFORE, path="/fapi/v3/account", preset="503_internal", count=90)
        for _ in range(3):
            await bsc._watchdog.poll()

        async def blind() -> bool:
            return b"BLIND" in (await running.redis.get(running.keys.bsc_health) or b"")

        await until(blind, 20, "the health key")
        running.venue.faults.clear()
        result = await running.open("ADAUSDT", qty=20)
        assert (result["decision"], result["reason"]) == ("BLOCKED", "bsc_blind")
        assert (await running.close("XRPUSDT"))["decision"] == "FILLED"


async def test_inc104_alone_and_without_redis_it_closes_and_tells_when_redis_comes(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "redis", SystemClock())
    redis_url = embedded_url(tmp_path / "redis")
    async with exchange() as (venue, url):
        owner = Owner(venue)
        owner.loses()
        env = environment(tmp_path / "state", url, redis_url)
        (tmp_path / "broken.toml").write_text("[gates.fund_caps]\nmax_open_positions = = no\n")
        async with bsc_run(env, "--config", str(tmp_path / "broken.toml")):
            await until(lambda: holds(lambda: owner.amount() == 0), 60, "the close")
            await server.start()
            client = redis.Redis.from_url(redis_url)

            async def delivered() -> list[bytes] | None:
                entries = await client.xrange("quantum:stream:bsc.events")
                names = [fields[b"event"] for _, fields in entries]
                return names if b"BSC_HEALTH_CHECK" in names else None

            async def has_health() -> bool:
                return bool(await client.ttl("quantum:bsc:health") > 0)

            names = await until(delivered, 60, "the events")
            assert names[:3] == [b"BSC_ACTIVATED", b"BSC_FORCE_CLOSE", b"BSC_HEALTH_CHECK"]
            await until(has_health, 60, "the health key")
        assert (await delivered() or [])[-1] == b"BSC_STOPPED"
        await client.aclose()
        await server.stop()


async def test_status_audit_and_extend_speak_for_a_bsc_that_runs_alone(tmp_path: Path) -> None:
    async with exchange() as (_, url):
        env = environment(tmp_path / "state", url, "unix:///nowhere.sock")
        assert (await ask(env, "status", "--json"))[0] == 3
        for polls in (1, 2):
            async with bsc_run(env):
                await until(lambda polls=polls: good_polls(tmp_path / "state", polls), 60, "a poll")
        code, said, _ = await ask(env, "status", "--json")
        status = json.loads(said)
        assert (code, status["state"], status["authority"], status["fail_mode"]) == (
            0,
            "OK",
            "CONTROLLER",
            "OPEN",
        )
        assert 29.9 < status["days_left"] <= 30
        code, said, _ = await ask(env, "audit", "--json")
        assert (code, json.loads(said)["verdict"]) == (0, "PASS"), said
        code, said, _ = await ask(env, "audit", "--weekly", "--json")
        pack = Path(json.loads(said)["file"])
        code, _, complained = await ask(env, "extend", "--days", "10", "--evidence", str(pack))
        assert code == 1
        assert "not signed" in complained
        sign(pack)
        Lifespan(tmp_path / "state" / "bsc").demote(SystemClock().now_ms(), "drill")
        assert (await ask(env, "status"))[0] == 1
        code, said, complained = await ask(env, "extend", "--days", "10", "--evidence", str(pack))
        assert code == 0, complained
        status = json.loads((await ask(env, "status", "--json"))[1])
        assert status["authority"] == "CONTROLLER"
        assert (await ask(env, "extend", "--days", "31", "--evidence", str(pack)))[0] == 2
