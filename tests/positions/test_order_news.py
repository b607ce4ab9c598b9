"""What a stream told of orders is remembered within bounds, and its silence is noticed."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from quantum_trader.domain.order import OrderState, OrderStatus
from quantum_trader.domain.trading import Leg, Side
from quantum_trader.positions.order_news import REMEMBERED_MAX, TOLD_WITHIN_S, OrderNews

FILLED = OrderState(
    Leg("XRPUSDT"), Side.BUY, 7, "qt-1", OrderStatus.FILLED, Decimal(20), Decimal(20), Decimal("0.5"), 100
)


async def test_whoever_watches_an_order_hears_of_it_and_of_no_other() -> None:
    news = OrderNews()
    with news.watch("qt-1") as mine, news.watch("qt-2") as other:
        news.tell(FILLED)
        assert (mine.is_set(), other.is_set()) == (True, False)
    assert news.of("qt-1") == FILLED
    assert not news._waiting


def test_what_was_told_before_anyone_asks_is_remembered_within_bounds() -> None:
    news = OrderNews()
    for number in range(REMEMBERED_MAX + 5):
        news.tell(replace(FILLED, client_order_id=f"qt-{number}"))
    assert news.of("qt-4") is None
    assert news.of("qt-5") is not None


def test_inc_88_a_fill_that_a_live_stream_keeps_to_itself_is_missed_once() -> None:
    news = OrderNews()
    news.is_live = True
    news.expect("qt-1", 100)
    assert not news.has_missed(100 + TOLD_WITHIN_S - 1)
    assert news.has_missed(100 + TOLD_WITHIN_S)
    assert not news.has_missed(100 + TOLD_WITHIN_S)


def test_a_fill_that_is_told_late_or_before_the_stream_lived_is_not_missed() -> None:
    news = OrderNews()
    news.expect("qt-0", 100)
    news.is_live = True
    news.expect("qt-1", 100)
    news.tell(FILLED)
    news.expect("qt-2", 100)
    news.restart()
    assert not news.has_missed(1_000)
