"""Leverage and maintenance-margin brackets by size of a position (BINANCE.md 12.5)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

ZERO: Final = Decimal(0)


@dataclass(frozen=True, slots=True)
class Bracket:
    """One step: positions of ``floor`` < notional ≤ ``cap`` USDT.

    ``rate`` is the maintenance-margin ratio; ``cum`` (USDT) makes maintenance continuous over
    the steps; ``leverage`` the highest allowed.
    """

    number: int
    leverage: int
    floor: Decimal
    cap: Decimal
    rate: Decimal
    cum: Decimal


def build(rows: tuple[tuple[int, int, str], ...]) -> tuple[Bracket, ...]:
    """Turn (leverage, cap in USDT, maintenance ratio) rows, ascending by cap, into brackets."""
    brackets: list[Bracket] = []
    floor, rate_before, cum = ZERO, ZERO, ZERO
    for number, (leverage, cap, rate_text) in enumerate(rows, start=1):
        rate = Decimal(rate_text)
        cum = cum + floor * (rate - rate_before) if brackets else ZERO
        brackets.append(Bracket(number, leverage, floor, Decimal(cap), rate, cum))
        floor, rate_before = Decimal(cap), rate
    return tuple(brackets)


def _scaled(unit_usdt: int, leverage_max: int) -> tuple[Bracket, ...]:
    steps = (
        (75, 1, "0.0065"),
        (50, 5, "0.01"),
        (40, 10, "0.015"),
        (25, 50, "0.02"),
        (20, 100, "0.025"),
        (10, 500, "0.05"),
        (5, 1000, "0.1"),
        (4, 1250, "0.125"),
        (2, 2500, "0.25"),
        (1, 5000, "0.5"),
    )
    return build(tuple((lev, unit_usdt * units, rate) for lev, units, rate in steps if lev <= leverage_max))


TIERS: Final[dict[str, tuple[Bracket, ...]]] = {
    "btc": build(
        (
            (125, 300_000, "0.004"),
            (100, 800_000, "0.005"),
            (75, 3_000_000, "0.0065"),
            (50, 12_000_000, "0.01"),
            (25, 70_000_000, "0.02"),
            (20, 100_000_000, "0.025"),
            (10, 230_000_000, "0.05"),
            (5, 480_000_000, "0.1"),
            (4, 600_000_000, "0.125"),
            (3, 800_000_000, "0.15"),
            (2, 1_200_000_000, "0.25"),
            (1, 1_800_000_000, "0.5"),
        )
    ),
    "eth": build(
        (
            (125, 300_000, "0.004"),
            (100, 800_000, "0.005"),
            (75, 3_000_000, "0.0065"),
            (50, 12_000_000, "0.01"),
            (25, 50_000_000, "0.02"),
            (20, 65_000_000, "0.025"),
            (10, 150_000_000, "0.05"),
            (5, 320_000_000, "0.1"),
            (4, 400_000_000, "0.125"),
            (2, 800_000_000, "0.25"),
            (1, 1_200_000_000, "0.5"),
        )
    ),
    "large": _scaled(100_000, 75),
    "mid": _scaled(40_000, 75),
    "small": _scaled(20_000, 50),
}


def bracket_of(brackets: tuple[Bracket, ...], notional_usdt: Decimal) -> Bracket:
    """The bracket that holds ``notional_usdt`` (≥ 0); the last one above every cap."""
    return next((row for row in brackets if notional_usdt <= row.cap), brackets[-1])


def notional_cap(brackets: tuple[Bracket, ...], leverage: int) -> Decimal:
    """Largest position in USDT at ``leverage``: the widest bracket that still allows it."""
    return max(row.cap for row in brackets if row.leverage >= leverage)
