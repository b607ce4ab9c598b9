"""One connection of the WebSocket API, without its socket (BINANCE.md 9).

Every method is a REST endpoint under another name: it runs the same route with the same rules;
only envelope, signature and session are the WebSocket API's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import orjson

from quantum_trader.exchange.simulator.calls import Call, Distortion, Route, Security
from quantum_trader.exchange.simulator.errors import RefusedError, missing
from quantum_trader.exchange.simulator.gateway import ROUTES, Gateway, Reply, Request, check_required
from quantum_trader.exchange.simulator.model import Account
from quantum_trader.exchange.simulator.parameters import Params, required
from quantum_trader.exchange.simulator.signing import check_signature, check_time, is_ed25519

METHODS: Final[dict[str, tuple[str, str]]] = {
    "order.place": ("POST", "/fapi/v1/order"),
    "order.modify": ("PUT", "/fapi/v1/order"),
    "order.cancel": ("DELETE", "/fapi/v1/order"),
    "order.status": ("GET", "/fapi/v1/order"),
    "algoOrder.place": ("POST", "/fapi/v1/algoOrder"),
    "algoOrder.cancel": ("DELETE", "/fapi/v1/algoOrder"),
    "account.position": ("GET", "/fapi/v2/positionRisk"),
    "v2/account.position": ("GET", "/fapi/v3/positionRisk"),
    "account.balance": ("GET", "/fapi/v2/balance"),
    "v2/account.balance": ("GET", "/fapi/v3/balance"),
    "account.status": ("GET", "/fapi/v2/account"),
    "v2/account.status": ("GET", "/fapi/v3/account"),
    "userDataStream.start": ("POST", "/fapi/v1/listenKey"),
    "userDataStream.ping": ("PUT", "/fapi/v1/listenKey"),
    "userDataStream.stop": ("DELETE", "/fapi/v1/listenKey"),
    "depth": ("GET", "/fapi/v1/depth"),
    "ticker.price": ("GET", "/fapi/v1/ticker/price"),
    "ticker.book": ("GET", "/fapi/v1/ticker/bookTicker"),
}
HANDSHAKE_WEIGHT: Final = 5
_SESSION_WEIGHT: Final = 2
_ID_LENGTH_MAX: Final = 64
_SUCCESS: Final = 200


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One readable frame of a client; ``params`` as text, less the signature."""

    request_id: int | str | None
    method: str
    params: dict[str, str]
    signature: str
    wants_limits: bool

    def as_http(self, api_key: str) -> Request:
        """How fault rules see it: method ``WS``, the request's own method as path."""
        return Request("WS", self.method, urlencode(self.params).encode(), api_key=api_key)


class ApiSession:
    """What one connection is logged on as, and its answers. Counts weight apart from REST."""

    def __init__(self, gateway: Gateway, peer: str, now_ms: int, *, returns_limits: bool) -> None:
        self._gateway = gateway
        self._peer = f"ws:{peer}"
        self._connected_ms = now_ms
        self._returns_limits = returns_limits
        self._api_key: str | None = None
        self._authorized_ms: int | None = None
        self._own: dict[str, Callable[[ApiRequest, int], Any]] = {
            "session.logon": self._log_on,
            "session.status": self._status,
            "session.logout": self._log_out,
        }

    def open(self, now_ms: int) -> None:
        """Count the handshake; -1003 where the peer may not send any more."""
        self._gateway.usage.weigh(self._peer, HANDSHAKE_WEIGHT, now_ms)

    def read(self, text: str) -> ApiRequest | bytes:
        """The request in a frame, or the reply to one that cannot be read (its id is null)."""
        try:
            frame = orjson.loads(text)
        except orjson.JSONDecodeError:
            return _unreadable(None)
        if not isinstance(frame, dict):
            return _unreadable(None)
        request_id, params = frame.get("id"), frame.get("params") or {}
        if not _is_id(request_id):
            return _unreadable(None)
        if not isinstance(frame.get("method"), str) or not isinstance(params, dict):
            return _unreadable(request_id)
        # It stays among the parameters: clients that put it there have signed it.
        wants_limits = params.get("returnRateLimits", frame.get("returnRateLimits", self._returns_limits))
        texts = {name: _text(cell) for name, cell in params.items() if cell is not None}
        signature = texts.pop("signature", "")
        return ApiRequest(request_id, frame["method"], texts, signature, wants_limits not in (False, "false"))

    def caller(self, request: ApiRequest) -> str:
        """The API key that the request is made with: its own, or the session's."""
        return request.params.get("apiKey") or self._api_key or ""

    def answer(self, request: ApiRequest, now_ms: int, distortion: Distortion | None = None) -> bytes:
        """Carry out ``request`` and return the reply; never raises for a bad one."""
        try:
            result = self._result(request, now_ms, distortion or Distortion())
            body: dict[str, Any] = {"id": request.request_id, "status": _SUCCESS, "result": result}
        except RefusedError as refusal:
            body = self._refused(request, refusal)
        if request.wants_limits:
            route = _route(request.method)
            orders_of = self.caller(request) if route is not None and route.order_cost else None
            body["rateLimits"] = self._gateway.usage.rows(self._peer, orders_of, now_ms)
        return orjson.dumps(body)

    def _refused(self, request: ApiRequest, refusal: RefusedError) -> dict[str, Any]:
        request_id = request.request_id
        if self._api_key is not None and self._api_key not in self._gateway.venue.accounts:
            request_id = None  # the session's key was revoked: it is forgotten
            self._api_key = self._authorized_ms = None
        error = {"code": refusal.code, "msg": refusal.msg}
        return {"id": request_id, "status": refusal.http_status, "error": error}

    def _result(self, request: ApiRequest, now_ms: int, distortion: Distortion) -> Any:
        own = self._own.get(request.method)
        if own is not None:
            self._gateway.usage.weigh(self._peer, _SESSION_WEIGHT, now_ms)
            return own(request, now_ms)
        route = _route(request.method)
        if route is None:
            raise RefusedError(-1020)
        account = None
        if route.security is not Security.NONE:
            account = self._authenticated(request, route, now_ms)
        venue, limits = self._gateway.venue, self._gateway.usage.limits
        call = Call(venue, limits, request.params, now_ms, account, distortion)
        return route.handler(self._gateway.counted(route, call, self._peer))

    def _authenticated(self, request: ApiRequest, route: Route, now_ms: int) -> Account:
        account = self._gateway.account(self.caller(request))
        check_required(route, request.params)
        if route.security is Security.SIGNED:
            if "apiKey" in request.params or self._api_key is None:
                _check_signed(account, request)
            check_time(request.params, now_ms)
        return account

    def _log_on(self, request: ApiRequest, now_ms: int) -> dict[str, Any]:
        """``session.logon``: Ed25519 only."""
        account = self._gateway.account(required(request.params, "apiKey"))
        if not is_ed25519(account.credentials):
            raise RefusedError(-4056)
        required(request.params, "timestamp")
        _check_signed(account, request)
        check_time(request.params, now_ms)
        self._api_key, self._authorized_ms = account.credentials.api_key, now_ms
        return self._status(request, now_ms)

    def _log_out(self, request: ApiRequest, now_ms: int) -> dict[str, Any]:
        self._api_key = self._authorized_ms = None
        return self._status(request, now_ms)

    def _status(self, _: ApiRequest, now_ms: int) -> dict[str, Any]:
        return {
            "apiKey": self._api_key,
            "authorizedSince": self._authorized_ms,
            "connectedSince": self._connected_ms,
            "returnRateLimits": self._returns_limits,
            "serverTime": now_ms,
        }


def spoiled(request: ApiRequest, reply: Reply, now_ms: int) -> bytes:
    """The reply of a fault rule in the envelope of the WebSocket API.

    ``Retry-After`` becomes the time until which to wait, as on the spot venue.
    """
    try:
        error = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        error = {"code": 0, "msg": reply.body.decode()}
    if "Retry-After" in reply.headers:
        wait_ms = 1000 * int(reply.headers["Retry-After"])
        error["data"] = {"serverTime": now_ms, "retryAfter": now_ms + wait_ms}
    return orjson.dumps({"id": request.request_id, "status": reply.status, "error": error})


def _check_signed(account: Account, request: ApiRequest) -> None:
    if not request.signature:
        raise missing("signature")
    raw, encoded = signed_texts(request.params)
    try:
        check_signature(account.credentials, raw.encode(), request.signature)
    except RefusedError:
        if raw == encoded:
            raise
        check_signature(account.credentials, encoded.encode(), request.signature)


def signed_texts(params: Params) -> tuple[str, str]:
    """What may have been signed: sorted parameters as they are (documents), or encoded (SDK)."""
    pairs = sorted(params.items())
    return "&".join(f"{name}={cell}" for name, cell in pairs), urlencode(pairs)


def _route(method: str) -> Route | None:
    known = METHODS.get(method)
    return ROUTES.get(known) if known is not None else None


def _text(cell: Any) -> str:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return orjson.dumps(cell).decode() if isinstance(cell, (list, dict)) else str(cell)


def _is_id(request_id: Any) -> bool:
    if isinstance(request_id, str):
        return len(request_id) <= _ID_LENGTH_MAX
    return request_id is None or type(request_id) is int


def _unreadable(request_id: int | str | None) -> bytes:
    refusal = RefusedError(-1013)
    error = {"code": refusal.code, "msg": refusal.msg}
    return orjson.dumps({"id": request_id, "status": refusal.http_status, "error": error})
