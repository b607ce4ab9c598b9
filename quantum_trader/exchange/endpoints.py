"""Every endpoint that is used, with its cost (BINANCE.md 8)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class Security(Enum):
    """What a request must carry."""

    PUBLIC = auto()
    KEY = auto()
    SIGNED = auto()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Method, path, security, IP weight and number of orders that a request counts as.

    ``ws_method`` is its name on the WebSocket API, "" where it is sent over REST alone.
    """

    method: str
    path: str
    security: Security
    weight: int
    orders: int = 0
    ws_method: str = ""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


SERVER_TIME = Endpoint("GET", "/fapi/v1/time", Security.PUBLIC, 1)
EXCHANGE_INFO = Endpoint("GET", "/fapi/v1/exchangeInfo", Security.PUBLIC, 1)
PREMIUM_INDEX_ALL = Endpoint("GET", "/fapi/v1/premiumIndex", Security.PUBLIC, 10)
KLINES = Endpoint("GET", "/fapi/v1/klines", Security.PUBLIC, 10)

ACCOUNT = Endpoint("GET", "/fapi/v3/account", Security.SIGNED, 5)
BALANCE = Endpoint("GET", "/fapi/v3/balance", Security.SIGNED, 5)
POSITION_RISK = Endpoint("GET", "/fapi/v3/positionRisk", Security.SIGNED, 5)
SYMBOL_CONFIG = Endpoint("GET", "/fapi/v1/symbolConfig", Security.SIGNED, 5)
ACCOUNT_CONFIG = Endpoint("GET", "/fapi/v1/accountConfig", Security.SIGNED, 5)
POSITION_MODE = Endpoint("GET", "/fapi/v1/positionSide/dual", Security.SIGNED, 30)
ORDER = Endpoint("GET", "/fapi/v1/order", Security.SIGNED, 1)
USER_TRADES = Endpoint("GET", "/fapi/v1/userTrades", Security.SIGNED, 5)
OPEN_ORDERS_ALL = Endpoint("GET", "/fapi/v1/openOrders", Security.SIGNED, 40)
FORCE_ORDERS = Endpoint("GET", "/fapi/v1/forceOrders", Security.SIGNED, 20)
ALL_ORDERS = Endpoint("GET", "/fapi/v1/allOrders", Security.SIGNED, 5)

LISTEN_KEY = Endpoint("POST", "/fapi/v1/listenKey", Security.KEY, 1)
KEEP_LISTEN_KEY = Endpoint("PUT", "/fapi/v1/listenKey", Security.KEY, 1)

NEW_ORDER = Endpoint("POST", "/fapi/v1/order", Security.SIGNED, 0, orders=1, ws_method="order.place")
TEST_ORDER = Endpoint("POST", "/fapi/v1/order/test", Security.SIGNED, 1)
SET_LEVERAGE = Endpoint("POST", "/fapi/v1/leverage", Security.SIGNED, 1)
CANCEL_OPEN_ORDERS = Endpoint("DELETE", "/fapi/v1/allOpenOrders", Security.SIGNED, 1)
CANCEL_CONDITIONAL_ORDERS = Endpoint("DELETE", "/fapi/v1/algoOpenOrders", Security.SIGNED, 1)
