"""The HTTP side of one engine: joined by app.py, started before everything else, stopped after it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from quantum_trader import log
from quantum_trader.alerts.desk import AlertDesk, Limits
from quantum_trader.alerts.sinks import AlertsUnusable, apprise_sinks
from quantum_trader.concurrency import end_tasks
from quantum_trader.config import Config, ConfigError
from quantum_trader.domain.clock import Clock
from quantum_trader.housekeeping import Housekeeping
from quantum_trader.joining import Joined
from quantum_trader.stores.archive import Archive
from quantum_trader.stores.connection import RedisError
from quantum_trader.stores.keys import Keys
from quantum_trader.web import api, changes, health, page, plan_intake
from quantum_trader.web.live import LiveFeed
from quantum_trader.web.metrics import Metrics
from quantum_trader.web.server import AddRoutes, HttpServer
from quantum_trader.web.view import VIEW, EngineView
from quantum_trader.web.watch import Watch

TAKE_EVERY_S = 0.25
LOOK_EVERY_S = 1.0
BSC_EVERY_LOOKS = 5
ROUTES: tuple[AddRoutes, ...] = (
    health.add_routes,
    api.add_routes,
    changes.add_routes,
    plan_intake.add_routes,
    page.add_routes,
)
"""Routes of other parts stand here too: one line each."""

logger = structlog.get_logger()


class WebService:
    """What app.py starts, hands the joined engine, and stops."""

    def __init__(self, config: Callable[[], Config], archive: Archive, clock: Clock) -> None:
        """``config`` returns the configuration in force at the moment.

        Raises:
            ConfigError: alerts are configured and could not be sent.
        """
        self.view = EngineView(config, clock)
        self.metrics = Metrics(self.view)
        self.desk = _desk(config(), clock, self.metrics)
        self.watch = Watch(self.view, self.desk.tell)
        self.live = LiveFeed(self.view)
        self._clock = clock
        self._server: HttpServer | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._looks = 0
        self._archive = archive
        self.view.events.listeners += [self.metrics.count_event, self.watch.heard]

    @property
    def url(self) -> str:
        """Where the page is; "" while nothing listens."""
        return self._server.url if self._server is not None else ""

    async def start(self) -> None:
        """Begin to watch, and to listen unless ``http.enabled`` is false."""
        config = self.view.config
        log.hide(one.get_secret_value() for one in (config.http.token, config.http.alert_token))
        log.hide(url.get_secret_value() for url in config.alerts.urls)
        self.desk.start()
        self._begin(self.view.loop_lag.run(), self._repeat(self._take, TAKE_EVERY_S))
        self._begin(self._repeat(self._look, LOOK_EVERY_S))
        if config.http.enabled:
            routes = (self._share, *ROUTES, self.metrics.add_routes, self.live.add_routes)
            self._server = HttpServer(config.http, routes, self._clock)
            await self._server.start()
            self._begin(self.live.run())

    def attach(self, joined: Joined, housekeeping: Housekeeping) -> None:
        """From now on show this engine."""
        self.view.attach(joined, housekeeping)
        self._begin(self.view.events.run(joined.database, self._keys))

    async def stop(self) -> None:
        """Tell what waits to be told, and close every connection."""
        await end_tasks(self._tasks)
        if self._server is not None:
            await self._server.stop()
        await asyncio.to_thread(self.desk.stop)

    @property
    def _keys(self) -> Keys:
        return Keys(self.view.config.redis.namespace)

    def _begin(self, *works: Awaitable[None]) -> None:
        self._tasks += [asyncio.ensure_future(work) for work in works]

    def _share(self, app: web.Application) -> None:
        app[VIEW] = self.view

    async def _take(self) -> None:
        """Take away the results that were written since, beside the plans and not in their way."""
        newest = self._archive.newest
        while newest:
            result, fields = newest.popleft()
            self.view.feed.keep(result, fields)
            self.metrics.count(result)
            self.watch.ended(result)

    async def _repeat(self, work: Callable[[], Awaitable[None]], every_s: float) -> None:
        """Do ``work`` for ever; a fault in it is logged and ends nothing."""
        while True:
            try:
                await work()
            except RedisError as failed:
                logger.debug("latch_times_unread", error=str(failed))
            except Exception:
                logger.exception("watch_broken")
            await self._clock.sleep(every_s)

    async def _look(self) -> None:
        """Compare what is compared over time."""
        view = self.view
        view.note_waiting()
        if self._looks % BSC_EVERY_LOOKS == 0:
            await view.bsc_report.read()
        self._looks += 1
        self.watch.look()
        if view.joined is None:
            return
        view.history.note(view.joined.rooms)
        if view.joined.consumer.operator is not None:
            latches = view.joined.consumer.operator.latches
            await view.latch_times.read(latches, view.joined.database, self._keys)


def _desk(config: Config, clock: Clock, metrics: Metrics) -> AlertDesk:
    table = config.alerts
    try:
        sinks = apprise_sinks([url.get_secret_value() for url in table.urls])
    except AlertsUnusable as unusable:
        raise ConfigError(str(unusable)) from None
    return AlertDesk(
        sinks,
        Limits(frozenset(table.events), table.repeat_s, table.per_hour_max),
        clock,
        origin=f"Quantum Trader {config.mode.value} on {socket.gethostname()}",
        report=lambda kind, outcome: metrics.alerts.labels(kind, outcome).inc(),
    )
