"""Endpoints about margin and risk (BINANCE.md 8.2, 8.4)."""

from __future__ import annotations

from typing import Final

from quantum_trader.domain.trading import Leg, PositionSide
from quantum_trader.exchange.simulator.account_replies import ADL_LOW
from quantum_trader.exchange.simulator.calls import Call, Route
from quantum_trader.exchange.simulator.errors import RefusedError, missing
from quantum_trader.exchange.simulator.model import Order
from quantum_trader.exchange.simulator.order_routes import in_window, let_pass, signed
from quantum_trader.exchange.simulator.parameters import Params, boolean, decimal, integer, limit
from quantum_trader.exchange.simulator.passage import ADL_ID, LIQUIDATION_PREFIX
from quantum_trader.exchange.simulator.replies import Body, listed, number

_FORCED_IDS: Final = {"LIQUIDATION": LIQUIDATION_PREFIX, "ADL": ADL_ID}
_FORCE_ROWS: Final = 50
_FORCE_ROWS_MAX: Final = 100
_NOT_IN_FORCED_ROWS: Final = frozenset(
    {"priceProtect", "priceMatch", "selfTradePreventionMode", "goodTillDate"}
)


def change_position_margin(call: Call) -> Body:
    """``POST /fapi/v1/positionMargin``: type 1 adds, 2 takes away."""
    let_pass(call)
    kind, amount = integer(call.params, "type"), decimal(call.params, "amount")
    if kind not in (1, 2):
        raise missing("type")
    leg = Leg(call.spec().symbol, _position_side(call))
    call.venue.move_margin(call.account, leg, amount if kind == 1 else -amount, call.now_ms)
    return {
        "amount": number(amount),
        "code": 200,
        "msg": "Successfully modify position margin.",
        "type": kind,
    }


def _position_side(call: Call) -> PositionSide:
    try:
        side = PositionSide(call.params.get("positionSide") or "BOTH")
    except ValueError:
        raise RefusedError(-4060) from None
    if call.account.hedge_mode is (side is PositionSide.BOTH):
        raise RefusedError(-4061)
    return side


def force_orders(call: Call) -> list[Body]:
    """``GET /fapi/v1/forceOrders``: liquidations and auto-deleveraging, or one of the two."""
    let_pass(call)
    symbol = call.spec().symbol if call.params.get("symbol") else None
    wanted, inside = (
        _FORCED_IDS.get(call.params.get("autoCloseType", "")),
        in_window(call, limit_to_week=False),
    )
    rows = [
        _force_row(order)
        for order in call.account.orders.values()
        if order.client_order_id.startswith(wanted or tuple(_FORCED_IDS.values()))
        and symbol in (None, order.symbol)
        and inside(order.created_ms)
    ]
    return rows[-limit(call.params, _FORCE_ROWS, _FORCE_ROWS_MAX) :]


def _force_row(order: Order) -> Body:
    return {name: cell for name, cell in listed(order).items() if name not in _NOT_IN_FORCED_ROWS}


def trading_status(call: Call) -> Body:
    """``GET /fapi/v1/apiTradingStatus``: no quantitative rule is ever violated here."""
    if call.params.get("symbol"):
        call.spec()
    return {"indicators": {}, "updateTime": call.now_ms}


def adl_quantile(call: Call) -> list[Body]:
    """``GET /fapi/v1/adlQuantile``: always the last in the queue."""
    let_pass(call)
    symbol = call.spec().symbol if call.params.get("symbol") else None
    rows: dict[str, dict[str, int]] = {}
    for leg in sorted(call.account.positions):
        if symbol in (None, leg.symbol):
            whole = "HEDGE" if call.account.hedge_mode else "BOTH"
            row = rows.setdefault(leg.symbol, {"LONG": 0, "SHORT": 0, whole: 0})
            row[leg.side.value] = ADL_LOW
    return [{"symbol": name, "adlQuantile": quantiles} for name, quantiles in rows.items()]


def set_asset_mode(call: Call) -> Body:
    """``POST /fapi/v1/multiAssetsMargin``: this venue has single-asset mode only."""
    raise RefusedError(-1020 if boolean(call.params, "multiAssetsMargin") else -4171)


def fee_burn(call: Call) -> Body:  # noqa: ARG001 -- a handler answers a call
    """``GET /fapi/v1/feeBurn``: fees are paid in USDT here."""
    return {"feeBurn": False}


def set_fee_burn(call: Call) -> Body:
    """``POST /fapi/v1/feeBurn``: there is no BNB to pay with."""
    if boolean(call.params, "feeBurn"):
        raise RefusedError(-1020)
    return {"code": 200, "msg": "success"}


def _one_or_ten(params: Params) -> int:
    return 1 if params.get("symbol") else 10


def _force_weight(params: Params) -> int:
    return 20 if params.get("symbol") else 50


ROUTES: Final[dict[tuple[str, str], Route]] = {
    ("POST", "/fapi/v1/positionMargin"): signed(change_position_margin, 1, "symbol", "amount", "type"),
    ("GET", "/fapi/v1/forceOrders"): signed(force_orders, _force_weight),
    ("GET", "/fapi/v1/apiTradingStatus"): signed(trading_status, _one_or_ten),
    ("GET", "/fapi/v1/adlQuantile"): signed(adl_quantile, 5),
    ("GET", "/fapi/v1/feeBurn"): signed(fee_burn, 30),
    ("POST", "/fapi/v1/feeBurn"): signed(set_fee_burn, 1, "feeBurn"),
    ("POST", "/fapi/v1/multiAssetsMargin"): signed(set_asset_mode, 1, "multiAssetsMargin"),
}
