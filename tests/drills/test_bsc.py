"""BSC against the embedded exchange over sockets: it closes what it must, and nothing else (SPEC 10)."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from support.house import until
from support.watch import HOUR_S, Scene, scene

from quantum_trader.alerts.events import alert_of
from quantum_trader.bsc import lifespan, watchdog
from quantum_trader.bsc.events import Event, entry_of
from quantum_trader.bsc.health import Authority, State
from quantum_trader.bsc.lifespan import COPY, FILE, UNPROVEN, Lifespan
from quantum_trader.bsc.reading import ExchangeTime, Exits, Reads
from quantum_trader.bsc.status import StatusFile
from quantum_trader.bsc.watchdog import Watchdog
from quantum_trader.domain.order import Accepted, ExitOrder, OrderStatus, Outcome
from quantum_trader.domain.trading import PositionSide
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.exchange.simulator import FaultKind


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path / "bsc") as running:
        yield running


async def test_a_position_within_its_limits_is_left_alone(stage: Scene) -> None:
    stage.pin("XRPUSDT", stage.price("XRPUSDT"))
    stage.trade("XRPUSDT", "BUY", 100)
    dog = await stage.watchdog()
    assert await dog.poll() is State.OK
    stage.fall("XRPUSDT", "0.028")
    assert await dog.poll() is State.OK
    assert stage.amount("XRPUSDT") == 100
    assert stage.own_orders == []


async def test_a_loss_of_three_percent_is_closed_at_the_first_poll_after_a_start(stage: Scene) -> None:
    stage.pin("XRPUSDT", stage.price("XRPUSDT"))
    stage.pin("ETHUSDT", stage.price("ETHUSDT"))
    stage.trade("XRPUSDT", "BUY", 100)
    stage.trade("ETHUSDT", "SELL", "0.1")
    stage.fall("XRPUSDT", "0.031")
    await (await stage.watchdog()).poll()
    assert stage.amount("XRPUSDT") == 0
    assert stage.amount("ETHUSDT") == Decimal("-0.1")
    (order,) = stage.own_orders
    assert (order.type, order.reduce_only, order.quantity, order.side.value) == ("MARKET", True, 100, "SELL")
    (told,) = stage.heard.of(Event.FORCE_CLOSE)
    assert told["reason"] == "MAX_LOSS_BREACH"
    assert told["order_id"] == order.order_id
    assert told["pnl_pct"] <= -3


async def test_inc100_an_untouched_position_is_closed_after_72_hours_across_two_restarts(
    stage: Scene,
) -> None:
    stage.pin("XRPUSDT", stage.price("XRPUSDT"))
    stage.trade("XRPUSDT", "BUY", 100)
    for hours in (30, 30, "11.9"):
        dog = await stage.watchdog()
        assert await dog.poll() is State.OK
        stage.clock.move(float(hours) * HOUR_S)
    dog = await stage.watchdog()
    await dog.poll()
    assert stage.amount("XRPUSDT") == 100
    stage.clock.move(0.2 * HOUR_S)
    await dog.poll()
    assert stage.amount("XRPUSDT") == 0
    (told,) = stage.heard.of(Event.FORCE_CLOSE)
    assert told["reason"] == "MAX_DURATION_BREACH"


async def test_inc100_age_counts_from_the_last_return_to_flat_and_not_from_later_adds(stage: Scene) -> None:
    stage.pin("XRPUSDT", stage.price("XRPUSDT"))
    stage.trade("XRPUSDT", "BUY", 100)
    stage.clock.move(60 * HOUR_S)
    stage.trade("XRPUSDT", "SELL", 150)
    stage.clock.move(40 * HOUR_S)
    stage.trade("XRPUSDT", "SELL", 50)
    stage.clock.move(31 * HOUR_S)
    dog = await stage.watchdog()
    await dog.poll()
    assert stage.amount("XRPUSDT") == -100
    stage.clock.move(1.1 * HOUR_S)
    await dog.poll()
    assert stage.amount("XRPUSDT") == 0


async def test_inc100_a_position_older_than_all_its_listed_trades_counts_as_72_hours_old(
    stage: Scene,
) -> None:
    stage.pin("XRPUSDT", stage.price("XRPUSDT"))
    stage.trade("XRPUSDT", "BUY", 100)
    stage.clock.move(80 * HOUR_S)
    stage.trade("XRPUSDT", "BUY", 10)
    await (await stage.watchdog()).poll()
    assert stage.amount("XRPUSDT") == 0


async def test_inc101_isolated_margin_at_85_percent_is_closed(stage: Scene) -> None:
    stage.venue.venue.set_leverage(stage.account, "XRPUSDT", 50, stage.clock.now_ms())
    stage.venue.venue.set_isolated(stage.account, "XRPUSDT", stage.clock.now_ms(), isolated=True)
    stage.pin("XRPUSDT", stage.price("XRPUSDT"))
    stage.trade("XRPUSDT", "BUY", 1000)
    stage.fall("XRPUSDT", "0.0126")
    dog = await stage.watchdog()
    await dog.poll()
    (told,) = stage.heard.of(Event.FORCE_CLOSE)
    assert told["reason"] == "MAX_MARGIN_BREACH"
    assert Decimal("0.85") <= told["margin_ratio"] < 1
    assert stage.amount("XRPUSDT") == 0


def strain_cross_margin(stage: Scene) -> None:
    """Bring a balance of 45 USDT to where the close of XRPUSDT is due, and is enough."""
    for symbol in ("XRPUSDT", "BTCUSDT"):
        stage.venue.venue.set_leverage(stage.account, symbol, 75, stage.clock.now_ms())
        stage.pin(symbol, stage.price(symbol))
    stage.trade("XRPUSDT", "BUY", int(Decimal(1500) / stage.price("XRPUSDT")))
    stage.trade("BTCUSDT", "BUY", "0.003")
    stage.fall("XRPUSDT", "0.0213")


async def test_inc101_cross_margin_is_relieved_by_the_worst_and_the_others_stay(tmp_path: Path) -> None:
    async with scene(tmp_path / "bsc", balance_usdt=45) as stage:
        strain_cross_margin(stage)
        await (await stage.watchdog()).poll()
        assert [told["reason"] for told in stage.heard.of(Event.FORCE_CLOSE)] == ["MAX_MARGIN_BREACH"]
        assert stage.amount("XRPUSDT") == 0
        assert stage.amount("BTCUSDT") == Decimal("0.003")


@pytest.mark.parametrize("ages_are_late", [False, True])
@pytest.mark.parametrize("lags_s", [1, 100])
async def test_inc101_reads_that_lag_behind_a_close_let_no_healthy_position_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lags_s: int, ages_are_late: bool
) -> None:
    """Cross margin: one close is enough; a read from before it still shows the ratio as breached."""
    monkeypatch.setattr(watchdog, "AGES_PATIENCE_S", 0.05 if ages_are_late else 10)
    async with scene(tmp_path / "bsc", balance_usdt=45) as stage:
        strain_cross_margin(stage)
        line = stage.line()
        read_positions, read_cross = line.reads.positions, line.reads.cross_margin
        before = [await read_positions(), await read_cross()]
        answers_anew_s = stage.clock.monotonic_s() + lags_s

        async def gone() -> bool:
            return stage.amount("XRPUSDT") == 0

        async def late(symbol: str, since_ms: int, read: Any = line.reads.trades) -> Any:
            if ages_are_late:
                await until(gone, 10, "the close of the worst")
            return await read(symbol, since_ms)

        async def lagging(number: int, read: Any) -> Any:
            stage.clock.move(0.25)
            return await read() if stage.clock.monotonic_s() > answers_anew_s else before[number]

        line.reads.trades = late  # type: ignore[method-assign]
        line.reads.positions = lambda: lagging(0, read_positions)  # type: ignore[method-assign]
        line.reads.cross_margin = lambda: lagging(1, read_cross)  # type: ignore[method-assign]
        await (await stage.watchdog(line=line)).poll()
        assert stage.amount("XRPUSDT") == 0
        assert stage.amount("BTCUSDT") == Decimal("0.003")


async def closing_before_ages(stage: Scene, monkeypatch: pytest.MonkeyPatch) -> Watchdog:
    """A watchdog that sees a loss of XRPUSDT, and no trades of any symbol before it has closed that."""
    monkeypatch.setattr(watchdog, "AGES_PATIENCE_S", 0.05)
    for symbol in ("XRPUSDT", "ADAUSDT"):
        stage.pin(symbol, stage.price(symbol))
        stage.trade(symbol, "BUY", 100)
    stage.fall("XRPUSDT", "0.031")
    line = stage.line()

    async def gone() -> bool:
        return stage.amount("XRPUSDT") == 0

    async def late(symbol: str, since_ms: int, read: Any = line.reads.trades) -> Any:
        await until(gone, 10, "the close of the loss")
        return await read(symbol, since_ms)

    line.reads.trades = late  # type: ignore[method-assign]
    return await stage.watchdog(line=line)


async def test_a_loss_does_not_wait_for_the_trades_of_another_position(
    stage: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    dog = await closing_before_ages(stage, monkeypatch)
    async with asyncio.timeout(20):
        assert await dog.poll() is State.OK
    assert [told["symbol"] for told in stage.heard.of(Event.FORCE_CLOSE)] == ["XRPUSDT"]
    rows = StatusFile(stage.folder).read()["positions"]  # type: ignore[index]
    assert {row["symbol"]: row["age_h"] for row in rows} == {"XRPUSDT": "", "ADAUSDT": "0.0"}


@pytest.mark.parametrize("trouble", [ExchangeError("positions", "time-out"), KeyError("a bug")])
async def test_a_look_that_fails_after_a_close_is_told_and_ends_nothing(
    stage: Scene, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    dog = await closing_before_ages(stage, monkeypatch)

    async def fails(_: object) -> bool:
        raise trouble

    monkeypatch.setattr(dog, "_looks_past", fails)
    assert await dog.poll() is State.DEGRADED
    assert [told["symbol"] for told in stage.heard.of(Event.FORCE_CLOSE)] == ["XRPUSDT"]
    (told,) = stage.heard.of(Event.HEALTH_CHECK)
    assert len(told["problems"]) == 1


@pytest.mark.parametrize(("side", "opens"), [(PositionSide.LONG, "BUY"), (PositionSide.SHORT, "SELL")])
async def test_inc32_a_hedge_leg_is_closed_alone_and_with_its_own_position_side(
    stage: Scene, side: PositionSide, opens: str
) -> None:
    stage.venue.venue.set_hedge_mode(stage.account, stage.clock.now_ms(), hedge=True)
    stage.pin("XRPUSDT", stage.price("XRPUSDT"))
    stage.trade("XRPUSDT", "BUY", 100, positionSide="LONG")
    stage.trade("XRPUSDT", "SELL", 70, positionSide="SHORT")
    move = "0.031" if opens == "BUY" else "-0.031"
    stage.fall("XRPUSDT", move)
    await (await stage.watchdog()).poll()
    other = PositionSide.SHORT if side is PositionSide.LONG else PositionSide.LONG
    assert stage.amount("XRPUSDT", side) == 0
    assert stage.amount("XRPUSDT", other) != 0
    (order,) = stage.own_orders
    assert (order.position_side, order.reduce_only) == (side, False)


async def test_inc31_a_position_larger_than_the_largest_market_order_is_closed_in_parts(stage: Scene) -> None:
    stage.pin("XRPUSDT", stage.price("XRPUSDT"))
    stage.trade("XRPUSDT", "BUY", 250)
    specs = stage.venue.venue.specs
    specs["XRPUSDT"] = replace(specs["XRPUSDT"], market_max=Decimal(100))
    stage.fall("XRPUSDT", "0.031")
    await (await stage.watchdog()).poll()
    assert stage.amount("XRPUSDT") == 0
    assert [order.quantity for order in stage.fills] == [100, 100, 50]
    assert len({order.client_order_id for order in stage.own_orders}) == len(stage.own_orders)
    assert len(stage.heard.of(Event.FORCE_CLOSE)) == 1


async def test_inc106_a_time_out_after_execution_does_not_close_twice(stage: Scene) -> None:
    stage.pin("XRPUSDT", stage.price("XRPUSDT"))
    stage.trade("XRPUSDT", "BUY", 100)
    stage.fall("XRPUSDT", "0.031")
    stage.spoil_order(FaultKind.TIMEOUT_AFTER)
    await (await stage.watchdog()).poll()
    assert stage.amount("XRPUSDT") == 0
    assert len(stage.own_orders) == 1
    assert len(stage.heard.of(Event.FORCE_CLOSE)) == 1


class AckExits:
    """Sends as BSC does; every reply says ``status`` and nothing filled, whatever became of the order."""

    def __init__(self, exits: Exits, status: OrderStatus) -> None:
        self._exits, self._status = exits, status
        self.order_ids: list[int] = []

    async def reduce_position(self, order: ExitOrder) -> Outcome:
        outcome = await self._exits.reduce_position(order)
        if not isinstance(outcome, Accepted):
            return outcome
        self.order_ids.append(outcome.order.order_id)
        return Accepted(structs.replace(outcome.order, status=self._status, executed_quantity=Decimal(0)))

    async def cancel_open_orders(self, symbol: str) -> None:
        await self._exits.cancel_open_orders(symbol)


@dataclass(frozen=True)
class Way:
    reads: Reads
    exits: Exits
    clock: ExchangeTime


@pytest.mark.parametrize(("status", "is_claimed"), [(OrderStatus.NEW, True), (OrderStatus.EXPIRED, False)])
async def test_a_close_that_was_taken_before_it_filled_is_told_as_bscs_own(
    stage: Scene, status: OrderStatus, is_claimed: bool
) -> None:
    stage.pin("XRPUSDT", stage.price("XRPUSDT"))
    stage.trade("XRPUSDT", "BUY", 100)
    stage.fall("XRPUSDT", "0.031")
    line = stage.line()
    exits = AckExits(line.exits, status)
    await (await stage.watchdog(line=Way(line.reads, exits, line.clock))).poll()
    assert stage.amount("XRPUSDT") == 0
    told = [event["order_ids"] for event in stage.heard.of(Event.FORCE_CLOSE)]
    assert told == ([tuple(exits.order_ids)] if is_claimed else [])


async def test_inc106_a_second_close_of_the_same_position_is_refused_by_the_exchange(stage: Scene) -> None:
    stage.pin("XRPUSDT", stage.price("XRPUSDT"))
    stage.trade("XRPUSDT", "BUY", 100)
    stage.fall("XRPUSDT", "0.031")
    stage.fault(FaultKind.STALE_POSITIONS, path="/fapi/v3/positionRisk", ms=1_000, count=1, after=1)
    stage.spoil_order(FaultKind.TIMEOUT_AFTER)
    await (await stage.watchdog()).poll()
    assert stage.amount("XRPUSDT") == 0
    assert len(stage.fills) == 1


async def test_a_failing_close_is_tried_three_times_two_seconds_apart_and_again_at_the_next_poll(
    stage: Scene,
) -> None:
    for symbol in ("XRPUSDT", "ADAUSDT"):
        stage.pin(symbol, stage.price(symbol))
        stage.trade(symbol, "BUY", 100)
        stage.fall(symbol, "0.031")
    stage.spoil_order(FaultKind.STATUS_BEFORE, symbol="XRPUSDT", preset="503_internal", count=3)
    dog = await stage.watchdog()
    await dog.poll()
    assert stage.clock.slept.count(2.0) == 3
    assert stage.amount("ADAUSDT") == 0
    assert stage.amount("XRPUSDT") == 100
    (failed,) = stage.heard.of(Event.CLOSE_FAILED)
    assert (failed["symbol"], failed["tries"]) == ("XRPUSDT", 3)
    await dog.poll()
    assert stage.amount("XRPUSDT") == 0


async def test_inc28_a_position_that_someone_else_closed_first_is_done_and_not_claimed(stage: Scene) -> None:
    stage.pin("XRPUSDT", stage.price("XRPUSDT"))
    stage.trade("XRPUSDT", "BUY", 100)
    stage.clock.move(5)
    stage.trade("XRPUSDT", "SELL", 100)
    stage.fall("XRPUSDT", "0.031")
    dog = await stage.watchdog()
    stage.fault(FaultKind.STALE_POSITIONS, path="/fapi/v3/positionRisk", ms=3_000, count=2)
    await dog.poll()
    assert stage.own_orders == []
    assert 2.0 not in stage.clock.slept
    assert stage.heard.of(Event.FORCE_CLOSE) == stage.heard.of(Event.CLOSE_FAILED) == []


async def test_inc30_resting_orders_in_the_way_are_cancelled_and_then_the_position_closed(
    stage: Scene,
) -> None:
    price = stage.price("XRPUSDT")
    stage.pin("XRPUSDT", price)
    stage.trade("XRPUSDT", "BUY", 100)
    above = str((price * Decimal("1.02")).quantize(Decimal("0.0001")))
    stage.trade("XRPUSDT", "SELL", 100, type="LIMIT", timeInForce="GTC", price=above)
    assert len(stage.account.open_orders) == 1
    in_the_way = (
        '{"code":-4118,"msg":"ReduceOnly Order Failed. Please check your existing position and open orders"}'
    )
    stage.spoil_order(FaultKind.STATUS_BEFORE, status=400, body=in_the_way)
    stage.fall("XRPUSDT", "0.031")
    await (await stage.watchdog()).poll()
    assert stage.account.open_orders == {}
    assert stage.amount("XRPUSDT") == 0


async def test_inc102_a_refused_key_makes_bsc_blind_which_is_told_and_it_recovers(stage: Scene) -> None:
    stage.pin("XRPUSDT", stage.price("XRPUSDT"))
    stage.trade("XRPUSDT", "BUY", 100)
    dog = await stage.watchdog()
    assert await dog.poll() is State.OK
    stage.fault(FaultKind.STATUS_BEFORE, preset="401_key", count=1_000)
    assert [await dog.poll() for _ in range(4)] == [State.DEGRADED, State.DEGRADED, State.BLIND, State.BLIND]
    assert len(stage.heard.of(Event.BLIND)) == 1
    assert stage.heard.healths[-1].state is State.BLIND
    stage.fall("XRPUSDT", "0.031")
    assert stage.amount("XRPUSDT") == 100
    stage.venue.faults.clear()
    assert await dog.poll() is State.OK
    assert stage.amount("XRPUSDT") == 0


async def test_inc102_keys_refused_for_an_hour_close_nothing_and_blind_once_until_they_work(
    stage: Scene,
) -> None:
    stage.pin("XRPUSDT", stage.price("XRPUSDT"))
    stage.trade("XRPUSDT", "BUY", 100)
    dog = await stage.watchdog()
    assert await dog.poll() is State.OK
    seen_ms = stage.heard.healths[-1].last_good_poll_ms
    stage.fault(FaultKind.STATUS_BEFORE, preset="401_key", count=10_000)
    stage.fall("XRPUSDT", "0.031")
    states = []
    for _ in range(60):
        stage.clock.move(60)
        states.append(await dog.poll())
    assert states == [State.DEGRADED] * 2 + [State.BLIND] * 58
    assert stage.heard.healths[-1].last_good_poll_ms == seen_ms
    assert len(stage.heard.of(Event.BLIND)) == 1
    assert stage.own_orders == []
    stage.venue.faults.clear()
    stage.clock.move(60)
    assert await dog.poll() is State.OK
    assert stage.amount("XRPUSDT") == 0


async def test_an_unreadable_activation_at_the_start_reports_breaches_and_closes_nothing(
    stage: Scene,
) -> None:
    await stage.watchdog()
    for name in (FILE, COPY):
        (stage.folder / name).write_text("{")
    stage.pin("XRPUSDT", stage.price("XRPUSDT"))
    stage.trade("XRPUSDT", "BUY", 100)
    stage.fall("XRPUSDT", "0.031")
    dog = await stage.watchdog()
    assert await dog.poll() is State.OK
    assert stage.amount("XRPUSDT") == 100
    assert stage.heard.of(Event.HEALTH_CHECK)[-1]["breaches"] == ["XRPUSDT MAX_LOSS_BREACH"]
    (told,) = stage.heard.of(Event.DEMOTED)
    assert told["because"] == UNPROVEN
    alert = alert_of(entry_of(Event.DEMOTED, 0, told))
    assert alert is not None
    assert UNPROVEN in alert.text


async def test_a_demotion_holds_where_the_records_can_be_read_and_not_written(
    stage: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk mounted read-only, or a folder that belongs to somebody else."""
    await stage.watchdog()
    Lifespan(stage.folder).demote(stage.clock.now_ms(), "drill")

    def refused(_: Path) -> Any:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(lifespan, "exclusive", refused)
    stage.pin("XRPUSDT", stage.price("XRPUSDT"))
    stage.trade("XRPUSDT", "BUY", 100)
    stage.fall("XRPUSDT", "0.031")
    dog = await stage.watchdog()
    assert stage.heard.healths[-1].authority is Authority.OBSERVER  # told before the first poll
    await dog.poll()
    assert stage.amount("XRPUSDT") == 100


async def test_an_activation_that_becomes_unreadable_later_keeps_nothing_from_being_closed(
    stage: Scene,
) -> None:
    dog = await stage.watchdog()
    await dog.poll()
    for name in (FILE, COPY):
        (stage.folder / name).write_text("{")
    stage.pin("XRPUSDT", stage.price("XRPUSDT"))
    stage.trade("XRPUSDT", "BUY", 100)
    stage.fall("XRPUSDT", "0.031")
    await dog.poll()
    assert stage.amount("XRPUSDT") == 0
    assert stage.heard.of(Event.DEMOTED) == []


async def test_started_in_dry_run_it_reports_and_closes_nothing(stage: Scene) -> None:
    stage.pin("XRPUSDT", stage.price("XRPUSDT"))
    stage.trade("XRPUSDT", "BUY", 100)
    stage.fall("XRPUSDT", "0.031")
    await (await stage.watchdog(closes=False)).poll()
    assert stage.amount("XRPUSDT") == 100
    assert stage.heard.of(Event.HEALTH_CHECK)[-1]["breaches"] == ["XRPUSDT MAX_LOSS_BREACH"]


async def test_a_position_that_changes_while_its_trades_are_read_gets_no_age_from_them(stage: Scene) -> None:
    stage.pin("XRPUSDT", stage.price("XRPUSDT"))
    stage.trade("XRPUSDT", "BUY", 100)
    stage.clock.move(71 * HOUR_S)
    line = stage.line()
    read_trades = line.reads.trades

    async def turned_round_meanwhile(symbol: str, since_ms: int) -> Any:
        found = await read_trades(symbol, since_ms)
        if stage.amount(symbol) > 0:
            stage.trade(symbol, "SELL", 150)
        return found

    line.reads.trades = turned_round_meanwhile  # type: ignore[method-assign]
    dog = await stage.watchdog(line=line)
    assert await dog.poll() is State.OK
    ages = [row["age_h"] for row in StatusFile(stage.folder).read()["positions"]]  # type: ignore[index]
    assert ages == ["0.0"]
