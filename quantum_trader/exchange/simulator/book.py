"""The synthetic order book around the touch, and what an incoming order takes from it.

The book is made anew from the quote each time: other traders refill at once what was taken.
Without a ``depth_usdt`` the touch holds any quantity. With one, ``LEVELS`` levels share it, the
first ones thinner, each a tick (or a basis point, if wider) away from the one before.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from quantum_trader.domain.trading import Side
from quantum_trader.exchange.simulator.market import Quote
from quantum_trader.exchange.simulator.symbols import TAKE_BOUND, SymbolSpec

LEVELS: Final = 20
_SHOWN_USDT: Final = Decimal(2_000_000)
_WEIGHTS_SUM: Final = LEVELS * (LEVELS + 1) // 2
_LEVEL_DISTANCE: Final = Decimal("0.0001")
ZERO: Final = Decimal(0)


@dataclass(frozen=True, slots=True)
class Level:
    """A quantity (base asset) on offer at one price."""

    price: Decimal
    quantity: Decimal


def levels(
    spec: SymbolSpec, quote: Quote, taker: Side, depth_usdt: Decimal | None, count: int = LEVELS
) -> list[Level]:
    """The side of the book that a ``taker`` order meets, best price first."""
    best = quote.ask if taker is Side.BUY else quote.bid
    distance = max(spec.tick, best * _LEVEL_DISTANCE // spec.tick * spec.tick)
    total = _SHOWN_USDT if depth_usdt is None else depth_usdt
    rows = []
    for index in range(count):
        price = best + taker.sign * index * distance
        weight = Decimal(min(index + 1, LEVELS)) / _WEIGHTS_SUM
        quantity = max(spec.step, total * weight / price // spec.step * spec.step)
        if price > 0:
            rows.append(Level(price, quantity))
    return rows


@dataclass(frozen=True, slots=True)
class Match:
    """What an incoming order gets: the total quantity, and its fills at their prices."""

    quantity: Decimal
    fills: tuple[Level, ...]


def match_taker(
    spec: SymbolSpec,
    quote: Quote,
    side: Side,
    quantity: Decimal,
    *,
    limit: Decimal | None,
    depth_usdt: Decimal | None,
) -> Match:
    """Fills for ``quantity`` not worse than ``limit`` (MARKET: not past marketTakeBound)."""
    worst = quote.mark * (1 + side.sign * TAKE_BOUND) if limit is None else limit
    if depth_usdt is None:
        best = quote.ask if side is Side.BUY else quote.bid
        offers = [Level(best, quantity)]
    else:
        offers = levels(spec, quote, side, depth_usdt)
    left, fills = quantity, []
    for offer in offers:
        if left <= 0 or (offer.price - worst) * side.sign > 0:
            break
        taken = min(left, offer.quantity)
        fills.append(Level(offer.price, taken))
        left -= taken
    return Match(quantity - left, tuple(fills))
