"""Words about one order in any order, any number of times, add up to the same (INC-12)."""

from __future__ import annotations

from decimal import Decimal
from functools import reduce

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from quantum_trader.domain.order import OrderState, OrderStatus, furthest
from quantum_trader.domain.trading import Leg, Side

NEW = OrderState(Leg("XRPUSDT"), Side.BUY, 7, "qt-1", OrderStatus.NEW, Decimal(20), Decimal(0), None, 100)
PARTLY = replace(
    NEW,
    status=OrderStatus.PARTIALLY_FILLED,
    executed_quantity=Decimal(5),
    avg_price=Decimal("0.5"),
    update_time_ms=110,
)
ACK = replace(NEW, status=OrderStatus.FILLED, executed_quantity=Decimal(20), update_time_ms=120)
FILLED = replace(ACK, avg_price=Decimal("0.51"))


@given(st.permutations([NEW, NEW, PARTLY, PARTLY, ACK, FILLED, FILLED]))
def test_inc_12_doubled_late_and_reordered_words_add_up_to_the_end(words: list[OrderState]) -> None:
    assert reduce(furthest, words) == FILLED


def test_an_order_that_expired_in_part_stays_expired_and_keeps_its_price() -> None:
    expired = replace(PARTLY, status=OrderStatus.EXPIRED, avg_price=None, update_time_ms=130)
    for first, second in ((PARTLY, expired), (expired, PARTLY)):
        known = furthest(first, second)
        assert (known.status, known.avg_price) == (OrderStatus.EXPIRED, Decimal("0.5"))
        assert known.is_settled


def test_of_two_orders_with_one_client_id_the_newer_one_counts() -> None:
    newer = replace(NEW, order_id=8)
    assert furthest(FILLED, newer) == furthest(newer, FILLED) == newer


def test_a_filled_order_without_a_price_is_not_settled() -> None:
    assert (ACK.is_settled, FILLED.is_settled, PARTLY.is_settled) == (False, True, False)
