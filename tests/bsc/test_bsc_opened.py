"""When a position was opened, from the account's own trades (SPEC 10, INC-100)."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.bsc_readings import position, trade

from quantum_trader.bsc.opened import TRADES_LAG_MS, WINDOW_MS, Openings, ReadTrades, walk_back
from quantum_trader.domain.order import AccountTrade
from quantum_trader.domain.trading import PositionSide
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.exchange.margin_reads import MarginPosition

NOW_MS = 2_000_000_000_000
HOUR_MS = 3_600_000


class Trades:
    """A trade history that says how often it was read."""

    def __init__(self, *trades: AccountTrade) -> None:
        self.trades = list(trades)
        self.reads: list[int] = []

    async def __call__(self, _: str, since_ms: int) -> Sequence[AccountTrade]:
        self.reads.append(since_ms)
        return [each for each in self.trades if each.time_ms >= since_ms]


def openings_of(read_trades: ReadTrades, *, stands: bool = True) -> Openings:
    async def still_stands(_: MarginPosition) -> bool:
        return stands

    return Openings(read_trades, still_stands)


def hours_ago(hours: float) -> int:
    return NOW_MS - int(hours * HOUR_MS)


@pytest.mark.parametrize(
    ("signed", "opened"),
    [
        (["5"], 0),
        (["5", "5", "-3"], 0),
        (["5", "-5", "2"], 2),
        (["5", "-8"], 1),
        (["-5", "8"], 1),
        (["-5", "-5", "10", "-1", "-1"], 3),
    ],
)
def test_inc100_the_fill_that_left_flat_opened_the_position(signed: list[str], opened: int) -> None:
    trades = [trade(number, quantity, number) for number, quantity in enumerate(signed)]
    live = sum((Decimal(quantity) for quantity in signed), Decimal(0))
    assert walk_back(live, trades).opened_ms == opened


@given(st.lists(st.integers(-5, 5).filter(bool), min_size=1, max_size=40))
def test_walking_back_agrees_with_walking_forward(signed: list[int]) -> None:
    amount, opened = 0, 0
    for number, quantity in enumerate(signed):
        before, amount = amount, amount + quantity
        if amount and before * amount <= 0:
            opened = number
    trades = [trade(number, str(quantity), number) for number, quantity in enumerate(signed)]
    if amount:
        assert walk_back(Decimal(amount), trades).opened_ms == opened


async def test_inc100_no_return_to_flat_in_a_complete_72_hours_means_at_least_72_hours() -> None:
    trades = Trades(trade(1, "2", hours_ago(50)))
    held = position(amount="5", updated_ms=hours_ago(50))
    assert await openings_of(trades).opened_ms(held, NOW_MS) == NOW_MS - WINDOW_MS


async def test_a_history_that_cannot_be_read_raises_instead_of_meaning_72_hours() -> None:
    async def fails(_: str, __: int) -> Sequence[AccountTrade]:
        raise ExchangeError("trades", "time-out")

    with pytest.raises(ExchangeError):
        await openings_of(fails).opened_ms(position(), NOW_MS)


async def test_inc08_a_history_that_lags_behind_a_new_position_gives_no_age_at_all() -> None:
    trades = Trades()
    openings = openings_of(trades)
    held = position(updated_ms=NOW_MS - 1_000)
    assert await openings.opened_ms(held, NOW_MS) is None
    trades.trades.append(trade(1, "1", NOW_MS - 1_000))
    assert await openings.opened_ms(held, NOW_MS) == NOW_MS - 1_000


async def test_a_history_ahead_of_the_position_gives_no_age() -> None:
    trades = Trades(trade(1, "14", hours_ago(1)), trade(2, "-4", NOW_MS))
    assert await openings_of(trades).opened_ms(position(amount="14", updated_ms=hours_ago(1)), NOW_MS) is None


async def test_a_change_without_a_trade_keeps_the_age_and_counts_as_settled_after_a_while() -> None:
    trades = Trades(trade(1, "1", hours_ago(30)))
    openings = openings_of(trades)
    assert await openings.opened_ms(position(updated_ms=hours_ago(30)), NOW_MS) == hours_ago(30)
    funded = position(updated_ms=NOW_MS)
    assert await openings.opened_ms(funded, NOW_MS) == hours_ago(30)
    assert await openings.opened_ms(funded, NOW_MS + TRADES_LAG_MS + 1) == hours_ago(30)


@pytest.mark.parametrize(("minutes", "reads"), [(2, [5]), (40, [60]), (500, [72 * 60])])
async def test_no_more_trades_are_read_than_reach_back_to_the_opening(minutes: int, reads: list[int]) -> None:
    at_ms = NOW_MS - minutes * 60_000
    older = [trade(number, quantity, hours_ago(60)) for number, quantity in enumerate(("3", "-3"))]
    trades = Trades(*older, trade(9, "1", at_ms))
    assert await openings_of(trades).opened_ms(position(updated_ms=at_ms), NOW_MS) == at_ms
    assert [(NOW_MS - since_ms) // 60_000 for since_ms in trades.reads] == reads


async def test_a_history_that_does_not_fit_the_position_is_not_read_any_further() -> None:
    trades = Trades(trade(1, "1", hours_ago(2)), trade(2, "1", NOW_MS - 10_000))
    held = position(amount="1", updated_ms=NOW_MS - 60_000)
    assert await openings_of(trades).opened_ms(held, NOW_MS) is None
    assert [(NOW_MS - since_ms) // 60_000 for since_ms in trades.reads] == [5]


async def test_an_opening_before_the_newest_trades_is_looked_for_in_all_of_them() -> None:
    trades = Trades(trade(1, "4", hours_ago(30)), trade(2, "1", NOW_MS - 60_000))
    held = position(amount="5", updated_ms=NOW_MS - 60_000)
    assert await openings_of(trades).opened_ms(held, NOW_MS) == hours_ago(30)
    assert [(NOW_MS - since_ms) // 60_000 for since_ms in trades.reads] == [5, 60, 72 * 60]


async def test_no_older_trades_are_read_for_a_position_that_has_moved_on() -> None:
    trades = Trades(trade(1, "4", hours_ago(30)), trade(2, "1", NOW_MS - 60_000))
    held = position(amount="5", updated_ms=NOW_MS - 60_000)
    assert await openings_of(trades, stands=False).opened_ms(held, NOW_MS) is None
    assert [(NOW_MS - since_ms) // 60_000 for since_ms in trades.reads] == [5]


async def test_an_untouched_position_is_asked_about_once() -> None:
    trades = Trades(trade(1, "1", hours_ago(30)))
    openings = openings_of(trades)
    held = position(updated_ms=hours_ago(30))
    for minute in range(5):
        assert await openings.opened_ms(held, NOW_MS + minute * 60_000) == hours_ago(30)
    assert len(trades.reads) == 1


async def test_later_trades_are_read_from_where_the_last_look_ended() -> None:
    trades = Trades(trade(1, "1", hours_ago(30)))
    openings = openings_of(trades)
    await openings.opened_ms(position(updated_ms=hours_ago(30)), NOW_MS)
    trades.trades.append(trade(2, "1", NOW_MS))
    added = position(amount="2", updated_ms=NOW_MS)
    assert await openings.opened_ms(added, NOW_MS + 1) == hours_ago(30)
    trades.trades += [trade(3, "-2", NOW_MS + 10), trade(4, "-7", NOW_MS + 20)]
    turned = position(amount="-7", updated_ms=NOW_MS + 20)
    assert await openings.opened_ms(turned, NOW_MS + 21) == NOW_MS + 20
    assert trades.reads[1:] == [hours_ago(30) + 1, NOW_MS + 1]


async def test_inc32_the_legs_of_hedge_mode_have_ages_of_their_own() -> None:
    trades = Trades(
        trade(1, "1", hours_ago(60), side=PositionSide.LONG),
        trade(2, "-1", hours_ago(5), side=PositionSide.SHORT),
    )
    openings = openings_of(trades)
    long = position(side=PositionSide.LONG, updated_ms=hours_ago(60))
    short = position(side=PositionSide.SHORT, amount="-1", updated_ms=hours_ago(5))
    assert await openings.opened_ms(long, NOW_MS) == hours_ago(60)
    assert await openings.opened_ms(short, NOW_MS) == hours_ago(5)
