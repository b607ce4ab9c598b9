"""What stream connections and the WebSocket API have in common at the socket."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from aiohttp import WSMsgType, web

from quantum_trader.domain.clock import Clock

TimeSource = Callable[[], int]
PING_EVERY_S: Final = 180
PONG_WITHIN_S: Final = 600
QUEUE_MAX: Final = 4096
_MESSAGE_BYTES_MAX: Final = 64 * 1024
_NO_LINGER: Final = struct.pack("ii", 1, 0)  # close with RST, as a crashed peer does


def abort(http: web.BaseRequest) -> None:
    """Drop the connection at once, without a farewell."""
    transport = http.transport
    if transport is None:
        return
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()


async def end(*tasks: asyncio.Task[None]) -> None:
    """Cancel ``tasks`` and wait for them; raises what one of them had failed with."""
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome


class Line:
    """One WebSocket of a client: a bounded queue of outgoing frames, pings, and what comes in.

    A peer that reads so slowly that the queue is full is dropped. Pings go out every three
    minutes; a peer that stays silent for ten is closed (BINANCE.md 9, 10.1).
    """

    def __init__(self, http: web.BaseRequest, clock: Clock) -> None:
        self._http, self._clock = http, clock
        self._socket = web.WebSocketResponse(autoping=False, max_msg_size=_MESSAGE_BYTES_MAX)
        self._queue: asyncio.Queue[bytes | int] = asyncio.Queue(QUEUE_MAX)
        self._heard = asyncio.Event()

    async def serve(self, receive: Callable[[str], None]) -> web.StreamResponse:
        """Accept the connection and hand every text to ``receive`` until it ends."""
        await self._socket.prepare(self._http)
        tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._ping())]
        try:
            async for message in self._socket:
                self._heard.set()
                if message.type is WSMsgType.TEXT:
                    receive(message.data)
                elif message.type is WSMsgType.PING:
                    await self._pong(message.data)
        finally:
            await end(*tasks)
        return self._socket

    def put(self, item: bytes | int) -> None:
        """Queue a text, or a WebSocket code to close with behind what is queued already."""
        try:
            self._queue.put_nowait(item)
        except asyncio.QueueFull:
            self.abort()

    def abort(self) -> None:
        """Drop the connection at once, without a farewell."""
        abort(self._http)

    async def _pong(self, payload: bytes) -> None:
        with suppress(ConnectionError):
            await self._socket.pong(payload)

    async def _write(self) -> None:
        with suppress(ConnectionError):
            while True:
                item = await self._queue.get()
                if isinstance(item, int):
                    await self._socket.close(code=item)
                    return
                await self._socket.send_frame(item, WSMsgType.TEXT)

    async def _ping(self) -> None:
        silent_s = 0
        with suppress(ConnectionError):
            while silent_s < PONG_WITHIN_S:
                await self._clock.sleep(PING_EVERY_S)
                silent_s = 0 if self._heard.is_set() else silent_s + PING_EVERY_S
                self._heard.clear()
                await self._socket.ping(str(self._clock.now_ms()).encode())
            await self._socket.close()
