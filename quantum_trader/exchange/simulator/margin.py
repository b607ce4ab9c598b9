"""Margin arithmetic of BINANCE.md 12.5 and 12.6, as formulas over numbers. Amounts in USDT.

Margins are cut off (not rounded) at eight decimals, as in Binance's own examples.
"""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal
from typing import Final

from quantum_trader.exchange.simulator.brackets import Bracket, bracket_of

ZERO: Final = Decimal(0)
_CENT8: Final = Decimal("1E-8")
_BRACKET_SEARCHES_MAX: Final = 6


def money(amount: Decimal) -> Decimal:
    """Round to the eight decimals in which the venue keeps its books."""
    return amount.quantize(_CENT8)


def _cut(amount: Decimal) -> Decimal:
    return amount.quantize(_CENT8, rounding=ROUND_DOWN)


def unrealized_pnl(amount: Decimal, entry: Decimal, mark: Decimal) -> Decimal:
    """Signed ``amount`` × (mark - entry)."""
    return amount * (mark - entry)


def initial_margin(notional: Decimal, leverage: int) -> Decimal:
    """|notional| / leverage."""
    return _cut(abs(notional) / leverage)


def maintenance_margin(notional: Decimal, bracket: Bracket) -> Decimal:
    """|notional| × rate - cum of the bracket that holds it."""
    return _cut(abs(notional) * bracket.rate - bracket.cum)


def break_even_price(entry: Decimal, fee_rate: Decimal, sign: int) -> Decimal:
    """Where a fresh position (``sign`` +1 long, -1 short) has earned its opening fee back."""
    return entry * (1 + sign * fee_rate)


def liquidation_price(
    wallet: Decimal,
    amount: Decimal,
    entry: Decimal,
    bracket: Bracket,
    *,
    others_maintenance: Decimal = ZERO,
    others_pnl: Decimal = ZERO,
) -> Decimal:
    """Mark price at which ``wallet`` no longer covers maintenance; 0 when there is none.

    ``wallet`` is the cross wallet, or the isolated wallet (then the others are 0).
    """
    size = abs(amount)
    sign = 1 if amount > 0 else -1
    covered = wallet - others_maintenance + others_pnl + bracket.cum - sign * size * entry
    return max(ZERO, covered / (size * bracket.rate - sign * size))


def liquidation_price_in(
    wallet: Decimal,
    amount: Decimal,
    entry: Decimal,
    brackets: tuple[Bracket, ...],
    *,
    others_maintenance: Decimal = ZERO,
    others_pnl: Decimal = ZERO,
) -> Decimal:
    """``liquidation_price`` with the bracket that holds the position *at that price*."""
    bracket = bracket_of(brackets, abs(amount) * entry)
    price = ZERO
    for _ in range(_BRACKET_SEARCHES_MAX):
        price = liquidation_price(
            wallet, amount, entry, bracket, others_maintenance=others_maintenance, others_pnl=others_pnl
        )
        there = bracket_of(brackets, abs(amount) * price)
        if there is bracket:
            break
        bracket = there
    return price
