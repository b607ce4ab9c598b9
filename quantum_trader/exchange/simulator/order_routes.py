"""Endpoints of orders and trades (BINANCE.md 8.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from quantum_trader.exchange.simulator.bars import DAY_MS
from quantum_trader.exchange.simulator.calls import Call, Route, Security, Weight
from quantum_trader.exchange.simulator.errors import RefusedError, missing
from quantum_trader.exchange.simulator.model import Order, Trade
from quantum_trader.exchange.simulator.order_request import required_of_order
from quantum_trader.exchange.simulator.parameters import Params, limit, optional_integer
from quantum_trader.exchange.simulator.replies import (
    Body,
    acknowledged,
    listed,
    placed,
    queried,
    trade_row,
)

_WEEK_MS: Final = 7 * DAY_MS
ONE_ORDER: Final = (1, 1)
_ROWS: Final = 500
_ROWS_MAX: Final = 1000


def place_order(call: Call) -> Body:
    """``POST /fapi/v1/order``."""
    hide_ms = call.distortion.hide_order_ms
    order = call.venue.place(call.account, call.params, call.now_ms, hide_ms=hide_ms)
    # With RESULT a resting GTC order still answers NEW: that is its state.
    return placed(order) if call.params.get("newOrderRespType") == "RESULT" else acknowledged(order)


def test_order(call: Call) -> Body:
    """``POST /fapi/v1/order/test``: everything is checked, nothing is placed."""
    return placed(call.venue.place(call.account, call.params, call.now_ms, only_test=True))


def query_order(call: Call) -> Body:
    """``GET /fapi/v1/order``; -2013 where it is not (yet) known."""
    return queried(found(call, -2013))


def query_open_order(call: Call) -> Body:
    """``GET /fapi/v1/openOrder``; -2013 where it is not open any more."""
    order = found(call, -2013)
    if order.status.is_final:
        raise RefusedError(-2013)
    return queried(order)


def open_orders(call: Call) -> list[Body]:
    """``GET /fapi/v1/openOrders``, of one symbol or all."""
    let_pass(call)
    symbol = call.spec().symbol if call.params.get("symbol") else None
    orders = _visible(call, call.account.open_orders.values())
    return [queried(order) for order in orders if symbol in (None, order.symbol)]


def all_orders(call: Call) -> list[Body]:
    """``GET /fapi/v1/allOrders``: the newest of the window, ascending."""
    let_pass(call)
    symbol = call.spec().symbol if call.params.get("symbol") else None
    inside = in_window(call, limit_to_week=False)
    from_id = optional_integer(call.params, "orderId") or 0
    rows = [
        order
        for order in _visible(call, call.account.orders.values())
        if symbol in (None, order.symbol) and order.order_id >= from_id and inside(order.created_ms)
    ]
    count = rows_limit(call)
    return [listed(order) for order in (rows[:count] if from_id else rows[-count:])]


def cancel_order(call: Call) -> Body:
    """``DELETE /fapi/v1/order``; -2011 where it is not open."""
    order = found(call, -2011)
    call.venue.cancel(call.account, order, call.now_ms)
    return placed(order)


def cancel_open_orders(call: Call) -> Body:
    """``DELETE /fapi/v1/allOpenOrders``."""
    let_pass(call)
    call.venue.cancel_all(call.account, call.account.open_on(call.spec().symbol), call.now_ms)
    return {"code": 200, "msg": "The operation of cancel all open order is done."}


def user_trades(call: Call) -> list[Body]:
    """``GET /fapi/v1/userTrades``: the oldest of the window, ascending.

    Without times the last seven days, as on the real venue; ``fromId`` excludes times (-1128 is
    not used there: it simply wins).
    """
    let_pass(call)
    symbol = call.spec().symbol
    from_id = optional_integer(call.params, "fromId")
    inside = in_window(call, limit_to_week=from_id is None)
    order_id = optional_integer(call.params, "orderId")

    def wanted(trade: Trade) -> bool:
        return (
            trade.symbol == symbol
            and (order_id is None or trade.order_id == order_id)
            and (trade.trade_id >= from_id if from_id is not None else inside(trade.time_ms))
        )

    rows = [trade for trade in call.account.trades if wanted(trade)]
    return [trade_row(trade) for trade in rows[: rows_limit(call)]]


def in_window(call: Call, *, limit_to_week: bool) -> Callable[[int], bool]:
    """Whether a time lies between ``startTime`` and ``endTime``; -1023 where they are reversed."""
    start_ms = optional_integer(call.params, "startTime")
    end_ms = optional_integer(call.params, "endTime")
    if start_ms is not None and end_ms is not None and end_ms < start_ms:
        raise RefusedError(-1023, "Start time is greater than end time.")
    if limit_to_week:
        if start_ms is None:
            start_ms = (call.now_ms if end_ms is None else end_ms) - _WEEK_MS
        end_ms = min(start_ms + _WEEK_MS, end_ms or call.now_ms)
    first_ms, last_ms = start_ms or 0, call.now_ms if end_ms is None else end_ms
    return lambda at_ms: first_ms <= at_ms <= last_ms


def found(call: Call, code: int) -> Order:
    """The order that the call names, or a refusal with ``code``."""
    if not (call.params.get("orderId") or call.params.get("origClientOrderId")):
        raise missing("orderId")
    let_pass(call)
    order = call.venue.find(call.account, call.params, call.now_ms)
    if order is None:
        raise RefusedError(code)
    return order


def let_pass(call: Call) -> None:
    """Bring the caller's account up to now."""
    call.venue.let_pass(call.account, call.now_ms)


def rows_limit(call: Call) -> int:
    """How many rows a list of orders or trades may have."""
    return limit(call.params, _ROWS, _ROWS_MAX)


def _visible(call: Call, orders: Iterable[Order]) -> list[Order]:
    return [order for order in orders if order.hidden_until_ms <= call.now_ms]


def signed(handler: Callable[[Call], Any], weight: Weight, *required: str) -> Route:
    """An entry of the routing table for a signed call."""
    return Route(Security.SIGNED, handler, weight, required)


def open_orders_weight(params: Params) -> int:
    """1 for one symbol, 40 for all."""
    return 1 if params.get("symbol") else 40


ROUTES: Final[dict[tuple[str, str], Route]] = {
    ("POST", "/fapi/v1/order"): Route(
        Security.SIGNED, place_order, 0, required_of_order, order_cost=ONE_ORDER
    ),
    ("POST", "/fapi/v1/order/test"): Route(Security.SIGNED, test_order, 1, required_of_order),
    ("GET", "/fapi/v1/order"): signed(query_order, 1, "symbol"),
    ("DELETE", "/fapi/v1/order"): signed(cancel_order, 1, "symbol"),
    ("GET", "/fapi/v1/openOrder"): signed(query_open_order, 1, "symbol"),
    ("GET", "/fapi/v1/openOrders"): signed(open_orders, open_orders_weight),
    ("GET", "/fapi/v1/allOrders"): signed(all_orders, 5),
    ("DELETE", "/fapi/v1/allOpenOrders"): signed(cancel_open_orders, 1, "symbol"),
    ("GET", "/fapi/v1/userTrades"): signed(user_trades, 5, "symbol"),
}
