"""The events of the engine and of BSC as they are published, whoever publishes them.

One connection reads both streams as they grow. Nothing else asks Redis for events: the page, the
metrics and the alerts listen here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

import structlog

from quantum_trader.domain.clock import Clock
from quantum_trader.stores.connection import Database, RedisError
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.results import entries_of

EVENTS_KEPT = 300
BATCH = 200
BLOCK_MS = 2_000
RETRY_S = 1.0
ROUTINE = frozenset({"BSC_HEALTH_CHECK"})

Event = Mapping[str, Any]

log = structlog.get_logger()


class EventTail:
    """Reads events, remembers the newest, and hands each new one to the listeners."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self._last_ids: dict[str, str] = {}
        self.listeners: list[Callable[[Event], None]] = []
        self.number = 0

    def newest(self, count: int) -> list[Event]:
        """Return the ``count`` newest, newest first; BSC's routine checks are left out."""
        return list(islice(reversed(self._kept), count))

    def last(self, name: str) -> Event | None:
        """Return the newest event called ``name``."""
        return next((event for event in reversed(self._kept) if event.get("event") == name), None)

    async def run(self, database: Database, keys: Keys) -> None:
        """Read for as long as the engine lives; goes on where it was when Redis comes back."""
        streams = (keys.governor_events, keys.bsc_events)
        while True:
            try:
                if not self._last_ids:
                    await self._look_back(database, streams)
                await self._read_on(database, streams)
            except RedisError as lost:
                log.debug("events_unread", error=str(lost))
                await self._clock.sleep(RETRY_S)

    async def _look_back(self, database: Database, streams: tuple[str, ...]) -> None:
        """Take what was published before us for the record, not for the listeners."""
        found: list[tuple[str, Event]] = []
        ids: dict[str, str] = {}
        for stream in streams:
            entries: Any = await database.client.xrevrange(stream, count=EVENTS_KEPT)
            ids[stream] = entries[0][0].decode() if entries else "0-0"
            found += [(name.decode(), _as_text(fields)) for name, fields in entries]
        for name, event in sorted(found, key=lambda entry: int(entry[0].partition("-")[0])):
            self._keep(name, event)
        self._last_ids = ids

    async def _read_on(self, database: Database, streams: tuple[str, ...]) -> None:
        wanted: Any = {stream: self._last_ids[stream] for stream in streams}
        reply: Any = await database.client.xread(wanted, count=BATCH, block=BLOCK_MS)
        for stream in streams:
            for name, fields in _of_stream(reply, stream):
                self._last_ids[stream] = name
                event = _as_text(fields)
                self._keep(name, event)
                for listen in self.listeners:
                    listen(event)

    def _keep(self, name: str, event: Event) -> None:
        if event.get("event") in ROUTINE:
            return
        self.number += 1
        self._kept.append({"timestamp": name.partition("-")[0], **event, "number": self.number})


def _of_stream(reply: Any, stream: str) -> list[tuple[str, dict[bytes, bytes]]]:
    """Return the entries of ``stream`` in a read of several, in the shape of either protocol version."""
    if not reply:
        return []
    named = reply.items() if isinstance(reply, dict) else reply
    ours = [entries for name, entries in named if name == stream.encode()]
    return entries_of({b"": ours[0]} if isinstance(reply, dict) else [(b"", ours[0])]) if ours else []


def _as_text(fields: Mapping[bytes, bytes]) -> Event:
    """Return an event's fields as text, whatever bytes others put there."""
    return {name.decode(errors="replace"): value.decode(errors="replace") for name, value in fields.items()}
