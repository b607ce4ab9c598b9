"""Strict rotation: one position goes so that a better one can come (SPEC 6.6 to 6.9).

A saga in four states, each of which a restart resumes from what is stored:

1. *begun*: one atomic step parks the candidate, writes the lock, and puts a close plan for the
   weakest on the plan stream, where it runs through the chain like any other exit;
2. *closing*: the exchange is read until it shows the leg flat; a result that says so is no proof;
3. *deciding*: all gates judge the candidate again on fresh evidence; it executes, or is blocked on
   its merits; ``ROTATION_COMPLETE`` says which;
4. *timed out* instead, past the deadline: the candidate is blocked, a close that was not sent yet
   is withdrawn, ``ROTATION_TIMEOUT`` is published.

One rotation runs at a time. While it does, the slot being freed belongs to the parked plan.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import structlog

from quantum_trader.domain.clock import Clock
from quantum_trader.domain.facts import RotationUnderWay
from quantum_trader.domain.plan import Plan
from quantum_trader.domain.reasons import Reason
from quantum_trader.domain.result import Ended
from quantum_trader.domain.trading import Leg
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.pipeline.evidence import Rooms
from quantum_trader.pipeline.intake import read_entry
from quantum_trader.pipeline.results import Ending
from quantum_trader.stores.claims import Refusal
from quantum_trader.stores.connection import RedisError
from quantum_trader.stores.rotations import Rotation, RotationStore, close_plan_id

LOOK_EVERY_S = 0.25
RETRY_PAUSE_S = 0.5

log = structlog.get_logger()


def timed_out(detail: str) -> Ending:
    """Return the ending of a parked plan whose rotation took too long, or was lost."""
    return Ending(Ended.BLOCKED, Reason.ACTIVE_SLOTS_ROTATION_TIMEOUT.value, "active_slots", detail)


DecideParked = Callable[[Plan, Ending | None], Awaitable[str]]


class RotationSaga:
    """Begins a rotation, sees it through, and resumes the one that a former life left."""

    def __init__(
        self, store: RotationStore, rooms: Rooms, clock: Clock, timeout_s: Callable[[], int]
    ) -> None:
        self._store = store
        self._rooms = rooms
        self._clock = clock
        self._timeout_s = timeout_s
        self._current: Rotation | None = None

    @property
    def _timeout_ms(self) -> int:
        return self._timeout_s() * 1000

    async def begin(self, plan: Plan, leg: Leg) -> Refusal | None:
        """Park ``plan`` and have ``leg`` closed for it, unless that is refused; None if it is parked now.

        Raises:
            RedisError: no reply; whether the plan is parked has to be looked up, and ``leave`` called
                if it is not.
        """
        positions = self._rooms.account.positions
        if positions is None or leg not in positions.value:
            return Refusal("active_slots", Reason.ACTIVE_SLOTS_FULL.value)
        if self._current is not None:
            return Refusal("active_slots", Reason.ACTIVE_SLOTS_WAITING.value)
        rotation = Rotation(
            plan.plan_id, plan.symbol, leg, close_plan_id(plan.plan_id, leg.symbol), self._clock.now_ms()
        )
        self._take(rotation)
        refusal: Refusal | None = None
        try:
            refusal = await self._store.begin(
                self._rooms.lease.value, plan, rotation, positions.value[leg], self._timeout_ms
            )
        except RedisError:
            raise  # it may stand: its close must not count as withdrawn before that was looked up
        except BaseException:
            self._drop()
            raise
        if refusal is not None:
            self._drop()
            if refusal.reason == Reason.COOLDOWN_SYMBOL.value:
                self._rooms.cooldowns.cools(plan.symbol)
            log.warning("rotation_refused", plan_id=plan.plan_id, gate=refusal.gate, reason=refusal.reason)
            return refusal
        log.info("rotation_lock_created", **rotation.as_record())
        return None

    def belongs_to(self, plan: Plan) -> bool:
        """Whether the rotation under way is for ``plan``."""
        return self._current is not None and self._current.new_plan_id == plan.plan_id

    async def leave(self, plan: Plan) -> None:
        """End the rotation for ``plan``, which is parked no longer: also where its begin was never done.

        Raises:
            RedisError: no reply; ask again.
        """
        rotation = await self._store.under_way()
        if rotation is not None and rotation.new_plan_id == plan.plan_id:
            await self._end(rotation, {"event": "ROTATION_COMPLETE", "outcome": "ended while Redis was lost"})
        if self.belongs_to(plan):
            self._drop()

    def is_withdrawn(self, plan: Plan) -> bool:
        """Whether ``plan`` is the close of a rotation that is over: it must not be sent any more."""
        carried = plan.carried or {}
        wanted_by = carried.get("new_plan_id", "")
        is_rotation_close = carried.get("rotation_trigger") == "true" and plan.plan_id == close_plan_id(
            wanted_by, plan.symbol
        )
        return is_rotation_close and (self._current is None or self._current.close_plan_id != plan.plan_id)

    async def resume(self) -> tuple[Rotation, Plan] | None:
        """Take over the stored rotation; return it with its parked plan, if it waits still.

        Raises:
            RedisError: no reply; nothing was taken over, ask again.
        """
        rotation = await self._store.under_way()
        if rotation is None:
            return None
        parked = await self._store.parked_fields(rotation.new_plan_id)
        plan = self._read_back(parked) if parked is not None else None
        if plan is None:
            await self._end(rotation, {"event": "ROTATION_COMPLETE", "outcome": "ended before the restart"})
            return None
        # not before its plan is at hand: what nobody sees through would block all others
        self._take(rotation)
        log.warning("rotation_resumed", **rotation.as_record())
        return rotation, plan

    @property
    def current(self) -> Rotation | None:
        """The rotation under way."""
        return self._current

    async def see_through(self, plan: Plan, decide: DecideParked) -> None:
        """Wait for the leg to be flat, have the candidate decided again, and unlock.

        ``decide`` brings the parked plan to its result (a given ending, or a new decision) and
        returns how it ended.
        """
        rotation = self._current
        if rotation is None:
            raise AssertionError("no rotation to see through")
        if await self._wait_until_flat(rotation):
            outcome = await decide(plan, None)
            event = {"event": "ROTATION_COMPLETE", "outcome": outcome}
            log.info("rotation_complete", **rotation.as_record(), outcome=outcome)
        else:
            self._drop()  # from here on the close is withdrawn
            ending = timed_out(f"{rotation.close_leg.key} was not flat within {self._timeout_ms // 1000} s")
            await decide(plan, ending)
            event = {"event": "ROTATION_TIMEOUT", "outcome": ending.error}
            log.error("rotation_timeout", **rotation.as_record())
        await self._end(rotation, event)

    async def _wait_until_flat(self, rotation: Rotation) -> bool:
        """Whether the exchange shows the leg flat, with no order of ours under way, before the deadline."""
        deadline_ms = rotation.created_at_ms + self._timeout_ms
        while self._clock.now_ms() < deadline_ms:
            try:
                await self._rooms.account.refresh_positions()
            except ExchangeError as failed:
                log.warning("rotation_blind", error=str(failed))
            else:
                reading = self._rooms.account.positions
                is_flat = reading is not None and rotation.close_leg not in reading.value
                is_flat = (
                    is_flat and not self._rooms.account.awaits_opens
                )  # else its claim has the slot still
                if is_flat and not self._rooms.book.has_unsettled(rotation.close_leg.symbol):
                    return True
            await self._clock.sleep(LOOK_EVERY_S)
        return False

    async def _end(self, rotation: Rotation, event: Mapping[str, str]) -> None:
        """Unlock, for as long as it takes, and make room for the next rotation.

        Not where another engine leads: it has taken the rotation over, and ends it.
        """
        published = {**event, "timestamp": str(self._clock.now_ms())}
        while not self._rooms.lease.another_led:
            try:
                await self._store.end(rotation, published)
                break
            except RedisError as failed:
                log.warning("rotation_unlock_retry", error=str(failed))
            await self._clock.sleep(RETRY_PAUSE_S)
        if self._current == rotation:
            self._drop()

    def _take(self, rotation: Rotation) -> None:
        self._current = rotation
        self._rooms.rotation = RotationUnderWay(
            rotation.new_plan_id, rotation.new_symbol, rotation.close_leg.symbol, rotation.created_at_ms
        )

    def _drop(self) -> None:
        self._current = None
        self._rooms.rotation = None

    @staticmethod
    def _read_back(parked: tuple[str, Mapping[str, str]]) -> Plan | None:
        stream_id, fields = parked
        raw = {name.encode(): value.encode() for name, value in fields.items()}
        entry = read_entry(stream_id, raw)
        return entry if isinstance(entry, Plan) else None
