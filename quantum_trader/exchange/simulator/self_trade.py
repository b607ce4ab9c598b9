"""Self-trade prevention: an order that would meet resting orders of its own account (BINANCE.md 12.3).

The taker's mode decides. At one price the others' orders stand in front of one's own, so an order of
one's own is met where the taker goes on to worse prices than its, or is not satisfied at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from quantum_trader.exchange.simulator.book import Match
from quantum_trader.exchange.simulator.model import Order

EXPIRED_PREVENTED: Final = 1
EXPIRED_IOC_PREVENTED: Final = 3
_MAKER_GOES: Final = frozenset({"EXPIRE_MAKER", "EXPIRE_BOTH"})
_TAKER_GOES: Final = frozenset({"EXPIRE_TAKER", "EXPIRE_BOTH"})
_NOT_EFFECTIVE: Final = frozenset({"FOK", "GTX"})


@dataclass(frozen=True, slots=True)
class Prevention:
    """What the taker still takes, which resting orders end, and whether the taker's rest ends, too."""

    match: Match
    makers: tuple[Order, ...] = ()
    ends_taker: bool = False

    @staticmethod
    def reason_of(taker: Order) -> int:
        """The taker's expiry reason (BINANCE.md 6, ``er``)."""
        return EXPIRED_IOC_PREVENTED if taker.time_in_force == "IOC" else EXPIRED_PREVENTED


def prevention(taker: Order, match: Match, resting: Iterable[Order]) -> Prevention:
    """Judge a ``taker`` that is about to take ``match`` while its account's orders are ``resting``."""
    mode = taker.self_trade_prevention
    if taker.time_in_force in _NOT_EFFECTIVE or mode not in _MAKER_GOES | _TAKER_GOES:
        return Prevention(match)
    met = [order for order in resting if order.side is not taker.side and _is_met(order, taker, match)]
    if not met:
        return Prevention(match)
    makers = tuple(met) if mode in _MAKER_GOES else ()
    if mode not in _TAKER_GOES:
        return Prevention(match, makers)
    first = min((order.price for order in met), key=lambda price: price * taker.side.sign)
    return Prevention(_up_to(match, first, taker), makers, ends_taker=True)


def _is_met(order: Order, taker: Order, match: Match) -> bool:
    satisfied = match.quantity >= taker.remaining
    worst = match.fills[-1].price if satisfied or taker.type == "MARKET" else taker.price
    beyond = (worst - order.price) * taker.side.sign
    return beyond > 0 if satisfied else beyond >= 0


def _up_to(match: Match, price: Decimal, taker: Order) -> Match:
    """The fills that are not worse than ``price``."""
    fills = tuple(fill for fill in match.fills if (fill.price - price) * taker.side.sign <= 0)
    return Match(sum((fill.quantity for fill in fills), Decimal(0)), fills)
