"""The stream of plans: its consumer group, deliveries, acknowledgements and trimming (SPEC 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import structlog
from msgspec import Struct
from redis.exceptions import ResponseError

from quantum_trader.concurrency import SharedRead
from quantum_trader.domain.clock import Clock
from quantum_trader.stores.connection import Database
from quantum_trader.stores.cooldown_watch import Asked, CooldownWatch
from quantum_trader.stores.keys import CONSUMER, GROUP, Keys
from quantum_trader.stores.operator_state import OperatorKeys, OperatorState, is_wrong_type
from quantum_trader.stores.results import entries_of
from quantum_trader.stores.stream_ids import before_floor, is_after, start_of

BLOCK_MS = 200  # also how long a clean stop may wait for the read to return
BATCH_MAX = 64
DEAD_LETTERS_KEPT = 10_000
EVENTS_KEPT = 10_000
LETTER_FIELDS_MAX = 1000  # a script takes some thousand words
FOREIGN_IDLE_MS = 60_000
PENDING_PAGE = 1000
READ_PLANS = ("XREADGROUP", "GROUP", GROUP, CONSUMER, "COUNT")
LOST_NAMED_MAX = 100
RESULTS_LOST_MS = 5_000  # more than a failover, or an append-only file synced each second, may lose

log = structlog.get_logger()


class Delivery(Struct, frozen=True, gc=False):
    """One stream entry in our hands.

    ``redelivered`` entries may have been acted on before: by a former life of this engine, or
    before Redis lost something. They are checked with the exchange first (SPEC 7.8).
    """

    stream_id: str
    fields: Mapping[bytes, bytes]
    redelivered: bool = False


@dataclass(frozen=True, slots=True)
class GroupFound:
    """How the group was found: ``newest`` is the last stream id of that moment.

    Entries up to it may have been acted on before: they count as redelivered (SPEC 7.8).
    """

    newest: str
    was_created: bool
    start: str = ""


class PlanStream:
    """Reads plans as the one consumer of the one group."""

    def __init__(
        self,
        database: Database,
        keys: Keys,
        clock: Clock,
        *,
        bsc_required: bool,
        cooldowns: CooldownWatch | None = None,
    ) -> None:
        self._database = database
        self._redis = database.client
        self._keys = keys
        self._clock = clock
        self.bsc_required = bsc_required
        self._told_lost = 0
        self.cooldowns = CooldownWatch() if cooldowns is None else cooldowns
        self._operator_keys = OperatorKeys(keys, self.cooldowns.asked())
        self._operator_read: OperatorState | None = None
        self._read_operator = SharedRead(self._read_operator_once).fresh

    @property
    def connections_lost(self) -> int:
        """How many of the hot connections to the server have broken so far."""
        return self._database.connections_lost

    async def reconnect(self) -> None:
        """Let go of idle connections: the next command goes to whoever answers at the address now."""
        await self._database.reconnect()

    async def ensure_group(self, mirrored_floor: str = "") -> GroupFound:
        """Find the group, or create it where the oldest unsettled entry stands (SPEC 7.8).

        Where that is: in Redis, else in the mirror (``mirrored_floor``); where neither knows one, the
        group begins at id 0, where plans written before the first start still stand. A server that has
        lost the group and its floor has lost the newest results as well: they are written again.
        """
        newest, gone = await self._newest_id()
        floor: Any = await self._redis.get(self._keys.floor) or b""
        lost = before_floor(mirrored_floor, RESULTS_LOST_MS)
        start = start_of(floor.decode(errors="replace"), newest) or start_of(lost, newest)
        try:
            await self._redis.xgroup_create(
                self._keys.plans,
                GROUP,
                id=start or "0",
                mkstream=True,
                entries_read=None if start else gone,
            )
        except ResponseError as exists:
            if "BUSYGROUP" not in str(exists):
                raise
            return GroupFound(newest, was_created=False)
        return GroupFound(newest, was_created=True, start=start or "0")

    async def _newest_id(self) -> tuple[str, int]:
        """Return the stream's last id, and how many of its entries are gone already."""
        try:
            about: Any = await self._redis.xinfo_stream(self._keys.plans)
        except ResponseError as missing:
            if "no such key" not in str(missing):
                raise
            return "0-0", 0
        return about["last-generated-id"].decode(), int(about["entries-added"]) - int(about["length"])

    async def pending(self) -> list[Delivery]:
        """Return every entry that was delivered to us before and never acknowledged, oldest first.

        So is what a consumer of another name was given in our group and left for a minute (INC-81): only
        the engine that leads has anything to do with it. Entries that others trimmed away meanwhile come
        back without fields.
        """
        lost = await self._take_from_others()
        deliveries = [Delivery(name, {}, redelivered=True) for name in lost]
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

    async def _take_from_others(self) -> list[str]:
        """Make their pending entries ours; return the ids of those that were trimmed away meanwhile."""
        lost: list[str] = []
        consumers: Any = await self._redis.xinfo_consumers(self._keys.plans, GROUP)
        if not any(one["pending"] and one["name"] != CONSUMER.encode() for one in consumers):
            return lost
        start: Any = b"0-0"
        while True:
            start, _, gone = await self._redis.xautoclaim(
                self._keys.plans, GROUP, CONSUMER, FOREIGN_IDLE_MS, start, count=PENDING_PAGE
            )
            lost += [name.decode() for name in gone]
            if start == b"0-0":
                return lost

    async def read(self, count: int = BATCH_MAX) -> tuple[list[Delivery], OperatorState]:
        """Wait up to ``BLOCK_MS`` for new plans; return them with the operator state of that moment.

        The state's reads are queued behind the blocking read on one connection, so they are taken
        after the plans arrived and cost no further round trip. Only a cooldown that nobody here knew
        of makes the read cost one, once: then its symbol has to be found.

        Raises:
            RedisError: the server cannot answer, or has lost the group.
        """
        operator_keys, moment = self._keys_to_ask(), self.cooldowns.moment
        plans = self._keys.plans
        read_plans = (*READ_PLANS, count, "BLOCK", BLOCK_MS, "STREAMS", plans, ">")
        reply, *answers = await self._database.ask_blocking(read_plans, operator_keys.batch)
        if isinstance(reply, Exception):
            raise reply
        deliveries = [Delivery(name, fields) for name, fields in entries_of(reply)]
        if deliveries and self.cooldowns.knows_more_than(operator_keys.asked):
            return deliveries, await self.operator_state()
        return deliveries, await self._state(operator_keys, answers, moment)

    async def operator_state(self, symbol: str = "") -> OperatorState:
        """Read the operator keys by themselves, the cooldown of ``symbol`` in any case.

        A burst of plans whose readings have aged shares its reads: none is older than the call.
        """
        if symbol:
            self.cooldowns.watch(symbol)
        await self._read_operator()
        if self._operator_read is None:
            raise AssertionError("the operator keys were read and are not there")
        return self._operator_read

    async def _read_operator_once(self) -> None:
        operator_keys, moment = self._keys_to_ask(), self.cooldowns.moment
        self._operator_read = await self._state(operator_keys, await self._ask(operator_keys), moment)

    def _keys_to_ask(self) -> OperatorKeys:
        asked = self.cooldowns.asked()
        if self._operator_keys.asked is not asked:
            self._operator_keys = OperatorKeys(self._keys, asked)
        return self._operator_keys

    async def _ask(self, operator_keys: OperatorKeys) -> list[Any]:
        pipeline = self._redis.pipeline(transaction=False)
        for command in operator_keys.commands:
            pipeline.execute_command(*command)
        answers: list[Any] = await pipeline.execute(raise_on_error=False)
        return answers

    async def _state(self, operator_keys: OperatorKeys, answers: list[Any], moment: int) -> OperatorState:
        """Turn ``answers`` into a reading; where they leave open what was found, ask one by one."""
        _raise_errors(answers)
        if operator_keys.finds_more(answers):
            moment = self.cooldowns.moment
            each = Asked(each=tuple(operator_keys.asked.symbols))
            operator_keys = OperatorKeys(self._keys, each, one_by_one=True)
            _raise_errors(answers := await self._ask(operator_keys))
        now_ms = self._clock.now_ms()
        state = operator_keys.parse(answers, bsc_required=self.bsc_required, now_ms=now_ms)
        self.cooldowns.learn(operator_keys.asked.each, state.latches.cooldown_symbols, moment)
        return state

    async def load_cooling_symbols(self) -> None:
        """Find the symbol cooldowns that are set, at start."""
        prefix = self._keys.cooldown_symbol("")
        async for name in self._redis.scan_iter(match=prefix + "*", count=500):
            self.cooldowns.cools(name.decode(errors="replace").removeprefix(prefix))

    async def bury(self, delivery: Delivery, reason: str) -> None:
        """Move an entry that is no plan to the dead letters and acknowledge it, in one step."""
        letter: dict[Any, Any] = dict(islice(delivery.fields.items(), LETTER_FIELDS_MAX))
        if len(letter) < len(delivery.fields):
            letter["fields_left_out"] = len(delivery.fields) - len(letter)
        letter |= {"reason": reason, "stream_id": delivery.stream_id}
        await self._leave(delivery.stream_id, self._keys.dead_letters, DEAD_LETTERS_KEPT, letter)

    async def dismiss(self, stream_id: str, event: Mapping[str, str]) -> None:
        """Acknowledge an entry that gets no result of its own, and publish ``event`` about it."""
        await self._leave(stream_id, self._keys.governor_events, EVENTS_KEPT, event)

    async def _leave(self, stream_id: str, other: str, kept: int, fields: Mapping[Any, Any]) -> None:
        flat = [part for pair in fields.items() for part in pair]
        await self._database.run("leave", [self._keys.plans, other], [GROUP, stream_id, kept, *flat])

    async def give_up(self, stream_ids: Sequence[str]) -> None:
        """Acknowledge entries that others trimmed away before they were settled: ``PLANS_LOST``."""
        event = self._lost_event(len(stream_ids), stream_ids)
        await self.dismiss(stream_ids[0], event)
        await self.acknowledge(stream_ids)

    async def acknowledge(self, stream_ids: Sequence[str]) -> None:
        """Acknowledge entries that get no result of their own."""
        await self._redis.xack(self._keys.plans, GROUP, *stream_ids)

    async def tell_trimmed(self) -> int:
        """Publish ``PLANS_LOST`` for entries that were trimmed away unseen; return how many are new."""
        about, ours = await self._stream_and_group()
        lost = _trimmed_unseen(about, ours) if ours is not None else 0
        new, self._told_lost = lost - self._told_lost, lost
        if new > 0:
            await self.publish(self._lost_event(new, ()))
        return max(new, 0)

    def _lost_event(self, count: int, stream_ids: Sequence[str]) -> dict[str, str]:
        log.critical("plans_lost", count=count, cure="nobody but the engine may trim the plan stream")
        return {
            "event": "PLANS_LOST",
            "count": str(count),
            "stream_ids": " ".join(stream_ids[:LOST_NAMED_MAX]),
            "timestamp": str(self._clock.now_ms()),
        }

    async def publish(self, event: Mapping[str, str]) -> None:
        """Publish an event on the governor's stream."""
        fields: Any = dict(event)
        await self._redis.xadd(self._keys.governor_events, fields, maxlen=EVENTS_KEPT, approximate=True)

    async def now_ms(self) -> int:
        """Return the wall time of the server, ms since the epoch: stream ids are made of it."""
        seconds, micros = await self._redis.time()
        return int(seconds) * 1000 + int(micros) // 1000

    async def backlog(self) -> int:
        """Return how many entries the group has not acknowledged or not even seen."""
        _, ours = await self._stream_and_group()
        return 0 if ours is None else int(ours["pending"]) + int(ours["lag"] or 0)

    async def trim(self, kept: int) -> None:
        """Trim to about ``kept`` entries, never at or above the oldest unsettled one."""
        surplus = int(await self._redis.xlen(self._keys.plans)) - kept
        if surplus <= 0:
            return
        oldest_pending: Any = await self._redis.xpending_range(self._keys.plans, GROUP, "-", "+", 1)
        _, ours = await self._stream_and_group()
        if ours is None:
            return
        floor = oldest_pending[0]["message_id"] if oldest_pending else ours["last-delivered-id"]
        await self._redis.xtrim(self._keys.plans, minid=floor.decode(), approximate=True, limit=surplus)

    async def _stream_and_group(self) -> tuple[Any, Any]:
        """Return what the server says of the stream, and of the group; None where it is gone."""
        about: Any = await self._redis.xinfo_stream(self._keys.plans)
        groups: Any = await self._redis.xinfo_groups(self._keys.plans)
        return about, next((group for group in groups if group["name"] == GROUP.encode()), None)


def _raise_errors(answers: list[Any]) -> None:
    """Raise the first error that is the server's, not a key's: one of another type says what it says."""
    for answer in answers:
        if isinstance(answer, Exception) and not is_wrong_type(answer):
            raise answer


def _trimmed_unseen(about: Mapping[str, Any], group: Mapping[str, Any]) -> int:
    """Return how many entries the group never saw and never will; 0 where the server cannot tell."""
    read, first = group["entries-read"], about["first-entry"]
    if read is None or (
        first is not None and not is_after(first[0].decode(), group["last-delivered-id"].decode())
    ):
        return 0
    return max(int(about["entries-added"]) - int(read) - int(about["length"]), 0)
