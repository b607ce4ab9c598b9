"""The published numbers of BINANCE.md 12.5 and 12.6."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import pytest

from quantum_trader.exchange.simulator import margin
from quantum_trader.exchange.simulator.brackets import TIERS, Bracket, bracket_of, notional_cap

D = Decimal


def bracket(rate: str, cum: str = "0") -> Bracket:
    return Bracket(1, 20, D(0), D(10**12), D(rate), D(cum))


@pytest.mark.parametrize(
    ("amount", "entry", "mark", "rate", "pnl", "notional", "initial", "maintenance"),
    [
        ("30", "0.385", "0.41047590", "0.0065", "0.76427700", "12.31427700", "0.61571385", "0.08004280"),
        ("-1", "70.92841", "49.72023376", "0.01", "21.20817624", "49.72023376", "2.48601168", "0.49720233"),
    ],
)
def test_documented_positions_have_the_documented_margins(
    *, amount: str, entry: str, mark: str, rate: str, pnl: str, notional: str, initial: str, maintenance: str
) -> None:
    value = D(amount) * D(mark)
    assert abs(value) == D(notional)
    assert margin.unrealized_pnl(D(amount), D(entry), D(mark)) == D(pnl)
    assert margin.initial_margin(value, 20) == D(initial)
    assert margin.maintenance_margin(value, bracket(rate)) == D(maintenance)


def test_break_even_prices_are_the_documented_ones() -> None:
    assert margin.break_even_price(D("0.385"), D("0.0002"), 1) == D("0.385077")
    assert margin.break_even_price(D("70.92841"), D("0.0004"), -1) == D("70.900038636")


@pytest.mark.parametrize(
    ("amount", "entry", "rate", "cum", "others_maintenance", "others_pnl", "price"),
    [
        ("3683.979", "1456.84", "0.10", "135365", "0", "0", "1114.78"),
        ("3683.979", "1456.84", "0.10", "135365", "71200.81144", "-56354.57", "1153.26"),
        ("109.488", "32481.98", "0.025", "16300", "0", "0", "18778.73"),
        ("109.488", "32481.98", "0.025", "16300", "356512.508", "-448192.89", "26316.89"),
    ],
)
def test_liquidation_prices_are_the_published_ones(
    *, amount: str, entry: str, rate: str, cum: str, others_maintenance: str, others_pnl: str, price: str
) -> None:
    found = margin.liquidation_price(
        D("1535443.01"),
        D(amount),
        D(entry),
        bracket(rate, cum),
        others_maintenance=D(others_maintenance),
        others_pnl=D(others_pnl),
    )
    assert found.quantize(D("0.01")) == D(price)


def test_a_position_that_cannot_be_liquidated_shows_zero() -> None:
    assert margin.liquidation_price(D(10_000), D("0.01"), D(50_000), bracket("0.004")) == 0


@pytest.mark.parametrize("tier", TIERS)
def test_maintenance_has_no_step_between_brackets(tier: str) -> None:
    for below, above in pairwise(TIERS[tier]):
        assert below.cap == above.floor
        assert below.cap * below.rate - below.cum == above.floor * above.rate - above.cum


def test_a_cap_belongs_to_the_lower_bracket() -> None:
    brackets = TIERS["btc"]
    assert bracket_of(brackets, brackets[0].cap) is brackets[0]
    assert bracket_of(brackets, brackets[0].cap + 1) is brackets[1]


def test_the_widest_bracket_that_allows_a_leverage_limits_the_position() -> None:
    assert notional_cap(TIERS["btc"], 125) == 300_000
    assert notional_cap(TIERS["btc"], 110) == 300_000
    assert notional_cap(TIERS["btc"], 20) == 100_000_000
    assert notional_cap(TIERS["btc"], 1) == 1_800_000_000
