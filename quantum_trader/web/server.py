"""The HTTP server: started first and stopped last, so that the probes answer while the engine waits.

Other parts add their routes with ``add_routes(app)``; the guard of auth.py covers them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import orjson
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from quantum_trader.concurrency import end_tasks
from quantum_trader.config_tables import HttpTable
from quantum_trader.domain.clock import Clock
from quantum_trader.web.auth import Access, guard, protect

BODY_BYTES_MAX = 64 * 1024
RETRY_S = 5.0
SHUTDOWN_S = 2.0

log = structlog.get_logger()

AddRoutes = Callable[[web.Application], None]


class HttpServer:
    """Listens on ``[http] host`` and ``port``; what it serves is added by ``routes``."""

    def __init__(self, table: HttpTable, routes: Iterable[AddRoutes], clock: Clock) -> None:
        self._table = table
        self._clock = clock
        self._app = application(table, routes)
        self._runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=SHUTDOWN_S)
        self._retrying: asyncio.Task[None] | None = None
        self.url = ""

    async def start(self) -> None:
        """Begin to listen. A port that is taken is said, and tried again until it is free.

        The engine goes on meanwhile: positions need it more than the page does.
        """
        await self._runner.setup()
        problem = await self._listen()
        if problem:
            log.error(
                "http_port_taken",
                address=f"{self._table.host}:{self._table.port}",
                problem=problem,
                cure="page and metrics are missing: set http.port (QT_HTTP__PORT), or end what listens there",
                retry_s=RETRY_S,
            )
            self._retrying = asyncio.create_task(self._keep_trying(), name="http-listen")

    async def stop(self) -> None:
        """Close every connection."""
        if self._retrying is not None:
            await end_tasks([self._retrying])
        await self._runner.cleanup()

    async def _keep_trying(self) -> None:
        while await self._listen():
            await self._clock.sleep(RETRY_S)

    async def _listen(self) -> str:
        """Try once; return what is wrong, "" if nothing."""
        site = web.TCPSite(self._runner, self._table.host, self._table.port)
        try:
            await site.start()
        except OSError as taken:
            return taken.strerror or str(taken)
        port = self._runner.addresses[0][1]
        host = f"[{self._table.host}]" if ":" in self._table.host else self._table.host
        self.url = f"http://{host}:{port}"
        log.info("http_listening", url=self.url)
        return ""


def application(table: HttpTable, routes: Iterable[AddRoutes]) -> web.Application:
    """Return the guarded application with ``routes``."""
    app = web.Application(
        middlewares=[_in_json, guard(Access.of(table))],
        client_max_size=BODY_BYTES_MAX,
    )
    app.on_response_prepare.append(protect)
    for add_routes in routes:
        add_routes(app)
    return app


@web.middleware
async def _in_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer errors in JSON: those of the request with their text, our own without details."""
    try:
        return await handler(request)
    except web.HTTPException as refused:
        if refused.status < web.HTTPBadRequest.status_code:
            raise
        return reply({"error": refused.text or refused.reason}, refused.status)
    except Exception:
        log.exception("http_failed", path=request.path)
        return reply({"error": "internal error; the engine's log has it"}, 500)


def reply(content: object, status: int = 200) -> web.Response:
    """Return ``content`` as JSON."""
    return web.Response(body=orjson.dumps(content), status=status, content_type="application/json")
