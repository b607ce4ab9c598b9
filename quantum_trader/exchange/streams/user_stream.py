"""The user data stream on its own route, with a listen key (BINANCE.md 10, INC-87, INC-88).

It may be quiet for days, so quiet proves nothing. It is asked every two seconds which subscriptions
it serves; once it has answered, only answers and events count as life, and not the pongs, which a
connection that delivers nothing any more may still send. One that has never answered is judged by
its pongs alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from urllib.parse import quote

import structlog

from quantum_trader.concurrency import end_tasks
from quantum_trader.domain.clock import Clock
from quantum_trader.exchange.errors import ReplyUnreadable
from quantum_trader.exchange.streams.link import Link, LinkTerms
from quantum_trader.exchange.streams.listen_key import ListenKey
from quantum_trader.exchange.streams.socket import Socket
from quantum_trader.exchange.streams.user_events import (
    Answer,
    ListenKeyExpired,
    Unreadable,
    UserEvent,
    user_event_of,
)

TERMS = LinkTerms(silent_s_max=6.0)
ASK = b'{"method":"LIST_SUBSCRIPTIONS","id":1}'

log = structlog.get_logger()


class UserStream:
    """Hands every event of the account to ``on_event``, which must not raise and must bear doubles.

    ``stream_url`` is the address without a route. ``on_live`` and ``on_dead`` as in ``Link``.
    """

    def __init__(
        self,
        stream_url: str,
        listen_key: ListenKey,
        clock: Clock,
        *,
        on_event: Callable[[UserEvent], None],
        on_live: Callable[[], None],
        on_dead: Callable[[], None],
    ) -> None:
        self._stream_url = stream_url
        self._listen_key = listen_key
        self._on_event = on_event
        self.link = Link(
            "user",
            self._find_url,
            self._receive,
            clock,
            TERMS,
            ask=_ask,
            on_live=on_live,
            on_dead=on_dead,
        )

    async def run(self) -> None:
        """Listen until cancelled."""
        keeping = asyncio.create_task(self._keep_key(), name="listen key")
        try:
            await self.link.run()
        finally:
            await end_tasks([keeping])

    async def _find_url(self) -> str:
        key = await self._listen_key.ask()
        return f"{self._stream_url}/private/ws?listenKey={quote(key, safe='')}"

    async def _keep_key(self) -> None:
        while True:
            await self._listen_key.keep()
            self.link.condemn("listen key gone")

    def _receive(self, frame: bytes) -> None:
        try:
            event = user_event_of(frame)
        except ReplyUnreadable as unreadable:
            log.warning("stream_frame_unreadable", stream=self.link.name, error=str(unreadable))
            event = Unreadable()
        if event is None:
            return
        if isinstance(event, Answer):
            self.link.messages_are_the_beat = True
        elif isinstance(event, ListenKeyExpired):
            self.link.condemn("listen key expired")
        else:
            self._on_event(event)


def _ask(socket: Socket) -> None:
    socket.send(ASK)
    socket.ping()
