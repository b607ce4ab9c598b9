"""Quantities that the exchange takes; what the gate's tests do not say already."""

from decimal import Decimal

import pytest
from support.cases import close_plan, exit_plan, number, position, positions, rules

from quantum_trader.domain.intention import classify
from quantum_trader.domain.plan import Action
from quantum_trader.domain.reasons import Reason
from quantum_trader.domain.sizing import Sizing, SizingPolicy, size_exit, size_open, split
from quantum_trader.domain.trading import QuantityLimits

NO_CAP = SizingPolicy()


@pytest.mark.parametrize(
    ("asked", "step", "down", "up"),
    [
        ("1.2345", "0.001", "1.234", "1.235"),
        ("1.234", "0.001", "1.234", "1.234"),
        ("0.0004", "0.001", "0", "0.001"),
        ("7", "3", "6", "9"),
        ("0.3", "0.1", "0.3", "0.3"),
        ("1.23", "0", "1.23", "1.23"),
    ],
)
def test_steps_are_counted_exactly(asked: str, step: str, down: str, up: str) -> None:
    limits = QuantityLimits(Decimal(0), Decimal(0), Decimal(step))
    assert limits.round_down(Decimal(asked)) == Decimal(down)
    assert limits.round_up(Decimal(asked)) == Decimal(up)


def test_without_rules_an_exit_goes_out_as_asked() -> None:
    intention = classify(exit_plan(quantity="0.12345"), positions(position(2)))
    assert size_exit(intention, None, by_fraction=False) == Sizing(Decimal("0.12345"))


def test_inc_29_a_full_close_is_the_exact_position_whatever_the_rules() -> None:
    intention = classify(close_plan(), positions(position("-0.00000123")))
    assert size_exit(intention, rules(minimum=1, step=1), by_fraction=True).quantity == Decimal("0.00000123")


def test_a_part_below_the_smallest_quantity_is_refused() -> None:
    intention = classify(close_plan(Action.PARTIAL_50), positions(position(3)))
    assert size_exit(intention, rules(step=1, minimum=2), by_fraction=True) == Sizing(
        Decimal(1), Reason.QTY_BELOW_MIN
    )


def test_an_exit_of_a_part_is_exempt_from_the_minimum_notional() -> None:
    intention = classify(exit_plan(quantity="0.001"), positions(position(2)))
    assert size_exit(intention, rules(notional_min=1000), by_fraction=False) == Sizing(Decimal("0.001"))


def test_without_a_cap_nothing_is_infeasible() -> None:
    assert size_open(number(10), rules(notional_min=1000), number(100), NO_CAP) == Sizing(Decimal(10))


def test_a_symbol_without_limits_takes_any_quantity() -> None:
    free = rules(step=0, minimum=0, maximum="Infinity", notional_min=0)
    assert size_open(Decimal("0.000001"), free, number(100), NO_CAP) == Sizing(Decimal("0.000001"))


@pytest.mark.parametrize(
    ("quantity", "maximum", "first"),
    [("25", "10", "10"), ("10", "10", "10"), ("9", "10", "9"), ("25", "0", "25"), ("25", "10.0005", "10")],
)
def test_inc_31_the_first_part_is_the_largest_legal_market_order(
    quantity: str, maximum: str, first: str
) -> None:
    assert split(Decimal(quantity), rules(maximum=maximum)) == Decimal(first)


def test_without_rules_nothing_is_split() -> None:
    assert split(Decimal(10**9), None) == 10**9


def test_parts_sum_up_to_the_whole() -> None:
    left, parts = Decimal("25.5"), []
    while left > 0:
        parts.append(split(left, rules(maximum=10)))
        left -= parts[-1]
    assert parts == [10, 10, Decimal("5.5")]
