"""One HTTP request, sent once: what was answered, or how far it got.

Nothing here repeats a request, follows a redirect, takes a proxy from the environment or keeps a
cookie. What failed before a connection stood cannot have reached the exchange; from the moment a
connection stands every failure counts as "may have been sent", because bytes may be on their way.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Protocol
from urllib.parse import quote

import aiohttp
from yarl import URL

from quantum_trader import __version__
from quantum_trader.exchange.endpoints import Endpoint, Security
from quantum_trader.exchange.errors import ExchangeUnreachable, HeldBack
from quantum_trader.exchange.http_lane import HttpLane, LaneBroken
from quantum_trader.exchange.replies import Reply
from quantum_trader.exchange.settings import ExchangeSettings
from quantum_trader.exchange.signing import signer_for
from quantum_trader.exchange.weight import Priority, WeightBudget

Params = Sequence[tuple[str, str]]

_CONNECTIONS_MAX = 100
_IDLE_CONNECTION_S = 20.0
_BODY_BYTES_MAX = 32 * 1024 * 1024
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]*")
_SIGNATURE = re.compile(rb"(?i)(signature=)[^&\s\"'<>]+")
_NO_PARAMS: Params = ()


class Transport(Protocol):
    """Sends one request, once, however it gets there."""

    async def send(
        self,
        endpoint: Endpoint,
        params: Params = _NO_PARAMS,
        *,
        priority: Priority,
        weight: int | None = None,
    ) -> Reply:
        """Send one request and return the reply; raises as ``RestTransport.send`` does."""
        ...


class RestTransport:
    """Sends requests of one account to one venue and keeps its weight budget up to date.

    Must be made inside the running event loop and closed with ``close()``.
    """

    def __init__(self, settings: ExchangeSettings, weight: WeightBudget) -> None:
        self._weight = weight
        self._signer = signer_for(settings.api_secret)
        self._base = settings.rest_url.rstrip("/")
        self._key_bytes = settings.api_key.encode()
        self._public_headers = {"Accept": "application/json"}
        self._key_headers = {**self._public_headers, "X-MBX-APIKEY": settings.api_key}
        self._form_headers = {**self._key_headers, "Content-Type": "application/x-www-form-urlencoded"}
        self._expects_orders = False
        self._orders = HttpLane(
            self._base,
            {
                **self._form_headers,
                "Accept-Encoding": "identity",
                "User-Agent": f"quantum-trader/{__version__}",
            },
            timeout_s=settings.request_timeout_s,
            connections_max=_CONNECTIONS_MAX,
            body_bytes_max=_BODY_BYTES_MAX,
        )
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=_CONNECTIONS_MAX, keepalive_timeout=_IDLE_CONNECTION_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=settings.request_timeout_s, connect=settings.request_timeout_s / 2
            ),
            trace_configs=[_connection_trace()],
            middlewares=[_without_second_try],
            trust_env=False,
        )

    async def send(
        self,
        endpoint: Endpoint,
        params: Params = _NO_PARAMS,
        *,
        priority: Priority,
        weight: int | None = None,
    ) -> Reply:
        """Send one request and return the reply, whatever its status.

        Parameters of a signed endpoint must hold ``timestamp`` and ``recvWindow``; the signature is
        put last, over exactly the bytes that are sent (BINANCE.md 2). ``weight`` overrides the
        endpoint's where it depends on the parameters.

        Raises ``HeldBack`` when the budget does not allow it, ``ExchangeUnreachable`` when the
        connection fails.
        """
        cost = endpoint.weight if weight is None else weight
        refuse_over_budget(self._weight, endpoint, cost, priority)
        payload = encoded(params)
        if endpoint.security is Security.SIGNED:
            payload = f"{payload}&signature={_encoded(self._signer.sign(payload.encode()))}"
        self._weight.begin(cost, endpoint.orders)
        try:
            reply = await self._exchange(endpoint, payload)
            self._weight.observe(reply)
        finally:
            self._weight.end(cost, endpoint.orders)
        return reply

    def expect_orders(self) -> None:
        """Keep a connection for orders open from now on, as long as there are other requests."""
        self._expects_orders = True

    async def close(self) -> None:
        """Close every connection; requests in flight fail."""
        await self._orders.close()
        await self._session.close()

    async def _exchange(self, endpoint: Endpoint, payload: str) -> Reply:
        reply = await (self._order if endpoint.orders else self._request)(endpoint, payload)
        return reply if reply.is_success else self._without_secrets(reply)

    async def _order(self, endpoint: Endpoint, payload: str) -> Reply:
        try:
            return await self._orders.post(endpoint.path, payload.encode())
        except LaneBroken as broken:
            raise ExchangeUnreachable(
                str(endpoint), str(broken), may_have_been_sent=broken.may_have_been_sent
            ) from None

    async def _request(self, endpoint: Endpoint, payload: str) -> Reply:
        connection = _Connection()
        in_body = endpoint.method == "POST"
        headers = self._form_headers if in_body else self._headers_of(endpoint)
        try:
            async with self._session.request(
                endpoint.method,
                self._url(endpoint.path, "" if in_body else payload),
                data=payload.encode() if in_body else None,
                headers=headers,
                allow_redirects=False,
                trace_request_ctx=connection,
            ) as response:
                reply = Reply(response.status, response.headers, await _whole_body(response))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, _BrokenOffError) as error:
            # Without its cause: aiohttp's texts quote the URL, and so the signature.
            raise ExchangeUnreachable(
                str(endpoint), _described(error), may_have_been_sent=connection.may_have_carried_bytes
            ) from None
        if self._expects_orders:
            self._orders.keep_warm()
        return reply

    def _headers_of(self, endpoint: Endpoint) -> dict[str, str]:
        return self._public_headers if endpoint.security is Security.PUBLIC else self._key_headers

    def _url(self, path: str, query: str) -> URL:
        return URL(f"{self._base}{path}?{query}" if query else f"{self._base}{path}", encoded=True)

    def _without_secrets(self, reply: Reply) -> Reply:
        headers = {
            name.lower(): self._redacted(text.encode("utf-8", "surrogateescape")).decode("utf-8", "replace")
            for name, text in reply.headers.items()
            if name.lower() != "set-cookie"
        }
        return Reply(reply.status, headers, self._redacted(reply.body))

    def _redacted(self, text: bytes) -> bytes:
        if self._key_bytes:
            text = text.replace(self._key_bytes, b"[key]")
        return _SIGNATURE.sub(rb"\1[removed]", text)


def refuse_over_budget(budget: WeightBudget, endpoint: Endpoint, weight: int, priority: Priority) -> None:
    """Raise ``HeldBack`` when ``budget`` does not allow a request to ``endpoint`` now."""
    wait_s = budget.wait_s(weight, priority, endpoint.orders)
    if wait_s > 0:
        cause = "banned" if budget.is_banned else "rate limit"
        raise HeldBack(str(endpoint), f"{cause}, free in {wait_s:.1f} s", retry_after_s=wait_s)


def encoded(params: Params) -> str:
    """Return ``params`` percent-encoded (UTF-8), in their order: the text that is signed and sent."""
    if _UNRESERVED.fullmatch("".join([value for _, value in params])):
        return "&".join(map("=".join, params))
    return "&".join([f"{name}={_encoded(value)}" for name, value in params])


def _encoded(value: str) -> str:
    return quote(value, safe="")


class _Connection:
    """How far the connection of one request has got."""

    __slots__ = ("_is_sought", "_stood")

    def __init__(self) -> None:
        self._is_sought = False
        self._stood = False

    def sought(self) -> None:
        self._is_sought = True

    def stands(self) -> None:
        self._stood = True

    @property
    def may_have_carried_bytes(self) -> bool:
        """False only on proof: a connection was sought, and none ever stood."""
        return self._stood or not self._is_sought


def _connection_trace() -> aiohttp.TraceConfig:
    async def on_sought(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.sought()

    async def on_stands(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.stands()

    trace = aiohttp.TraceConfig()
    trace.on_connection_queued_start.append(on_sought)
    trace.on_connection_create_start.append(on_sought)
    trace.on_connection_create_end.append(on_stands)
    trace.on_connection_reuseconn.append(on_stands)
    return trace


class _BrokenOffError(Exception):
    """An exchange ended early. Not one of aiohttp's: those make it send GET and DELETE a second time."""


async def _without_second_try(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _BrokenOffError(_described(error)) from None


async def _whole_body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    while chunk := await response.content.readany():
        body += chunk
        if len(body) > _BODY_BYTES_MAX:
            raise _BrokenOffError(f"reply longer than {_BODY_BYTES_MAX} bytes")
    return bytes(body)


def _described(error: Exception) -> str:
    """Name what happened without quoting the request."""
    if isinstance(error, _BrokenOffError):
        return str(error)
    if isinstance(error, TimeoutError):
        return f"timed out ({type(error).__name__})"
    cause = error.strerror if isinstance(error, OSError) else None
    return f"{type(error).__name__}: {cause}" if cause else type(error).__name__
