"""One WebSocket of ours: whole messages in, texts out, and when the peer was last heard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from picows import WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from quantum_trader.domain.clock import Clock
from quantum_trader.exchange.errors import ExchangeUnreachable

LOST = "connection lost"
MESSAGE_BYTES_MAX = 4 * 1024 * 1024  # marks of every symbol are some 200 KiB
_TEXT, _CLOSE = WSMsgType.TEXT, WSMsgType.CLOSE  # what an enum is asked for costs more than a name
_FRAGMENT = (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION)


class NoReply(Exception):
    """What was awaited has not come, and will not."""


class Socket(WSListener):
    """An open connection. ``receive`` is handed every message, in order; it must not raise.

    ``heard_at_s`` is when any frame came (a pong, too), ``told_at_s`` when a message did, both on the
    monotonic clock.
    """

    def __init__(self, receive: Callable[[bytes], None], clock: Clock) -> None:
        super().__init__()
        self._receive = receive
        self._clock = clock
        self._transport: WSTransport | None = None
        self._parts = bytearray()
        self._awaited: set[asyncio.Future[Any]] = set()
        self.ended = asyncio.Event()
        self.opened_at_s = clock.monotonic_s()
        self.heard_at_s: float | None = None
        self.told_at_s: float | None = None

    @classmethod
    async def open(cls, url: str, receive: Callable[[bytes], None], clock: Clock, timeout_s: float) -> Socket:
        """Connect to ``url`` (ws:// or wss://) within ``timeout_s`` seconds.

        Raises:
            ExchangeUnreachable: it did not answer, or not as a WebSocket. The URL, which may carry a
                listen key, is part of no text.
        """
        try:
            async with asyncio.timeout(timeout_s):
                _, listener = await ws_connect(
                    lambda: cls(receive, clock),
                    url,
                    websocket_handshake_timeout=timeout_s,
                    max_frame_size=MESSAGE_BYTES_MAX,
                    max_redirects=0,
                )
        except (WSError, OSError, TimeoutError, ValueError) as error:
            raise ExchangeUnreachable("WebSocket", type(error).__name__, may_have_been_sent=False) from None
        if not isinstance(listener, cls):
            raise TypeError("picows returned a listener that was not asked for")
        return listener

    @property
    def is_open(self) -> bool:
        """Whether a text that is sent now can still leave."""
        transport = self._transport
        return transport is not None and not (transport.is_disconnected or transport.is_close_frame_sent)

    def send(self, text: bytes) -> None:
        """Send one text; on a connection that is not open any more it is lost."""
        if self._transport is not None:
            self._transport.send(_TEXT, text)

    def awaits(self, reply: asyncio.Future[Any]) -> None:
        """Have ``reply`` fail with ``NoReply`` should the connection end before ``is_done_with`` it."""
        if self.ended.is_set():
            fail(reply, LOST)
        else:
            self._awaited.add(reply)

    def is_done_with(self, reply: asyncio.Future[Any]) -> None:
        """Forget ``reply``: nobody awaits it any more."""
        self._awaited.discard(reply)

    def ping(self) -> None:
        """Ask for a pong."""
        if self._transport is not None:
            self._transport.send_ping()

    def close(self) -> None:
        """End the connection at once; ``ended`` is set when it has."""
        if self._transport is None:
            self.ended.set()
        else:
            self._transport.disconnect(graceful=False)

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Begin (called by picows)."""
        self._transport = transport

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """End (called by picows)."""
        del transport
        self.ended.set()
        for reply in tuple(self._awaited):
            fail(reply, LOST)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take one frame (called by picows, which answers pings itself)."""
        self.heard_at_s = self._clock.monotonic_s()
        kind = frame.msg_type
        if kind is _TEXT and frame.fin and not self._parts:
            self._tell(frame.get_payload_as_bytes())
        elif kind is _CLOSE:
            transport.disconnect(graceful=False)
        elif kind in _FRAGMENT:
            self._take_part(frame)

    def _take_part(self, frame: WSFrame) -> None:
        self._parts += frame.get_payload_as_memoryview()
        if len(self._parts) > MESSAGE_BYTES_MAX:
            self.close()
        elif frame.fin:
            message, self._parts = bytes(self._parts), bytearray()
            self._tell(message)

    def _tell(self, message: bytes) -> None:
        self.told_at_s = self.heard_at_s
        self._receive(message)


def fail(reply: asyncio.Future[Any], why: str) -> None:
    """Let whoever awaits ``reply`` meet ``NoReply``, unless it is done."""
    if not reply.done():
        reply.set_exception(NoReply(why))
