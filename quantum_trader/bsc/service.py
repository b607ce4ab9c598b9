"""BSC as one thing that a process starts and stops: watch, delivery, audits, loop guard.

Everything it holds is its own, but for the transport that ``line`` may share with an engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from quantum_trader.bsc.audit import Auditor
from quantum_trader.bsc.audit_pack import AuditFolder
from quantum_trader.bsc.auditing import AuditCalendar, AuditOffice
from quantum_trader.bsc.events import Event, EventSink
from quantum_trader.bsc.guard import LoopGuard
from quantum_trader.bsc.lifespan import Lifespan
from quantum_trader.bsc.reading import Line
from quantum_trader.bsc.redis_master import Master
from quantum_trader.bsc.redis_writer import Address, Place, RedisWriter
from quantum_trader.bsc.spool import Spool
from quantum_trader.bsc.status import StatusFile
from quantum_trader.bsc.telling import Memory, Teller
from quantum_trader.bsc.watch_log import WatchLog
from quantum_trader.bsc.watchdog import Watchdog
from quantum_trader.concurrency import end_tasks
from quantum_trader.domain.clock import Clock
from quantum_trader.sentinel_address import SCHEME, SentinelAddress

STREAM_ENTRIES_MAX = 50_000
RESTART_S = 1.0
FLUSH_S = 5.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Outlet:
    """Where events and health go: the Redis URL and the two names."""

    redis_url: str = field(repr=False)
    stream: str
    health_key: str


@dataclass(frozen=True, slots=True)
class Offices:
    """The parts that the command line uses as well."""

    folder: Path
    lifespan: Lifespan
    polls: WatchLog
    status: StatusFile
    audits: AuditFolder
    sink: EventSink
    office: AuditOffice


def open_offices(state_dir: Path, line: Callable[[], Line], outlet: Outlet, clock: Clock) -> Offices:
    """Return BSC's parts on ``state_dir``; touches neither disk nor network yet."""
    folder = state_dir / "bsc"
    lifespan, polls = Lifespan(folder), WatchLog(folder)
    audits = AuditFolder(state_dir / "audits")
    sink = EventSink(Spool(folder), _writer(outlet), clock)
    auditor = Auditor(line, WatchLog(folder), clock)
    office = AuditOffice(auditor, audits, lifespan, sink, clock)
    return Offices(folder, lifespan, polls, StatusFile(folder), audits, sink, office)


class BscService:
    """The running watchdog."""

    def __init__(self, offices: Offices, line: Callable[[], Line], clock: Clock, *, closes: bool) -> None:
        """``closes`` False only reports (dry_run)."""
        self._offices = offices
        self._clock = clock
        memory = Memory(offices.lifespan, offices.polls, offices.status)
        teller = Teller(memory, offices.sink, clock)
        self._watchdog = Watchdog(line, teller, offices.sink, clock, closes=closes)
        self._calendar = AuditCalendar(offices.office, Lifespan(offices.folder), offices.folder, clock)
        self._guard = LoopGuard()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to watch; call it inside the loop."""
        self._guard.start()
        works = {
            "bsc-watch": self._watchdog.run,
            "bsc-events": self._offices.sink.run,
            "bsc-audits": self._calendar.run,
        }
        self._tasks = [asyncio.create_task(self._for_ever(*work), name=work[0]) for work in works.items()]

    async def stop(self) -> None:
        """End the watch, say so, and give Redis a last chance to take what waits."""
        self._guard.stop()
        await end_tasks(self._tasks)
        self._offices.sink.event(Event.STOPPED)
        try:
            async with asyncio.timeout(FLUSH_S):
                await self._offices.sink.flush()
        except TimeoutError:
            log.warning("bsc_events_wait", reason="no time left", kept="in the spool")
        log.info("bsc_stopped")

    async def _for_ever(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """An error of BSC's own never ends the watch."""
        while True:
            try:
                await work()
            except Exception:
                log.exception("bsc_task_broken", task=name)
            await self._clock.sleep(RESTART_S)


def _writer(outlet: Outlet) -> RedisWriter | None:
    try:
        place = _place(outlet.redis_url)
    except ValueError as unusable:
        log.warning("bsc_redis_url_unusable", problem=str(unusable), kept="events stay in the spool")
        return None
    return RedisWriter(
        place, stream=outlet.stream, stream_entries_max=STREAM_ENTRIES_MAX, key=outlet.health_key
    )


def _place(url: str) -> Place:
    is_watched = url.startswith(SCHEME)
    return Master(SentinelAddress.from_url(url)) if is_watched else Address.from_url(url)
