"""Reply bodies and stream payloads of conditional orders: three shapes in REST, one in streams."""

from __future__ import annotations

from quantum_trader.exchange.simulator.algo_model import TRAILING, AlgoOrder
from quantum_trader.exchange.simulator.events import AlgoEvent
from quantum_trader.exchange.simulator.replies import Body, plain


def placed_algo(algo: AlgoOrder) -> Body:
    """Reply to ``POST /fapi/v1/algoOrder``."""
    return {
        "algoId": algo.algo_id,
        "clientAlgoId": algo.client_algo_id,
        "algoType": "CONDITIONAL",
        "orderType": algo.type,
        "symbol": algo.symbol,
        "side": algo.side.value,
        "positionSide": algo.position_side.value,
        "timeInForce": algo.time_in_force,
        "quantity": plain(algo.quantity),
        "algoStatus": algo.status,
        "triggerPrice": plain(algo.trigger_price),
        "price": plain(algo.price),
        "icebergQuantity": None,
        "selfTradePreventionMode": algo.self_trade_prevention,
        "workingType": algo.working_type,
        "priceMatch": algo.price_match,
        "closePosition": algo.close_position,
        "priceProtect": algo.price_protect,
        "reduceOnly": algo.reduce_only,
        "activatePrice": plain(algo.activate_price) if algo.type == TRAILING else "",
        "callbackRate": plain(algo.callback_rate) if algo.type == TRAILING else "",
        "createTime": algo.created_ms,
        "updateTime": algo.updated_ms,
        "triggerTime": algo.triggered_ms,
        "goodTillDate": algo.good_till_ms,
    }


def open_algo(algo: AlgoOrder) -> Body:
    """One row of ``GET /fapi/v1/openAlgoOrders``."""
    body = placed_algo(algo)
    body.update(actualOrderId="", actualPrice="0", actualQty="0", tpOrderType="", isActivated=False)
    return body


def past_algo(algo: AlgoOrder) -> Body:
    """The shape of ``GET /fapi/v1/algoOrder`` and of ``allAlgoOrders``."""
    body = placed_algo(algo)
    body.update(
        actualOrderId=_actual_id(algo),
        actualPrice=plain(algo.actual_price),
        actualQty=plain(algo.actual_quantity),
        tpOrderType="",
    )
    if algo.actual_order_id:
        body["actualType"] = algo.plain_type
    return body


def algo_update(event: AlgoEvent) -> Body:
    """``ALGO_UPDATE``; ``aq`` and ``ap`` appear once the plain order has filled."""
    algo = event.algo
    body = {
        "caid": algo.client_algo_id,
        "aid": algo.algo_id,
        "at": "CONDITIONAL",
        "o": algo.type,
        "s": algo.symbol,
        "S": algo.side.value,
        "ps": algo.position_side.value,
        "f": algo.time_in_force,
        "q": plain(algo.quantity),
        "X": algo.status,
        "ai": _actual_id(algo),
        "ap": plain(algo.actual_price),
        "aq": plain(algo.actual_quantity),
        "act": algo.plain_type if algo.actual_order_id else "0",
        "tp": plain(algo.trigger_price),
        "p": plain(algo.price),
        "V": algo.self_trade_prevention,
        "wt": algo.working_type,
        "pm": algo.price_match,
        "cp": algo.close_position,
        "pP": algo.price_protect,
        "R": algo.reduce_only,
        "tt": algo.triggered_ms,
        "gtd": algo.good_till_ms,
        "rm": algo.reject_reason,
    }
    if algo.type == TRAILING:
        body.update(AP=plain(algo.activate_price), cr=plain(algo.callback_rate), ia=bool(algo.extreme))
    return {"e": "ALGO_UPDATE", "T": event.at_ms, "E": event.at_ms, "o": body}


def _actual_id(algo: AlgoOrder) -> str:
    return str(algo.actual_order_id) if algo.actual_order_id else ""
