"""The HTTP side of one engine: joined by app.py, started before everything else, stopped after it."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from quantum_trader import log
from quantum_trader.config import Config
from quantum_trader.domain.clock import Clock
from quantum_trader.housekeeping import Housekeeping
from quantum_trader.joining import Joined
from quantum_trader.stores.archive import Archive
from quantum_trader.web.health import add_routes as add_health
from quantum_trader.web.server import AddRoutes, HttpServer
from quantum_trader.web.view import VIEW, EngineView

ROUTES: tuple[AddRoutes, ...] = (add_health,)


class WebService:
    """What app.py starts, hands the joined engine, and stops."""

    def __init__(self, config: Callable[[], Config], archive: Archive, clock: Clock) -> None:
        """``config`` returns the configuration in force at the moment."""
        self.view = EngineView(config, clock)
        self._archive = archive
        self._clock = clock
        self._server: HttpServer | None = None

    @property
    def url(self) -> str:
        """Where the page is; "" while nothing listens."""
        return self._server.url if self._server is not None else ""

    async def start(self) -> None:
        """Begin to listen, unless ``http.enabled`` is false."""
        table = self.view.config.http
        log.hide([table.token.get_secret_value()])
        if table.enabled:
            self._server = HttpServer(table, (self._share, *ROUTES), self._clock)
            await self._server.start()

    def attach(self, joined: Joined, housekeeping: Housekeeping) -> None:
        """From now on show this engine."""
        self.view.attach(joined, housekeeping)

    async def stop(self) -> None:
        """Close every connection."""
        if self._server is not None:
            await self._server.stop()

    def _share(self, app: web.Application) -> None:
        app[VIEW] = self.view
