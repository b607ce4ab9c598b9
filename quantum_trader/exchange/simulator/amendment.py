"""A resting LIMIT order gets another price or quantity (BINANCE.md 8.2, PUT /fapi/v1/order)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Final

from quantum_trader.domain.order import OrderStatus
from quantum_trader.exchange.simulator.admission import admit
from quantum_trader.exchange.simulator.errors import RefusedError, missing
from quantum_trader.exchange.simulator.execution import Desk
from quantum_trader.exchange.simulator.market import Quote
from quantum_trader.exchange.simulator.model import Account, Amendment, Order
from quantum_trader.exchange.simulator.order_request import OrderRequest, check_filters, limit_price
from quantum_trader.exchange.simulator.parameters import Params, boolean, decimal, optional_integer

AMENDMENTS_MAX: Final = 10_000


def amend(desk: Desk, account: Account, order: Order, params: Params, now_ms: int) -> None:
    """Change ``order`` as ``params`` ask; it is cancelled where the change leaves nothing to do.

    Raises ``RefusedError`` and leaves the order as it was: -5025, -5026, -5027, -5047, -1102,
    and what a fresh order would get.
    """
    _check_amendable(account, order, params)
    quote = desk.market.quote(order.symbol, now_ms)
    request = _amended(desk, order, params, quote)
    if (request.price, request.quantity) == (order.price, order.quantity):
        raise RefusedError(-5027)
    check_filters(request, quote)
    if request.quantity <= order.executed:
        desk.finish(account, order, OrderStatus.CANCELED, 0, now_ms)
        return
    rest = replace(request, quantity=request.quantity - order.executed)
    _without(account, order, lambda: _admit(desk, account, rest, quote, now_ms))
    try:
        match = desk.takes(account, rest, quote)
    except RefusedError:  # a post-only order that would take
        desk.finish(account, order, OrderStatus.CANCELED, 0, now_ms)
        return
    order.modify_id = optional_integer(params, "modifyId")
    _write_down(account, order, request, now_ms)
    order.price, order.quantity, order.updated_ms = request.price, request.quantity, now_ms
    desk.tell_order(account, order, "AMENDMENT", None, now_ms)
    del account.open_orders[order.symbol, order.order_id]  # it goes to the end of the queue
    desk.work(account, order, match, now_ms)


def _check_amendable(account: Account, order: Order, params: Params) -> None:
    if (order.symbol, order.order_id) not in account.open_orders:
        raise RefusedError(-2011)
    if order.type != "LIMIT":
        raise RefusedError(-5025)
    if order.amendments >= AMENDMENTS_MAX:
        raise RefusedError(-5026)
    if params["side"] != order.side.value:
        raise missing("side")
    if boolean(params, "reduceOnly") and not order.reduce_only:
        raise RefusedError(-5047)


def _amended(desk: Desk, order: Order, params: Params, quote: Quote) -> OrderRequest:
    spec, match = desk.specs[order.symbol], params.get("priceMatch") or "NONE"
    return OrderRequest(
        spec=spec,
        side=order.side,
        position_side=order.position_side,
        type=order.type,
        time_in_force=order.time_in_force,
        quantity=decimal(params, "quantity"),
        price=limit_price(params, spec, quote, order.side, match),
        reduce_only=order.reduce_only,
        client_order_id=order.client_order_id,
        wants_result=True,
        price_match=match,
        self_trade_prevention=order.self_trade_prevention,
        good_till_ms=order.good_till_ms,
    )


def _admit(desk: Desk, account: Account, request: OrderRequest, quote: Quote, now_ms: int) -> None:
    def mark_of(symbol: str) -> Decimal:
        return desk.market.quote(symbol, now_ms).mark

    admit(account, request, quote, mark_of, clamps_reduce_only=desk.terms.clamps_reduce_only)


def _without(account: Account, order: Order, check: Callable[[], None]) -> None:
    """Run ``check`` as if ``order`` did not rest."""
    resting = dict(account.open_orders)
    del account.open_orders[order.symbol, order.order_id]
    try:
        check()
    finally:
        account.open_orders = resting


def _write_down(account: Account, order: Order, request: OrderRequest, now_ms: int) -> None:
    order.amendments += 1
    account.amendments.append(
        Amendment(
            number=order.amendments,
            symbol=order.symbol,
            order_id=order.order_id,
            client_order_id=order.client_order_id,
            price=(order.price, request.price),
            quantity=(order.quantity, request.quantity),
            modify_id=order.modify_id,
            time_ms=now_ms,
        )
    )
