"""``/api/events``: server-sent events for the page.

One task makes each message once for all clients, and none while nobody listens. A client that does
not read fast enough loses its oldest messages, never the engine's time: every ``state`` is whole.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import orjson
from aiohttp import web
from aiohttp_sse import sse_response

from quantum_trader.web import snapshot
from quantum_trader.web.view import EngineView

CLIENTS_MAX = 32
QUEUE_MAX = 16
STATE_EVERY_S = 1.0
LOOK_EVERY_S = 0.25
DECISIONS_MAX = 100
DECISIONS_FIRST = 100
EVENTS_FIRST = 50

Message = tuple[str, str]
Queue = asyncio.Queue[Message | None]


class LiveFeed:
    """The connected pages."""

    def __init__(self, view: EngineView) -> None:
        self._view = view
        self._queues: set[Queue] = set()
        self._someone = asyncio.Event()
        self._decisions_told = 0
        self._events_told = 0
        self._history_told_ms = 0
        self._state_told_s = float("-inf")

    @property
    def clients(self) -> int:
        """How many pages listen."""
        return len(self._queues)

    def add_routes(self, app: web.Application) -> None:
        """Add the route."""
        app.router.add_get("/api/events", self._serve, allow_head=False)
        app.on_shutdown.append(self._end_all)

    async def run(self) -> None:
        """Tell whoever listens what is new, for ever."""
        clock = self._view.clock
        while True:
            await self._someone.wait()
            for message in self._news():
                self._tell(message)
            await clock.sleep(LOOK_EVERY_S)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if len(self._queues) >= CLIENTS_MAX:
            raise web.HTTPServiceUnavailable(text=f"{CLIENTS_MAX} pages are open already; close one")
        async with sse_response(request) as response:
            queue = self._join()
            try:
                with suppress(ConnectionError):  # the page is gone
                    while (message := await queue.get()) is not None:
                        kind, content = message
                        await response.send(content, event=kind)
            finally:
                self._leave(queue)
        return response

    def _join(self) -> Queue:
        """Return a queue that begins with everything; what others were told since is not missed."""
        if not self._queues:
            self._mark_all_told()
        queue: Queue = asyncio.Queue(QUEUE_MAX)
        for message in first_messages(self._view):
            queue.put_nowait(message)
        self._queues.add(queue)
        self._someone.set()
        return queue

    def _leave(self, queue: Queue) -> None:
        self._queues.discard(queue)
        if not self._queues:
            self._someone.clear()

    async def _end_all(self, app: web.Application) -> None:
        del app
        for queue in self._queues:
            _put(queue, None)

    def _tell(self, message: Message) -> None:
        for queue in self._queues:
            _put(queue, message)

    def _mark_all_told(self) -> None:
        view = self._view
        self._decisions_told, self._events_told = view.feed.number, view.events.number
        self._history_told_ms = view.history.newest_ms

    def _news(self) -> list[Message]:
        """Return what came since the last look; the whole state once a second and after a decision."""
        view, now_s, news = self._view, self._view.clock.monotonic_s(), []
        if view.feed.number > self._decisions_told:
            news.append(_message("decisions", view.feed.since(self._decisions_told, DECISIONS_MAX)))
        if view.events.number > self._events_told:
            newer = min(view.events.number - self._events_told, EVENTS_FIRST)
            news.append(_message("events", view.events.newest(newer)))
        if view.history.newest_ms > self._history_told_ms:
            news.append(_message("history", view.history.columns(self._history_told_ms)))
        if now_s - self._state_told_s >= STATE_EVERY_S or news:
            news.append(_message("state", snapshot.state(view)))
            self._state_told_s = now_s
        self._mark_all_told()
        return news


def first_messages(view: EngineView) -> list[Message]:
    """Return what a page needs when it connects."""
    return [
        _message("state", snapshot.state(view)),
        _message("decisions", view.feed.newest(DECISIONS_FIRST)),
        _message("events", view.events.newest(EVENTS_FIRST)),
        _message("history", view.history.columns()),
    ]


def _put(queue: Queue, message: Message | None) -> None:
    """Put ``message`` in, at the cost of the oldest where there is no room."""
    if queue.full():
        with suppress(asyncio.QueueEmpty):
            queue.get_nowait()
    queue.put_nowait(message)


def _message(kind: str, content: Any) -> Message:
    return kind, orjson.dumps(content).decode()
