"""A thin lane over HTTP/1.1 for orders: the few requests whose delay costs money.

aiohttp spends several times as long on a request as its bytes need. Here a request is one write, its reply
is read by httptools, and a connection that stands is used again, for one request at a time. Everything
that is no order stays aiohttp's (rest.py).

The lane repeats nothing, follows no redirect and takes no proxy from the environment. A request that
ended without a reply takes its connection with it, so that a late reply answers nothing else.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from typing import cast

import httptools
from aiohappyeyeballs import start_connection
from yarl import URL

from quantum_trader.concurrency import end_tasks
from quantum_trader.exchange.replies import Reply

IDLE_S_MAX = 20.0  # an older connection may be about to be closed at the other end
RENEWED_AFTER_S = 15.0
NEXT_ADDRESS_AFTER_S = 0.25  # a host has several addresses, and the first may lead nowhere (RFC 8305)
HEADER_BYTES_MAX = 64 * 1024
_INTERIM = range(100, 200)


class LaneBroken(Exception):
    """No reply; ``may_have_been_sent`` is False only where no connection ever stood."""

    def __init__(self, reason: str, *, may_have_been_sent: bool) -> None:
        super().__init__(reason)
        self.may_have_been_sent = may_have_been_sent


class HttpLane:
    """Connections to the one host of ``base_url``; made inside the running event loop."""

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        *,
        timeout_s: float,
        connections_max: int,
        body_bytes_max: int,
    ) -> None:
        """``timeout_s`` is for a whole exchange; until a connection stands, half of it.

        Raises ``ValueError`` for a header that would not stay on its line.
        """
        self._url = URL(base_url)
        self._tls = ssl.create_default_context() if self._url.scheme == "https" else None
        self._fields = _header_lines({"Host": self._url.host_port_subcomponent or "", **headers})
        self._timeout_s = timeout_s
        self._body_bytes_max = body_bytes_max
        self._loop = asyncio.get_running_loop()
        self._seats = asyncio.Semaphore(connections_max)
        self._idle: list[_Connection] = []
        self._standing: set[_Connection] = set()
        self._warming: asyncio.Task[None] | None = None
        self._is_closed = False

    async def post(self, path: str, body: bytes) -> Reply:
        """Send ``body`` to ``path`` below the base URL, once, and return the reply, whatever its status.

        Raises:
            LaneBroken: there was none, or none that can be read.
        """
        begun_s = self._loop.time()
        connect_by_s = begun_s + self._timeout_s / 2
        await self._take_seat(connect_by_s)
        try:
            connection = self._kept() or await self._connected(connect_by_s)
            reply = await connection.ask(self._request(path, body), begun_s + self._timeout_s)
            if connection.stands:
                self._idle.append(connection)
            return reply
        finally:
            self._seats.release()

    def keep_warm(self) -> None:
        """Have a connection stand by for the next order, which need not wait for handshakes then.

        To be called every few seconds: it is renewed before it is too old to be used.
        """
        fresh_s = self._loop.time() - RENEWED_AFTER_S
        if any(kept.stands and kept.idle_since_s > fresh_s for kept in self._idle):
            return
        if self._warming is None or self._warming.done():
            self._warming = self._loop.create_task(self._warm(), name="connection for orders")

    async def close(self) -> None:
        """Cut every connection; requests in flight fail."""
        self._is_closed = True
        await end_tasks([self._warming] if self._warming is not None else [])
        for connection in tuple(self._standing):
            connection.cut("the connection was closed")

    async def _warm(self) -> None:
        try:
            connection = await self._connected(self._loop.time() + self._timeout_s)
        except LaneBroken:
            return  # an order finds out for itself, and says so
        oldest_s = self._loop.time() - IDLE_S_MAX
        for kept in [kept for kept in self._idle if kept.idle_since_s <= oldest_s]:
            self._idle.remove(kept)
            kept.cut("idle for too long")
        self._idle.append(connection)

    def _request(self, path: str, body: bytes) -> bytes:
        target = f"{self._url.raw_path.rstrip('/')}{path}"
        return b"POST %b HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b" % (
            target.encode(),
            self._fields,
            len(body),
            body,
        )

    async def _take_seat(self, by_s: float) -> None:
        if not self._seats.locked():
            await self._seats.acquire()  # does not wait
            return
        try:
            async with asyncio.timeout_at(by_s):
                await self._seats.acquire()
        except TimeoutError:
            raise LaneBroken("timed out waiting for a connection", may_have_been_sent=False) from None

    def _kept(self) -> _Connection | None:
        """Return a connection that stands and has not been idle for too long."""
        oldest_s = self._loop.time() - IDLE_S_MAX
        while self._idle:
            connection = self._idle.pop()
            if connection.stands and connection.idle_since_s > oldest_s:
                return connection
            connection.cut("idle for too long")
        return None

    async def _connected(self, by_s: float) -> _Connection:
        connection = _Connection(self._loop, self._standing, self._body_bytes_max)
        try:
            async with asyncio.timeout_at(by_s):
                await self._connect(connection)
        except (OSError, ValueError) as failed:  # a TimeoutError is an OSError
            connection.cut("given up before it was used")
            raise LaneBroken(_described(failed), may_have_been_sent=False) from None
        except asyncio.CancelledError:
            connection.cut("given up before it was used")
            raise
        return connection

    async def _connect(self, connection: _Connection) -> None:
        """Connect to whichever address of the host answers first."""
        addresses = await self._loop.getaddrinfo(
            self._url.host, self._url.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )
        reached = await start_connection(addresses, happy_eyeballs_delay=NEXT_ADDRESS_AFTER_S)
        name = self._url.host if self._tls is not None else None
        try:
            await self._loop.create_connection(
                lambda: connection, sock=reached, ssl=self._tls, server_hostname=name
            )
        except BaseException:
            reached.close()
            raise
        if self._is_closed:
            raise ConnectionAbortedError("closed")


class _Connection(asyncio.Protocol):
    """One connection: a request in, its reply out. Also the receiver of httptools' callbacks."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, standing: set[_Connection], body_bytes_max: int
    ) -> None:
        self._loop = loop
        self._standing = standing
        self._body_bytes_max = body_bytes_max
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[Reply] | None = None
        self._headers: dict[str, str] = {}
        self._header_bytes = 0
        self._body = bytearray()
        self._is_in_body = False
        self._has_ended_well = False
        self.stands = False
        self.idle_since_s = loop.time()

    async def ask(self, request: bytes, deadline_s: float) -> Reply:
        """Write ``request`` and return its reply; ``LaneBroken`` where none has come by ``deadline_s``."""
        if self._transport is None or not self.stands:
            raise LaneBroken("connection lost", may_have_been_sent=True)
        answer: asyncio.Future[Reply] = self._loop.create_future()
        self._answer = answer
        self._begin_reply()
        limit = self._loop.call_at(deadline_s, self.cut, "timed out")
        try:
            self._transport.write(request)
            return await answer
        except BaseException:
            self.cut("the request was given up")
            raise
        finally:
            limit.cancel()
            self._answer = None
            self.idle_since_s = self._loop.time()

    def cut(self, why: str) -> None:
        """End the connection at once; a request under way fails for the reason of ``why``."""
        self.stands = False
        self._standing.discard(self)
        if self._transport is not None:
            self._transport.abort()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(LaneBroken(why, may_have_been_sent=True))

    # -- what the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.stands = True
        self._standing.add(self)

    def eof_received(self) -> None:
        self.stands, self._has_ended_well = False, True  # it closes now; over TLS this is a proper end

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_by_close()
        self.cut(_described(exc) if exc is not None else "the server closed the connection")

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            self.cut("bytes that nobody asked for")
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as garbled:
            self.cut(f"the reply cannot be read ({type(garbled).__name__})")

    # -- what httptools calls

    def on_message_begin(self) -> None:
        if self._answer is None or self._answer.done():
            self.cut("a reply that nobody asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > HEADER_BYTES_MAX:
            self.cut(f"headers longer than {HEADER_BYTES_MAX} bytes")
        else:
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._is_in_body = True

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) > self._body_bytes_max:
            self.cut(f"reply longer than {self._body_bytes_max} bytes")

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() in _INTERIM:
            self._begin_reply()
            return
        self._end_reply()
        if not self._parser.should_keep_alive():
            self.cut("the server keeps no connection")

    def _begin_reply(self) -> None:
        self._headers, self._header_bytes, self._body = {}, 0, bytearray()
        self._is_in_body = False

    def _end_reply(self) -> None:
        if self._answer is None or self._answer.done():
            return
        coding = self._headers.get("content-encoding", "identity")
        if coding != "identity":  # all that was offered
            self.cut(f"the reply's coding {coding[:20]!r} was not offered")
            return
        self._answer.set_result(Reply(self._parser.get_status_code(), self._headers, bytes(self._body)))
        self._begin_reply()  # what was handed over is not ours to change

    def _end_by_close(self) -> None:
        """Take a reply without a length as whole when the server closes in good order (RFC 9112, 6.3)."""
        has_length = self._headers.keys() & {"content-length", "transfer-encoding"}
        if self._has_ended_well and self._is_in_body and not has_length:
            self._end_reply()


def _header_lines(headers: Mapping[str, str]) -> bytes:
    for name, text in headers.items():
        if not (text.isascii() and text.isprintable()):
            raise ValueError(f"the header {name} cannot be sent: it must be printable ASCII")
    return "".join(f"{name}: {text}\r\n" for name, text in headers.items()).encode()


def _described(error: Exception) -> str:
    """Name what happened; the texts of these errors quote no request."""
    if isinstance(error, TimeoutError) and not error.args:
        return "timed out"
    cause = error.strerror if isinstance(error, OSError) else None
    return f"{type(error).__name__}: {cause}" if cause else type(error).__name__
