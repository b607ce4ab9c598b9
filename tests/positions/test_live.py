"""The live view between a fill and the reading that shows it: nothing forgotten, nothing counted twice."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest
from support.cases import NOW_MS, SYMBOL, leg, position, positions
from support.values import replace

from quantum_trader.domain.order import OrderState, OrderStatus
from quantum_trader.domain.trading import Account, Positions, Side
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.positions.live import LiveAccount, SizedBy


class SetClock:
    """Time that passes when it is set."""

    at_ms = NOW_MS

    def now_ms(self) -> int:
        return self.at_ms

    def monotonic_s(self) -> float:
        return self.at_ms / 1000


BALANCES = Account(*[Decimal(100)] * 3, Decimal(0), Decimal(0), changed_ms=NOW_MS)


class Reads:
    """Reads that answer when they are told to, with what the exchange holds at that moment."""

    def __init__(self) -> None:
        self.held = positions(position(1))
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.fails = False
        self.leverage = 20
        self.balances = BALANCES

    async def account(self) -> Account:
        await self.may_answer.wait()
        return self.balances

    async def leverages(self) -> dict[str, int]:
        asked = self.leverage
        await self.may_answer.wait()
        return {SYMBOL: asked}

    async def positions(self) -> Positions:
        await self.may_answer.wait()
        if self.fails:
            raise ExchangeError("GET /positions", "gone")
        return self.held


def sold(quantity: str) -> OrderState:
    amount = Decimal(quantity)
    filled = OrderStatus.FILLED
    return OrderState(leg(), Side.SELL, 7, "qt-7", filled, amount, amount, Decimal(100), NOW_MS + 20)


@pytest.fixture
async def account() -> tuple[LiveAccount, Reads, SetClock]:
    reads, clock = Reads(), SetClock()
    live = LiveAccount(reads, clock, clock.now_ms)  # type: ignore[arg-type]
    await live.refresh_positions()
    return live, reads, clock


def amount_of(live: LiveAccount) -> Decimal:
    assert live.positions is not None
    return live.positions.value.amount(leg(SYMBOL))


async def test_a_reading_asked_before_an_order_and_answered_after_its_fill_is_not_added_to(
    account: tuple[LiveAccount, Reads, SetClock],
) -> None:
    live, reads, clock = account
    reads.may_answer.clear()
    asked = asyncio.create_task(live.refresh_positions())
    await asyncio.sleep(0)
    before = live.reads_answered
    reads.held = positions(position("0.6"))  # the order overtakes the read and fills
    reads.may_answer.set()
    clock.at_ms = NOW_MS + 30
    await asked
    live.take_over([sold("0.4")], await live.mark_settlement(before), epoch=0)
    assert amount_of(live) == Decimal("0.6")


async def test_a_reading_under_way_at_a_settlement_and_answered_within_it_is_not_added_to(
    account: tuple[LiveAccount, Reads, SetClock],
) -> None:
    live, reads, clock = account
    before = live.reads_answered
    reads.held = positions(position("0.6"))  # the order filled, and a read that shows it is under way
    reads.may_answer.clear()
    asked = asyncio.create_task(live.refresh_positions())
    await asyncio.sleep(0)
    settlement = asyncio.create_task(live.mark_settlement(before))
    await asyncio.sleep(0)
    reads.may_answer.set()
    clock.at_ms = NOW_MS + 30
    mark = await settlement
    await asked  # answered before the result was written
    live.take_over([sold("0.4")], mark, epoch=0)
    assert amount_of(live) == Decimal("0.6")


async def test_a_fill_added_to_a_reading_in_doubt_does_not_outlive_the_read_that_ends_the_doubt(
    account: tuple[LiveAccount, Reads, SetClock],
) -> None:
    live, reads, clock = account
    before = live.reads_answered
    reads.held = positions(replace(position("0.6"), update_time_ms=NOW_MS + 20))
    clock.at_ms = NOW_MS + 30
    await live.refresh_positions()  # has the fill, and may as well not have it
    reads.fails = True
    mark = await live.mark_settlement(before)
    reads.fails = False
    reads.may_answer.clear()
    asked = asyncio.create_task(live.refresh_positions())  # while the result is written
    await asyncio.sleep(0)
    live.take_over([sold("0.4")], mark, epoch=0)
    assert live.trusted_positions is None
    reads.may_answer.set()
    await asked
    assert live.trusted_positions is not None
    assert amount_of(live) == Decimal("0.6")


@pytest.mark.parametrize(("shown", "amount"), [("0.6", "0.6"), ("1", "0.6")])
async def test_a_reading_in_doubt_tells_by_its_time_whether_it_holds_a_fill(
    account: tuple[LiveAccount, Reads, SetClock], shown: str, amount: str
) -> None:
    live, reads, clock = account
    before = live.reads_answered
    changed_ms = NOW_MS + 20 if shown == "0.6" else NOW_MS
    reads.held = positions(replace(position(shown), update_time_ms=changed_ms))
    clock.at_ms = NOW_MS + 30
    await live.refresh_positions()
    reads.fails = True
    live.take_over([sold("0.4")], await live.mark_settlement(before), epoch=0)
    assert live.trusted_positions is None
    assert amount_of(live) == Decimal(amount)


async def test_a_fill_that_no_reading_can_hold_is_added_at_once(
    account: tuple[LiveAccount, Reads, SetClock],
) -> None:
    live, _, _clock = account
    before = live.reads_answered
    live.take_over([sold("0.4")], await live.mark_settlement(before), epoch=0)
    assert amount_of(live) == Decimal("0.6")


async def test_nothing_is_judged_by_a_reading_that_may_hold_a_fill_and_cannot_be_taken_anew(
    account: tuple[LiveAccount, Reads, SetClock],
) -> None:
    live, reads, _ = account
    reads.fails = True
    await live.mark_settlement(live.reads_answered - 1)
    assert live.trusted_positions is None
    reads.fails = False
    await live.refresh_positions()
    assert live.trusted_positions is not None


async def test_a_read_that_answers_from_before_a_fill_of_ours_does_not_undo_it(
    account: tuple[LiveAccount, Reads, SetClock],
) -> None:
    live, reads, clock = account
    clock.at_ms = NOW_MS + 20
    live.take_over([sold("0.4")], await live.mark_settlement(live.reads_answered), epoch=0)
    clock.at_ms = NOW_MS + 500
    await live.refresh_positions()
    assert amount_of(live) == Decimal("0.6")
    reads.held = positions(replace(position("0.6"), update_time_ms=NOW_MS + 20))
    await live.refresh_positions()
    assert amount_of(live) == Decimal("0.6")


async def test_a_leg_that_a_read_lacks_soon_after_a_fill_stays_until_the_order_that_closed_it_is_settled(
    account: tuple[LiveAccount, Reads, SetClock],
) -> None:
    live, reads, clock = account
    live.take_over([sold("0.4")], await live.mark_settlement(live.reads_answered), epoch=0)
    before, reads.held = live.reads_answered, positions()
    clock.at_ms = NOW_MS + 500
    await live.refresh_positions()
    assert (amount_of(live), live.shown) == (Decimal("0.6"), positions())
    closed = replace(sold("0.6"), update_time_ms=NOW_MS + 400)
    live.take_over([closed], await live.mark_settlement(before), epoch=0)
    assert amount_of(live) == 0


async def test_a_fill_of_long_ago_that_is_taken_over_late_does_not_keep_a_leg_that_is_gone(
    account: tuple[LiveAccount, Reads, SetClock],
) -> None:
    """Redis was away meanwhile: its two seconds are over, whenever it is settled."""
    live, reads, clock = account
    clock.at_ms += 20_000
    live.take_over([sold("0.4")], mark=await live.mark_settlement(-1), epoch=0)
    reads.held = positions()
    await live.refresh_positions()
    assert amount_of(live) == 0


async def test_what_an_exit_left_stands_though_a_read_of_before_the_open_was_taken_meanwhile(
    account: tuple[LiveAccount, Reads, SetClock],
) -> None:
    live, reads, clock = account
    live.take_over([sold("0.4")], await live.mark_settlement(live.reads_answered), epoch=0)
    before = live.reads_answered
    reads.held = positions(replace(position("0.5"), update_time_ms=NOW_MS + 100))
    clock.at_ms = NOW_MS + 200
    await live.refresh_positions()
    reads.held = positions()
    await live.refresh_positions()
    reduced = replace(sold("0.1"), update_time_ms=NOW_MS + 100)
    live.take_over([reduced], await live.mark_settlement(before), epoch=0)
    assert amount_of(live) == Decimal("0.5")


async def test_what_a_read_still_says_after_two_seconds_is_believed(
    account: tuple[LiveAccount, Reads, SetClock],
) -> None:
    live, _, clock = account
    clock.at_ms = NOW_MS + 20
    live.take_over([sold("0.4")], await live.mark_settlement(live.reads_answered), epoch=0)
    clock.at_ms = NOW_MS + 2_100
    await live.refresh_positions()
    assert amount_of(live) == Decimal(1)


async def test_a_filled_open_that_its_own_reading_lacks_is_there_all_the_same(
    account: tuple[LiveAccount, Reads, SetClock],
) -> None:
    live, reads, clock = account
    reads.held = positions()
    clock.at_ms = NOW_MS + 20
    live.take_over([sold("0.4")], await live.mark_settlement(live.reads_answered - 1), epoch=1)
    assert amount_of(live) == Decimal("-0.4")


async def test_an_open_whose_outcome_was_unknown_is_not_there_where_an_exit_has_closed_it_since(
    account: tuple[LiveAccount, Reads, SetClock],
) -> None:
    live, reads, clock = account
    before, opened = live.reads_answered, sold("0.4")
    closed = replace(opened, side=Side.BUY, order_id=8, update_time_ms=opened.update_time_ms + 1_000)
    reads.held = positions()
    clock.at_ms = NOW_MS + 1_100  # too soon for the time of the read alone to tell
    live.take_over([closed], await live.mark_settlement(before - 1), epoch=0)
    live.take_over([opened], await live.mark_settlement(before - 1), epoch=1)
    assert amount_of(live) == 0


async def test_an_open_that_filled_in_two_parts_is_not_there_where_its_first_part_was_closed_in_between(
    account: tuple[LiveAccount, Reads, SetClock],
) -> None:
    """Its last fill is newer than the exit of its first part; another exit closes that one."""
    live, reads, clock = account
    before = live.reads_answered
    opened = replace(sold("0.8"), created_ms=NOW_MS, update_time_ms=NOW_MS + 1_000)
    first_part_closed = replace(sold("0.4"), side=Side.BUY, order_id=8, update_time_ms=NOW_MS + 500)
    reads.held = positions()
    clock.at_ms = NOW_MS + 1_100
    live.take_over([first_part_closed], await live.mark_settlement(before - 1), epoch=0)
    live.take_over([opened], await live.mark_settlement(before - 1), epoch=1)
    assert amount_of(live) == 0


@pytest.mark.parametrize(
    ("closed", "left"),
    [
        pytest.param("0.4", "-0.4", id="its first part"),
        pytest.param("0.8", "0", id="all of it"),
    ],
)
async def test_an_open_of_unknown_outcome_lacks_the_part_that_an_exit_has_closed_where_no_read_succeeds(
    account: tuple[LiveAccount, Reads, SetClock], closed: str, left: str
) -> None:
    """Memory was flat after the exit: it knew of no more than the part that it closed."""
    live, reads, clock = account
    reads.held = positions()
    await live.refresh_positions()
    sized = live.sized_by(leg())
    assert sized is not None
    reads.held = positions(replace(position(f"-{closed}"), update_time_ms=NOW_MS + 100))
    clock.at_ms = NOW_MS + 150
    await live.refresh_positions()
    exited = replace(sold(closed), side=Side.BUY, order_id=8, update_time_ms=NOW_MS + 200)
    mark = await live.mark_settlement(live.reads_answered)
    live.take_over([exited], mark, epoch=0)
    assert amount_of(live) == 0
    opened = replace(sold("0.8"), created_ms=NOW_MS, update_time_ms=NOW_MS + 300)
    mark = await live.mark_settlement(live.reads_answered, [opened])
    live.take_over([opened], mark, epoch=1, sized={opened.client_order_id: sized})
    assert amount_of(live) == Decimal(left)


@pytest.mark.parametrize(
    ("executed", "seen", "left"),
    [
        pytest.param("0.6", "0.3", "0", id="a close, half of it seen"),
        pytest.param("0.4", "0.4", "0.2", id="a part of a reduction seen"),
        pytest.param("0.4", "0.6", "0.2", id="nothing of it seen"),
    ],
)
async def test_a_fill_of_which_a_kept_reading_shows_a_part_is_not_counted_twice(
    account: tuple[LiveAccount, Reads, SetClock], executed: str, seen: str, left: str
) -> None:
    live, reads, clock = account
    live.take_over([sold("0.4")], await live.mark_settlement(live.reads_answered), epoch=0)
    before = live.reads_answered
    clock.at_ms = NOW_MS + 200
    reads.held = positions(replace(position(seen), update_time_ms=NOW_MS + 150))
    await live.refresh_positions()
    reads.held = positions()  # it lags, or shows what is closed: not to be told apart yet
    await live.refresh_positions()
    order = replace(sold(executed), update_time_ms=NOW_MS + 210)
    mark = await live.mark_settlement(before)
    live.take_over([order], mark, 0, {order.client_order_id: SizedBy(Decimal("0.6"), NOW_MS)})
    assert amount_of(live) == Decimal(left)


async def test_another_exit_between_two_parts_of_a_fill_is_not_undone_when_that_is_settled(
    account: tuple[LiveAccount, Reads, SetClock],
) -> None:
    """A close of 1 fills 0.5, another exit sells 0.2, the close takes the last 0.3: nothing is left."""
    live, reads, clock = account
    before, closing = live.reads_answered, replace(sold("0.8"), update_time_ms=NOW_MS + 300)
    reads.held = positions(replace(position("0.5"), update_time_ms=NOW_MS + 50))
    await live.refresh_positions()
    clock.at_ms = NOW_MS + 150
    between = replace(sold("0.2"), order_id=8, client_order_id="qt-8", update_time_ms=NOW_MS + 100)
    mark = await live.mark_settlement(live.reads_answered)
    live.take_over([between], mark, 0, {"qt-8": SizedBy(Decimal("0.5"), NOW_MS + 90)})
    reads.held = positions()
    clock.at_ms = NOW_MS + 400
    await live.refresh_positions()
    mark = await live.mark_settlement(before)
    live.take_over([closing], mark, 0, {closing.client_order_id: SizedBy(Decimal(1), NOW_MS + 10)})
    assert amount_of(live) == 0


async def test_a_fill_that_one_reading_showed_is_not_undone_by_a_later_one_from_before_it(
    account: tuple[LiveAccount, Reads, SetClock],
) -> None:
    live, reads, clock = account
    clock.at_ms = NOW_MS + 30
    reads.held = positions(replace(position("0.6"), update_time_ms=NOW_MS + 20))
    await live.refresh_positions()
    live.take_over([sold("0.4")], await live.mark_settlement(live.reads_answered - 1), epoch=0)
    reads.held = positions(position(1))
    clock.at_ms = NOW_MS + 40
    await live.refresh_positions()
    assert amount_of(live) == Decimal("0.6")


async def test_a_fill_of_long_before_the_last_reading_is_not_added_to_it_where_no_other_can_be_made(
    account: tuple[LiveAccount, Reads, SetClock],
) -> None:
    live, reads, clock = account
    reads.held = positions()
    clock.at_ms = NOW_MS + 9_000
    await live.refresh_positions()
    reads.fails = True
    live.take_over([sold("0.4")], await live.mark_settlement(-1), epoch=0)
    assert amount_of(live) == 0
    assert live.trusted_positions is None


async def test_an_open_found_filled_long_after_it_was_closed_is_not_counted_as_a_position(
    account: tuple[LiveAccount, Reads, SetClock],
) -> None:
    live, reads, clock = account
    reads.held = positions()
    clock.at_ms = NOW_MS + 9_000
    live.take_over([sold("0.4")], await live.mark_settlement(-1), epoch=1)
    assert amount_of(live) == 0


async def test_a_fill_that_a_reading_had_already_never_turns_a_hedge_leg_round(
    account: tuple[LiveAccount, Reads, SetClock],
) -> None:
    live, reads, _ = account
    long = leg(SYMBOL, "LONG")
    reads.held = positions(position("0.2", side="LONG"), hedge_mode=True)
    await live.refresh_positions()
    live.take_over([replace(sold("0.4"), leg=long)], await live.mark_settlement(live.reads_answered), epoch=0)
    assert live.positions is not None
    assert live.positions.value.amount(long) == 0


async def test_a_read_of_before_a_leverage_was_set_does_not_bring_the_former_one_back(
    account: tuple[LiveAccount, Reads, SetClock],
) -> None:
    live, reads, _ = account
    reads.may_answer.clear()
    asked = asyncio.create_task(live.refresh_leverages())
    await asyncio.sleep(0)
    reads.leverage = 5
    live.know_leverage(SYMBOL, 5)
    reads.may_answer.set()
    await asked
    assert live.leverages == {SYMBOL: 5}
    assert live.leverages_are_in_doubt
    await live.refresh_leverages()
    assert not live.leverages_are_in_doubt


async def test_another_engine_that_has_traded_leaves_no_leverage_known(
    account: tuple[LiveAccount, Reads, SetClock],
) -> None:
    live, _, _ = account
    await live.refresh_leverages()
    live.forget()
    assert live.leverages == {}
    assert live.leverages_are_in_doubt


# -- the read that a settlement makes may lag, too


@pytest.mark.parametrize(
    ("executed", "side", "left"),
    [
        pytest.param("1", Side.SELL, "0", id="a close"),
        pytest.param("0.4", Side.SELL, "0.6", id="a reduction"),
        pytest.param("0.5", Side.BUY, "1.5", id="an add"),
    ],
)
async def test_a_fill_that_the_settlements_own_read_lacks_counts(
    account: tuple[LiveAccount, Reads, SetClock], executed: str, side: Side, left: str
) -> None:
    live, _, clock = account
    before = live.reads_answered - 1  # one was answered since the claim, so it is read anew
    clock.at_ms = NOW_MS + 30
    order = replace(sold(executed), side=side)
    mark = await live.mark_settlement(before, [order])
    assert live.reads_answered == before + 2
    live.take_over([order], mark, epoch=1 if side is Side.BUY else 0)
    assert amount_of(live) == Decimal(left)


async def test_a_close_that_the_settlements_own_read_shows_counts_once(
    account: tuple[LiveAccount, Reads, SetClock],
) -> None:
    live, reads, clock = account
    before, clock.at_ms = live.reads_answered - 1, NOW_MS + 30
    reads.held = positions(replace(position("0.6"), update_time_ms=NOW_MS + 20))
    live.take_over([sold("0.4")], await live.mark_settlement(before, [sold("0.4")]), epoch=0)
    assert amount_of(live) == Decimal("0.6")


async def test_two_exits_of_one_reading_whose_ends_become_known_the_other_way_round_leave_nothing(
    account: tuple[LiveAccount, Reads, SetClock],
) -> None:
    """The first fills before the second is sized, by the reading of before both; flat is read in between."""
    live, reads, clock = account
    before, sized = live.reads_answered, live.sized_by(leg(SYMBOL))
    assert sized is not None
    first = replace(sold("0.4"), update_time_ms=NOW_MS + 100)
    second = replace(sold("0.6"), order_id=8, client_order_id="qt-8", update_time_ms=NOW_MS + 650)
    clock.at_ms = NOW_MS + 700
    live.take_over([first], await live.mark_settlement(before, [first]), 0, {"qt-7": sized})
    reads.held = positions()
    clock.at_ms = NOW_MS + 1_000
    await live.refresh_positions()
    live.take_over([second], await live.mark_settlement(before, [second]), 0, {"qt-8": sized})
    assert amount_of(live) == 0


async def test_an_exit_turns_no_position_round_in_memory_however_its_parts_were_seen(
    account: tuple[LiveAccount, Reads, SetClock],
) -> None:
    """The second is sized by a reading that has half of the first, whose other half fills later."""
    live, reads, clock = account
    before, clock.at_ms = live.reads_answered, NOW_MS + 300
    reads.held = positions(replace(position("0.4"), update_time_ms=NOW_MS + 236))
    await live.refresh_positions()
    sized = live.sized_by(leg(SYMBOL))
    assert sized is not None
    first = replace(sold("0.2"), update_time_ms=NOW_MS + 800)
    second = replace(sold("0.3"), order_id=8, client_order_id="qt-8", update_time_ms=NOW_MS + 900)
    clock.at_ms = NOW_MS + 850
    reads.held = positions(replace(position("0.1"), update_time_ms=NOW_MS + 800))
    live.take_over([first], await live.mark_settlement(before, [first]), 0)
    reads.held = positions()
    clock.at_ms = NOW_MS + 1_000
    live.take_over([second], await live.mark_settlement(before, [second]), 0, {"qt-8": sized})
    assert amount_of(live) == 0


# -- which opens a reading is sure to know


async def test_an_open_that_may_have_been_closed_or_may_be_missing_stays_claimed_until_a_later_read(
    account: tuple[LiveAccount, Reads, SetClock],
) -> None:
    live, reads, clock = account
    reads.held = positions()
    await live.refresh_positions()
    before = live.reads_answered
    opened = replace(sold("0.8"), created_ms=NOW_MS, update_time_ms=NOW_MS + 1_000)
    clock.at_ms = NOW_MS + 300
    reads.held = positions(replace(position("-0.4"), update_time_ms=NOW_MS + 100))
    await live.refresh_positions()
    first_part_closed = replace(sold("0.4"), side=Side.BUY, order_id=8, update_time_ms=NOW_MS + 500)
    live.take_over([first_part_closed], await live.mark_settlement(before + 1, [first_part_closed]), epoch=0)
    reads.held = positions()
    clock.at_ms = NOW_MS + 1_100
    live.take_over([opened], await live.mark_settlement(before, [opened]), epoch=5)
    await live.refresh_positions()
    assert amount_of(live) == 0
    assert live.positions_epoch == 0
    clock.at_ms = NOW_MS + 3_200
    await live.refresh_positions()
    assert live.positions_epoch == 5


async def test_opens_of_another_engine_stay_claimed_until_no_read_can_lag_behind_them(
    account: tuple[LiveAccount, Reads, SetClock],
) -> None:
    live, _, clock = account
    live.forget()
    live.expect(7, NOW_MS - 100)
    clock.at_ms = NOW_MS + 500
    await asyncio.gather(live.refresh_positions(), live.refresh_account())
    assert (live.positions_epoch, live.account_epoch) == (0, 0)
    clock.at_ms = NOW_MS + 2_100
    await asyncio.gather(live.refresh_positions(), live.refresh_account())
    assert (live.positions_epoch, live.account_epoch) == (7, 7)


async def test_opens_of_long_before_are_in_every_reading(
    account: tuple[LiveAccount, Reads, SetClock],
) -> None:
    live, _, _ = account
    live.forget()
    live.expect(7, NOW_MS - 3_001)
    assert (live.positions_epoch, live.account_epoch) == (7, 7)
    assert not live.awaits_opens


async def test_a_read_of_before_another_engine_led_is_made_again(
    account: tuple[LiveAccount, Reads, SetClock],
) -> None:
    live, reads, _ = account
    reads.may_answer.clear()
    asked = asyncio.gather(live.refresh_positions(), live.refresh_account())
    await asyncio.sleep(0)
    begun = live._reads_begun
    live.forget()
    reads.may_answer.set()
    await asked
    assert live._reads_begun == begun + 1
    assert live.positions is not None
    assert live.account is not None


@pytest.mark.parametrize(("changed_ms", "after_ms", "known"), [(20, 30, 3), (19, 30, 2), (19, 2_100, 3)])
async def test_the_margin_of_an_open_stays_claimed_until_the_balances_show_it(
    account: tuple[LiveAccount, Reads, SetClock], changed_ms: int, after_ms: int, known: int
) -> None:
    live, reads, clock = account
    live.take_over([sold("0.4")], await live.mark_settlement(live.reads_answered), epoch=3)
    reads.balances = replace(BALANCES, changed_ms=NOW_MS + changed_ms)
    clock.at_ms = NOW_MS + after_ms
    await live.refresh_account()
    assert live.account_epoch == known


async def test_where_nothing_is_known_a_read_that_may_lag_is_better_than_none(
    account: tuple[LiveAccount, Reads, SetClock],
) -> None:
    live, reads, clock = account
    live.forget()
    reads.fails = True
    clock.at_ms = NOW_MS + 30
    live.take_over([sold("0.4")], await live.mark_settlement(-1, [sold("0.4")]), epoch=0)
    reads.fails = False
    await live.refresh_positions()
    assert amount_of(live) == 1
    assert live.trusted_positions is None
