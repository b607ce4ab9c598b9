"""What an attacker tried, and what must not come of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import RedisError
from support.house import House, Wire, house, until

from quantum_trader.exchange.simulator import FaultKind

CLOSE = {"symbol": "XRPUSDT", "side": "CLOSE", "qty": "0", "action": "FULL_CLOSE_PROPOSED"}
OPEN = {"symbol": "XRPUSDT", "side": "BUY", "qty": "20", "reduceOnly": "false"}


@pytest.fixture
async def unhurried(tmp_path: Path) -> AsyncIterator[House]:
    """An order that is held back must not be too late by the exchange's clock."""
    async with house(tmp_path, exchange={"recv_window_ms": 5_000, "request_timeout_s": 5}) as running:
        yield running


async def keys_like(running: House, pattern: str) -> list[bytes]:
    return [name async for name in running.redis.scan_iter(match=pattern)]


async def order_arrived(running: House, wire: Any) -> None:
    async def arrived() -> bool:
        return bool(wire.orders)

    await until(arrived, 20, "the order at the exchange")


async def test_a_malformed_copy_does_not_end_an_exit_that_waits(running: House) -> None:
    await running.open()
    running.spoil_order(FaultKind.LATENCY, ms=450)
    wire = running.watch()
    await running.submit(symbol="XRPUSDT", side="SELL", qty=5, reduceOnly="true")
    await order_arrived(running, wire)
    await running.submit(**CLOSE, plan_id="exit-1")
    await running.submit(**{**CLOSE, "qty": "oops"}, plan_id="exit-1")
    assert (await running.result("exit-1"))["decision"] == "FILLED"
    assert await running.ask("/fapi/v3/positionRisk") == []


async def test_a_kill_between_a_timestamp_refusal_and_the_second_signature_stops_the_open(
    unhurried: House,
) -> None:
    running = unhurried
    running.spoil_order(FaultKind.STATUS_BEFORE, preset="400_timestamp")
    running.fault(FaultKind.LATENCY, method="GET", path="/fapi/v1/time", ms=400, count=3)
    wire = running.watch()
    plan_id = await running.submit(**OPEN)

    async def resyncing() -> bool:
        rows = running.venue.faults.rows()
        return not any(row["kind"] == "status_before" and row["count"] > 0 for row in rows)

    await until(resyncing, 20, "the refused first try")
    await running.redis.set(running.keys.kill, "1")
    result = await running.result(plan_id)
    assert (result["decision"], result["executed"]) == ("REJECTED", "false")
    assert "kill_switch_active" in result["error"]
    assert len(wire.orders) <= 1
    assert await running.ask("/fapi/v3/positionRisk") == []


async def held_back(running: House) -> tuple[str, Wire]:
    """Send an open whose order has arrived at the exchange, which is slow to take it."""
    running.spoil_order(FaultKind.LATENCY, ms=400)
    wire = running.watch()
    plan_id = await running.submit(**OPEN)
    await order_arrived(running, wire)
    return plan_id, wire


async def test_a_plan_whose_keys_are_deleted_in_flight_gets_its_one_result(unhurried: House) -> None:
    plan_id, wire = await held_back(unhurried)
    await unhurried.redis.delete(*await keys_like(unhurried, "quantum:exec:*"))
    assert (await unhurried.result(plan_id))["decision"] == "FILLED"
    assert len(wire.orders) == 1
    assert len(await unhurried.results()) == 1


async def test_a_plan_whose_lease_is_gone_in_flight_gets_its_result_once_it_is_back(unhurried: House) -> None:
    plan_id, wire = await held_back(unhurried)
    await unhurried.redis.delete(*await keys_like(unhurried, "quantum:engine:lease:*"))
    assert (await unhurried.result(plan_id))["decision"] == "FILLED"
    assert len(wire.orders) == 1


async def test_a_close_does_not_wait_for_the_price_of_an_open(running: House) -> None:
    running.fault(
        FaultKind.STATUS_BEFORE, method="GET", path="/fapi/v1/order", preset="500_unknown", count=500
    )
    opened = await running.submit(**OPEN)

    async def held() -> bool:
        return bool(await running.ask("/fapi/v3/positionRisk"))

    await until(held, 20, "the position")
    await running.submit(**CLOSE, plan_id="close-1")

    async def flat() -> bool:
        return await running.ask("/fapi/v3/positionRisk") == []

    await until(flat, 20, "the close")
    running.venue.faults.clear()
    assert (await running.result(opened))["decision"] == "FILLED"
    assert (await running.result("close-1"))["decision"] == "FILLED"


async def test_a_foreign_trade_that_the_ledger_adopted_does_not_hold_up_the_proof(running: House) -> None:
    joined = running.app._joined
    assert joined is not None
    await running.trade("XRPUSDT", "BUY", Decimal(10), "by-hand")
    await joined.rooms.account.refresh_positions()
    await joined.reconciler.reconcile()
    running.spoil_order(FaultKind.RESET_BEFORE)
    result = await running.close("XRPUSDT")
    assert (result["decision"], Decimal(result["filled_qty"])) == ("FILLED", 10)


async def test_a_flood_of_a_thousand_plans_ends_in_a_thousand_results(running: House) -> None:
    await running.open()
    pipeline = running.redis.pipeline(transaction=False)
    for number in range(1000):
        entry: dict[Any, Any] = {"plan_id": f"flood-{number}", "decision": "EXECUTE", **OPEN, "qty": "9999"}
        pipeline.xadd(running.keys.plans, entry)
    await pipeline.execute()
    assert (await running.close())["decision"] == "FILLED"

    async def all_ended() -> bool:
        return bool(await running.redis.xlen(running.keys.results) >= 1002)

    await until(all_ended, 240, "a result for every plan")
    ended = [result["plan_id"] for result in await running.results()]
    assert (len(ended), len(set(ended))) == (1002, 1002)


async def test_a_frozen_server_in_the_middle_of_an_order_loses_nothing(unhurried: House) -> None:
    unhurried.spoil_order(FaultKind.LATENCY, ms=300)
    wire = unhurried.watch()
    plan_id = await unhurried.submit(**OPEN)
    await order_arrived(unhurried, wire)
    server = unhurried.app._server
    assert server is not None
    process = server._process
    assert process is not None
    process.kill()
    await process.wait()

    async def back() -> dict[str, str] | None:
        try:
            return next((r for r in await unhurried.results() if r["plan_id"] == plan_id), None)
        except (OSError, RedisError):
            return None

    result = await asyncio.wait_for(until(back, 90, "the result after the server's death"), 100)
    assert result["decision"] == "FILLED"
    assert len(wire.orders) == 1
