"""A local address for alerts: what a webhook of an operator would receive."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web


class AlertSink:
    """Keeps every message; ``broken`` refuses them."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.broken = False
        self.url = ""

    def kinds(self) -> list[str]:
        """The kinds told so far, as they stand at the end of each title."""
        return [message["title"].rpartition(": ")[2] for message in self.messages]

    def text_of(self, kind: str) -> str:
        """The first message of ``kind``."""
        return next(str(message["message"]) for message in self.messages if message["title"].endswith(kind))

    async def receive(self, request: web.Request) -> web.Response:
        """Take a message."""
        if self.broken:
            return web.Response(status=500)
        self.messages.append(await request.json())
        return web.Response()


@asynccontextmanager
async def alert_sink() -> AsyncIterator[AlertSink]:
    """Listen on loopback; ``url`` is what an operator would put into alerts.urls."""
    sink = AlertSink()
    app = web.Application()
    app.router.add_post("/{path:.*}", sink.receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sink.url = f"json://user:sink-secret@127.0.0.1:{runner.addresses[0][1]}/alerts"
    yield sink
    await runner.cleanup()
