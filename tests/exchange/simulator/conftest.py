"""A venue with pinned prices for exact arithmetic, and ways to talk to it as a client does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import aiohttp
import orjson
import pytest
from yarl import URL

from quantum_trader.domain.clock import SystemClock
from quantum_trader.exchange.simulator import (
    AccountSettings,
    EmbeddedExchange,
    Gateway,
    RateLimits,
    Reply,
    Request,
    SimulatorSettings,
    TradingTerms,
    build_venue,
)
from quantum_trader.exchange.simulator.calls import Distortion
from quantum_trader.exchange.simulator.model import Account
from quantum_trader.exchange.simulator.signing import hmac_hex

NOW_MS = 1_795_246_200_000
KEY, SECRET = "key-a", "secret-a"


class RefusedReply(AssertionError):
    """The venue refused a call that the test expected to work."""


@dataclass
class Desk:
    """One account's view of a venue in process, at a time that the test moves."""

    gateway: Gateway
    now_ms: int = NOW_MS
    key: str = KEY
    secret: str = SECRET
    distortion: Distortion = field(default_factory=Distortion)

    @property
    def venue(self) -> Any:
        return self.gateway.venue

    @property
    def account(self) -> Account:
        return self.gateway.venue.accounts[self.key]

    def raw(self, method: str, path: str, **params: Any) -> Reply:
        query = urlencode({**params, "timestamp": self.now_ms})
        query += "&signature=" + hmac_hex(self.secret, query.encode())
        request = Request(method, path, query.encode(), api_key=self.key)
        return self.gateway.handle(request, self.now_ms, self.distortion)

    def call(self, method: str, path: str, **params: Any) -> Any:
        reply = self.raw(method, path, **params)
        if reply.status != 200:
            raise RefusedReply(reply.body.decode())
        return orjson.loads(reply.body)

    def code(self, method: str, path: str, **params: Any) -> int:
        """The error code of a call; 0 where it worked."""
        body = orjson.loads(self.raw(method, path, **params).body)
        return body["code"] if isinstance(body, dict) and body.get("code", 200) != 200 else 0

    def market(self, side: str, quantity: object, symbol: str = "BTCUSDT", **params: Any) -> Any:
        return self.call("POST", "/fapi/v1/order", **_order(symbol, side, "MARKET", quantity), **params)

    def limit(self, side: str, quantity: object, price: object, **params: Any) -> Any:
        symbol = params.pop("symbol", "BTCUSDT")
        terms = {"timeInForce": "GTC", "price": price, **params}
        return self.call("POST", "/fapi/v1/order", **_order(symbol, side, "LIMIT", quantity), **terms)

    def refusal(self, side: str, quantity: object, **params: Any) -> int:
        symbol, kind = params.pop("symbol", "BTCUSDT"), params.pop("type", "MARKET")
        return self.code("POST", "/fapi/v1/order", **_order(symbol, side, kind, quantity), **params)

    def pin(self, symbol: str, price: object, mark: object = None) -> None:
        marked = None if mark is None else Decimal(str(mark))
        self.venue.market.pin(symbol, Decimal(str(price)), self.now_ms, marked)

    def amounts(self) -> dict[str, Decimal]:
        return {leg.key: held.amount for leg, held in self.account.positions.items()}


def _order(symbol: str, side: str, kind: str, quantity: object) -> dict[str, Any]:
    return {"symbol": symbol, "side": side, "type": kind, "quantity": quantity, "newOrderRespType": "RESULT"}


def settings(**changes: Any) -> SimulatorSettings:
    defaults: dict[str, Any] = {
        "accounts": (AccountSettings(KEY, SECRET), AccountSettings("key-b", "secret-b")),
        "spread_bps": Decimal(0),  # one tick: bid 50000.0, ask 50000.1
        "limits": RateLimits(0, 0, 0),
        "admin": True,
    }
    return SimulatorSettings(**{**defaults, **changes})


@pytest.fixture
def open_desk() -> Callable[..., Desk]:
    """Make a desk over a fresh venue with BTC pinned at 50000 and ETH at 2000."""

    def make(**changes: Any) -> Desk:
        wanted = settings(**changes)
        desk = Desk(Gateway(build_venue(wanted, NOW_MS), wanted.limits))
        desk.pin("BTCUSDT", 50000)
        desk.pin("ETHUSDT", 2000)
        return desk

    return make


@pytest.fixture
def desk(open_desk: Callable[..., Desk]) -> Desk:
    return open_desk()


@pytest.fixture
def thin_desk(open_desk: Callable[..., Desk]) -> Desk:
    """A desk whose book holds 105 000 USDT a side over twenty levels."""
    return open_desk(terms=TradingTerms(depth_usdt=Decimal(105_000)))


@dataclass
class Client:
    """A raw HTTP client of an exchange over a socket."""

    http: aiohttp.ClientSession
    url: str
    exchange: EmbeddedExchange

    async def send(
        self, method: str, path: str, *, key: str = KEY, secret: str = SECRET, skew_ms: int = 0, **params: Any
    ) -> tuple[int, Any, Any]:
        query = urlencode({**params, "timestamp": SystemClock().now_ms() + skew_ms})
        query += "&signature=" + hmac_hex(secret, query.encode())
        return await self.exchange_bytes(method, f"{path}?{query}", {"X-MBX-APIKEY": key})

    async def exchange_bytes(
        self, method: str, target: str, headers: dict[str, str], body: bytes | None = None
    ) -> tuple[int, Any, Any]:
        url = URL(self.url + target, encoded=True)
        async with self.http.request(method, url, headers=headers, data=body) as reply:
            text = await reply.read()
            is_json = reply.content_type == "application/json"
            return reply.status, orjson.loads(text) if is_json else text.decode(), reply.headers

    async def admin(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        async with self.http.request(method, self.url + path, json=body) as reply:
            return reply.status, await reply.json()

    async def fault(self, **rule: Any) -> None:
        status, body = await self.admin("POST", "/sim/faults", rule)
        assert status == 200, body


@pytest.fixture
def exchange_settings() -> SimulatorSettings:
    return settings()


@pytest.fixture
def make_settings() -> Callable[..., SimulatorSettings]:
    return settings


@pytest.fixture
def make_client() -> type[Client]:
    return Client


@pytest.fixture
async def client(exchange_settings: SimulatorSettings) -> AsyncIterator[Client]:
    exchange = EmbeddedExchange(exchange_settings, SystemClock())
    url = await exchange.start()
    timeout = aiohttp.ClientTimeout(total=5)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        yield Client(http, url, exchange)
    await exchange.stop()
