"""Consumes the plan stream: deliveries in, one task a plan, nothing lost on the way (SPEC 2, 7.8)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

import structlog

from quantum_trader.concurrency import end_tasks
from quantum_trader.domain.clock import Clock
from quantum_trader.domain.plan import Plan
from quantum_trader.domain.reasons import Reason
from quantum_trader.domain.result import Ended
from quantum_trader.pipeline.intake import DeadLetter, Refused, read_entry
from quantum_trader.pipeline.recover import Recovery, restore
from quantum_trader.pipeline.results import Ending
from quantum_trader.pipeline.rotation import RotationSaga, timed_out
from quantum_trader.pipeline.runner import PRECEDED, PlanRunner
from quantum_trader.pipeline.settle import NOT_LEADER, TERMINAL, Settler
from quantum_trader.positions.ledger import Ledger
from quantum_trader.stores.claims import ClaimStore, PlanRecord
from quantum_trader.stores.connection import RedisError
from quantum_trader.stores.lease import Lease
from quantum_trader.stores.mirror import Mirror
from quantum_trader.stores.operator_state import OperatorState
from quantum_trader.stores.plan_stream import BATCH_MAX, Delivery, GroupFound, PlanStream
from quantum_trader.stores.settlement import CLAIMED, PARKED, NotSettled
from quantum_trader.stores.stream_ids import is_after

IN_FLIGHT_MAX = 512
RECONNECT_PAUSE_FIRST_S = 0.2
RECONNECT_PAUSE_MAX_S = 5.0
RECOVERY_HEAD_START_S = 2.0
HEAD_START_TURNS = 3  # of the event loop: claims are written, answered, and orders sent
STAND_BY_PAUSE_S = 1.0
SWEEP_EVERY_S = 10.0
CLAIMED_STATES = (CLAIMED, PARKED)

log = structlog.get_logger()


class Consumer:
    """Reads deliveries and runs each plan in a task of its own, at most ``IN_FLIGHT_MAX`` at once."""

    def __init__(
        self,
        stream: PlanStream,
        claims: ClaimStore,
        runner: PlanRunner,
        recovery: Recovery,
        *,
        rotation: RotationSaga,
        settler: Settler,
        mirror: Mirror,
        lease: Lease,
        ledger: Ledger,
        reload: Callable[[], Awaitable[None]],
        clock: Clock,
        group: GroupFound,
    ) -> None:
        self._stream = stream
        self._claims = claims
        self._runner = runner
        self._recovery = recovery
        self._rotation = rotation
        self._settler = settler
        self._clock = clock
        self._active: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._mirror = mirror
        self._lease = lease
        self._ledger = ledger
        self._reload = reload
        self._in_hand: set[str] = set()
        self._copies: dict[str, list[str]] = {}
        self._group_at_start: GroupFound | None = group
        self._redelivered_through = "0-0"
        self._stopping = asyncio.Event()
        self._was_lost = False  # a plan has met a loss of Redis since the last take-over began
        self._losses_known = 0  # connections that had broken by then
        self._take_overs = 0  # that have begun
        self._is_taking_over = False
        self._accepted_after: dict[str, int] = {}  # so many take-overs, by plan id
        self.operator: OperatorState | None = None
        self.plans_seen = 0
        self.connected = False

    @property
    def in_flight(self) -> int:
        """How many plans are under way."""
        return len(self._active)

    def stop(self) -> None:
        """Read no further plan; those under way go on."""
        self._stopping.set()

    async def drain(self, timeout_s: float) -> None:
        """Wait until the plans under way are settled; what is not by then stays claimed for recovery."""
        if self._tasks:
            _, unfinished = await asyncio.wait(self._tasks, timeout=timeout_s)
            await end_tasks(unfinished)

    async def run(self) -> None:
        """Recover, then read until stopped; reconnects for as long as it takes.

        What nobody thought of is logged and begun anew likewise: without this no exit would be read.
        """
        pause_s = RECONNECT_PAUSE_FIRST_S
        while not self._stopping.is_set():
            try:
                if await self._stands_by():
                    continue
                await self._take_over()
                self._is_taking_over = False
                self.connected, pause_s = True, RECONNECT_PAUSE_FIRST_S
                await self._read_on()
            except RedisError as lost:
                self._was_lost = True
                log.warning("redis_lost", error=str(lost), retry_s=pause_s)
            except Exception:
                log.exception("consumer_broken", retry_s=pause_s)
            else:
                continue
            self.connected = False
            self._ledger.doubt_stored()
            await self._clock.sleep(pause_s)
            pause_s = min(pause_s * 2, RECONNECT_PAUSE_MAX_S)
            await self._stream.reconnect()

    async def _stands_by(self) -> bool:
        """Whether another engine has the lease: its plans are not ours to read, nor to settle.

        An engine that was paused for long wakes up into this (SPEC 7.1, INC-16).
        """
        if self._lease.is_held or not (holder := await self._lease.renew()):
            return False
        if self.connected:
            log.critical("standing_by", holder=holder, cure="stop one of the two engines")
        self.connected = False
        await self._clock.sleep(STAND_BY_PAUSE_S)
        return True

    async def _take_over(self) -> None:
        """Settle claimed plans first, then take our own pending entries as redelivered ones.

        At the start, and again whenever Redis was lost: what it has forgotten is put back from the
        mirror, and entries whose delivery never reached us are asked for again. What is in hand
        already goes on as it is.
        """
        self._was_lost, self._losses_known = False, self._stream.connections_lost
        self._take_overs, self._is_taking_over = self._take_overs + 1, True
        await self._lease.renew()
        if self._lease.another_led:
            await self._reload()
            self._lease.another_led = False
            self._group_at_start = None  # the other one has acted on what came since
        found = self._group_at_start or await self._stream.ensure_group(self._mirror.floor)
        self._group_at_start = None  # what comes after it is new; after a loss of Redis it is looked at anew
        if found.was_created and found.start != "0":
            log.warning("group_created_anew", start=found.start)
        self._redelivered_through = found.newest
        await self._stream.tell_trimmed()
        self.operator = await self._stream.operator_state()
        self._recovery.obey(self.operator)
        await self._claims.forget_sums()
        await restore(self._mirror, self._claims, self._lease.value, self._clock.now_ms())
        records = [record for record in await self._claims.unsettled() if record.plan_id not in self._active]
        await self._recover(records)
        taken = {record.stream_id for record in records} | await self._resume_rotation()
        await self._accept_pending(taken, self.operator)

    async def _accept_pending(self, taken: set[str], operator: OperatorState) -> None:
        pending = await self._stream.pending()
        waiting = [one for one in pending if one.stream_id not in taken | self._in_hand]
        trimmed = [one.stream_id for one in waiting if not one.fields]
        if trimmed:
            await self._stream.give_up(trimmed)
        for delivery in waiting:
            if delivery.fields:
                await self._accept(delivery, operator)

    async def _resume_rotation(self) -> set[str]:
        """Go on with the rotation that a former life left; return the parked entry's id, if any."""
        if self._rotation.current is not None:  # under way in this life already
            return set()
        resumed = await self._rotation.resume()
        if resumed is None:
            return set()
        _, plan = resumed
        self._active[plan.plan_id] = plan.content_hash
        self._in_hand.add(plan.stream_id)
        self._spawn(self._see_through(plan))
        return {plan.stream_id}

    async def _see_through(self, plan: Plan) -> None:
        try:
            await self._rotation.see_through(plan, self._runner.decide_parked)
        except RedisError as lost:
            self._note_loss(plan.plan_id, lost)
            await self._look_again(plan)
        finally:
            self._let_go(plan.plan_id, plan.stream_id)

    def _let_go(self, plan_id: str, stream_id: str) -> None:
        self._active.pop(plan_id, None)
        self._accepted_after.pop(plan_id, None)
        self._in_hand.discard(stream_id)
        copies = self._copies.pop(plan_id, [])
        if copies:
            self._spawn(self._acknowledge_copies(plan_id, copies))

    async def _recover(self, records: list[PlanRecord]) -> None:
        tasks = [self._spawn(self._finish(record)) for record in records]
        if tasks:
            await asyncio.wait(tasks, timeout=RECOVERY_HEAD_START_S)

    async def _finish(self, record: PlanRecord) -> None:
        self._active[record.plan_id] = record.content_hash
        self._in_hand.add(record.stream_id)
        try:
            while not await self._is_finished(record):
                await self._clock.sleep(RECONNECT_PAUSE_FIRST_S)
                record = await self._newest_record(record)
        finally:
            self._let_go(record.plan_id, record.stream_id)

    async def _is_finished(self, record: PlanRecord) -> bool:
        """Bring a claimed plan to its result; false when Redis did not answer in the middle of it."""
        try:
            await self._recovery.finish(record)
        except RedisError as lost:
            self._note_loss(record.plan_id, lost)
            return False
        return True

    async def _newest_record(self, record: PlanRecord) -> PlanRecord:
        """Return what is stored of a claimed plan now: the step that was interrupted may have been done."""
        while True:
            try:
                return await self._claims.record(record.plan_id)
            except RedisError as lost:
                self._note_loss(record.plan_id, lost)
            except KeyError:
                return record
            await self._clock.sleep(RECONNECT_PAUSE_FIRST_S)

    async def _read_on(self) -> None:
        """Read while the lease is ours; sweep up now and then what was delivered and is in nobody's hand.

        Ends where a plan has met a loss of Redis, or a connection broke, even one that nobody waited on.
        It may be over before the next read, and what was settled just before is taken over all the same.
        """
        sweep_s = self._clock.monotonic_s() + SWEEP_EVERY_S
        while not self._stopping.is_set() and self._leads and not self._has_lost_redis:
            free = IN_FLIGHT_MAX - self.in_flight
            deliveries, self.operator = await self._stream.read(max(1, min(BATCH_MAX, free)))
            if self._lease.another_led:
                return  # what was delivered stays pending, and is taken once memory is of this time
            for delivery in deliveries:
                await self._accept(delivery, self.operator)
            if deliveries:
                await self._give_head_start(has_backlog=len(deliveries) == BATCH_MAX)
            if self._clock.monotonic_s() >= sweep_s:
                await self._accept_pending(set(), self.operator)
                sweep_s = self._clock.monotonic_s() + SWEEP_EVERY_S

    async def _give_head_start(self, *, has_backlog: bool) -> None:
        """Let plans claim, and send where the server answers at once, before the next read takes its time.

        Not longer than for the claims where more plans wait: exits may be among them.
        """
        for _ in range(1 if has_backlog else HEAD_START_TURNS):
            await self._clock.sleep(0)

    @property
    def _has_lost_redis(self) -> bool:
        """Whether the server may know less than it did when the last take-over began."""
        return self._was_lost or self._stream.connections_lost != self._losses_known

    @property
    def _leads(self) -> bool:
        """Whether the lease is ours, and memory is of this time of it."""
        return self._lease.is_held and not self._lease.another_led

    async def _accept(self, delivery: Delivery, operator: OperatorState) -> None:
        if delivery.stream_id in self._in_hand:  # a group made anew delivers it once more
            return
        self.plans_seen += 1
        redelivered = delivery.redelivered or not is_after(delivery.stream_id, self._redelivered_through)
        entry = read_entry(delivery.stream_id, delivery.fields)
        if isinstance(entry, DeadLetter):
            log.warning("dead_letter", stream_id=delivery.stream_id, reason=entry.reason)
            await self._stream.bury(delivery, entry.reason)
            return
        if entry.plan_id in self._active:  # also a malformed copy: it must not end the plan under way
            await self._dismiss(entry, delivery.stream_id)
            return
        if isinstance(entry, Refused):
            await self._refuse(entry, delivery.stream_id)
            return
        self._stream.cooldowns.watch(entry.symbol)
        await self._slots.acquire()
        self._active[entry.plan_id] = entry.content_hash
        self._accepted_after[entry.plan_id] = self._take_overs
        self._in_hand.add(entry.stream_id)
        self._spawn(self._run_plan(entry, operator, redelivered=redelivered))

    async def _refuse(self, refused: Refused, stream_id: str) -> None:
        duplicate = await self._settler.refuse(refused, stream_id)
        if duplicate is None:
            return
        if duplicate.why == NOT_LEADER:  # its entry stays pending, for the engine that leads
            log.critical("lease_lost", plan_id=refused.plan_id)
            return
        await self._publish_duplicate(refused.plan_id, stream_id, refused.content_hash, duplicate.state)

    async def _run_plan(self, plan: Plan, operator: OperatorState, *, redelivered: bool) -> None:
        try:
            duplicate = await self._run(plan, operator, redelivered=redelivered)
            if duplicate is not None:
                await self._duplicate(plan, duplicate)
        except RedisError as lost:
            self._note_loss(plan.plan_id, lost)
            await self._look_again(plan)
        except Exception as bug:
            log.exception("plan_failed", plan_id=plan.plan_id)
            await self._fail(plan, bug)
        finally:
            self._let_go(plan.plan_id, plan.stream_id)
            self._slots.release()

    async def _look_again(self, plan: Plan) -> None:
        """Redis did not answer in the middle of a plan: look up how far it got, and go on from there."""
        while True:
            await self._clock.sleep(RECONNECT_PAUSE_FIRST_S)
            try:
                await self._go_on(plan)
            except RedisError as lost:
                self._note_loss(plan.plan_id, lost)
            else:
                return

    def _note_loss(self, plan_id: str, lost: RedisError) -> None:
        self._was_lost = True
        self._ledger.doubt_stored()
        log.warning("plan_interrupted", plan_id=plan_id, error=str(lost))

    async def _go_on(self, plan: Plan) -> None:
        if self._mirror.holds(plan.plan_id):
            await self._lease.renew()  # it may have run out, or been lost, with the claim that is put back
            await restore(self._mirror, self._claims, self._lease.value, self._clock.now_ms())
        state, _ = await self._claims.history(plan.plan_id)
        if state == PARKED:
            await self._rotate_on(plan)
            return
        await self._rotation.leave(plan)
        if state == CLAIMED:
            await self._recovery.finish(await self._claims.record(plan.plan_id))
        elif not state:
            operator = await self._stream.operator_state()
            duplicate = await self._run(plan, operator, redelivered=True)
            if duplicate is not None:
                await self._duplicate(plan, duplicate)

    async def _run(self, plan: Plan, operator: OperatorState, *, redelivered: bool) -> NotSettled | None:
        is_preceded = partial(self._is_preceded, plan)
        return await self._runner.run(plan, operator, redelivered=redelivered, is_preceded=is_preceded)

    def _is_preceded(self, plan: Plan) -> bool:
        """Whether an earlier entry of the plan's id is to have its one result.

        It was delivered once more while this one was in hand: Redis has lost its result, and it may have had
        its order. Where an order of the id is known of, and Redis was lost since this entry was accepted, one
        may come until all is taken over.
        """
        copies = self._copies.get(plan.plan_id, ())
        if any(is_after(plan.stream_id, earlier) for earlier in copies):
            return True
        accepted_after = self._accepted_after.get(plan.plan_id, self._take_overs)
        is_awaited = self._is_taking_over and accepted_after < self._take_overs
        return (is_awaited or self._has_lost_redis) and self._runner.has_sent(plan)

    async def _rotate_on(self, plan: Plan) -> None:
        """See the rotation of a parked plan through, resumed from what is stored; end a plan without one.

        Redis may have lost what came after the parking: the plan's own order is asked for first.
        """
        if self._rotation.current is None:
            await self._rotation.resume()
        if self._rotation.belongs_to(plan):
            await self._rotation.see_through(plan, self._runner.decide_parked)
        else:
            await self._runner.decide_parked(plan, timed_out("the rotation was lost during a stop"))

    async def _fail(self, plan: Plan, bug: Exception) -> None:
        """A plan that met a bug of ours before its claim gets its result; a claimed one is recovered."""
        ending = Ending(Ended.FAILED, Reason.INTERNAL_ERROR.value, error=f"{type(bug).__name__}: {bug}")
        outcome = await self._settler.end(plan, ending)
        if outcome is not None and outcome.state in CLAIMED_STATES:
            log.critical("claimed_plan_interrupted", plan_id=plan.plan_id, cure="restart the engine")

    async def _duplicate(self, plan: Plan, outcome: NotSettled) -> None:
        if outcome.state == PARKED:
            await self._rotate_on(plan)
            return
        if outcome.why == NOT_LEADER:
            log.critical("lease_lost", plan_id=plan.plan_id)
            return
        if outcome.why == PRECEDED:  # what is pending is taken again, the earliest first
            log.warning("plan_preceded", plan_id=plan.plan_id, stream_id=plan.stream_id)
            return
        if outcome.state == CLAIMED:  # in nobody's hand, or this copy would have been dismissed
            await self._recovery.finish(await self._claims.record(plan.plan_id))
            return
        await self._publish_duplicate(plan.plan_id, plan.stream_id, plan.content_hash, outcome.state)

    async def _dismiss(self, entry: Plan | Refused, stream_id: str) -> None:
        """Show a copy of a plan under way; it is acknowledged after that plan's result (INC-82).

        A failover may lose the entry in hand, and its result: then the copy is what is left of the plan.
        A Redis that is full cannot show it; no other plan waits for that.
        """
        mismatch = self._active[entry.plan_id] != entry.content_hash
        event = self._duplicate_event(entry.plan_id, stream_id, mismatch=mismatch, state="in_progress")
        try:
            await self._stream.publish(event)
        except RedisError as failed:
            log.warning("copy_untold", plan_id=entry.plan_id, stream_id=stream_id, error=str(failed))
        self._in_hand.add(stream_id)
        if entry.plan_id in self._active:
            self._copies.setdefault(entry.plan_id, []).append(stream_id)
        else:
            self._spawn(self._acknowledge_copies(entry.plan_id, [stream_id]))

    async def _acknowledge_copies(self, plan_id: str, stream_ids: list[str]) -> None:
        """Acknowledge the copies of a plan that has its result; without one they are swept up again."""
        try:
            state, _ = await self._claims.history(plan_id)
            if state == TERMINAL:
                await self._stream.acknowledge(stream_ids)
        except RedisError as lost:
            log.warning("copies_unacknowledged", plan_id=plan_id, error=str(lost))
        finally:
            self._in_hand.difference_update(stream_ids)

    async def _publish_duplicate(self, plan_id: str, stream_id: str, content_hash: str, state: str) -> None:
        _, known_hash = await self._claims.history(plan_id)
        mismatch = bool(known_hash) and known_hash != content_hash
        event = self._duplicate_event(plan_id, stream_id, mismatch=mismatch, state=state)
        await self._stream.dismiss(stream_id, event)

    def _duplicate_event(self, plan_id: str, stream_id: str, *, mismatch: bool, state: str) -> dict[str, str]:
        log.warning("idempotency_skip", plan_id=plan_id, content_mismatch=mismatch, state=state)
        return {
            "event": "DUPLICATE_PLAN",
            "plan_id": plan_id,
            "stream_id": stream_id,
            "content_mismatch": "true" if mismatch else "false",
            "state": state,
            "timestamp": str(self._clock.now_ms()),
        }

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
