"""What becomes known late, or by two ways at once, counts once."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from support.house import House, settled, trace_of

from quantum_trader.domain.evidence import Reading
from quantum_trader.exchange.simulator import FaultKind


async def positions_of(running: House) -> list[tuple[str, str]]:
    return [(row["symbol"], row["positionAmt"]) for row in await running.ask("/fapi/v3/positionRisk")]


def known_amounts(running: House) -> dict[str, Decimal]:
    reading = running.app._joined.rooms.account.positions  # type: ignore[union-attr]
    assert reading is not None
    return {leg.key: held.amount for leg, held in reading.value.items() if held.amount != 0}


async def test_a_fill_that_a_position_read_showed_first_is_not_counted_twice(running: House) -> None:
    """Half of a position is half of what the exchange holds, also right after a late settlement."""
    running.spoil_order(FaultKind.HIDE_ORDER, ms=4500)
    running.spoil_order(FaultKind.STATUS_AFTER, preset="503_unknown")
    assert (await running.open("XRPUSDT", qty=40))["decision"] == "FILLED"
    await settled(running)
    assert known_amounts(running) == {"XRPUSDT": Decimal(40)}
    half = await running.close("XRPUSDT", action="PARTIAL_50")
    assert (half["decision"], half["filled_qty"]) == ("FILLED", "20")
    assert await positions_of(running) == [("XRPUSDT", "20")]


async def test_an_exit_in_parts_leaves_no_phantom_position_behind(running: House) -> None:
    await running.open("XRPUSDT", qty=40)
    market = running.app._joined.rooms.market  # type: ignore[union-attr]
    assert market.rules is not None
    rules = market.rules.value["XRPUSDT"]
    small = replace(rules, market_quantity=replace(rules.market_quantity, maximum=Decimal(15)))
    market.rules = Reading({**market.rules.value, "XRPUSDT": small}, market.rules.read_at_ms, "drill")
    closed = await running.close("XRPUSDT")
    assert (closed["decision"], closed["filled_qty"]) == ("FILLED", "40")
    await settled(running)
    assert known_amounts(running) == {}


async def test_an_open_is_not_judged_by_positions_that_are_known_to_have_changed(running: House) -> None:
    running.fault(
        FaultKind.STATUS_BEFORE,
        method="GET",
        path="/fapi/v3/positionRisk",
        preset="500_unknown",
        count=100_000,
    )
    running.app._joined.rooms.account.doubt()  # type: ignore[union-attr]
    refused = await running.open("XRPUSDT", qty=20)
    assert (refused["decision"], refused["gate"], refused["reason"]) == (
        "BLOCKED",
        "position_sanity",
        "evidence_missing",
    )
    said = [one["evidence"].get("detail", "") for one in trace_of(refused)["verdicts"]]
    assert any("changed since they were read" in detail for detail in said)
    running.venue.faults.clear()
    assert (await running.open("ADAUSDT", qty=100))["decision"] == "FILLED"
