"""Used client order ids: remembered with their first time, the oldest forgotten, in memory that stays."""

import pytest

from quantum_trader.domain.order import client_order_id
from quantum_trader.positions.sent_orders import REMEMBERED_MIN, SentOrders


def name(number: int) -> str:
    return client_order_id(f"p{number}")


def test_the_first_time_stays() -> None:
    sent = SentOrders()
    assert (len(sent), sent.get(name(1))) == (0, None)
    sent.setdefault(name(1), 5)
    sent.setdefault(name(1), 6)
    sent.setdefault(name(2), 7)
    assert [sent.get(name(number)) for number in (1, 2, 3)] == [5, 7, None]
    assert len(sent) == 2


def test_ids_of_one_slot_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quantum_trader.positions.sent_orders._SLOTS", 4)
    sent = SentOrders()
    for number in range(3):
        sent.setdefault(name(number), 100 + number)
    assert [sent.get(name(number)) for number in range(4)] == [100, 101, 102, None]


def test_the_oldest_are_forgotten_and_the_newest_never() -> None:
    sent = SentOrders()
    count = 2 * REMEMBERED_MIN + 1
    for number in range(count):
        sent.setdefault(name(number), 1 + number)
    assert len(sent) == REMEMBERED_MIN + 1
    assert sent.get(name(0)) is None
    assert sent.get(name(REMEMBERED_MIN - 1)) is None
    newest = range(count - REMEMBERED_MIN, count)
    assert all(sent.get(name(number)) == 1 + number for number in newest)
