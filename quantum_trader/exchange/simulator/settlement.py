"""What a fill does to a position and the wallet (BINANCE.md 12.4).

wallet change = realised PnL - fee, exactly: both are rounded to eight decimals before they are
booked, and booked as they are reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from quantum_trader.domain.trading import Leg
from quantum_trader.exchange.simulator.margin import initial_margin, money
from quantum_trader.exchange.simulator.model import Account, Holding

ZERO: Final = Decimal(0)
_ENTRY_PLACES: Final = Decimal("1E-12")


@dataclass(frozen=True, slots=True)
class Fill:
    """A signed quantity (sell < 0, base asset) traded at ``price``, with its fee in USDT."""

    signed_quantity: Decimal
    price: Decimal
    fee: Decimal


def settle(account: Account, leg: Leg, fill: Fill, now_ms: int) -> Decimal:
    """Book ``fill`` on ``leg`` and return the realised PnL in USDT."""
    held = account.positions.setdefault(leg, Holding())
    closing = _closing_part(held.amount, fill.signed_quantity)
    opening = fill.signed_quantity - closing
    realized = money(-closing * (fill.price - held.entry))
    if closing:
        _shrink(held, closing)
    if opening:
        _grow(account, leg, held, opening, fill)
    account.realized[leg] = account.realized.get(leg, ZERO) + realized
    held.updated_ms = now_ms
    account.wallet += realized - fill.fee
    account.updated_ms = now_ms
    if held.amount == 0:
        del account.positions[leg]
    account.remember(now_ms)
    return realized


def _closing_part(amount: Decimal, signed_quantity: Decimal) -> Decimal:
    """The share of a signed fill that undoes ``amount``."""
    if amount * signed_quantity >= 0:
        return ZERO
    return max(signed_quantity, -amount) if amount > 0 else min(signed_quantity, -amount)


def _shrink(held: Holding, closing: Decimal) -> None:
    left = held.amount + closing
    kept = left / held.amount
    held.isolated_wallet = money(held.isolated_wallet * kept)
    held.fees *= kept
    held.amount = left


def _grow(account: Account, leg: Leg, held: Holding, opening: Decimal, fill: Fill) -> None:
    total = held.amount + opening
    entry = (held.amount * held.entry + opening * fill.price) / total
    held.entry = entry.quantize(_ENTRY_PLACES).normalize()
    held.amount = total
    held.fees += fill.fee * abs(opening / fill.signed_quantity)
    setting = account.setting(leg.symbol)
    if setting.isolated:
        held.isolated_wallet += initial_margin(opening * fill.price, setting.leverage)
