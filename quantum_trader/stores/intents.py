"""The stream of signals: its own consumer group, and what becomes of each entry, in one step (SPEC 9)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from quantum_trader.stores.connection import Database
from quantum_trader.stores.keys import CONSUMER, INTENT_GROUP, Keys
from quantum_trader.stores.plan_stream import DEAD_LETTERS_KEPT, EVENTS_KEPT
from quantum_trader.stores.results import entries_of

BLOCK_MS = 500
BATCH_MAX = 64


@dataclass(frozen=True, slots=True)
class Signal:
    """One entry of ``trade.intent`` in our hands, as it was written."""

    stream_id: str
    raw: Mapping[bytes, bytes]


class IntentStream:
    """Reads signals as the one consumer of the bridge's group; raises ``RedisError``.

    What a signal becomes and its acknowledgement are one step: either both happened or it is read again.
    """

    def __init__(self, database: Database, keys: Keys) -> None:
        self._redis = database.client
        self._keys = keys

    async def ensure_group(self, oldest_ms: int) -> bool:
        """Create stream and group where signals of ``oldest_ms`` stand; true if there was none.

        What is older could only be skipped: years of signals must not become a flood of events.
        """
        try:
            await self._redis.xgroup_create(
                self._keys.intents, INTENT_GROUP, id=f"{oldest_ms}-0", mkstream=True
            )
        except ResponseError as exists:
            if "BUSYGROUP" not in str(exists):
                raise
            return False
        return True

    async def pending(self) -> list[Signal]:
        """Return the oldest signals that were delivered before and never acknowledged."""
        return await self._read("0", None)

    async def new(self) -> list[Signal]:
        """Wait up to ``BLOCK_MS`` for signals that nobody has read."""
        return await self._read(">", BLOCK_MS)

    async def _read(self, start: str, block_ms: int | None) -> list[Signal]:
        reply: Any = await self._redis.xreadgroup(
            INTENT_GROUP, CONSUMER, {self._keys.intents: start}, count=BATCH_MAX, block=block_ms
        )
        return [Signal(name, fields) for name, fields in entries_of(reply)]

    async def forward(self, signal: Signal, plan: Mapping[str, str]) -> None:
        """Put the signal's plan on the plan stream."""
        await self._settle(signal, self._keys.plans, plan, None)

    async def skip(self, signal: Signal, event: Mapping[str, str]) -> None:
        """Publish why the signal became no plan."""
        await self._settle(signal, self._keys.governor_events, event, EVENTS_KEPT)

    async def bury(self, signal: Signal, reason: str) -> None:
        """Move an entry that is no signal to the dead letters."""
        letter: dict[Any, Any] = {
            **signal.raw,
            "reason": reason,
            "stream_id": signal.stream_id,
            "stream": self._keys.intents,
        }
        await self._settle(signal, self._keys.dead_letters, letter, DEAD_LETTERS_KEPT)

    async def _settle(self, signal: Signal, stream: str, fields: Mapping[Any, str], kept: int | None) -> None:
        entry: Any = dict(fields)
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.xadd(stream, entry, maxlen=kept, approximate=True)
        pipeline.xack(self._keys.intents, INTENT_GROUP, signal.stream_id)
        await pipeline.execute()
