"""The ledger follows fills and adopts the exchange; signs of shorts survive."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cases import NOW_MS, leg, number, plan, position, positions

from quantum_trader.domain.order import OrderState, OrderStatus
from quantum_trader.domain.trading import Side
from quantum_trader.positions.ledger import Ledger, LedgerEntry
from quantum_trader.positions.live import entry_after


def filled(side: str, quantity: object, price: object = 100) -> OrderState:
    return OrderState(
        leg(),
        Side(side),
        7,
        "qt-x-0",
        OrderStatus.FILLED,
        number(quantity),
        number(quantity),
        number(price),
        NOW_MS,
    )


def after(before: object, side: str, quantity: object, price: object = 100) -> LedgerEntry:
    entry = LedgerEntry(
        position_amt=number(before), avg_entry_price=Decimal(50), opened_at=5, confidence="0.9"
    )
    return Ledger({leg(): entry}).after_fill(filled(side, quantity, price), plan(confidence=Decimal("0.4")))


def test_inc_64_a_sold_open_is_a_negative_amount() -> None:
    assert after(0, "SELL", 2).position_amt == -2


@given(
    st.decimals("-100", "100", places=3),
    st.sampled_from(["BUY", "SELL"]),
    st.decimals("0.001", "100", places=3),
)
def test_inc_64_a_fill_moves_the_signed_amount_by_its_signed_quantity(
    before: Decimal, side: str, quantity: Decimal
) -> None:
    moved = after(before, side, quantity).position_amt - before
    assert moved == (quantity if side == "BUY" else -quantity)
    mirrored = after(-before, "SELL" if side == "BUY" else "BUY", quantity).position_amt
    assert mirrored == -after(before, side, quantity).position_amt


@pytest.mark.parametrize(
    ("before", "entry", "now", "price", "expected"),
    [
        (0, 0, 2, 100, 100),
        (2, 100, 4, 200, 150),
        (-2, 100, -4, 200, 150),
        (4, 150, 1, 999, 150),
        (-4, 150, -1, 999, 150),
        (2, 100, 0, 120, 0),
        (2, 100, -1, 120, 120),
    ],
)
def test_the_entry_price_is_weighted_when_enlarged_and_kept_when_reduced(
    before: int, entry: int, now: int, price: int, expected: int
) -> None:
    assert entry_after(Decimal(before), Decimal(entry), Decimal(now), Decimal(price)) == expected


def test_opening_sets_time_and_confidence_and_reducing_keeps_them() -> None:
    opened = after(0, "BUY", 1)
    assert (opened.opened_at, opened.confidence, opened.last_plan_id) == (NOW_MS, "0.4", "plan-1")
    reduced = after(3, "SELL", 1)
    assert (reduced.opened_at, reduced.confidence) == (5, "0.9")


def test_a_position_opened_elsewhere_stays_so_when_a_plan_reduces_or_enlarges_it() -> None:
    adopted = Ledger().differences(positions(position(5)), NOW_MS, busy_symbols=())[leg()]
    for side in ("SELL", "BUY"):
        ledger = Ledger({leg(): adopted})
        ledger.replace(leg(), ledger.after_fill(filled(side, 2), plan()))
        assert not ledger.holdings()[leg()].is_ours


def test_a_position_of_ours_stays_ours_when_it_is_changed_elsewhere() -> None:
    ledger = Ledger()
    ledger.replace(leg(), ledger.after_fill(filled("BUY", 5), plan(confidence=Decimal("0.4"))))
    for amount in (2, 7):
        for one, entry in ledger.differences(positions(position(amount)), NOW_MS, busy_symbols=()).items():
            ledger.replace(one, entry)
        assert ledger.holdings()[leg()].is_ours
        assert ledger.holdings()[leg()].confidence == Decimal("0.4")


@pytest.mark.parametrize("between", [0, -2])
def test_a_position_that_was_flat_or_turned_elsewhere_is_ours_no_more(between: int) -> None:
    ledger = Ledger()
    ledger.replace(leg(), ledger.after_fill(filled("BUY", 5), plan()))
    for held in (positions(position(between)) if between else positions(), positions(position(5))):
        for one, entry in ledger.differences(held, NOW_MS, busy_symbols=()).items():
            ledger.replace(one, entry)
    assert not ledger.holdings()[leg()].is_ours


def test_a_position_is_ours_when_a_plan_opens_it_after_another_one_was_adopted() -> None:
    ledger = Ledger({leg(): LedgerEntry(position_amt=Decimal(3), source="exchange")})
    ledger.replace(leg(), ledger.after_fill(filled("SELL", 3), plan()))
    ledger.replace(leg(), ledger.after_fill(filled("BUY", 1), plan()))
    assert ledger.holdings()[leg()].is_ours


def test_inc_25_differences_adopt_side_quantity_and_entry_of_the_exchange() -> None:
    ledger = Ledger({leg(): LedgerEntry(position_amt=Decimal(3), opened_at=5, confidence="0.9")})
    adopted = ledger.differences(positions(position(-2)), NOW_MS, busy_symbols=())[leg()]
    assert (adopted.position_amt, adopted.avg_entry_price, adopted.source) == (-2, 100, "exchange")
    assert adopted.confidence == ""


def test_inc_69_a_position_opened_elsewhere_is_adopted() -> None:
    adopted = Ledger().differences(positions(position(-2)), NOW_MS, busy_symbols=())
    assert adopted[leg()].position_amt == -2


def test_a_leg_that_is_gone_becomes_flat() -> None:
    ledger = Ledger({leg(): LedgerEntry(position_amt=Decimal(-3))})
    assert ledger.differences(positions(), NOW_MS, busy_symbols=())[leg()].position_amt == 0


def test_inc_70_what_was_adopted_does_not_differ_any_more() -> None:
    ledger = Ledger({leg(): LedgerEntry(position_amt=Decimal(3))})
    held = positions(position(-2), position(1, "BTCUSDT"))
    for one, entry in ledger.differences(held, NOW_MS, busy_symbols=()).items():
        ledger.replace(one, entry)
    assert ledger.differences(held, NOW_MS, busy_symbols=()) == {}


@pytest.mark.parametrize(("ours", "differs"), [("100.00", False), ("100.009", False), ("100.02", True)])
def test_another_entry_price_at_the_same_amount_is_adopted_but_for_rounding(ours: str, differs: bool) -> None:
    entry = LedgerEntry(position_amt=Decimal(3), avg_entry_price=Decimal(ours), opened_at=5, source="fill")
    found = Ledger({leg(): entry}).differences(positions(position(3)), NOW_MS, busy_symbols=())
    assert [(one.avg_entry_price, one.opened_at, one.source) for one in found.values()] == (
        [(100, 5, "fill")] if differs else []
    )


def test_symbols_with_an_order_under_way_are_left_alone() -> None:
    assert Ledger().differences(positions(position(2)), NOW_MS, busy_symbols=["SOLUSDT"]) == {}


def test_an_entry_survives_being_stored() -> None:
    entry = after(0, "SELL", "1.5")
    assert LedgerEntry.from_fields(entry.as_fields()) == entry


@pytest.mark.parametrize("text", ["", "abc", "NaN", "sNaN", "Infinity", "-Infinity"])
def test_a_stored_entry_that_cannot_be_read_counts_as_flat(text: str) -> None:
    fields = dict.fromkeys(("position_amt", "avg_entry_price", "opened_at", "last_update_ts"), text)
    assert LedgerEntry.from_fields(fields) == LedgerEntry()
