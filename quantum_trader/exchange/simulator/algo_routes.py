"""Endpoints of conditional orders (BINANCE.md 8.3)."""

from __future__ import annotations

from typing import Final

from quantum_trader.exchange.simulator.algo_model import AlgoOrder
from quantum_trader.exchange.simulator.algo_replies import open_algo, past_algo, placed_algo
from quantum_trader.exchange.simulator.calls import Call, Route, Security
from quantum_trader.exchange.simulator.errors import RefusedError, missing
from quantum_trader.exchange.simulator.order_routes import (
    ONE_ORDER,
    in_window,
    let_pass,
    open_orders_weight,
    rows_limit,
    signed,
)
from quantum_trader.exchange.simulator.parameters import optional_integer
from quantum_trader.exchange.simulator.replies import Body


def place_algo(call: Call) -> Body:
    """``POST /fapi/v1/algoOrder``."""
    return placed_algo(call.venue.place_algo(call.account, call.params, call.now_ms))


def cancel_algo(call: Call) -> Body:
    """``DELETE /fapi/v1/algoOrder``: the code is a text, as on the real venue; -2011 when not open."""
    algo = _found(call, -2011)
    call.venue.cancel_algo(call.account, algo, call.now_ms)
    return {
        "algoId": algo.algo_id,
        "clientAlgoId": algo.client_algo_id,
        "code": "200",
        "msg": "success",
    }


def cancel_all_algos(call: Call) -> Body:
    """``DELETE /fapi/v1/algoOpenOrders`` of one symbol."""
    let_pass(call)
    symbol = call.spec().symbol
    for algo in [algo for algo in call.account.open_algos.values() if algo.symbol == symbol]:
        call.venue.cancel_algo(call.account, algo, call.now_ms)
    return {"code": 200, "msg": "The operation of cancel all open order is done."}


def query_algo(call: Call) -> Body:
    """``GET /fapi/v1/algoOrder``; -2013 where it is unknown."""
    return past_algo(_found(call, -2013))


def open_algos(call: Call) -> list[Body]:
    """``GET /fapi/v1/openAlgoOrders``, of one symbol or all."""
    let_pass(call)
    symbol = call.spec().symbol if call.params.get("symbol") else None
    algo_id = optional_integer(call.params, "algoId")
    return [
        open_algo(algo)
        for algo in call.account.open_algos.values()
        if symbol in (None, algo.symbol) and algo_id in (None, algo.algo_id)
    ]


def all_algos(call: Call) -> list[Body]:
    """``GET /fapi/v1/allAlgoOrders``: the newest of the window, ascending."""
    let_pass(call)
    symbol, from_id = call.spec().symbol, optional_integer(call.params, "algoId") or 0
    inside = in_window(call, limit_to_week=False)
    rows = [
        algo
        for algo in call.account.algos.values()
        if algo.symbol == symbol and algo.algo_id >= from_id and inside(algo.created_ms)
    ]
    count = rows_limit(call)
    return [past_algo(algo) for algo in (rows[:count] if from_id else rows[-count:])]


def _found(call: Call, code: int) -> AlgoOrder:
    algo_id, client_algo_id = optional_integer(call.params, "algoId"), call.params.get("clientAlgoId")
    if algo_id is None and not client_algo_id:
        raise missing("algoId")
    let_pass(call)
    algo = call.account.find_algo(algo_id, client_algo_id or "")
    if algo is None:
        raise RefusedError(code)
    return algo


ROUTES: Final[dict[tuple[str, str], Route]] = {
    ("POST", "/fapi/v1/algoOrder"): Route(
        Security.SIGNED, place_algo, 0, ("algoType", "symbol", "side", "type"), order_cost=ONE_ORDER
    ),
    ("DELETE", "/fapi/v1/algoOrder"): signed(cancel_algo, 1),
    ("GET", "/fapi/v1/algoOrder"): signed(query_algo, 1),
    ("DELETE", "/fapi/v1/algoOpenOrders"): signed(cancel_all_algos, 1, "symbol"),
    ("GET", "/fapi/v1/openAlgoOrders"): signed(open_algos, open_orders_weight),
    ("GET", "/fapi/v1/allAlgoOrders"): signed(all_algos, 5, "symbol"),
}
