"""What BSC and the engine beside it owe each other: cooldowns, modes, and no standstill in common."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from support.house import KEY, SECRET, House, house, until
from test_bsc_in_engine import Owner, holds

from quantum_trader.bsc.watchdog import Watchdog
from quantum_trader.stores.codec import decode

PATIENCE_S = 30
HOUR_MS = 3_600_000


@pytest.fixture
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a minute between two looks be a moment; no setting reaches it."""
    monkeypatch.setitem(Watchdog.__init__.__kwdefaults__, "interval_s", 0.2)  # type: ignore[arg-type]


async def cooled_down(running: House, symbol: str) -> None:
    async def cooling() -> bool:
        return bool(await running.redis.exists(running.keys.cooldown_symbol(symbol)))

    await until(cooling, PATIENCE_S, "the cooldown")


async def test_inc53_what_bsc_closed_the_engine_does_not_open_for_an_hour(running: House) -> None:
    bsc: Any = running.app._bsc
    assert (await running.open("XRPUSDT", qty=100))["decision"] == "FILLED"
    owner = Owner(running.venue)
    owner.loses("XRPUSDT")
    await bsc._watchdog.poll()
    assert owner.amount("XRPUSDT") == 0
    await cooled_down(running, "XRPUSDT")
    left_ms = await running.redis.pttl(running.keys.cooldown_symbol("XRPUSDT"))
    assert HOUR_MS - 120_000 < left_ms <= HOUR_MS

    async def adopted() -> bool:
        return not any(running.app._joined.rooms.ledger.amounts().values())  # type: ignore[union-attr]

    await until(adopted, PATIENCE_S, "the ledger's adoption of the close")
    refused = await running.open("XRPUSDT", qty=20)
    assert (refused["decision"], refused["reason"]) == ("BLOCKED", "cooldown_symbol")
    assert (await running.open("ADAUSDT", qty=100))["decision"] == "FILLED"
    assert await running.redis.get(running.keys.disarmed) is None


@pytest.mark.parametrize("way", ["liquidation", "auto-deleveraging"])
async def test_inc53_a_liquidation_cools_down_and_disarms(running: House, way: str) -> None:
    owner = Owner(running.venue)

    async def leverage_is_known() -> bool:
        return running.app._joined.rooms.account.leverages.get("XRPUSDT") == 75  # type: ignore[union-attr]

    if way == "liquidation":
        await running.send("/fapi/v1/leverage", symbol="XRPUSDT", leverage=75)
        await running.send("/fapi/v1/marginType", symbol="XRPUSDT", marginType="ISOLATED")
        await until(leverage_is_known, PATIENCE_S, "the leverage")
    assert (await running.open("XRPUSDT", qty=100))["decision"] == "FILLED"
    if way == "liquidation":
        owner.falls("XRPUSDT", "0.05")
        assert await running.ask("/fapi/v3/positionRisk") == []
    else:
        owner.deleveraged("XRPUSDT")
    await cooled_down(running, "XRPUSDT")

    async def disarmed() -> Any:
        raw = await running.redis.get(running.keys.disarmed)
        return raw and decode(raw)

    assert way in (await until(disarmed, PATIENCE_S, "the disarm"))["reason"]
    refused = await running.open("ADAUSDT", qty=100)
    assert (refused["decision"], refused["reason"]) == ("BLOCKED", "disarmed")


@pytest.mark.usefixtures("quick_looks")
async def test_a_deadlock_of_everything_else_in_the_loop_does_not_stop_bsc(tmp_path: Path) -> None:
    async with house(tmp_path) as running:
        release, waiting = asyncio.Event(), set()
        joined: Any = running.app._joined

        def stuck(place: Any, name: str) -> None:
            work = getattr(place, name)

            async def wait_for_ever(*args: Any, **more: Any) -> Any:
                waiting.add(name)
                await release.wait()
                return await work(*args, **more)

            setattr(place, name, wait_for_ever)

        async def all_stuck(*names: str) -> None:
            await until(lambda: holds(lambda: waiting >= set(names)), PATIENCE_S, f"{names} to be stuck")

        try:
            stuck(joined.consumer._runner._steps.claims, "_take")
            await running.submit(symbol="ADAUSDT", side="BUY", qty=100, reduceOnly="false")
            await all_stuck("_take")
            stuck(joined.rooms.account, "refresh_positions")
            stuck(joined.lease, "renew")
            await all_stuck("refresh_positions", "renew")
            owner = Owner(running.venue)
            owner.loses()
            await until(lambda: holds(lambda: owner.amount() == 0), PATIENCE_S, "the close")
            assert len(owner.bsc_orders) == 1
            assert await running.results() == []
        finally:
            release.set()


@pytest.mark.usefixtures("quick_looks")
async def test_a_change_to_dry_run_while_running_leaves_bsc_closing(tmp_path: Path) -> None:
    async with house(tmp_path) as running:
        await running.redis.set(running.keys.dry_run, "drill")
        assert (await running.open("ADAUSDT", qty=100))["decision"] == "DRY_RUN"
        owner = Owner(running.venue)
        owner.loses()
        await until(lambda: holds(lambda: owner.amount() == 0), PATIENCE_S, "the close")


@pytest.mark.usefixtures("quick_looks")
async def test_an_engine_started_in_dry_run_has_a_bsc_that_only_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("KEY", KEY), ("SECRET", SECRET)):
        monkeypatch.delenv(f"BINANCE_TESTNET_API_{name}")
        monkeypatch.setenv(f"BINANCE_API_{name}", value)
    async with house(tmp_path, mode="dry_run") as running:
        owner = Owner(running.venue)
        owner.loses()

        async def reported() -> bool:
            entries = await running.redis.xrange(running.keys.bsc_events)
            return any(b"MAX_LOSS_BREACH" in fields.get(b"breaches", b"") for _, fields in entries)

        await until(reported, PATIENCE_S, "the report")
        assert owner.amount() == 100
        assert owner.bsc_orders == []
