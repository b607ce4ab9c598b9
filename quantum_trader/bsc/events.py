"""What BSC says: events, its health, log lines. A way out only; nothing here can be asked (SPEC 10).

Events go to a spool on disk first and from there, in order, to ``quantum:stream:bsc.events``. One
may arrive twice after a crash between the two; ``event_id`` tells. Health is written as it is now:
an old one is of no use to anybody. Whoever speaks waits for neither disk nor Redis: both have their own task.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from decimal import Decimal
from enum import StrEnum
from typing import Any, Protocol

import orjson
import structlog

from quantum_trader.bsc import limits
from quantum_trader.bsc.health import Health
from quantum_trader.bsc.redis_writer import NotDelivered, RedisWriter
from quantum_trader.bsc.spool import Entry, Spool
from quantum_trader.domain.clock import Clock
from quantum_trader.domain.result import plain

BATCH = 100
RETRY_S = 2.0
UNSPOOLED_MAX = 1_000
SECOND_MS = 1_000
HEALTH_MS_MAX = limits.HEALTH_TTL_S * SECOND_MS

log = structlog.get_logger()


class Event(StrEnum):
    """Names on the stream (SPEC 2)."""

    ACTIVATED = "BSC_ACTIVATED"
    HEALTH_CHECK = "BSC_HEALTH_CHECK"
    FORCE_CLOSE = "BSC_FORCE_CLOSE"
    CLOSE_FAILED = "BSC_CLOSE_FAILED"
    BLIND = "BSC_BLIND"
    DEMOTED = "BSC_DEMOTED"
    AUDIT = "BSC_AUDIT"
    STOPPED = "BSC_STOPPED"


class Sink(Protocol):
    """Where BSC's words go. It offers nothing to read."""

    def event(self, event: Event, **fields: object) -> None:
        """Say that something happened."""
        ...

    def health(self, health: Health) -> None:
        """Say how BSC is now."""
        ...


class EventSink:
    """Takes events and health, keeps the events on disk, and delivers while ``run`` runs."""

    def __init__(self, spool: Spool, writer: RedisWriter | None, clock: Clock) -> None:
        """``writer`` None where the Redis URL cannot be used: events then stay in the spool."""
        self._spool = spool
        self._writer = writer
        self._clock = clock
        self._unspooled: deque[Entry] = deque(maxlen=UNSPOOLED_MAX)
        self._health: tuple[Health, int] | None = None
        self._to_spool = asyncio.Event()
        self._to_deliver = asyncio.Event()
        self._spooling = asyncio.Lock()
        self._is_failing = False
        self.newest: deque[Entry] = deque(maxlen=UNSPOOLED_MAX)
        """For whoever alerts in this process to take away; nothing here reads it or knows of them."""
        self.last_health: Health | None = None

    def event(self, event: Event, **fields: object) -> None:
        """Take an event in; it goes to disk and then to Redis beside the caller."""
        entry = entry_of(event, self._clock.now_ms(), fields)
        self._unspooled.append(entry)
        self.newest.append(entry)
        self._to_spool.set()

    def health(self, health: Health) -> None:
        """Deliver ``health`` as soon as Redis takes it, unless it is outdated by then."""
        self._health = (health, self._clock.now_ms())
        self.last_health = health
        self._to_deliver.set()

    async def run(self) -> None:
        """Keep and deliver for ever."""
        await asyncio.gather(self._keep_spooling(), self._keep_delivering())

    async def flush(self) -> None:
        """Put everything on disk, and try once to deliver it."""
        await self._spool_all()
        await self.deliver()

    async def _keep_spooling(self) -> None:
        while True:
            await self._to_spool.wait()
            self._to_spool.clear()
            await self._spool_all()
            self._to_deliver.set()

    async def _keep_delivering(self) -> None:
        self._to_deliver.set()  # what an earlier process left behind
        while True:
            await self._to_deliver.wait()
            self._to_deliver.clear()
            while not await self.deliver():
                await self._clock.sleep(RETRY_S)

    async def deliver(self) -> bool:
        """Deliver all there is; whether it worked. Raises nothing that disk or Redis can cause."""
        if self._writer is None:
            return True
        try:
            await self._deliver_health(self._writer)
            while batch := await asyncio.to_thread(self._spool.oldest, BATCH):
                await self._writer.append(batch)
                await asyncio.to_thread(self._spool.drop, batch)
            await self._deliver_unspooled(self._writer)
        except (NotDelivered, OSError) as failed:
            if not self._is_failing:
                log.warning("bsc_events_wait", reason=str(failed), kept="in the spool")
            self._is_failing = True
            return False
        if self._is_failing:
            log.info("bsc_events_delivered")
        self._is_failing = False
        return True

    async def _deliver_health(self, writer: RedisWriter) -> None:
        if self._health is None:
            return
        health, said_ms = self._health
        ttl_ms = HEALTH_MS_MAX - max(0, self._clock.now_ms() - said_ms)
        if ttl_ms >= SECOND_MS:
            await writer.set(orjson.dumps(health.as_fields()).decode(), ttl_ms // SECOND_MS)
        if self._health == (health, said_ms):
            self._health = None

    async def _deliver_unspooled(self, writer: RedisWriter) -> None:
        """Deliver what the disk did not take; everything on disk is older and has gone before it."""
        async with self._spooling:
            if self._unspooled:
                await writer.append(list(self._unspooled))
                self._unspooled.clear()

    async def _spool_all(self) -> None:
        async with self._spooling:
            while self._unspooled:
                try:
                    dropped = await asyncio.to_thread(self._spool.add, self._unspooled[0])
                except OSError as full:
                    log.warning("bsc_spool_failed", error=full.strerror, kept="in memory")
                    return
                self._unspooled.popleft()
                if dropped:
                    log.warning("bsc_events_dropped", count=dropped)


def entry_of(event: Event, now_ms: int, fields: dict[str, object]) -> Entry:
    """Return the flat fields of a stream entry; ``timestamp`` in ms."""
    head = {"event": event.value, "event_id": secrets.token_hex(8), "timestamp": str(now_ms)}
    return head | {name: as_text(value) for name, value in fields.items()}


def as_text(value: Any) -> str:
    """Return ``value`` as a stream field: plain decimals, JSON for what has parts."""
    if isinstance(value, Decimal):
        return plain(value) if value.is_finite() else "inf"
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return ""
    if isinstance(value, (dict, list, tuple)):
        return orjson.dumps(value, default=as_text).decode()
    return str(value)
