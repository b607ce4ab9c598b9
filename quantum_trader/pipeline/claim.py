"""The claim step: from an allowed decision to the right to send exactly one stored order.

The only caller of ``Claimed.granted`` in the tree: nothing opens a position that did not pass here.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import structlog
from msgspec import Struct
from msgspec.structs import replace

from quantum_trader.domain import facts
from quantum_trader.domain.decision import Decision
from quantum_trader.domain.evidence import Evidence
from quantum_trader.domain.exposure import ClaimedExposure
from quantum_trader.domain.intention import Effect
from quantum_trader.domain.order import Claimed, OpenOrder, client_order_id
from quantum_trader.domain.reasons import Reason
from quantum_trader.domain.verdict import Mode
from quantum_trader.gates import GateTables
from quantum_trader.pipeline.evidence import Rooms
from quantum_trader.pipeline.results import verdicts_json
from quantum_trader.pipeline.rules import RulesInForce
from quantum_trader.stores.claims import (
    SEEN_NEEDED,
    ClaimStore,
    OpenLimits,
    PlanRecord,
    Refusal,
    StoredOrder,
    claim_json,
)

LOCK_TTL_MS = 60_000  # longer than any single send; a crash frees the symbol after it

DISK_CURE = "free the disk of state_dir"

OUTDATED = Refusal("claim", "outdated")
"""Refuses a decision that does not hold any more. Never a result's reason: the plan is decided again."""

COMPARED_WITH: Mapping[str, tuple[str, ...]] = {
    Reason.RATE_LIMIT_SYMBOL.value: ("symbol_window_ms",),
    Reason.RATE_LIMIT_GLOBAL.value: ("global_per_min",),
    Reason.BURST_LIMIT_EXCEEDED.value: ("per_symbol_5min_max",),
    Reason.HOURLY_LIMIT_EXCEEDED.value: ("per_symbol_hour_max",),
    Reason.INSUFFICIENT_MARGIN.value: ("available_usdt", "required_margin_usdt"),
    Reason.MARGIN_USAGE_EXCEEDED.value: ("usage_room_usdt",),
    Reason.MAX_POSITIONS_REACHED.value: ("positions_room",),
    Reason.TOTAL_NOTIONAL_EXCEEDED.value: ("notional_room_usdt",),
    Reason.ACTIVE_SLOTS_FULL.value: ("slots_room",),
}
"""The limits that stand behind a refusal of the claim: what was left before other plans' claims."""

log = structlog.get_logger()


class Grant(Struct, frozen=True, gc=False):
    """A granted claim: the stored record and, for an open, the proof that the entry port asks for.

    ``reads_answered`` counts the position reads that had been answered before it; -1 where that is not known.
    """

    record: PlanRecord
    decision: Decision
    claimed: Claimed | None = None
    reads_answered: int = -1


class ClaimStep:
    """Takes a plan's claims in one atomic server-side step."""

    def __init__(self, store: ClaimStore, rooms: Rooms, rules: RulesInForce) -> None:
        self._rules = rules
        self._store = store
        self._rooms = rooms

    async def claim(
        self,
        decision: Decision,
        evidence: Evidence,
        gates: GateTables,
        *,
        first_quantity: Decimal,
        state: str = "",
    ) -> Grant | Refusal:
        """Claim ``decision`` for a first order of ``first_quantity`` (base asset), from ``state``.

        A decision made under an older configuration is refused as ``OUTDATED`` (SPEC 7.2).

        Raises:
            RedisError: no reply; the claim may stand. The caller looks before doing anything else.
        """
        if decision.config_hash != self._rules.config_hash:
            return OUTDATED
        record, reads_answered = self._record(decision, first_quantity), self._rooms.account.reads_answered
        exposure, symbol = decision.exposure, record.order.leg.symbol
        if exposure is not None and self._rooms.book.has_unsettled(symbol):
            return Refusal("claim", Reason.SYMBOL_IN_FLIGHT.value)  # also when Redis has lost that claim
        if exposure is None:
            refusal = await self._take(record, None, state)
            if refusal is not None:
                return refusal
            self._rooms.book.hold_exit(record.plan_id, symbol)
            return Grant(record, decision, None, reads_answered)
        limits = open_limits(decision, exposure, evidence, gates, self._rooms)
        oldest_epoch = min(limits.positions_epoch, limits.account_epoch)
        self._rooms.book.begin_claim(oldest_epoch)
        try:
            refusal = await self._take(record, limits, state)
            if refusal is not None and refusal.reason == SEEN_NEEDED:
                positions, epoch = evidence.get(facts.POSITIONS), limits.positions_epoch
                limits = replace(limits, seen=self._rooms.book.positions_of_claims(positions, epoch))
                is_outdated = decision.config_hash != self._rules.config_hash
                refusal = OUTDATED if is_outdated else await self._take(record, limits, state)
        finally:
            self._rooms.book.end_claim(oldest_epoch)
        if refusal is not None:
            return Refusal(refusal.gate, refusal.reason, _compared(limits, refusal))
        self._rooms.book.add(exposure, decision.decided_at_ms)
        return Grant(record, decision, self._proof(record), reads_answered)

    async def amend(self, grant: Grant, order: StoredOrder, settled_orders: list[str]) -> Grant | Refusal:
        """Store the next order of a claimed plan, or the same one with a new timestamp, before it is sent.

        Raises:
            RedisError: no reply, or another engine sent a later order: what is stored has to be looked up.
        """
        record = replace(grant.record, order=order, settled_orders=settled_orders)
        known_number = grant.record.order.number
        refusal = await self._amend(record, known_number)
        if _lost_lease(refusal) and record.is_exit and not await self._rooms.lease.renew():
            refusal = await self._amend(record, known_number)
        if refusal is not None:
            return refusal
        claimed = self._proof(record) if grant.claimed is not None else None
        return Grant(record, grant.decision, claimed, grant.reads_answered)

    def mirror(self, grant: Grant) -> bool:
        """Mirror the granted order in ``state_dir``, before its first byte is sent; false if that failed.

        An open is not sent then, an exit is (SPEC: a missing fact stops an open, never an exit).
        """
        record, book = grant.record, self._rooms.book
        try:
            self._rooms.mirror.keep(record, claim_json(record, book.exposure(record.plan_id)))
        except OSError as full:
            log.critical(
                "mirror_unwritten", plan_id=record.plan_id, error=str(full), cure="free the disk of state_dir"
            )
            return False
        return True

    async def unlock(self, grant: Grant) -> None:
        """Let go of the symbol's lock while the outcome is unknown; the claim itself stays."""
        await self._store.unlock(grant.record.order.leg.symbol, grant.record.plan_id)

    async def _amend(self, record: PlanRecord, known_number: int) -> Refusal | None:
        return await self._store.amend(
            self._rooms.lease.value, record, known_number=known_number, lock_ttl_ms=LOCK_TTL_MS
        )

    async def _take(self, record: PlanRecord, limits: OpenLimits | None, state: str) -> Refusal | None:
        refusal = await self._ask(record, limits, state)
        if not _lost_lease(refusal) or limits is not None:
            return refusal
        # an exit does not wait for the next renewal of a lease that ran out or was lost with its key
        return refusal if await self._rooms.lease.renew() else await self._ask(record, limits, state)

    async def _ask(self, record: PlanRecord, limits: OpenLimits | None, state: str) -> Refusal | None:
        return await self._store.claim(
            self._rooms.lease.value,
            record,
            limits,
            now_ms=record.decided_at_ms,
            lock_ttl_ms=LOCK_TTL_MS,
            expected_state=state,
        )

    def _proof(self, record: PlanRecord) -> Claimed:
        order = record.order
        open_order = OpenOrder(
            order.leg, order.side, order.quantity, order.client_order_id, order.timestamp_ms
        )
        return Claimed.granted(open_order, record.plan_id, record.token)

    def _record(self, decision: Decision, quantity: Decimal) -> PlanRecord:
        plan, intention = decision.plan, decision.intention
        if intention.side is None:
            raise AssertionError(f"plan {plan.plan_id} was allowed without a side")
        sized = self._rooms.account.sized_by(intention.leg)
        number = self._first_number(plan.plan_id) if decision.is_exit else 0
        order = StoredOrder(
            leg=intention.leg,
            side=intention.side,
            quantity=quantity,
            client_order_id=client_order_id(plan.plan_id, number),
            number=number,
            timestamp_ms=self._rooms.server_clock.signing_time_ms(),
            position_amt=sized.amount if sized is not None else None,
            position_ms=sized.at_ms if sized is not None else None,
        )
        return PlanRecord(
            plan_id=plan.plan_id,
            stream_id=plan.stream_id,
            content_hash=plan.content_hash,
            fields=plan.carried or {},
            is_exit=decision.is_exit,
            effect=intention.effect or "",
            asked=decision.quantity or quantity,
            order=order,
            settled_orders=[client_order_id(plan.plan_id, former) for former in range(number)],
            token=self._rooms.lease.token,
            config_hash=decision.config_hash,
            decided_at_ms=decision.decided_at_ms,
            verdicts=verdicts_json(decision),
        )

    def _first_number(self, plan_id: str) -> int:
        """Return the first number whose id names no order of a former life: by its id each is found again."""
        number = 0
        while self._rooms.sent_orders_ms.get(client_order_id(plan_id, number)) is not None:
            number += 1
        return number


def _lost_lease(refusal: Refusal | None) -> bool:
    return refusal is not None and refusal.reason == Reason.NOT_LEADER.value


def _compared(limits: OpenLimits, refusal: Refusal) -> dict[str, Any]:
    return {name: getattr(limits, name) for name in COMPARED_WITH.get(refusal.reason, ())}


def open_limits(
    decision: Decision,
    exposure: ClaimedExposure,
    evidence: Evidence,
    gates: GateTables,
    rooms: Rooms,
) -> OpenLimits:
    """Return what the claim of an open must not exceed: the limits of the gates that enforce."""
    positions = evidence.get(facts.POSITIONS)
    epoch = rooms.account.positions_epoch
    is_new_leg = decision.intention.effect is Effect.OPEN
    limits: dict[str, Any] = {}
    if gates.rate_limit.mode is Mode.ENFORCE:
        limits |= {
            "symbol_window_ms": gates.rate_limit.per_symbol_s * 1000,
            "global_per_min": gates.rate_limit.global_per_min,
            "per_symbol_5min_max": gates.rate_limit.per_symbol_5min_max,
            "per_symbol_hour_max": gates.rate_limit.per_symbol_hour_max,
        }
    if gates.margin_guard.mode is Mode.ENFORCE:
        account, guard = evidence.get(facts.ACCOUNT), gates.margin_guard
        limits |= {
            "required_margin_usdt": exposure.margin_usdt * guard.buffer,
            "available_usdt": account.available_balance,
            "usage_room_usdt": account.margin_balance * guard.usage_max - account.initial_margin,
        }
    if gates.fund_caps.mode is Mode.ENFORCE:
        limits |= {
            "positions_room": gates.fund_caps.max_open_positions - len(positions),
            "notional_room_usdt": gates.fund_caps.max_total_notional_usdt - positions.notional_usdt,
        }
    if gates.active_slots.mode is Mode.ENFORCE and is_new_leg:
        slots = gates.active_slots.slots(evidence.get(facts.REGIME))
        taken = (positions.symbols | _reserved(decision, rooms)) - {exposure.leg.symbol}
        limits["slots_room"] = slots - len(taken)
    return OpenLimits(
        exposure=exposure,
        is_new_leg=is_new_leg,
        positions_epoch=epoch,
        account_epoch=rooms.account.account_epoch,
        seen=rooms.book.positions_of_claims(positions, epoch) if rooms.book.has_few_unseen(epoch) else None,
        **limits,
    )


def _reserved(decision: Decision, rooms: Rooms) -> frozenset[str]:
    """Return the symbol whose slot a rotation is freeing, unless for this very plan (SPEC 6.7)."""
    rotation = rooms.rotation
    if rotation is None or rotation.new_plan_id == decision.plan.plan_id:
        return frozenset()
    return frozenset({rotation.new_symbol})
