"""Strict rotation through the real stream: one goes so that a better one can come (SPEC 6)."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.house import House, engine, exchange, house, trace_of, until, unwatch, weaken

from quantum_trader.concurrency import end_tasks
from quantum_trader.exchange.simulator import FaultKind
from quantum_trader.pipeline.rules import AgeLimits, Rules

THREE_SLOTS: dict[str, Any] = {"active_slots": {"base": 3, "trend_strong": 3, "chop": 3}}
SIZES = {"XRPUSDT": 40, "ADAUSDT": 100, "DOGEUSDT": 400, "LTCUSDT": "0.5", "SOLUSDT": "0.5"}


@pytest.fixture
async def full(tmp_path: Path) -> AsyncIterator[House]:
    """An engine with three slots, all taken; DOGEUSDT is the weakest."""
    async with house(tmp_path, gates=THREE_SLOTS) as started:
        await fill(started)
        yield started


async def fill(running: House) -> None:
    for symbol in ("XRPUSDT", "ADAUSDT", "DOGEUSDT"):
        assert (await running.open(symbol, qty=SIZES[symbol]))["decision"] == "FILLED"
    await weaken(running, "DOGEUSDT")


async def symbols_held(running: House) -> set[str]:
    return {row["symbol"] for row in await running.ask("/fapi/v3/positionRisk")}


async def test_inc_48_a_rotation_closes_the_weakest_and_opens_the_candidate(full: House) -> None:
    result = await full.open("SOLUSDT", qty=SIZES["SOLUSDT"], plan_id="candidate-1")
    assert (result["decision"], result["executed"]) == ("FILLED", "true")
    assert await symbols_held(full) == {"XRPUSDT", "ADAUSDT", "SOLUSDT"}
    close = await full.result("rot_candidat_DOGEUSDT_" + digest("candidate-1"))
    assert (close["decision"], close["reduceOnly"]) == ("FILLED", "true")
    assert [len(await full.events(name)) for name in ("ROTATION_LOCK_CREATED", "ROTATION_COMPLETE")] == [1, 1]
    assert not await full.redis.exists("quantum:rotation:lock")


async def test_inc_54_a_further_candidate_waits_for_its_own_turn(full: House) -> None:
    full.spoil_order(FaultKind.LATENCY, ms=800)
    first = await full.submit(symbol="SOLUSDT", side="BUY", qty="0.5", reduceOnly="false")

    async def locked() -> bool:
        return await full.redis.exists("quantum:rotation:lock") == 1

    await until(locked, 20, "the rotation's lock")
    other = await full.open("LTCUSDT", qty="0.5")
    assert (other["decision"], other["reason"]) == ("BLOCKED", "active_slots_waiting_rotation_close")
    assert (await full.result(first))["decision"] == "FILLED"
    assert len(await symbols_held(full)) == 3


async def test_the_symbol_being_closed_is_not_opened_again_meanwhile(full: House) -> None:
    full.spoil_order(FaultKind.LATENCY, ms=800)
    candidate = await full.submit(symbol="SOLUSDT", side="BUY", qty="0.5", reduceOnly="false")

    reopened = await full.submit(symbol="DOGEUSDT", side="BUY", qty=400, reduceOnly="false")
    assert (await full.result(candidate))["decision"] == "FILLED"
    assert (await full.result(reopened))["decision"] == "BLOCKED"
    assert await symbols_held(full) == {"XRPUSDT", "ADAUSDT", "SOLUSDT"}


async def test_no_rotation_without_every_other_gate_passing(full: House) -> None:
    too_large = await full.open("SOLUSDT", qty=50)
    assert too_large["reason"] == "notional_per_trade_exceeded"
    assert "active_slots_full" in {v["code"] for v in trace_of(too_large)["verdicts"]}
    assert await full.events("ROTATION_LOCK_CREATED") == []


@pytest.mark.parametrize("watched", [True, False], ids=["watched", "new symbol"])
async def test_no_rotation_for_a_candidate_whose_symbol_cools_down(full: House, watched: bool) -> None:
    if not watched:
        await unwatch(full)
    await full.redis.set("quantum:safety:cooldown_symbol:SOLUSDT", "1")
    cooling = await full.open("SOLUSDT", qty="0.5")
    assert (cooling["gate"], cooling["reason"]) == ("rate_limit", "cooldown_symbol")
    assert await full.events("ROTATION_LOCK_CREATED") == []
    assert len(await symbols_held(full)) == 3
    await full.redis.delete("quantum:safety:cooldown_symbol:SOLUSDT")
    assert (await full.open("SOLUSDT", qty="0.5"))["decision"] == "FILLED"


async def test_no_rotation_after_a_margin_failure_of_the_candidates_symbol(tmp_path: Path) -> None:
    async with house(tmp_path, gates=THREE_SLOTS, settings={"balance_usdt": 100}) as running:
        await fill(running)
        short = await running.open("SOLUSDT", qty="0.9", leverage="1")
        assert short["reason"] == "insufficient_margin"
        await running.redis.delete("quantum:safety:cooldown_global")
        cooling = await running.open("SOLUSDT", qty="0.1")
        assert (cooling["gate"], cooling["reason"]) == ("rate_limit", "cooldown_symbol")
        assert await running.events("ROTATION_LOCK_CREATED") == []


async def test_a_candidate_must_be_more_confident_where_both_are_known(tmp_path: Path) -> None:
    async with house(tmp_path, gates=THREE_SLOTS) as running:
        for symbol in ("XRPUSDT", "ADAUSDT", "DOGEUSDT"):
            await running.open(symbol, qty=SIZES[symbol], confidence="0.80")
        worse = await running.open("SOLUSDT", qty="0.5", confidence="0.91")
        assert worse["reason"] == "active_slots_full"
        better = await running.open("SOLUSDT", qty="0.5", confidence="0.92")
        assert better["decision"] == "FILLED"


async def test_a_position_opened_elsewhere_never_goes(tmp_path: Path) -> None:
    async with house(tmp_path, gates={"active_slots": {"base": 1, "trend_strong": 1, "chop": 1}}) as running:
        await running.trade("XRPUSDT", "BUY", 40, "by-hand")
        joined = running.app._joined
        assert joined is not None
        await joined.rooms.account.refresh_positions()
        await joined.reconciler.reconcile()
        result = await running.open("SOLUSDT", qty="0.5")
        assert (result["decision"], result["reason"]) == ("BLOCKED", "active_slots_full")
        assert len(await running.events("RECONCILED")) == 1


async def test_inc_49_a_rotation_that_takes_too_long_is_seen_and_its_close_withdrawn(tmp_path: Path) -> None:
    gates = {"active_slots": {**THREE_SLOTS["active_slots"], "rotation_timeout_s": 1}}
    async with house(tmp_path, gates=gates) as running:
        await fill(running)
        running.spoil_order(FaultKind.STATUS_BEFORE, preset="503_unavailable", count=20)
        in_force = running.app._joined.rules  # type: ignore[union-attr]
        in_force.rules = Rules(in_force.chain, AgeLimits(60_000, 4_000))
        result = await running.open("SOLUSDT", qty="0.5")
        assert (result["gate"], result["reason"]) == ("active_slots", "active_slots_rotation_timeout")

        async def told() -> bool:
            return len(await running.events("ROTATION_TIMEOUT")) == 1

        await until(told, 20, "the event")
        assert not await running.redis.exists("quantum:rotation:lock")
        assert "SOLUSDT" not in await symbols_held(running)


async def test_a_close_whose_rotation_is_over_is_not_sent(running: House) -> None:
    await running.open("DOGEUSDT", qty=400)
    late = await running.submit(
        plan_id="rot_gone-pla_DOGEUSDT_" + digest("gone-plan"),
        symbol="DOGEUSDT",
        side="CLOSE",
        qty=400,
        reduceOnly="true",
        action="FULL_CLOSE_PROPOSED",
        rotation_trigger="true",
        new_plan_id="gone-plan",
        new_symbol="SOLUSDT",
    )
    assert (await running.result(late))["decision"] == "EXPIRED"
    assert await symbols_held(running) == {"DOGEUSDT"}


async def test_a_gate_in_shadow_starts_no_rotation(tmp_path: Path) -> None:
    gates = {"active_slots": {**THREE_SLOTS["active_slots"], "mode": "shadow"}}
    async with house(tmp_path, gates=gates) as running:
        await fill(running)
        assert (await running.open("SOLUSDT", qty="0.5"))["decision"] == "FILLED"
        assert await running.events("ROTATION_LOCK_CREATED") == []
        assert len(await symbols_held(running)) == 4


@pytest.mark.parametrize("closed_meanwhile", [False, True])
async def test_a_restart_in_the_middle_resumes_the_rotation(tmp_path: Path, closed_meanwhile: bool) -> None:
    async with exchange() as (venue, url):
        async with engine(tmp_path, venue, url, gates=THREE_SLOTS) as before:
            await fill(before)
            before.spoil_order(FaultKind.STATUS_BEFORE, preset="503_unavailable", symbol="DOGEUSDT", count=90)
            plan_id = await before.submit(symbol="SOLUSDT", side="BUY", qty="0.5", reduceOnly="false")

            async def parked() -> bool:
                return await before.redis.get(before.keys.processed(plan_id)) == b"parked"

            await until(parked, 20, "the parked plan")
            await crash(before)
            if closed_meanwhile:
                venue.faults.clear()
                await before.trade("DOGEUSDT", "SELL", 400, "by-hand")
        venue.faults.clear()
        async with engine(tmp_path, venue, url, gates=THREE_SLOTS) as after:
            result = await after.result(plan_id, 60)
            assert result["decision"] == "FILLED"
            assert "DOGEUSDT" not in await symbols_held(after)
            assert len(await after.events("ROTATION_COMPLETE")) == 1


async def crash(running: House) -> None:
    """End the engine's plans without settling them, as a crash would: its reading first, as a read that
    is under way may still deliver the close and let it be sent."""
    joined, consuming = running.app._joined, running.app._consuming
    assert joined is not None
    assert consuming is not None
    joined.consumer.stop()
    await end_tasks([consuming])
    await joined.consumer.drain(0)


def digest(plan_id: str) -> str:
    return hashlib.sha256(plan_id.encode()).hexdigest()[:8]
