"""The stream of plans: its consumer group, deliveries, acknowledgements and trimming (SPEC 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from quantum_trader.domain.clock import Clock
from quantum_trader.stores.connection import Database
from quantum_trader.stores.keys import CONSUMER, GROUP, Keys
from quantum_trader.stores.operator_state import OperatorKeys, OperatorState
from quantum_trader.stores.results import entries_of

BLOCK_MS = 200  # also how long a clean stop may wait for the read to return
BATCH_MAX = 64
DEAD_LETTERS_KEPT = 10_000
EVENTS_KEPT = 10_000
PENDING_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Delivery:
    """One stream entry in our hands.

    ``redelivered`` entries may have been acted on before: by a former life of this engine, or
    before Redis lost something. They are checked with the exchange first (SPEC 7.8).
    """

    stream_id: str
    fields: Mapping[bytes, bytes]
    redelivered: bool = False


class PlanStream:
    """Reads plans as the one consumer of the one group."""

    def __init__(self, database: Database, keys: Keys, clock: Clock, *, bsc_required: bool) -> None:
        self._redis = database.client
        self._keys = keys
        self._clock = clock
        self.bsc_required = bsc_required
        self.cooling_symbols: set[str] = set()

    async def ensure_group(self) -> None:
        """Create stream and group at id 0, where plans written before the first start still stand."""
        try:
            await self._redis.xgroup_create(self._keys.plans, GROUP, id="0", mkstream=True)
        except ResponseError as exists:
            if "BUSYGROUP" not in str(exists):
                raise

    async def pending(self) -> list[Delivery]:
        """Return every entry that was delivered to us before and never acknowledged, oldest first.

        Entries that others trimmed away meanwhile come back without fields.
        """
        deliveries: list[Delivery] = []
        start = "0"
        while True:
            reply: Any = await self._redis.xreadgroup(
                GROUP, CONSUMER, {self._keys.plans: start}, count=PENDING_PAGE
            )
            entries = entries_of(reply)
            if not entries:
                return deliveries
            deliveries += [Delivery(name, fields, redelivered=True) for name, fields in entries]
            start = entries[-1][0]

    async def read(self, count: int = BATCH_MAX) -> tuple[list[Delivery], OperatorState]:
        """Wait up to ``BLOCK_MS`` for new plans; return them with the operator state of that moment.

        The state's reads are queued behind the blocking read on one connection, so they are taken
        after the plans arrived and cost no further round trip.

        Raises:
            RedisError: the server cannot answer, or has lost the group.
        """
        operator_keys = OperatorKeys(self._keys, tuple(sorted(self.cooling_symbols)))
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.xreadgroup(GROUP, CONSUMER, {self._keys.plans: ">"}, count=count, block=BLOCK_MS)
        pipeline.mget(operator_keys.names)
        pipeline.hgetall(self._keys.policy)
        reply, values, policy = await pipeline.execute(raise_on_error=False)
        for answer in (reply, values):
            if isinstance(answer, Exception):
                raise answer
        state = self._parse(operator_keys, values, policy)
        return [Delivery(name, fields) for name, fields in entries_of(reply)], state

    async def operator_state(self) -> OperatorState:
        """Read the operator keys by themselves."""
        operator_keys = OperatorKeys(self._keys, tuple(sorted(self.cooling_symbols)))
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.mget(operator_keys.names)
        pipeline.hgetall(self._keys.policy)
        values, policy = await pipeline.execute(raise_on_error=False)
        if isinstance(values, Exception):
            raise values
        return self._parse(operator_keys, values, policy)

    def _parse(self, operator_keys: OperatorKeys, values: Any, policy: Any) -> OperatorState:
        now_ms = self._clock.now_ms()
        if isinstance(policy, ResponseError):  # a key of another kind stands there: no usable policy
            policy = {b"": b""}
        state = operator_keys.parse(values, policy, bsc_required=self.bsc_required, now_ms=now_ms)
        self.cooling_symbols = set(state.latches.cooldown_symbols)
        return state

    async def load_cooling_symbols(self) -> None:
        """Find the symbol cooldowns that are set, at start."""
        prefix = self._keys.cooldown_symbol("")
        async for name in self._redis.scan_iter(match=prefix + "*", count=500):
            self.cooling_symbols.add(name.decode(errors="replace").removeprefix(prefix))

    async def bury(self, delivery: Delivery, reason: str) -> None:
        """Move an entry that is no plan to the dead letters and acknowledge it, in one step."""
        letter: dict[Any, Any] = {**delivery.fields, "reason": reason, "stream_id": delivery.stream_id}
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.xadd(self._keys.dead_letters, letter, maxlen=DEAD_LETTERS_KEPT, approximate=True)
        pipeline.xack(self._keys.plans, GROUP, delivery.stream_id)
        await pipeline.execute()

    async def dismiss(self, stream_id: str, event: Mapping[str, str]) -> None:
        """Acknowledge an entry that gets no result of its own, and publish ``event`` about it."""
        pipeline = self._redis.pipeline(transaction=True)
        fields: Any = dict(event)
        pipeline.xadd(self._keys.governor_events, fields, maxlen=EVENTS_KEPT, approximate=True)
        pipeline.xack(self._keys.plans, GROUP, stream_id)
        await pipeline.execute()

    async def publish(self, event: Mapping[str, str]) -> None:
        """Publish an event on the governor's stream."""
        fields: Any = dict(event)
        await self._redis.xadd(self._keys.governor_events, fields, maxlen=EVENTS_KEPT, approximate=True)

    async def backlog(self) -> int:
        """Return how many entries the group has not acknowledged or not even seen."""
        groups: Any = await self._redis.xinfo_groups(self._keys.plans)
        ours = next((group for group in groups if group["name"] == GROUP.encode()), None)
        return 0 if ours is None else int(ours["pending"]) + int(ours["lag"] or 0)

    async def trim(self, kept: int) -> None:
        """Trim to about ``kept`` entries, never at or above the oldest unsettled one."""
        surplus = int(await self._redis.xlen(self._keys.plans)) - kept
        if surplus <= 0:
            return
        oldest_pending: Any = await self._redis.xpending_range(self._keys.plans, GROUP, "-", "+", 1)
        groups: Any = await self._redis.xinfo_groups(self._keys.plans)
        delivered = next(group["last-delivered-id"] for group in groups if group["name"] == GROUP.encode())
        floor = oldest_pending[0]["message_id"] if oldest_pending else delivered
        await self._redis.xtrim(self._keys.plans, minid=floor.decode(), approximate=True, limit=surplus)
