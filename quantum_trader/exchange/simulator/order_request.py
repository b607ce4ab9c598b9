"""An order as it was asked for: parsed and checked against everything but the account's money and positions.

Follows steps 6 to 13 of the validation order of BINANCE.md 7; the first failing step answers.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from quantum_trader.domain.trading import Leg, PositionSide, Side
from quantum_trader.exchange.simulator.algo_model import AlgoOrder
from quantum_trader.exchange.simulator.errors import RefusedError, missing
from quantum_trader.exchange.simulator.market import Quote
from quantum_trader.exchange.simulator.model import Account, Order, closes_hedge_leg
from quantum_trader.exchange.simulator.parameters import Params, boolean, decimal, optional_integer
from quantum_trader.exchange.simulator.symbols import MULTIPLIER_DOWN, MULTIPLIER_UP, SymbolSpec

CONDITIONAL_TYPES: Final = frozenset(
    {"STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"}
)
TIMES_IN_FORCE: Final = frozenset({"GTC", "IOC", "FOK", "GTX", "GTD"})
PRICE_MATCHES: Final[dict[str, tuple[bool, int]]] = {  # opposite side of the book?, levels away
    "OPPONENT": (True, 0),
    "OPPONENT_5": (True, 4),
    "QUEUE": (False, 0),
    "QUEUE_5": (False, 4),
    "QUEUE_10": (False, 9),
    "QUEUE_20": (False, 19),
}
_SIDES: Final = frozenset(side.value for side in Side)
_POSITION_SIDES: Final = frozenset(side.value for side in PositionSide)
_TRADE_PREVENTIONS: Final = frozenset({"NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"})
_CLIENT_ORDER_ID: Final = re.compile(r"[.A-Z:/a-z0-9_-]{1,36}")
_STATUSES_CLOSED: Final = frozenset({"CLOSE", "DELIVERED", "SETTLING", "TRADING_HALT"})
_GOOD_TILL_MIN_MS: Final = 600_000
_GOOD_TILL_MAX_MS: Final = 253_402_300_799_000
ZERO: Final = Decimal(0)


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """A well-formed order for a listed symbol; ``price`` is 0 for MARKET.

    ``client_order_id`` is empty where the venue shall make one up; ``origin`` is the conditional
    order whose trigger made the request, if one did.
    """

    spec: SymbolSpec
    side: Side
    position_side: PositionSide
    type: str
    time_in_force: str
    quantity: Decimal
    price: Decimal
    reduce_only: bool
    client_order_id: str
    wants_result: bool
    price_match: str
    self_trade_prevention: str
    good_till_ms: int
    origin: AlgoOrder | None = None

    @property
    def leg(self) -> Leg:
        """The position that the order is about."""
        return Leg(self.spec.symbol, self.position_side)

    @property
    def only_reduces(self) -> bool:
        """Whether it can never enlarge a position."""
        return self.reduce_only or closes_hedge_leg(self.position_side, self.side)

    @property
    def is_market(self) -> bool:
        """MARKET, as against LIMIT."""
        return self.type == "MARKET"

    def as_order(self, now_ms: int, order_id: int = 0, client_order_id: str = "") -> Order:
        """A NEW order made of this request, under ``order_id``."""
        order = Order(
            symbol=self.spec.symbol,
            order_id=order_id,
            client_order_id=self.client_order_id or client_order_id,
            side=self.side,
            position_side=self.position_side,
            type=self.type,
            time_in_force=self.time_in_force,
            quantity=self.quantity,
            price=self.price,
            reduce_only=self.reduce_only,
            created_ms=now_ms,
            updated_ms=now_ms,
            price_match=self.price_match,
            self_trade_prevention=self.self_trade_prevention,
            good_till_ms=self.good_till_ms,
        )
        if self.origin is not None:
            _remember_origin(order, self.origin)
        return order


def _remember_origin(order: Order, algo: AlgoOrder) -> None:
    order.stop_price, order.original_type = algo.trigger_price, algo.type
    order.working_type, order.price_protect = algo.working_type, algo.price_protect
    order.close_position = algo.close_position


def required_of_order(params: Params) -> tuple[str, ...]:
    """What an order must name, by its type; of other types the type itself is what is wrong."""
    always = ("symbol", "side", "type")
    if params.get("type") == "MARKET":
        return (*always, "quantity")
    if params.get("type") == "LIMIT":
        has_match = (params.get("priceMatch") or "NONE") != "NONE"
        return (*always, "timeInForce", "quantity", *(() if has_match else ("price",)))
    return always


def parse(params: Params, spec: SymbolSpec, quote: Quote, account: Account, now_ms: int) -> OrderRequest:
    """Check ``params`` of ``POST /fapi/v1/order`` and turn them into a request.

    Raises ``RefusedError`` with the code of the first failing step.
    """
    side, position_side, kind = words(params, TIMES_IN_FORCE)
    _check_plain(params, kind)
    check_status(spec, params, side, position_side)
    check_mode(params, position_side, hedge_mode=account.hedge_mode)
    client_order_id = client_id(params, "newClientOrderId", account)
    quantity = decimal(params, "quantity")
    match = params.get("priceMatch") or "NONE"
    price = ZERO if kind == "MARKET" else limit_price(params, spec, quote, side, match)
    request = OrderRequest(
        spec=spec,
        side=side,
        position_side=position_side,
        type=kind,
        time_in_force=params.get("timeInForce") or "GTC",
        quantity=quantity,
        price=price,
        reduce_only=boolean(params, "reduceOnly"),
        client_order_id=client_order_id,
        wants_result=(params.get("newOrderRespType") or "ACK") == "RESULT",
        price_match=match,
        self_trade_prevention=params.get("selfTradePreventionMode") or "EXPIRE_MAKER",
        good_till_ms=good_till_ms_of(params, now_ms),
    )
    check_filters(request, quote)
    return request


def check_filters(request: OrderRequest, quote: Quote) -> None:
    """Precision, lot, price, percent-price and notional filters (steps 11 to 13)."""
    _check_quantity(request)
    if not request.is_market:
        _check_price(request)
        _check_percent_price(request, quote.mark)
    _check_notional(request, quote.mark)


def words(params: Params, times_in_force: Container[str]) -> tuple[Side, PositionSide, str]:
    """Side, position side and type, each one of the known words (step 7)."""
    if params["side"] not in _SIDES:
        raise RefusedError(-1117)
    kind = params["type"]
    if kind not in CONDITIONAL_TYPES | {"LIMIT", "MARKET"}:
        raise RefusedError(-1116)
    if (params.get("timeInForce") or "GTC") not in times_in_force:
        raise RefusedError(-1115)
    if (params.get("newOrderRespType") or "ACK") not in ("ACK", "RESULT"):
        raise RefusedError(-1136)
    position_side = params.get("positionSide") or "BOTH"
    if position_side not in _POSITION_SIDES:
        raise RefusedError(-4060)
    if (params.get("selfTradePreventionMode") or "NONE") not in _TRADE_PREVENTIONS:
        raise RefusedError(-5039)
    return Side(params["side"]), PositionSide(position_side), kind


def _check_plain(params: Params, kind: str) -> None:
    """What only plain orders are asked (steps 7 and 8)."""
    time_in_force = params.get("timeInForce", "")
    if kind == "LIMIT" and not time_in_force:
        raise missing("timeInForce")
    if kind == "MARKET" and time_in_force:
        raise RefusedError(-1106, name="timeinforce")
    if kind in CONDITIONAL_TYPES:
        raise RefusedError(-4120)
    if boolean(params, "closePosition"):
        raise RefusedError(-4136, type=kind)


def check_status(spec: SymbolSpec, params: Params, side: Side, position_side: PositionSide) -> None:
    """-4140 or -4141 unless the symbol's status allows the order."""
    if spec.status == "TRADING":
        return
    if spec.status in _STATUSES_CLOSED:
        raise RefusedError(-4141)
    if not (boolean(params, "reduceOnly") or closes_hedge_leg(position_side, side)):
        raise RefusedError(-4140)


def check_mode(params: Params, position_side: PositionSide, *, hedge_mode: bool) -> None:
    """-4061 or -1106 unless the order fits the position mode (step 9)."""
    if hedge_mode is (position_side is PositionSide.BOTH):
        raise RefusedError(-4061)
    if hedge_mode and params.get("reduceOnly"):
        raise RefusedError(-1106, name="reduceonly")


def client_id(params: Params, name: str, account: Account) -> str:
    """The client id under ``name``, empty where there is none (step 10)."""
    client_order_id = params.get(name, "")
    if client_order_id and not _CLIENT_ORDER_ID.fullmatch(client_order_id):
        raise RefusedError(-4015)
    if client_order_id and account.has_open(client_order_id):
        raise RefusedError(-4116)
    return client_order_id


def limit_price(params: Params, spec: SymbolSpec, quote: Quote, side: Side, match: str) -> Decimal:
    """The order's price, of the parameter or of the book (``priceMatch``)."""
    if match == "NONE":
        return decimal(params, "price")
    if params.get("price"):
        raise RefusedError(-1106, name="price")
    if match not in PRICE_MATCHES:
        raise RefusedError(-5037)
    opposite, levels = PRICE_MATCHES[match]
    buys_from = opposite is (side is Side.BUY)
    return quote.ask + levels * spec.tick if buys_from else quote.bid - levels * spec.tick


def good_till_ms_of(params: Params, now_ms: int) -> int:
    """``goodTillDate`` of a GTD order to the second, else 0."""
    if params.get("timeInForce") != "GTD":
        return 0
    good_till_ms = optional_integer(params, "goodTillDate")
    if good_till_ms is None:
        raise missing("goodTillDate")
    if not now_ms + _GOOD_TILL_MIN_MS < good_till_ms < _GOOD_TILL_MAX_MS:
        raise RefusedError(-5040)
    return good_till_ms // 1000 * 1000


def _decimals(number: Decimal) -> int:
    return max(0, -int(number.normalize().as_tuple().exponent))


def _check_quantity(request: OrderRequest) -> None:
    spec, quantity = request.spec, request.quantity
    if _decimals(quantity) > spec.quantity_precision:
        raise RefusedError(-1111)
    if quantity <= 0:
        raise RefusedError(-4003)
    if quantity < spec.step:
        raise RefusedError(-4004)
    if quantity > (spec.market_max if request.is_market else spec.quantity_max):
        raise RefusedError(-4005)
    if quantity % spec.step:
        raise RefusedError(-4023)


def _check_price(request: OrderRequest) -> None:
    spec, price = request.spec, request.price
    if _decimals(price) > spec.price_precision:
        raise RefusedError(-1111)
    if price <= 0:
        raise RefusedError(-4001)
    if price < spec.price_min:
        raise RefusedError(-4013)
    if price > spec.price_max:
        raise RefusedError(-4002)
    if (price - spec.price_min) % spec.tick:
        raise RefusedError(-4014)


def _check_percent_price(request: OrderRequest, mark: Decimal) -> None:
    if request.side is Side.BUY and request.price > mark * MULTIPLIER_UP:
        raise RefusedError(-4016)
    if request.side is Side.SELL and request.price < mark * MULTIPLIER_DOWN:
        raise RefusedError(-4024)


def _check_notional(request: OrderRequest, mark: Decimal) -> None:
    if request.only_reduces:
        return
    price = mark if request.is_market else request.price
    if request.quantity * price < request.spec.notional_min:
        raise RefusedError(-4164, notional=f"{request.spec.notional_min:f}")
