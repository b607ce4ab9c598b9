"""An order that timed out is not an order that failed (SPEC 7.4, INCIDENTS: first table)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.house import NO_STREAMS, House, house, trace_of, until

from quantum_trader.domain.order import client_order_id
from quantum_trader.exchange.simulator import FaultKind
from quantum_trader.pipeline import opens


@pytest.fixture(params=["rest", "ws"])
def transport(request: pytest.FixtureRequest) -> str:
    """How orders are sent: every drill is made over both ways."""
    return str(request.param)


@pytest.fixture
async def running(tmp_path: Path, transport: str) -> AsyncIterator[House]:
    """An engine on reads alone, so that a query has to find what the reply did not say."""
    way = {**NO_STREAMS, "order_transport": transport}
    async with house(tmp_path, exchange=way) as started:
        if transport == "ws":
            await until_orders_go_over_ws(started)
        yield started


@pytest.fixture
async def following(tmp_path: Path, transport: str) -> AsyncIterator[House]:
    """An engine that hears the user data stream, too."""
    async with house(tmp_path, exchange={"order_transport": transport}) as started:
        await started.until_live()
        yield started


async def until_orders_go_over_ws(house: House) -> None:
    """Wait until the WebSocket API is connected."""

    async def is_live() -> bool:
        return bool(house.streams["orders"]["live"])

    await until(is_live, 30, "the WebSocket API")


async def orders_of(house: House, symbol: str = "XRPUSDT") -> list[dict[str, Any]]:
    """Every order that the exchange accepted on the symbol."""
    return list(await house.ask("/fapi/v1/allOrders", symbol=symbol))


EXECUTED_AND_LOST = [
    pytest.param(FaultKind.TIMEOUT_AFTER, {"ms": 2000}, id="timeout"),
    pytest.param(FaultKind.RESET_AFTER, {}, id="reset"),
    pytest.param(FaultKind.STATUS_AFTER, {"preset": "503_unknown"}, id="503 unknown"),
    pytest.param(FaultKind.STATUS_AFTER, {"preset": "503_unknown", "body_format": "html"}, id="503 html"),
    pytest.param(FaultKind.STATUS_AFTER, {"preset": "408_timeout"}, id="-1007"),
    pytest.param(FaultKind.STATUS_AFTER, {"preset": "500_unknown"}, id="500"),
    pytest.param(FaultKind.STATUS_AFTER, {"preset": "504_gateway", "body_format": "html"}, id="504"),
]


@pytest.mark.parametrize(("kind", "rule"), EXECUTED_AND_LOST)
async def test_inc_06_inc_07_inc_10_an_executed_order_with_a_lost_reply_is_found(
    running: House, kind: FaultKind, rule: dict[str, Any]
) -> None:
    running.spoil_order(kind, **rule)
    result = await running.open("XRPUSDT", qty=20)
    assert (result["decision"], result["executed"]) == ("FILLED", "true")
    assert Decimal(result["filled_qty"]) == 20
    assert Decimal(result["avg_price"]) > 0
    assert len(await orders_of(running)) == 1


NEVER_ARRIVED = [
    pytest.param(FaultKind.TIMEOUT_BEFORE, {"ms": 2000}, id="timeout"),
    pytest.param(FaultKind.RESET_BEFORE, {}, id="reset"),
    pytest.param(FaultKind.STATUS_BEFORE, {"preset": "503_unknown"}, id="503 unknown"),
    pytest.param(FaultKind.STATUS_BEFORE, {"preset": "502_gateway", "body_format": "html"}, id="502"),
]


@pytest.mark.parametrize(("kind", "rule"), NEVER_ARRIVED)
async def test_inc_09_an_open_is_not_placed_only_by_proof_and_never_sent_again(
    running: House, kind: FaultKind, rule: dict[str, Any]
) -> None:
    wire = running.watch()
    running.spoil_order(kind, **rule)
    result = await running.open("XRPUSDT", qty=20)
    assert (result["decision"], result["reason"], result["executed"]) == ("FAILED", "not_placed", "false")
    assert await orders_of(running) == []
    assert len(wire.orders) <= 1


DEFINITELY_REFUSED = ["503_unavailable", "503_internal", "503_throttled", "429_orders"]


@pytest.mark.parametrize("preset", DEFINITELY_REFUSED)
async def test_a_definite_refusal_ends_an_open_at_once(running: House, preset: str) -> None:
    running.spoil_order(FaultKind.STATUS_BEFORE, preset=preset, retry_after_s=1)
    result = await running.open("XRPUSDT", qty=20)
    assert (result["decision"], result["reason"]) == ("REJECTED", "exchange_rejected")
    assert result["error"]
    assert await orders_of(running) == []


async def test_inc_08_an_order_invisible_for_a_while_is_not_declared_missing(running: House) -> None:
    running.spoil_order(FaultKind.HIDE_ORDER, ms=1500)
    running.spoil_order(FaultKind.STATUS_AFTER, preset="503_unknown")
    result = await running.open("XRPUSDT", qty=20)
    assert (result["decision"], result["executed"]) == ("FILLED", "true")
    assert len(await orders_of(running)) == 1


@pytest.mark.parametrize(("kind", "rule"), EXECUTED_AND_LOST)
async def test_inc_12_the_stream_ends_an_order_whose_reply_and_queries_say_nothing(
    following: House, kind: FaultKind, rule: dict[str, Any]
) -> None:
    following.spoil_order(kind, **rule)
    following.fault(
        FaultKind.STATUS_BEFORE, method="GET", path="/fapi/v1/order", preset="500_unknown", count=1000
    )
    result = await following.open("XRPUSDT", qty=20)
    assert (result["decision"], Decimal(result["filled_qty"])) == ("FILLED", 20)
    assert Decimal(result["avg_price"]) > 0
    assert len(await orders_of(following)) == 1


@pytest.mark.parametrize("ms", [0, 400], ids=["reply first", "stream first"])
async def test_inc_12_reply_and_stream_in_either_order_give_the_same_single_result(
    following: House, ms: int
) -> None:
    """The fault holds the reply back when the order is executed already, or holds the events back."""
    if ms:
        following.spoil_order(FaultKind.TIMEOUT_AFTER, ms=ms)
    else:
        following.fault(FaultKind.STREAM_LATE, path="/private", ms=300, count=50)
    following.fault(FaultKind.STREAM_DOUBLE, path="/private", count=50)
    opened = await following.open("XRPUSDT", qty=20)
    closed = await following.close("XRPUSDT")
    assert [(r["decision"], Decimal(r["filled_qty"])) for r in (opened, closed)] == [("FILLED", 20)] * 2

    async def is_counted_once() -> bool:
        rooms = following.app._joined.rooms  # type: ignore[union-attr]
        return not rooms.account.positions.value and not any(rooms.ledger.amounts().values())

    await until(is_counted_once, 20, "a flat ledger and flat positions")
    assert len(await following.results()) == 2
    assert await following.events("RECONCILED") == []


async def test_inc_90_a_timestamp_refusal_is_signed_anew_once(running: House) -> None:
    running.spoil_order(FaultKind.STATUS_BEFORE, preset="400_timestamp")
    result = await running.open("XRPUSDT", qty=20)
    assert result["decision"] == "FILLED"
    running.spoil_order(FaultKind.STATUS_BEFORE, preset="400_timestamp", count=5)
    refused = await running.open("ADAUSDT", qty=100)
    assert (refused["decision"], refused["reason"]) == ("REJECTED", "exchange_rejected")


async def test_an_open_that_was_late_indeed_is_not_signed_anew(
    running: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opens, "SIGNED_ANEW_WITHIN_MS", -1)
    running.spoil_order(FaultKind.STATUS_BEFORE, preset="400_timestamp")
    refused = await running.open("XRPUSDT", qty=20)
    assert (refused["decision"], refused["reason"]) == ("REJECTED", "exchange_rejected")
    assert refused["error"].startswith("-1021")
    assert "Not sent again: it was judged" in refused["error"]
    assert len(trace_of(refused)["orders"]) == 1


async def test_an_unknown_open_keeps_further_opens_off_the_symbol_and_lets_exits_pass(running: House) -> None:
    await running.open("ADAUSDT", qty=100)
    running.spoil_order(FaultKind.STATUS_BEFORE, preset="503_unknown", symbol="XRPUSDT")
    running.fault(
        FaultKind.STATUS_BEFORE,
        method="GET",
        path="/fapi/v1/order",
        preset="500_unknown",
        symbol="XRPUSDT",
        count=100_000,
    )
    first = await running.submit(symbol="XRPUSDT", side="BUY", qty=20, reduceOnly="false")

    async def is_claimed() -> bool:
        return await running.redis.get(running.keys.processed(first)) == b"claimed"

    await until(is_claimed, 20, "the first claim")
    closed = await running.close("ADAUSDT")
    assert closed["decision"] == "FILLED"
    late = await running.open("XRPUSDT", qty=20, timestamp=running.app._clock.now_ms() - 54_000)
    assert (late["decision"], late["reason"]) == ("BLOCKED", "symbol_in_flight")
    assert late["would_execute"] == "false"
    last = trace_of(late)["verdicts"][-1]
    assert (last["gate"], last["ruling"], last["code"]) == ("claim", "deny", "symbol_in_flight")
    running.venue.faults.clear()
    assert (await running.result(first))["reason"] == "not_placed"


async def test_an_exit_passes_an_open_that_waits_for_an_order_of_unknown_outcome(
    tmp_path: Path, transport: str
) -> None:
    adds = {"position_sanity": {"cooldown_s": 0, "allow_add": True}}
    async with house(tmp_path, gates=adds, exchange={"order_transport": transport}) as running:
        await running.until_live()
        await running.open("XRPUSDT", qty=20)
        running.spoil_order(FaultKind.STATUS_BEFORE, preset="503_unknown")
        running.fault(
            FaultKind.STATUS_BEFORE, method="GET", path="/fapi/v1/order", preset="500_unknown", count=100_000
        )
        unknown = await running.submit(symbol="XRPUSDT", side="BUY", qty=20, reduceOnly="false")

        async def is_unknown() -> bool:
            return bool(running.app._joined.rooms.unresolved_since_ms)  # type: ignore[union-attr]

        await until(is_unknown, 20, "the unknown outcome")
        waiting = await running.submit(symbol="XRPUSDT", side="BUY", qty=20, reduceOnly="false")
        await asyncio.sleep(0.5)  # it has asked for its claim, and waits
        exit_id = await running.submit(symbol="XRPUSDT", side="SELL", qty=5, reduceOnly="true")
        assert (await running.result(exit_id, 30))["decision"] == "FILLED"
        ended = {result["plan_id"] for result in await running.results()}
        assert not ended & {unknown, waiting}
        running.venue.faults.clear()
        assert (await running.result(unknown))["reason"] == "not_placed"
        assert (await running.result(waiting))["decision"] == "FILLED"
        assert len(await orders_of(running)) == 3


async def test_inc_07_an_exit_with_a_lost_reply_closes_once(running: House) -> None:
    await running.open("XRPUSDT", qty=20)
    running.spoil_order(FaultKind.TIMEOUT_AFTER, ms=2000)
    result = await running.close("XRPUSDT")
    assert (result["decision"], Decimal(result["filled_qty"])) == ("FILLED", 20)
    assert len(await orders_of(running)) == 2


async def test_an_exit_that_never_arrived_is_sent_again_after_the_proof(running: House) -> None:
    await running.open("XRPUSDT", qty=20)
    running.spoil_order(FaultKind.RESET_BEFORE)
    result = await running.close("XRPUSDT")
    assert (result["decision"], Decimal(result["filled_qty"])) == ("FILLED", 20)
    assert await running.ask("/fapi/v3/positionRisk") == []


async def test_one_hundred_copies_of_a_plan_make_one_order_and_one_result(running: House) -> None:
    fields = {"plan_id": "copied", "symbol": "XRPUSDT", "side": "BUY", "qty": 20, "reduceOnly": "false"}
    await asyncio.gather(*(running.submit(**fields) for _ in range(100)))
    await running.result("copied")

    async def all_shown() -> bool:
        return len(await running.events("DUPLICATE_PLAN")) == 99

    await until(all_shown, 20, "an event for every further copy")

    async def all_acknowledged() -> bool:
        summary = await running.redis.xpending(running.keys.plans, "quantum-trader")
        return bool(summary["pending"] == 0)

    await until(all_acknowledged, 20, "every copy to be acknowledged")
    assert len(await running.results()) == 1
    assert len(await orders_of(running)) == 1


async def test_inc_05_the_same_id_with_other_content_is_refused_and_shown(running: House) -> None:
    await running.open("XRPUSDT", qty=20, plan_id="twice")
    await running.submit(plan_id="twice", symbol="XRPUSDT", side="BUY", qty=40, reduceOnly="false")

    async def shown() -> list[dict[str, str]]:
        return await running.events("DUPLICATE_PLAN")

    events = await until(lambda: _nonempty(shown), 10, "the duplicate's event")
    assert events[0]["content_mismatch"] == "true"
    assert len(await running.results()) == 1


async def test_inc_17_a_plan_id_that_comes_back_does_not_inherit_the_old_fill(running: House) -> None:
    await running.open("XRPUSDT", qty=20, plan_id="again")
    await running.close("XRPUSDT")
    await running.redis.delete(running.keys.processed("again"), running.keys.plan("again"))
    await running.submit(plan_id="again", symbol="XRPUSDT", side="BUY", qty=20, reduceOnly="false")

    async def second() -> dict[str, str] | None:
        results = [result for result in await running.results() if result["plan_id"] == "again"]
        return results[1] if len(results) > 1 else None

    result = await until(second, 20, "the second result")
    assert (result["gate"], result["reason"]) == ("idempotency", "plan_id_reused")
    ids = [order["clientOrderId"] for order in await orders_of(running)]
    assert ids.count(client_order_id("again")) == 1


async def _nonempty(read: Any) -> Any:
    return await read() or None


async def test_inc_90_an_exit_is_signed_anew_until_its_deadline_whatever_the_clock_says(
    running: House,
) -> None:
    await running.open("XRPUSDT", qty=20)
    running.fault(FaultKind.STATUS_BEFORE, method="GET", path="/fapi/v1/time", preset="500_unknown", count=6)
    running.spoil_order(FaultKind.STATUS_BEFORE, preset="400_timestamp", count=3)
    closed = await running.close("XRPUSDT")
    assert (closed["decision"], closed["filled_qty"]) == ("FILLED", "20")
    assert len(trace_of(closed)["orders"]) == 4
