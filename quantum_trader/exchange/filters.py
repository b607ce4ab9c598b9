"""Turn exchangeInfo into trading rules (BINANCE.md 7).

Steps and limits come from the filters, never from ``quantityPrecision``. The exchange holds a
MARKET order to MARKET_LOT_SIZE, and some of its venues to LOT_SIZE as well. Both are applied: the
larger minimum, the smaller maximum, and the smallest step that is a whole multiple of both. A 0
switches that part of a filter off.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from quantum_trader.domain.trading import ZERO, QuantityLimits, SymbolRules
from quantum_trader.exchange.endpoints import EXCHANGE_INFO
from quantum_trader.exchange.errors import ReplyUnreadable
from quantum_trader.exchange.fields import Row
from quantum_trader.exchange.weight import Counter, RateLimit, interval_ms

_COUNTERS = {counter.value: counter for counter in Counter}
_NO_LIMITS = QuantityLimits(minimum=ZERO, maximum=ZERO, step=ZERO)


@dataclass(frozen=True, slots=True)
class ExchangeInfo:
    """Rules by symbol, the rate limits, and which symbols could not be read and why."""

    rules: Mapping[str, SymbolRules]
    rate_limits: tuple[RateLimit, ...]
    unreadable: Mapping[str, str]


def exchange_info(content: Any) -> ExchangeInfo:
    """Read an exchangeInfo reply.

    A symbol with a damaged filter is left out and named in ``unreadable``, so that it does not take
    the others down with it; unknown filters, statuses and rate limits are passed over. Raises
    ``ReplyUnreadable`` when the whole has another shape, or not one symbol can be read.
    """
    endpoint = str(EXCHANGE_INFO)
    info = Row(endpoint, content)
    rules, unreadable = {}, {}
    for row in info.rows("symbols"):
        symbol = row.text("symbol")
        try:
            rules[symbol] = symbol_rules(row)
        except ReplyUnreadable as error:
            unreadable[symbol] = error.reason
    if not rules:
        raise ReplyUnreadable(endpoint, "symbols", "holds no readable symbol")
    return ExchangeInfo(rules, _rate_limits(info), unreadable)


def symbol_rules(row: Row) -> SymbolRules:
    """Read one entry of ``symbols``. Raises ``ReplyUnreadable`` naming the damaged field."""
    filters = {each.text("filterType"): each for each in row.rows("filters")}
    plain, market = _limits(filters.get("LOT_SIZE")), _limits(filters.get("MARKET_LOT_SIZE"))
    notional = filters.get("MIN_NOTIONAL")
    return SymbolRules(
        symbol=row.text("symbol"),
        status=row.text("status"),
        market_quantity=_both(plain, market),
        notional_min=_not_negative(notional, "notional") if notional is not None else ZERO,
    )


def _limits(row: Row | None) -> QuantityLimits:
    if row is None:
        return _NO_LIMITS
    return QuantityLimits(
        minimum=_not_negative(row, "minQty"),
        maximum=_not_negative(row, "maxQty"),
        step=_not_negative(row, "stepSize"),
    )


def _not_negative(row: Row, field: str) -> Decimal:
    number = row.decimal(field)
    if number < 0:
        raise row.wrong(field, "0 or more")
    return number


def _both(plain: QuantityLimits, market: QuantityLimits) -> QuantityLimits:
    return QuantityLimits(
        minimum=max(plain.minimum, market.minimum),
        maximum=_smaller_maximum(plain.maximum, market.maximum),
        step=_common_step(plain.step, market.step),
    )


def _smaller_maximum(one: Decimal, other: Decimal) -> Decimal:
    return min(one, other) if one and other else one or other


def _common_step(one: Decimal, other: Decimal) -> Decimal:
    if one == 0 or other == 0:
        return one or other
    (p, q), (r, s) = one.as_integer_ratio(), other.as_integer_ratio()
    return Decimal(math.lcm(p * s, r * q)) / Decimal(q * s)


def _rate_limits(info: Row) -> tuple[RateLimit, ...]:
    if "rateLimits" not in info:
        return ()
    limits = (_rate_limit(row) for row in info.rows("rateLimits"))
    return tuple(limit for limit in limits if limit is not None)


def _rate_limit(row: Row) -> RateLimit | None:
    kind = row.text("rateLimitType")
    window_ms = interval_ms(row.text("interval"), row.integer("intervalNum"))
    counter = _COUNTERS.get(kind)
    if counter is None or window_ms is None:
        return None
    return RateLimit(counter, window_ms, row.integer("limit"))
