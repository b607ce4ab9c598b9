"""Killed at any moment, a plan still gets its one result, and an open at most one order (SPEC 7.8)."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import signal
import sqlite3
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis
from support.house import EXCHANGE_QUICK, KEY, SECRET, Wire, exchange, until

from quantum_trader.concurrency import end_tasks
from quantum_trader.exchange.simulator import EmbeddedExchange, FaultKind, FaultRule, RateLimits
from quantum_trader.exchange.simulator.limits import Usage
from quantum_trader.stores.archive import FILE_NAME, archived_plan
from quantum_trader.stores.codec import decode, encode
from quantum_trader.stores.connection import RedisError
from quantum_trader.stores.embedded import embedded_url
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.results import as_text

KEYS = Keys()
SYMBOLS = ("XRPUSDT", "ADAUSDT", "DOGEUSDT")
KILLS = int(os.environ.get("KILLS", "12"))
SEED = int(os.environ.get("SEED", "1"))
TRADES_WITHIN_S = 10.0
PUT_EVERY_S = 0.1  # always some plans in hand, and few enough for short lives to get at those still young
# Valkey answers writes that it has not yet written to its file while a former part is being synced, for up
# to two seconds (`appendfsync everysec`): killed then, it loses what it had answered.
VALKEY_FORGETS_S = 2.5


def environment(state_dir: Path, url: str) -> dict[str, str]:
    limits = {
        "QT_GATES__RATE_LIMIT__PER_SYMBOL_S": "0",
        "QT_GATES__RATE_LIMIT__GLOBAL_PER_MIN": "1000",
        "QT_GATES__RATE_LIMIT__PER_SYMBOL_5MIN_MAX": "1000",
        "QT_GATES__RATE_LIMIT__PER_SYMBOL_HOUR_MAX": "1000",
        "QT_GATES__RATE_LIMIT__EXITS_PER_MIN": "1000",
        "QT_GATES__FUND_CAPS__SYMBOL_COOLDOWN_S": "0",
        "QT_STREAMS__RESULTS_KEPT": "1000000",
        "QT_GATES__POSITION_SANITY__COOLDOWN_S": "0",
        "QT_SYMBOLS": ",".join(SYMBOLS),
    }
    quick = {f"QT_EXCHANGE__{name.upper()}": str(value) for name, value in EXCHANGE_QUICK.items()}
    return {
        **os.environ,
        **limits,
        **quick,
        "QT_MODE": "testnet",
        "QT_EXCHANGE__REST_URL": url,
        "QT_STATE_DIR": str(state_dir),
        "BINANCE_TESTNET_API_KEY": KEY,
        "BINANCE_TESTNET_API_SECRET": SECRET,
    }


async def start(state_dir: Path, url: str) -> asyncio.subprocess.Process:
    process = await spawn(state_dir, url)
    await until(lambda: is_ready(state_dir, process.pid), 60, "a ready engine")
    return process


async def spawn(state_dir: Path, url: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "quantum_trader",
        "run",
        env=environment(state_dir, url),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )


async def is_ready(state_dir: Path, pid: int) -> bool:
    """Whether the engine of that process, and not a former one, says that it is ready.

    The lease of a former one that was killed is taken away, so that nobody has to wait for its end.
    """
    database = redis.Redis.from_url(embedded_url(state_dir))
    try:
        async for name in database.scan_iter(match="quantum:engine:lease:*"):
            holder: Any = await database.get(name)
            if holder is not None and f"-{pid}-".encode() not in holder:
                await database.delete(name)
        raw: Any = await database.get(KEYS.engine_status)
        status = decode(raw) if raw is not None else {}
        return status.get("pid") == pid and bool(status["ready"])
    except (RedisError, OSError):
        return False
    finally:
        await database.aclose()


async def put(database: redis.Redis, number: int) -> str:
    """Alternate opens and full closes over a few symbols."""
    plan_id = f"crash-{number}"
    plan: dict[Any, Any] = {
        "plan_id": plan_id,
        "decision": "EXECUTE",
        "symbol": SYMBOLS[number % len(SYMBOLS)],
    }
    if number // len(SYMBOLS) % 2:
        plan |= {"side": "CLOSE", "qty": "0", "action": "FULL_CLOSE_PROPOSED"}
    else:
        plan |= {"side": "BUY", "qty": "60", "reduceOnly": "false"}
    await database.xadd(KEYS.plans, plan)
    return plan_id


async def write_universe(state_dir: Path) -> None:
    database = redis.Redis.from_url(embedded_url(state_dir))
    universe: Any = {"universe_symbols": encode(list(SYMBOLS))}
    await database.hset(KEYS.policy, mapping=universe)
    await database.aclose()


class Load:
    """Plans put on the stream one after another for as long as it goes on, whoever is dead meanwhile.

    ``certain`` maps those whose reply came to the loop's time of it; of ``doubtful`` ones it was lost.
    """

    def __init__(self, state_dir: Path) -> None:
        self.certain: dict[str, float] = {}
        self.doubtful: set[str] = set()
        self.valkey_kills: list[float] = []
        self._state_dir = state_dir
        self._numbers = itertools.count()

    async def run(self) -> None:
        while True:
            database = redis.Redis.from_url(embedded_url(self._state_dir))
            try:
                while True:
                    await self._put(database)
                    await asyncio.sleep(PUT_EVERY_S)
            except (RedisError, OSError):
                await asyncio.sleep(0.02)
            finally:
                await database.aclose()

    async def _put(self, database: redis.Redis) -> None:
        number = next(self._numbers)
        self.doubtful.add(f"crash-{number}")
        plan_id = await put(database, number)
        self.doubtful.discard(plan_id)
        self.certain[plan_id] = asyncio.get_running_loop().time()

    async def kill_valkey(self) -> None:
        """Kill the server, and note when."""
        database = redis.Redis.from_url(embedded_url(self._state_dir))
        about: Any = await database.info("server")
        os.kill(about["process_id"], signal.SIGKILL)
        self.valkey_kills.append(asyncio.get_running_loop().time())
        await database.aclose()

    async def settle_doubts(self) -> None:
        """Move what a killed Valkey forgot, though it had answered, to the doubtful ones.

        Only a plan that is not on the stream, and that was answered right before a kill.
        """
        database = redis.Redis.from_url(embedded_url(self._state_dir))
        there = {as_text(fields)["plan_id"] for _, fields in await database.xrange(KEYS.plans)}
        await database.aclose()
        missing = [plan_id for plan_id in self.certain if plan_id not in there]
        for plan_id in missing:
            before = [kill - self.certain[plan_id] for kill in self.valkey_kills]
            assert any(0 <= since < VALKEY_FORGETS_S for since in before), f"{plan_id} is gone, and why?"
            self.doubtful.add(plan_id)
            del self.certain[plan_id]
        sys.stdout.write(f"answered by a Valkey that was killed, and forgotten: {missing}\n")


@pytest.mark.timeout(300 + 15 * KILLS)
async def test_inc_18_killed_again_and_again_under_load_it_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """``KILLS`` times; every fourth time its Valkey is killed in the same moment.

    Two lives out of three have got as far as trading when they end, the third one may still be recovering.
    """
    chance = random.Random(SEED)
    async with exchange() as (venue, url):
        load = Load(tmp_path)
        engine = await start(tmp_path, url)
        await write_universe(tmp_path)
        putting = asyncio.create_task(load.run())
        for number in range(KILLS):
            if number % 3:
                await trades_again(venue)
            await asyncio.sleep(chance.uniform(0, 0.6))
            if number % 4 == 3:
                await load.kill_valkey()
            engine.send_signal(signal.SIGKILL)
            await engine.wait()
            venue.gateway.usage = Usage(RateLimits())  # lives are short here: each has a minute's weight
            engine = await restart(tmp_path, url, chance)
        await end_tasks([putting])
        try:
            await load.settle_doubts()
            await check(tmp_path, venue, list(load.certain), load.doubtful)
        finally:
            engine.send_signal(signal.SIGTERM)
            assert await engine.wait() == 0


async def trades_again(venue: EmbeddedExchange) -> None:
    """Wait for an order of this life; not for long, as there may be nothing left to trade."""
    orders = venue.venue.accounts[KEY].orders
    before = len(orders)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(TRADES_WITHIN_S):
            while len(orders) == before:  # noqa: ASYNC110 the books tell nobody of an order
                await asyncio.sleep(0.01)


async def restart(state_dir: Path, url: str, chance: random.Random) -> asyncio.subprocess.Process:
    """Start the engine; every third time it is killed once more on its way, before it is ready."""
    if chance.random() < 1 / 3:
        early = await spawn(state_dir, url)
        await asyncio.sleep(chance.uniform(0, 1.5))
        early.send_signal(signal.SIGKILL)
        await early.wait()
    return await start(state_dir, url)


@pytest.mark.parametrize("forgotten", ["exec keys", "everything", "the last second"])
async def test_inc_18_killed_in_flight_while_redis_forgets_it_sends_no_second_order(
    tmp_path: Path, forgotten: str
) -> None:
    async with exchange() as (venue, url):
        engine = await start(tmp_path, url)
        await write_universe(tmp_path)
        database = redis.Redis.from_url(embedded_url(tmp_path))
        venue.faults.add(FaultRule(FaultKind.TIMEOUT_AFTER, method="POST", path="/fapi/v1/order", ms=60_000))
        hidden = FaultRule(FaultKind.STATUS_BEFORE, method="GET", path="/fapi/v1/order", preset="500_unknown")
        venue.faults.add(replace(hidden, count=100_000))
        venue.faults.add(FaultRule(FaultKind.STREAM_SILENCE, path="/private", ms=60_000, count=100_000))
        wire = Wire()
        wire.watch(venue.gateway)
        plan_id = await put(database, 0)

        async def arrived() -> bool:
            return bool(wire.orders)

        await until(arrived, 40, "the order at the exchange")
        await forget(database, forgotten)
        engine.send_signal(signal.SIGKILL)
        await engine.wait()
        await database.aclose()
        venue.faults.clear()
        second = await start(tmp_path, url)
        try:
            await check(tmp_path, venue, [plan_id], set())
            assert len(wire.orders) == 1
        finally:
            second.send_signal(signal.SIGTERM)
            assert await second.wait() == 0
        assert orders_told(tmp_path, plan_id) == [wire.orders[0]["newClientOrderId"]] * 2


def orders_told(state_dir: Path, plan_id: str) -> list[str]:
    """Return the orders in the plan's archived trace, then those that the archive knows to be used."""
    archived = archived_plan(state_dir, plan_id)
    assert archived is not None
    traced = [order["client_order_id"] for order in decode(archived["trace"])["orders"]]
    with contextlib.closing(sqlite3.connect(state_dir / FILE_NAME)) as connection:
        used = connection.execute("SELECT client_order_id FROM orders").fetchall()
    return [*traced, *(name for (name,) in used)]


async def forget(database: redis.Redis, what: str) -> None:
    """Let Redis lose what a failover, a wrong command or an older copy of it would have lost."""
    if what == "everything":
        await database.flushall()
        return
    await database.delete(*[name async for name in database.scan_iter(match="quantum:exec:*")])
    if what == "the last second":
        await database.xgroup_setid(KEYS.plans, "quantum-trader", "0")
        pending: Any = await database.xpending_range(KEYS.plans, "quantum-trader", "-", "+", 100)
        await database.xack(KEYS.plans, "quantum-trader", *[entry["message_id"] for entry in pending])


@pytest.mark.timeout(300 + 15 * KILLS)
async def test_valkey_killed_again_and_again_under_load_loses_and_doubles_nothing(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    async with exchange() as (venue, url):
        load = Load(tmp_path)
        engine = await start(tmp_path, url)
        await write_universe(tmp_path)
        putting = asyncio.create_task(load.run())
        for _ in range(max(3, KILLS // 4)):
            await asyncio.sleep(chance.uniform(0.2, 0.8))
            await load.kill_valkey()
            await until(lambda: is_ready(tmp_path, engine.pid), 60, "the server's return")
        await end_tasks([putting])
        try:
            await load.settle_doubts()
            await check(tmp_path, venue, list(load.certain), load.doubtful)
        finally:
            engine.send_signal(signal.SIGTERM)
            assert await engine.wait() == 0


async def check(state_dir: Path, venue: EmbeddedExchange, submitted: list[str], doubtful: set[str]) -> None:
    """Every plan has one result, no order was sent twice, and the results tell of every fill."""
    database = redis.Redis.from_url(embedded_url(state_dir))
    try:
        await compare(database, venue, submitted, doubtful)
    finally:
        await database.aclose()


async def compare(
    database: redis.Redis, venue: EmbeddedExchange, submitted: list[str], doubtful: set[str]
) -> None:
    """Compare the results with the exchange's own books: an engine that recovers uses up the weight."""

    async def results() -> list[dict[str, str]]:
        return [as_text(fields) for _, fields in await database.xrange(KEYS.results)]

    async def all_ended() -> bool:
        ended = {result["plan_id"] for result in await results()}
        summary: Any = await database.xpending(KEYS.plans, "quantum-trader")
        return ended >= set(submitted) and summary["pending"] == 0

    await until(all_ended, 240, "a result for every plan")
    ended = await results()
    counted = Counter(result["plan_id"] for result in ended)
    lost = set(submitted) - set(counted)
    doubled = {name for name, count in counted.items() if count > 1}
    assert (lost, doubled) == (set(), set())
    assert set(counted) <= set(submitted) | doubtful
    orders = venue.venue.accounts[KEY].orders.values()
    sent = Counter(order.client_order_id for order in orders)
    assert max(sent.values(), default=0) <= 1
    reported = {result["client_order_id"] for result in ended if result["executed"] == "true"}
    executed = {order.client_order_id for order in orders if order.executed > 0}
    assert reported == executed
    sys.stdout.write(
        f"plans {len(submitted)} (+{len(doubtful)} doubtful), orders {len(orders)}, "
        f"filled {len(executed)}, lost {len(lost)}, doubled {len(doubled)}; "
        f"{Counter(result['reason'] for result in ended).most_common(8)}\n"
    )
