"""Endpoints that change orders, or many at once (BINANCE.md 8.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import orjson

from quantum_trader.exchange.simulator.calls import Call, Route, Security
from quantum_trader.exchange.simulator.errors import RefusedError, missing
from quantum_trader.exchange.simulator.model import Amendment
from quantum_trader.exchange.simulator.order_routes import (
    ONE_ORDER,
    cancel_order,
    found,
    in_window,
    let_pass,
    place_order,
    rows_limit,
    signed,
)
from quantum_trader.exchange.simulator.parameters import integer, optional_integer, required
from quantum_trader.exchange.simulator.replies import Body, placed, plain

PLACED_AT_ONCE_MAX: Final = 5
CANCELLED_AT_ONCE_MAX: Final = 10
BATCH_COST: Final = (5, 1)
_AMENDMENT_IDS: Final = 10_000


def modify_order(call: Call) -> Body:
    """``PUT /fapi/v1/order``."""
    order = found(call, -2013)
    call.venue.amend(call.account, order, call.params, call.now_ms)
    body = {**placed(order), "pair": order.symbol}
    modify_id = optional_integer(call.params, "modifyId")
    return body if modify_id is None else {**body, "modifyId": modify_id}


def amendments(call: Call) -> list[Body]:
    """``GET /fapi/v1/orderAmendment``: the newest first."""
    let_pass(call)
    symbol, inside = call.spec().symbol, in_window(call, limit_to_week=False)
    order_id, client_id = optional_integer(call.params, "orderId"), call.params.get("origClientOrderId")
    rows = [
        _amendment_row(row)
        for row in reversed(call.account.amendments)
        if row.symbol == symbol
        and order_id in (None, row.order_id)
        and (not client_id or row.client_order_id == client_id)
        and inside(row.time_ms)
    ]
    return rows[: rows_limit(call)]


def _amendment_row(row: Amendment) -> Body:
    named = {} if row.modify_id is None else {"modifyId": row.modify_id}
    return {
        "amendmentId": row.order_id * _AMENDMENT_IDS + row.number,
        "symbol": row.symbol,
        "pair": row.symbol,
        "orderId": row.order_id,
        "clientOrderId": row.client_order_id,
        "time": row.time_ms,
        "amendment": {
            "price": {"before": plain(row.price[0]), "after": plain(row.price[1])},
            "origQty": {"before": plain(row.quantity[0]), "after": plain(row.quantity[1])},
            "count": row.number,
            **named,
        },
    }


def place_batch(call: Call) -> list[Body]:
    """``POST /fapi/v1/batchOrders``: an order or an error for each, in the order of the request."""
    return _each(call, _orders(call), ("symbol", "side", "type"), place_order)


def modify_batch(call: Call) -> list[Body]:
    """``PUT /fapi/v1/batchOrders``."""
    return _each(call, _orders(call), ("symbol", "side", "quantity"), modify_order)


def cancel_batch(call: Call) -> list[Body]:
    """``DELETE /fapi/v1/batchOrders`` by ``orderIdList`` or ``origClientOrderIdList``."""
    call.spec()
    name = "orderIdList" if call.params.get("orderIdList") else "origClientOrderIdList"
    ids = _json_list(call, name)
    if len(ids) > CANCELLED_AT_ONCE_MAX:
        raise RefusedError(-4032)
    field = "orderId" if name == "orderIdList" else "origClientOrderId"
    orders = [{"symbol": call.params["symbol"], field: str(one)} for one in ids]
    return _each(call, orders, (), cancel_order)


def _orders(call: Call) -> list[dict[str, str]]:
    rows = _json_list(call, "batchOrders")
    if not 0 < len(rows) <= PLACED_AT_ONCE_MAX:
        raise RefusedError(-4082)
    if not all(isinstance(row, dict) for row in rows):
        raise missing("batchOrders")
    return [{name: _text(cell) for name, cell in row.items()} for row in rows]


def _text(cell: Any) -> str:
    return str(cell).lower() if isinstance(cell, bool) else str(cell)


def _json_list(call: Call, name: str) -> list[Any]:
    try:
        rows = orjson.loads(required(call.params, name))
    except orjson.JSONDecodeError:
        raise missing(name) from None
    if not isinstance(rows, list):
        raise missing(name)
    return rows


def _each(
    call: Call, rows: list[dict[str, str]], needed: tuple[str, ...], handler: Callable[[Call], Body]
) -> list[Body]:
    return [_one(replace(call, params=row), needed, handler) for row in rows]


def _one(call: Call, needed: tuple[str, ...], handler: Callable[[Call], Body]) -> Body:
    try:
        for name in needed:
            required(call.params, name)
        return handler(call)
    except RefusedError as refusal:
        return {"code": refusal.code, "msg": refusal.msg}


def count_down(call: Call) -> Body:
    """``POST /fapi/v1/countdownCancelAll``: the symbol's plain orders end unless it is called again."""
    let_pass(call)
    symbol, countdown_ms = call.spec().symbol, integer(call.params, "countdownTime")
    if countdown_ms < 0:
        raise RefusedError(-1130, name="countdownTime")
    if countdown_ms:
        call.account.countdowns[symbol] = call.now_ms + countdown_ms
    else:
        call.account.countdowns.pop(symbol, None)
    return {"symbol": symbol, "countdownTime": str(countdown_ms)}


ROUTES: Final[dict[tuple[str, str], Route]] = {
    ("PUT", "/fapi/v1/order"): Route(
        Security.SIGNED, modify_order, 0, ("symbol", "side", "quantity"), order_cost=ONE_ORDER
    ),
    ("GET", "/fapi/v1/orderAmendment"): signed(amendments, 1, "symbol"),
    ("POST", "/fapi/v1/batchOrders"): Route(
        Security.SIGNED, place_batch, 5, ("batchOrders",), order_cost=BATCH_COST
    ),
    ("PUT", "/fapi/v1/batchOrders"): Route(
        Security.SIGNED, modify_batch, 5, ("batchOrders",), order_cost=BATCH_COST
    ),
    ("DELETE", "/fapi/v1/batchOrders"): signed(cancel_batch, 1, "symbol"),
    ("POST", "/fapi/v1/countdownCancelAll"): signed(count_down, 10, "symbol", "countdownTime"),
}
