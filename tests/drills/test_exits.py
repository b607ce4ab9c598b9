"""Exits reach their effect, never more, whatever stands in the way (INCIDENTS: second table)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.house import NO_STREAMS, House, house, settled, trace_of, until

from quantum_trader import housekeeping
from quantum_trader.domain.order import client_order_id
from quantum_trader.domain.plan import Plan
from quantum_trader.domain.trading import Positions
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.exchange.simulator import FaultKind
from quantum_trader.pipeline.intake import read_entry
from quantum_trader.pipeline.judging import BLIND_EXIT_AFTER_S
from quantum_trader.pipeline.rules import AgeLimits, Rules

AGELESS: dict[str, Any] = {"position_sanity": {"stale_s": 60}}
"""Where nothing reads the positions anew, the last reading must serve for as long as the drill takes."""


@pytest.fixture
async def ageless(tmp_path: Path) -> AsyncIterator[House]:
    """An engine whose readings of the positions do not age within a drill."""
    async with house(tmp_path, gates=AGELESS) as running:
        yield running


@pytest.mark.parametrize(
    ("action", "left"),
    [("PARTIAL_25", "75"), ("PARTIAL_50", "50"), ("PARTIAL_75", "25"), ("FULL_CLOSE_PROPOSED", None)],
)
async def test_inc_26_a_partial_closes_its_share(running: House, action: str, left: str | None) -> None:
    await running.open("XRPUSDT", qty=100)
    result = await running.result(await running.submit(symbol="XRPUSDT", side="CLOSE", qty=0, action=action))
    assert result["decision"] == "FILLED"
    positions = await running.ask("/fapi/v3/positionRisk")
    assert [Decimal(row["positionAmt"]) for row in positions] == ([Decimal(left)] if left else [])


async def test_of_quantity_and_action_the_smaller_is_closed_and_the_trace_says_so(running: House) -> None:
    await running.open("XRPUSDT", qty=100)
    result = await running.result(
        await running.submit(symbol="XRPUSDT", side="SELL", qty=10, action="PARTIAL_50")
    )
    assert (result["decision"], Decimal(result["filled_qty"])) == ("FILLED", 10)
    assert "qty_action_mismatch" in trace_of(result)["notes"]


async def test_inc_23_a_plan_that_reduces_is_an_exit_without_saying_so(running: House) -> None:
    wire = running.watch()
    await running.open("XRPUSDT", qty=100)
    await running.redis.set("quantum:safety:safe_mode", "1")
    result = await running.open("XRPUSDT", qty=40, side="SELL")
    assert (result["decision"], result["effect"], result["reduceOnly"]) == ("FILLED", "REDUCE", "true")
    assert wire.orders[-1]["reduceOnly"] == "true"


async def test_an_order_that_would_turn_the_position_around_is_refused(running: House) -> None:
    await running.open("XRPUSDT", qty=20)
    result = await running.open("XRPUSDT", qty=50, side="SELL")
    assert (result["decision"], result["reason"]) == ("BLOCKED", "would_flip")


async def test_a_reduce_only_plan_larger_than_the_position_closes_exactly_it(running: House) -> None:
    await running.open("XRPUSDT", qty=20)
    result = await running.open("XRPUSDT", qty=500, side="SELL", reduceOnly="true")
    assert (result["decision"], result["effect"], Decimal(result["filled_qty"])) == ("FILLED", "CLOSE", 20)


async def test_exits_without_a_position_or_on_the_wrong_side_are_refused(running: House) -> None:
    assert (await running.close())["reason"] == "no_position"
    await running.open("XRPUSDT", qty=20)
    assert (await running.open("XRPUSDT", qty=5, side="BUY", reduceOnly="true"))["reason"] == "side_mismatch"


async def test_inc_64_a_short_is_closed_by_buying(running: House) -> None:
    opened = await running.open("XRPUSDT", qty=20, side="SELL")
    assert opened["decision"] == "FILLED"
    assert await running.redis.hget(running.keys.ledger("XRPUSDT"), "position_amt") == b"-20"
    wire = running.watch()
    assert (await running.close())["decision"] == "FILLED"
    assert wire.orders[-1]["side"] == "BUY"


async def test_inc_29_dust_below_the_minimum_notional_can_be_closed(running: House) -> None:
    await running.open("XRPUSDT", qty=20)
    await running.result(await running.submit(symbol="XRPUSDT", side="SELL", qty=19, reduceOnly="true"))
    result = await running.close()
    assert (result["decision"], Decimal(result["filled_qty"])) == ("FILLED", 1)


async def test_inc_31_an_exit_above_the_largest_market_order_is_split(tmp_path: Path) -> None:
    async with house(tmp_path, settings={"balance_usdt": 50_000_000}) as rich:
        rules = rich.app._joined.rooms.market.rules_of("DOGEUSDT")  # type: ignore[union-attr]
        assert rules is not None
        largest = rules.market_quantity.maximum
        for number in range(2):
            await add_position(rich, "DOGEUSDT", largest, number)
        await rich.app._joined.rooms.account.refresh_positions()  # type: ignore[union-attr]
        wire = rich.watch()
        result = await rich.close("DOGEUSDT")
        assert (result["decision"], Decimal(result["filled_qty"])) == ("FILLED", 2 * largest)
        assert [Decimal(order["quantity"]) for order in wire.orders] == [largest, largest]
        assert len({order["newClientOrderId"] for order in wire.orders}) == 2


async def add_position(rich: House, symbol: str, quantity: Decimal, number: int) -> None:
    """Buy on the account from outside the engine, as a person with the app would."""
    reply = await rich.trade(symbol, "BUY", quantity, f"hand-{number}")
    assert reply["status"] in ("FILLED", "NEW"), reply


async def test_inc_28_a_reduce_only_refusal_on_a_flat_symbol_is_done_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        housekeeping, "POSITIONS_BLIND_EVERY_S", 3600.0
    )  # nothing else may see the close first
    async with house(tmp_path, gates=AGELESS, exchange=NO_STREAMS) as running:
        await running.open("XRPUSDT", qty=20)
        await settled(running)
        rooms = running.app._joined.rooms  # type: ignore[union-attr]
        held = rooms.account.positions
        await running.trade("XRPUSDT", "SELL", Decimal(20), "hand-close")
        rooms.account.positions = held
        wire = running.watch()
        result = await running.close()
        assert result["reason"] == "already_flat"
        assert len(wire.orders) == 1


async def test_an_exit_goes_on_through_transient_refusals(running: House) -> None:
    await running.open("XRPUSDT", qty=20)
    running.spoil_order(FaultKind.STATUS_BEFORE, preset="503_unavailable", count=2)
    result = await running.close()
    assert result["decision"] == "FILLED"
    assert [order["outcome"] for order in trace_of(result)["orders"]] == ["Rejected", "Rejected", "Accepted"]


async def hide_positions(running: House) -> None:
    """Let the engine forget the positions and every read of them fail; no earlier one is left under way."""
    account = running.app._joined.rooms.account  # type: ignore[union-attr]
    running.fault(FaultKind.STATUS_BEFORE, path="/fapi/v3/positionRisk", preset="500_unknown", count=1000)
    with contextlib.suppress(ExchangeError):
        await account.refresh_positions()
    account.positions = None


@pytest.mark.parametrize("action", [{}, {"action": "FULL_CLOSE_PROPOSED"}], ids=["no action", "full close"])
async def test_inc_20_an_exit_waits_for_positions_and_then_goes_out_blind_as_asked(
    running: House, action: dict[str, str]
) -> None:
    await running.open("XRPUSDT", qty=20)
    await hide_positions(running)
    wire = running.watch()
    result = await running.open("XRPUSDT", qty=20, side="SELL", reduceOnly="true", **action)
    assert (result["decision"], Decimal(result["filled_qty"])) == ("FILLED", 20)
    assert wire.orders[-1]["reduceOnly"] == "true"


async def test_an_exit_that_is_refused_before_any_read_is_not_told_as_flat(ageless: House) -> None:
    await ageless.open("XRPUSDT", qty=20)
    ageless.fault(FaultKind.STATUS_BEFORE, path="/fapi/v3/positionRisk", preset="500_unknown", count=1000)
    ageless.app._joined.rooms.account.shown = Positions({})  # type: ignore[union-attr]  # read before the open
    ageless.spoil_order(FaultKind.STATUS_BEFORE, status=401, body='{"code": -2015, "msg": "no"}')
    result = await ageless.close()
    assert (result["decision"], result["reason"]) == ("REJECTED", "exchange_rejected")


async def last_told_as_filled(running: House, plan_id: str, quantity: str) -> dict[str, str]:
    """Return the newest result, which is that of ``plan_id``, filled with ``quantity``."""
    told = (await running.results())[-1]
    assert (told["plan_id"], told["decision"], Decimal(told["filled_qty"])) == (
        plan_id,
        "FILLED",
        Decimal(quantity),
    )
    return told


async def redelivered_while_orders_cannot_be_asked_for(
    running: House, plan_id: str
) -> tuple[asyncio.Task[Any], Any]:
    """Deliver an ended plan once more, which Redis has lost; return its run, and what is sent from now on."""
    keys, consumer = running.keys, running.app._joined.consumer  # type: ignore[union-attr]
    rows = await running.redis.xrange(keys.plans)
    (entry,) = [row for row in rows if row[1][b"plan_id"] == plan_id.encode()]
    plan = read_entry(entry[0].decode(), entry[1])
    assert isinstance(plan, Plan)
    await running.redis.delete(keys.processed(plan_id), keys.plan(plan_id))  # as a failover loses them
    asked = {"method": "GET", "path": "/fapi/v1/order"}
    running.fault(FaultKind.STATUS_BEFORE, preset="500_unknown", count=1000, **asked)
    operator, wire = await consumer._stream.operator_state(), running.watch()
    return asyncio.create_task(consumer._runner.run(plan, operator, redelivered=True, is_preceded=bool)), wire


async def test_inc_17_a_redelivered_exit_that_went_out_unchecked_tells_of_its_former_order_too(
    running: House,
) -> None:
    await running.open("XRPUSDT", qty=100)
    former = await running.close(action="PARTIAL_25", plan_id="twice")
    assert Decimal(former["filled_qty"]) == 25
    running.app._joined.consumer._mirror._used.clear()  # type: ignore[union-attr]  # killed before the result
    again, wire = await redelivered_while_orders_cannot_be_asked_for(running, "twice")

    async def sent() -> bool:
        return len(wire.orders) > 0

    await until(sent, 30, "the exit that goes out unchecked")
    running.venue.faults.clear()
    await again
    told = await last_told_as_filled(running, "twice", "43.7")
    names = [order["client_order_id"] for order in trace_of(told)["orders"]]
    assert names == [client_order_id("twice", 0), client_order_id("twice", 1)]


async def test_inc_17_a_redelivered_exit_that_had_its_result_waits_for_the_exchange_and_holds_nobody_up(
    running: House,
) -> None:
    await running.open("XRPUSDT", qty=100)
    await running.close(action="PARTIAL_25", plan_id="twice")
    again, wire = await redelivered_while_orders_cannot_be_asked_for(running, "twice")
    other = await running.close(action="PARTIAL_50")
    assert Decimal(other["filled_qty"]) == Decimal("37.5")
    await asyncio.sleep(BLIND_EXIT_AFTER_S + 1)  # by now it would have gone out unchecked
    assert [order["newClientOrderId"] for order in wire.orders] == [other["client_order_id"]]
    running.venue.faults.clear()
    await again
    await last_told_as_filled(running, "twice", "25")
    assert len(wire.orders) == 1


async def test_a_blind_exit_without_size_waits_up_to_its_age_limit_and_no_longer(running: House) -> None:
    await running.open("XRPUSDT", qty=20)
    joined = running.app._joined
    assert joined is not None
    joined.rules.rules = Rules(joined.rules.chain, AgeLimits(60_000, 8_000))
    await hide_positions(running)
    issued_ms = running.app._clock.now_ms() - 6_000  # two seconds are left of its age
    result = await running.close(timestamp=issued_ms)
    assert (result["decision"], result["reason"]) == ("FAILED", "exit_unsized")
    assert 8_000 <= int(result["timestamp"]) - issued_ms < 40_000  # the limit of the configuration is 300 s


async def test_a_partial_exit_waits_for_a_read_of_positions_that_are_in_doubt(tmp_path: Path) -> None:
    async with house(tmp_path, exchange=NO_STREAMS) as running:
        await running.open("XRPUSDT", qty=100)
        await running.trade("XRPUSDT", "SELL", Decimal(60), "byhand")
        running.app._joined.rooms.account.doubt()  # type: ignore[union-attr]
        running.fault(FaultKind.STATUS_BEFORE, path="/fapi/v3/positionRisk", preset="500_unknown", count=1000)
        plan_id = await running.submit(symbol="XRPUSDT", side="CLOSE", qty=0, action="PARTIAL_50")

        async def waits() -> bool:
            failed = sum(row["seen"] for row in running.venue.faults.rows())
            return failed >= 2 and running.app._joined.consumer.in_flight == 1  # type: ignore[union-attr]

        await until(waits, 20, "the exit to wait for a read")
        running.venue.faults.clear()
        result = await running.result(plan_id)
        assert (result["decision"], Decimal(result["filled_qty"])) == ("FILLED", 20)


async def test_positions_that_stay_in_doubt_stop_no_exit(ageless: House) -> None:
    await ageless.open("XRPUSDT", qty=100)
    account = ageless.app._joined.rooms.account  # type: ignore[union-attr]
    account.doubt()
    ageless.fault(FaultKind.STATUS_BEFORE, path="/fapi/v3/positionRisk", preset="500_unknown", count=1000)
    began_ms = ageless.app._clock.now_ms()
    result = await ageless.close(action="PARTIAL_50")
    assert (result["decision"], Decimal(result["filled_qty"])) == ("FILLED", 50)
    assert int(result["timestamp"]) - began_ms >= 5_000


async def test_an_exit_takes_back_a_lease_that_ran_out_and_that_nobody_else_has(running: House) -> None:
    """As after a loss of Redis, before the next renewal."""
    await running.open("XRPUSDT", qty=20)
    keys, consumer = running.keys, running.app._joined.consumer  # type: ignore[union-attr]
    plan = read_entry(
        f"{running.app._clock.now_ms()}-0",
        {b"plan_id": b"late", b"symbol": b"XRPUSDT", b"side": b"CLOSE", b"qty": b"0", b"decision": b"EXECUTE"}
        | {b"action": b"FULL_CLOSE_PROPOSED"},
    )
    assert isinstance(plan, Plan)
    operator = await consumer._stream.operator_state()
    lease = running.app._joined.rooms.lease  # type: ignore[union-attr]
    await running.redis.delete(*await running.redis.keys("quantum:engine:lease:*"))
    lease._held_until_s = float("-inf")
    await consumer._runner.run(plan, operator, redelivered=False, is_preceded=bool)
    told = (await running.results())[-1]
    assert (told["plan_id"], told["decision"]) == ("late", "FILLED"), told
    assert await running.redis.get(keys.processed("late")) == b"terminal"


async def test_a_read_from_before_our_open_does_not_end_its_exit_as_flat(tmp_path: Path) -> None:
    async with house(tmp_path, exchange=NO_STREAMS) as running:
        await running.open("XRPUSDT", qty=20)
        reads = {"method": "GET", "path": "/fapi/v3/positionRisk"}
        running.fault(FaultKind.STALE_POSITIONS, ms=1_500, count=4, **reads)
        running.spoil_order(FaultKind.STATUS_BEFORE, preset="503_unavailable")
        closed = await running.close()
        assert (closed["decision"], Decimal(closed["filled_qty"])) == ("FILLED", 20)


async def test_inc_68_a_failed_position_read_blocks_an_open_and_is_not_flat(running: House) -> None:
    await hide_positions(running)
    result = await running.open()
    assert (result["decision"], result["reason"]) == ("BLOCKED", "evidence_missing")


async def test_inc_32_hedge_mode_opens_and_closes_by_leg(tmp_path: Path) -> None:
    async with house(tmp_path) as hedged:
        await hedged.send("/fapi/v1/positionSide/dual", dualSidePosition="true")
        joined = hedged.app._joined
        assert joined is not None
        await joined.exchange.account.is_hedge_mode()
        await joined.rooms.account.refresh_positions()
        long = await hedged.open("XRPUSDT", qty=20, side="BUY")
        short = await hedged.open("XRPUSDT", qty=30, side="SELL")
        assert (long["decision"], short["decision"]) == ("FILLED", "FILLED")
        wrong = {"side": "BUY", "positionSide": "LONG", "reduceOnly": "true"}
        refused = [await hedged.open(symbol, qty=20, **wrong) for symbol in ("XRPUSDT", "ADAUSDT")]
        assert [(one["gate"], one["reason"]) for one in refused] == [
            ("position_sanity", "side_mismatch"),
            ("position_sanity", "no_position"),
        ]
        assert (await hedged.close())["reason"] == "position_side_required"
        wire = hedged.watch()
        closed = await hedged.close(positionSide="SHORT")
        assert (closed["decision"], Decimal(closed["filled_qty"])) == ("FILLED", 30)
        assert "reduceOnly" not in wire.orders[-1]
        assert wire.orders[-1]["positionSide"] == "SHORT"
        assert await hedged.redis.hget(hedged.keys.ledger("XRPUSDT:LONG"), "position_amt") == b"20"


def set_step(running: House, symbol: str, step: str) -> None:
    """Let the exchange take other quantities from now on."""
    specs = running.venue.venue.specs
    specs[symbol] = replace(specs[symbol], step=Decimal(step))


@pytest.mark.parametrize(("step", "sent"), [("1", ["12.5", "12"]), ("0.5", ["12.3", "12.0"])])
async def test_an_exit_that_breaks_a_new_filter_is_sized_again_by_it(
    running: House, step: str, sent: list[str]
) -> None:
    await running.open("XRPUSDT", qty=20)
    set_step(running, "XRPUSDT", step)
    wire = running.watch()
    result = await running.open("XRPUSDT", qty=sent[0], side="SELL", reduceOnly="true")
    assert (result["decision"], Decimal(result["filled_qty"])) == ("PARTIALLY_FILLED", Decimal(sent[1]))
    assert [Decimal(order["quantity"]) for order in wire.orders] == [Decimal(quantity) for quantity in sent]


async def test_a_full_close_that_breaks_a_new_filter_closes_all_but_the_dust(running: House) -> None:
    await running.open("XRPUSDT", qty="20.7")
    set_step(running, "XRPUSDT", "1")
    result = await running.close()
    assert (result["decision"], Decimal(result["filled_qty"])) == ("PARTIALLY_FILLED", 20)


async def test_a_quantity_that_is_refused_by_the_rules_as_they_are_is_not_sent_again(running: House) -> None:
    await running.open("XRPUSDT", qty=20)
    refusal = '{"code":-1111,"msg":"Precision is over the maximum defined for this asset."}'
    running.spoil_order(FaultKind.STATUS_BEFORE, status=400, body=refusal, count=9)
    result = await running.close()
    assert (result["decision"], len(trace_of(result)["orders"])) == ("REJECTED", 1)


async def test_an_open_that_breaks_a_new_filter_is_rejected_and_the_next_one_is_sized_by_it(
    running: House,
) -> None:
    set_step(running, "XRPUSDT", "1")
    first = await running.open("XRPUSDT", qty="20.7")
    second = await running.open("XRPUSDT", qty="20.7")
    assert (first["decision"], first["error"][:5]) == ("REJECTED", "-1111")
    assert (second["decision"], Decimal(second["filled_qty"])) == ("FILLED", 20)
