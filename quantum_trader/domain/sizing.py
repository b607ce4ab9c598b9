"""From an asked quantity to one the exchange takes (SPEC 5, exchange_sizing).

Quantities only ever shrink to the symbol's step, except where upsizing is allowed for opens.
A full close closes exactly the position, dust included, and exits are exempt from the minimum
notional. An exit above the largest market order stays whole here; it is split when sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from msgspec import Struct

from quantum_trader.domain.intention import Intention
from quantum_trader.domain.reasons import Reason
from quantum_trader.domain.trading import SymbolRules


@dataclass(frozen=True, slots=True)
class SizingPolicy:
    """What the config says about sizes: upsizing, and the per-trade cap in USDT (None: no cap)."""

    allow_upsize: bool = False
    notional_usdt_max: Decimal | None = None


class Sizing(Struct, frozen=True, gc=False):
    """A legal quantity in base asset, or the reason why there is none."""

    quantity: Decimal
    problem: Reason | None = None


def size_exit(intention: Intention, rules: SymbolRules | None, *, by_fraction: bool) -> Sizing:
    """Size an exit; without rules it goes out as asked, and without side or quantity not at all."""
    asked = intention.quantity
    if asked is None or intention.side is None:
        return Sizing(Decimal(0), Reason.EXIT_UNSIZED)
    if rules is None or intention.closes_all:
        return Sizing(asked)
    rounded = rules.market_quantity.round_down(asked)
    if rounded == 0:
        return Sizing(rounded, Reason.PARTIAL_ROUNDS_TO_ZERO if by_fraction else Reason.QTY_BELOW_MIN)
    if rounded < rules.market_quantity.minimum:
        return Sizing(rounded, Reason.QTY_BELOW_MIN)
    return Sizing(rounded)


def size_open(asked: Decimal, rules: SymbolRules, mark_price: Decimal, policy: SizingPolicy) -> Sizing:
    """Size an open at ``mark_price`` (quote asset)."""
    limits = rules.market_quantity
    smallest = max(limits.smallest, limits.round_up(rules.notional_min / mark_price))
    if policy.notional_usdt_max is not None and smallest * mark_price > policy.notional_usdt_max:
        return Sizing(limits.round_down(asked), Reason.INFEASIBLE_SIZING)
    rounded = limits.round_down(asked)
    if policy.allow_upsize:
        rounded = max(rounded, smallest)
    return Sizing(rounded, _open_problem(rounded, rules, mark_price))


def _open_problem(quantity: Decimal, rules: SymbolRules, mark_price: Decimal) -> Reason | None:
    limits = rules.market_quantity
    if quantity <= 0 or quantity < limits.minimum:
        return Reason.QTY_BELOW_MIN
    if limits.maximum > 0 and quantity > limits.maximum:
        return Reason.QTY_ABOVE_MAX
    if quantity * mark_price < rules.notional_min:
        return Reason.MIN_NOTIONAL_CHECK_FAILED
    return None


def split(quantity: Decimal, rules: SymbolRules | None) -> Decimal:
    """Return the first part of ``quantity`` that one market order may carry."""
    if rules is None or rules.market_quantity.maximum <= 0 or quantity <= rules.market_quantity.maximum:
        return quantity
    return rules.market_quantity.round_down(rules.market_quantity.maximum)
