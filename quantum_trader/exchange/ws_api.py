"""Requests over the WebSocket API (BINANCE.md 9): one connection, replies found by their ids.

A request is written to one open socket and to nothing else. From then on there is a reply, or the
request may have been carried out: a time-out and a lost connection are both ``may_have_been_sent``.
A reply becomes a ``Reply`` as REST would have given it, so the one table of outcomes and the one weight
budget judge both. A reply that comes too late, or names no id, answers nothing: who waits is
told by a query instead.

An Ed25519 key logs the session on, after which requests carry neither key nor signature; where
that fails, and with every other kind of key, each request is signed by itself.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from typing import Any

import msgspec
import orjson
import structlog
from msgspec import UNSET, Raw, Struct

from quantum_trader.concurrency import end_tasks
from quantum_trader.domain.clock import Clock
from quantum_trader.exchange.endpoints import Endpoint
from quantum_trader.exchange.errors import ExchangeError, ExchangeRefused, ExchangeUnreachable, HeldBack
from quantum_trader.exchange.reads import timing_params
from quantum_trader.exchange.replies import Reply
from quantum_trader.exchange.rest import Params, refuse_over_budget
from quantum_trader.exchange.server_clock import ServerClock
from quantum_trader.exchange.settings import ExchangeSettings
from quantum_trader.exchange.signing import Ed25519Signer, signer_for
from quantum_trader.exchange.streams.link import Link, LinkTerms
from quantum_trader.exchange.streams.socket import NoReply, Socket, fail
from quantum_trader.exchange.weight import Priority, WeightBudget, order_counts_in

TERMS = LinkTerms(silent_s_max=6.0)
LOG_ON = "session.logon"
_NOBODY = (None, 0.0)
_INTEGERS = ("recvWindow", "timestamp")
_SHUTDOWN = "serverShutdown"

log = structlog.get_logger()


class WsApi:
    """One account's connection; ``start`` it inside the running event loop and ``stop`` it.

    Raises ``ValueError`` when the API secret cannot be used.
    """

    def __init__(
        self, settings: ExchangeSettings, weight: WeightBudget, server_clock: ServerClock, clock: Clock
    ) -> None:
        self._settings = settings
        self._weight = weight
        self._server_clock = server_clock
        self._signer = signer_for(settings.api_secret)
        self._key = settings.api_key.encode()
        self._pending: dict[int, tuple[asyncio.Future[Reply], float]] = {}
        self._limit: asyncio.TimerHandle | None = None
        self._ids = itertools.count(1)
        self._logged_on: Socket | None = None
        self._running: list[asyncio.Task[None]] = []
        self.link = Link("orders", self._find_url, self._receive, clock, TERMS, greet=self._greet)

    def start(self) -> None:
        """Begin to keep the connection."""
        self._running = [asyncio.create_task(self.link.run(), name="WebSocket API")]

    async def stop(self) -> None:
        """Close it; requests in flight fail."""
        await end_tasks(self._running)

    @property
    def is_ready(self) -> bool:
        """Whether a request that is made now can be written to a socket that is alive."""
        socket = self.link.socket
        return self.link.is_live and socket is not None and socket.is_open

    async def send(self, endpoint: Endpoint, params: Params, *, priority: Priority) -> Reply:
        """Send one request under its name here and return the reply, whatever its status.

        Raises ``HeldBack`` when the budget does not allow it, ``ExchangeUnreachable`` when the
        connection fails; ``may_have_been_sent`` is False only where there was none to write to.
        """
        refuse_over_budget(self._weight, endpoint, endpoint.weight, priority)
        socket = self.link.socket
        if socket is None or not socket.is_open:
            raise ExchangeUnreachable(endpoint.ws_method, "not connected", may_have_been_sent=False)
        authorised = _typed(params) if socket is self._logged_on else self._signed(params)
        self._weight.begin(0, endpoint.orders)
        try:
            reply = await self._answered(socket, endpoint.ws_method, authorised)
            self._weight.observe(reply)
        finally:
            self._weight.end(0, endpoint.orders)
        return reply

    # -- the session

    async def _find_url(self) -> str:
        """Return where to connect; raises ``HeldBack`` during a ban, which a handshake would prolong."""
        if self._weight.is_banned:
            wait_s = self._weight.wait_s(0, Priority.EXIT)
            raise HeldBack("WebSocket API", f"banned, free in {wait_s:.1f} s", retry_after_s=wait_s)
        return self._settings.ws_api_url

    async def _greet(self, socket: Socket) -> None:
        """Log the session on, where the key can."""
        if not isinstance(self._signer, Ed25519Signer):
            return
        timing = timing_params(self._settings.recv_window_ms, self._server_clock.signing_time_ms())
        try:
            reply = await self._answered(socket, LOG_ON, self._signed(timing))
            if not reply.is_success:
                raise ExchangeRefused(LOG_ON, reply)
        except ExchangeError as failed:
            log.warning("session_logon_failed", error=str(failed), instead="each request is signed")
        else:
            self._logged_on = socket

    def _signed(self, params: Params) -> dict[str, Any]:
        """Return ``params`` with key and signature over all of them, sorted, as they are (BINANCE.md 2)."""
        named = [("apiKey", self._settings.api_key), *params]
        payload = "&".join(map("=".join, sorted(named)))
        named.append(("signature", self._signer.sign(payload.encode())))
        return _typed(named)

    # -- the wire

    async def _answered(self, socket: Socket, method: str, params: Mapping[str, Any]) -> Reply:
        """Write one request and await its reply; ``ExchangeUnreachable`` where none comes."""
        request_id, loop = next(self._ids), asyncio.get_running_loop()
        reply: asyncio.Future[Reply] = loop.create_future()
        due_s = loop.time() + self._settings.request_timeout_s
        self._pending[request_id] = reply, due_s
        if self._limit is None:  # one timer for all: most requests are answered long before it
            self._limit = loop.call_at(due_s, self._end_overdue, loop)
        socket.awaits(reply)
        try:
            socket.send(orjson.dumps({"id": request_id, "method": method, "params": params}))
            return await reply
        except NoReply as none:
            raise ExchangeUnreachable(method, str(none), may_have_been_sent=True) from None
        finally:
            socket.is_done_with(reply)
            del self._pending[request_id]

    def _end_overdue(self, loop: asyncio.AbstractEventLoop) -> None:
        """Fail what has waited long enough; the oldest comes first, as all wait equally long."""
        self._limit = None
        for reply, due_s in self._pending.values():
            if due_s > loop.time():
                self._limit = loop.call_at(due_s, self._end_overdue, loop)
                return
            fail(reply, "timed out")

    def _receive(self, frame: bytes) -> None:
        try:
            told = _FRAMES.decode(_unescaped(frame) if b"\\" in frame else frame)
        except (ValueError, RecursionError):
            log.warning("stream_frame_unreadable", stream=self.link.name)
            return
        if told.status is not UNSET:
            self._take_reply(told)
        elif _is_shutdown(told):
            self.link.renew()

    def _take_reply(self, told: _Frame) -> None:
        reply, _ = self._pending.get(told.id, _NOBODY) if type(told.id) is int else _NOBODY
        if reply is not None and not reply.done():
            reply.set_result(self._reply(told))
        elif told.id is None:  # the session's key was revoked; which request it answers is not said
            self.link.condemn("an answer without id: the session is not known any more")

    def _reply(self, told: _Frame) -> Reply:
        status = told.status if type(told.status) is int else 0
        body = bytes(told.result) or msgspec.json.encode(told.error)
        if self._key:
            body = body.replace(self._key, b"[key]")
        headers = self._headers(told.error) if told.error else {}
        return Reply(status, headers, body, order_counts_in(told.rate_limits))

    def _headers(self, error: Any) -> dict[str, str]:
        """Return how long to wait, where ``error`` tells it, under the name that REST gives it."""
        data = error.get("data") if isinstance(error, dict) else None
        until_ms = data.get("retryAfter") if isinstance(data, dict) else None
        if type(until_ms) is not int:
            return {}
        wait_ms = max(0, until_ms - self._server_clock.signing_time_ms())
        return {"retry-after": str(-(-wait_ms // 1000))}


class _Frame(Struct, rename="camel", gc=False):
    """What is read of a frame. Any value passes: what makes no sense answers nothing, and harms nothing."""

    id: Any = None
    status: Any = UNSET
    result: Raw = Raw()
    """As it came: it is decoded once it is known what it answers."""
    error: Any = None
    rate_limits: Any = None
    event: Any = UNSET
    e: Any = None


_FRAMES = msgspec.json.Decoder(_Frame)


def _unescaped(frame: bytes) -> bytes:
    """Return ``frame`` with every character written as itself where it can be, so that the key is found."""
    return msgspec.json.encode(msgspec.json.decode(frame))


def _typed(params: Params) -> dict[str, Any]:
    typed: dict[str, Any] = dict(params)
    for name in _INTEGERS:
        typed[name] = int(typed[name])
    return typed


def _is_shutdown(told: _Frame) -> bool:
    if told.event is UNSET:
        return bool(told.e == _SHUTDOWN)
    return isinstance(told.event, dict) and told.event.get("e") == _SHUTDOWN
