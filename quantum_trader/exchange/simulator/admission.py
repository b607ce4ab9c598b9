"""Whether an account may place a well-formed order: steps 14 to 17 of BINANCE.md 7, in order."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from quantum_trader.exchange.simulator.brackets import notional_cap
from quantum_trader.exchange.simulator.errors import RefusedError
from quantum_trader.exchange.simulator.margin import initial_margin
from quantum_trader.exchange.simulator.market import Quote
from quantum_trader.exchange.simulator.model import Account
from quantum_trader.exchange.simulator.order_request import OrderRequest
from quantum_trader.exchange.simulator.symbols import OPEN_ORDERS_MAX
from quantum_trader.exchange.simulator.valuation import (
    LegValue,
    MarkOf,
    balances,
    brackets_of,
    value_leg,
    value_legs,
)

ZERO: Final = Decimal(0)
_MARKET_SLIPPAGE: Final = Decimal("0.0005")  # the venue assumes a price slightly worse than best


def admit(
    account: Account, request: OrderRequest, quote: Quote, mark_of: MarkOf, *, clamps_reduce_only: bool
) -> None:
    """Raise ``RefusedError`` (-2022, -4118, -2025, -2027, -2019) unless the order may be placed."""
    if request.only_reduces:
        _check_reduces(account, request, clamps=clamps_reduce_only)
    if not request.is_market and len(account.open_on(request.spec.symbol)) >= OPEN_ORDERS_MAX:
        raise RefusedError(-2025)
    resting = [order for order in account.open_orders.values() if order.leg == request.leg]
    value = value_leg(account, request.leg, quote.mark, resting)
    if request.only_reduces:
        _check_leftover(account, request, value, mark_of)
    else:
        _check_margin(account, request, quote, value, mark_of)


def _check_reduces(account: Account, request: OrderRequest, *, clamps: bool) -> None:
    amount = account.amount(request.leg)
    if amount * request.side.sign >= 0:
        raise RefusedError(-2022)
    room = abs(amount)
    if not (request.reduce_only and request.is_market):
        room -= _reduced_by_resting(account, request)
    must_fit = not request.reduce_only or not clamps
    if room <= 0 or (must_fit and request.quantity > room):
        raise RefusedError(-2022)


def _reduced_by_resting(account: Account, request: OrderRequest) -> Decimal:
    rivals = (order for order in account.open_orders.values() if order.leg == request.leg)
    return sum((order.remaining for order in rivals if order.only_reduces), ZERO)


def _check_leftover(account: Account, request: OrderRequest, value: LegValue, mark_of: MarkOf) -> None:
    """-4118: without the position, resting orders would open more than the margin carries."""
    if not value.bid_notional and not value.ask_notional:
        return
    left = value.notional + request.side.sign * min(request.quantity * value.mark, abs(value.notional))
    before = value.position_margin + value.order_margin
    after = _margin(value, left, value.bid_notional, value.ask_notional)
    if after > before and after - before > _available(account, mark_of):
        raise RefusedError(-4118)


def _check_margin(
    account: Account, request: OrderRequest, quote: Quote, value: LegValue, mark_of: MarkOf
) -> None:
    sign = request.side.sign
    best = quote.ask if sign > 0 else quote.bid
    price = best * (1 + sign * _MARKET_SLIPPAGE) if request.is_market else request.price
    added = request.quantity * price
    bids = value.bid_notional + (added if sign > 0 else ZERO)
    asks = value.ask_notional + (added if sign < 0 else ZERO)
    before = _exposure(value.notional, value.bid_notional, value.ask_notional)
    growth = _exposure(value.notional, bids, asks) - before
    if growth <= 0:
        return
    if before + growth > notional_cap(brackets_of(request.spec.symbol), value.leverage):
        raise RefusedError(-2027)
    open_loss = growth / price * max(ZERO, sign * (price - value.mark))
    held = value.position_margin + value.order_margin
    cost = _margin(value, value.notional, bids, asks) - held + open_loss
    if cost > _available(account, mark_of):
        raise RefusedError(-2019)


def _exposure(notional: Decimal, bids: Decimal, asks: Decimal) -> Decimal:
    return max(abs(notional), abs(notional + bids), abs(notional - asks))


def _margin(value: LegValue, notional: Decimal, bids: Decimal, asks: Decimal) -> Decimal:
    return initial_margin(_exposure(notional, bids, asks), value.leverage)


def _available(account: Account, mark_of: MarkOf) -> Decimal:
    return balances(account, value_legs(account, mark_of)).available
