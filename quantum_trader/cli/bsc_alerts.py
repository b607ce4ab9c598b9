"""Alerts of a BSC that runs alone: it has no engine that would tell of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from quantum_trader.alerts.desk import AlertDesk, Limits
from quantum_trader.alerts.events import alert_of
from quantum_trader.alerts.kinds import AlertKind
from quantum_trader.alerts.sinks import AlertsUnusable, apprise_sinks
from quantum_trader.bsc.events import EventSink
from quantum_trader.concurrency import end_tasks
from quantum_trader.domain.clock import Clock, SystemClock
from quantum_trader.essentials import Essentials

LOOK_EVERY_S = 0.5
LIMITS = Limits(frozenset(AlertKind), repeat_s=300, per_hour_max=60)

logger = structlog.get_logger()


@asynccontextmanager
async def alerting(essentials: Essentials, sink: EventSink) -> AsyncIterator[None]:
    """Tell of what ``sink`` is told; addresses that cannot be used are logged and stop nothing."""
    try:
        sinks = apprise_sinks(essentials.alert_urls)
    except AlertsUnusable as unusable:
        logger.error("alerts_unusable", problem=str(unusable))  # noqa: TRY400  # the text says it all
        sinks = []
    clock = SystemClock()
    desk = AlertDesk(sinks, LIMITS, clock, origin=f"BSC {essentials.mode.value}")
    desk.start()
    telling = asyncio.create_task(_tell(sink, desk, clock), name="bsc-alerts")
    try:
        yield
    finally:
        await end_tasks([telling])
        await asyncio.to_thread(desk.stop)


async def _tell(sink: EventSink, desk: AlertDesk, clock: Clock) -> None:
    while True:
        while sink.newest:
            alert = alert_of(sink.newest.popleft())
            if alert is not None:
                desk.tell(alert)
        await clock.sleep(LOOK_EVERY_S)
