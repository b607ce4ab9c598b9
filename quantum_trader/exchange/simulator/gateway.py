"""From the bytes of a request to the bytes of a reply, without a socket (BINANCE.md 2, 3, 7).

Theory of operation. The checks run in the order of BINANCE.md 7: path, key, mandatory
parameters, signature, time window, rate limits; then the route's handler, whose refusals become
error bodies. Everything is synchronous and takes ``now_ms``; the socket border (server.py) and a
simulation in virtual time use the same object.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson

from quantum_trader.exchange.simulator import (
    account_routes,
    algo_routes,
    change_routes,
    market_routes,
    order_routes,
    risk_routes,
    trade_routes,
)
from quantum_trader.exchange.simulator.calls import Call, Distortion, Route, Security
from quantum_trader.exchange.simulator.errors import RefusedError
from quantum_trader.exchange.simulator.limits import RateLimits, Usage
from quantum_trader.exchange.simulator.model import Account
from quantum_trader.exchange.simulator.parameters import Params, required
from quantum_trader.exchange.simulator.signing import check_signature, check_time, signed_payload
from quantum_trader.exchange.simulator.venue import Venue

ROUTES: Final[dict[tuple[str, str], Route]] = {
    **market_routes.ROUTES,
    **trade_routes.ROUTES,
    **order_routes.ROUTES,
    **change_routes.ROUTES,
    **algo_routes.ROUTES,
    **account_routes.ROUTES,
    **risk_routes.ROUTES,
}
_API_KEY_MAX: Final = 128
_THROTTLED: Final = frozenset({429, 418})


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request as it arrived; ``peer`` is what the weight is counted by."""

    method: str
    path: str
    query: bytes = b""
    body: bytes = b""
    api_key: str = ""
    peer: str = "local"

    def params(self) -> dict[str, str]:
        """Body and query merged; the query wins."""
        merged = _pairs(self.body)
        merged.update(_pairs(self.query))
        return merged


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP reply."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


def json_reply(status: int, body: Any, headers: dict[str, str]) -> Reply:
    """A reply with a JSON body."""
    return Reply(status, orjson.dumps(body), headers)


class Gateway:
    """Answers requests for a venue, counting weight and orders."""

    def __init__(self, venue: Venue, limits: RateLimits | None = None) -> None:
        self.venue = venue
        self.usage = Usage(limits or RateLimits())

    def handle(self, request: Request, now_ms: int, distortion: Distortion | None = None) -> Reply:
        """Answer ``request`` at ``now_ms`` (ms since the epoch); never raises for a bad request."""
        orders_of = None
        try:
            route = _route(request)
            orders_of = request.api_key if route.order_cost else None
            call = self._admitted(request, route, now_ms, distortion or Distortion())
            status, body = 200, route.handler(call)
        except RefusedError as refusal:
            status, body = refusal.http_status, {"code": refusal.code, "msg": refusal.msg}
        headers = self.usage.headers(request.peer, orders_of, now_ms)
        if status in _THROTTLED:
            headers["Retry-After"] = str(self.usage.retry_after_s(request.peer, body["code"], now_ms))
        return json_reply(status, body, headers)

    def _admitted(self, request: Request, route: Route, now_ms: int, distortion: Distortion) -> Call:
        params = request.params()
        account = None if route.security is Security.NONE else self.account(request.api_key)
        check_required(route, params)
        if account is not None and route.security is Security.SIGNED:
            signature = required(params, "signature")
            check_signature(account.credentials, signed_payload(request.query, request.body), signature)
            check_time(params, now_ms)
        return self.counted(
            route, Call(self.venue, self.usage.limits, params, now_ms, account, distortion), request.peer
        )

    def counted(self, route: Route, call: Call, peer: str) -> Call:
        """Count an authenticated call against the limits and return it; -1003 or -1015 beyond them."""
        self.usage.weigh(peer, route.weight_of(call.params), call.now_ms)
        if route.order_cost:
            self.usage.count_orders(call.account.credentials.api_key, route.order_cost, call.now_ms)
        return call

    def account(self, api_key: str) -> Account:
        """The account of an API key; -2014 or -2015 where there is none."""
        if not api_key or len(api_key) > _API_KEY_MAX or not api_key.isascii():
            raise RefusedError(-2014)
        account = self.venue.accounts.get(api_key)
        if account is None:
            raise RefusedError(-2015)
        return account


def check_required(route: Route, params: Params) -> None:
    """-1102 unless all that the route asks for is there, with a timestamp where it is signed."""
    for name in route.required_of(params):
        required(params, name)
    if route.security is Security.SIGNED:
        required(params, "timestamp")


def _route(request: Request) -> Route:
    route = ROUTES.get((request.method, request.path))
    if route is None:
        raise RefusedError(-5000, path=request.path, method=request.method)
    return route


def _pairs(part: bytes) -> dict[str, str]:
    if not part:
        return {}
    text = part.decode("utf-8", errors="replace")
    return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=200))
