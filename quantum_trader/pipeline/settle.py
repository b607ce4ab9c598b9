"""Settle: one result a plan, with everything that ends with it, in one atomic step (SPEC 7.7).

The store writes; this builds what is to be written, and takes the outcome over into memory in
the same breath, so that the next decision sees fill, ledger and released claims together.
"""

from __future__ import annotations

from typing import Any

import structlog

from quantum_trader.domain.clock import Clock
from quantum_trader.domain.decision import Decision
from quantum_trader.domain.exposure import ClaimedExposure
from quantum_trader.domain.order import OrderState
from quantum_trader.domain.plan import Plan
from quantum_trader.domain.result import Result, plain
from quantum_trader.domain.trading import Leg
from quantum_trader.pipeline.claim import Grant
from quantum_trader.pipeline.consequences import consequences
from quantum_trader.pipeline.evidence import Rooms
from quantum_trader.pipeline.fate import Fate
from quantum_trader.pipeline.intake import Refused
from quantum_trader.pipeline.lanes import SymbolLanes
from quantum_trader.pipeline.reports import Report, Reports
from quantum_trader.pipeline.results import (
    Ending,
    permit_p32,
    permit_p33,
    result_of,
    result_of_refused,
    verdicts_json,
)
from quantum_trader.pipeline.rules import RulesInForce
from quantum_trader.positions.ledger import LedgerEntry
from quantum_trader.positions.live import SizedBy
from quantum_trader.stores.claims import StoredOrder, claim_json
from quantum_trader.stores.codec import encode_text
from quantum_trader.stores.connection import RedisError
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.settlement import (
    CLAIMED,
    NEVER_CLAIMED,
    NotSettled,
    Settled,
    Settlement,
    SettlementStore,
)

RETRY_PAUSE_S = 0.5
TERMINAL = "terminal"
NOT_LEADER = "not_leader"

log = structlog.get_logger()


class Settler:
    """Writes results and takes them over."""

    def __init__(
        self,
        store: SettlementStore,
        rooms: Rooms,
        rules: RulesInForce,
        keys: Keys,
        clock: Clock,
        reports: Reports,
    ) -> None:
        self._store = store
        self._rooms = rooms
        self._rules = rules
        self._keys = keys
        self._clock = clock
        self._reports = reports
        self._turns = SymbolLanes()

    async def refuse(self, refused: Refused, stream_id: str) -> NotSettled | None:
        """Write the result of an entry that ended at intake; not None if it was a duplicate."""
        result = result_of_refused(
            refused, mode=self._rules.mode, now_ms=self._clock.now_ms(), config_hash=self._rules.config_hash
        )
        settlement = self._settlement(
            result, stream_id, refused.content_hash, NEVER_CLAIMED, Leg(result.symbol or "none")
        )
        outcome = await self._write(settlement)
        return self._report(outcome, result, settlement, None)

    async def end(self, plan: Plan, ending: Ending, state: str = NEVER_CLAIMED) -> NotSettled | None:
        """Write the result of a plan that claimed nothing, from ``state``; not None if it was a duplicate."""
        result = self._result(plan, ending)
        settlement = self._settlement(
            result,
            plan.stream_id,
            plan.content_hash,
            state,
            Leg(plan.symbol),
            **self._records(ending),
            **self._consequences(ending),
        )
        outcome = await self._write(settlement)
        if isinstance(outcome, Settled):
            self._let_go(plan.plan_id, ending.fate)
        return self._report(outcome, result, settlement, ending.decision)

    def _let_go(self, plan_id: str, fate: Fate | None) -> None:
        """Release what memory holds of a plan whose claim Redis had lost, and whose orders were found."""
        self._rooms.book.release(plan_id)
        if fate is not None and fate.orders:
            self._rooms.account.doubt()

    async def end_claimed(self, grant: Grant, plan: Plan, ending: Ending) -> None:
        """Write the result of a claimed plan and release what it had claimed.

        One after another on a symbol, though their orders may be under way together (an exit does not
        wait for an order of unknown outcome): each makes the ledger's next entry from the last one.
        """
        async with self._turns.hold(plan.symbol):
            await self._end_claimed(grant, plan, ending)

    async def _end_claimed(self, grant: Grant, plan: Plan, ending: Ending) -> None:
        result = self._result(plan, ending)
        exposure = self._rooms.book.exposure(plan.plan_id)
        fate = ending.fate
        orders = fate.orders if fate is not None else ()
        mark = await self._rooms.account.mark_settlement(grant.reads_answered, orders) if orders else 0
        entry = self._ledger_after(orders, plan)
        opened = exposure is not None and result.executed
        settlement = self._settlement(
            result,
            plan.stream_id,
            plan.content_hash,
            CLAIMED,
            grant.record.order.leg,
            claim=claim_json(grant.record, exposure),
            filled_open=opened,
            return_rate_token=fate is not None and not fate.bytes_sent,
            ledger=entry.as_fields() if entry is not None else {},
            opened_ms=self._local_ms(orders[-1]) if opened else None,
            **self._records(ending),
            **self._consequences(ending),
        )
        outcome = await self._write(settlement)
        epoch = outcome.epoch if isinstance(outcome, Settled) else await self._epoch_after_all(outcome)
        self._rooms.account.take_over(orders, mark, epoch if opened else 0, _sized_by(grant.record.order))
        if fate is not None and not fate.bytes_sent:
            self._rooms.book.return_rate_token(plan.symbol, plan.plan_id)
        self._take_over(grant, orders, entry, exposure if opened else None, epoch)
        self._report(outcome, result, settlement, ending.decision)

    def _result(self, plan: Plan, ending: Ending) -> Result:
        return result_of(
            plan,
            ending,
            mode=self._rules.mode,
            now_ms=self._clock.now_ms(),
            config_hash=self._rules.config_hash,
        )

    def _settlement(
        self, result: Result, stream_id: str, content_hash: str, state: str, leg: Leg, **rest: Any
    ) -> Settlement:
        seen = self._rooms.book.seen_everywhere(
            self._rooms.account.positions_epoch, self._rooms.account.account_epoch
        )
        return Settlement(
            plan_id=result.plan_id,
            stream_id=stream_id,
            content_hash=content_hash,
            expected_state=state,
            leg=leg,
            result=result.as_fields(encode_text(result.trace)),
            seen_claims=tuple(seen),
            epoch_known=self._rooms.account.positions_epoch,
            **rest,
        )

    def _records(self, ending: Ending) -> dict[str, Any]:
        decision = ending.decision
        if decision is None:
            return {}
        now_ms = self._clock.now_ms()
        ledger_amt = plain(self._rooms.ledger[decision.intention.leg].position_amt)
        return {
            "permit_p32": permit_p32(decision, now_ms),
            "permit_p33": permit_p33(decision, ledger_amt, now_ms),
        }

    def _consequences(self, ending: Ending) -> dict[str, Any]:
        if ending.decision is None:
            return {}
        code = ending.fate.rejected_code if ending.fate is not None else 0
        found = consequences(
            ending.decision,
            ending.reason,
            code,
            gates=self._rules.gates,
            keys=self._keys,
            now_ms=self._clock.now_ms(),
        )
        return {"latches": found.latches, "margin_failure": found.margin_failure}

    def _ledger_after(self, orders: tuple[OrderState, ...], plan: Plan) -> LedgerEntry | None:
        ledger, entry = self._rooms.ledger, None
        for order in orders:
            if order.executed_quantity > 0:
                entry = ledger[order.leg] if ledger.holds(order) else ledger.after_fill(order, plan, entry)
        return entry

    def _take_over(
        self,
        grant: Grant,
        orders: tuple[OrderState, ...],
        entry: LedgerEntry | None,
        opened: ClaimedExposure | None,
        epoch: int,
    ) -> None:
        leg, plan_id = grant.record.order.leg, grant.record.plan_id
        if entry is not None:
            self._rooms.ledger.replace(leg, entry)
            self._rooms.ledger.count(orders)
        if opened is None:
            self._rooms.book.release(plan_id)
        else:
            self._rooms.book.settled(opened, epoch)
            self._rooms.last_open_ms[leg] = self._local_ms(orders[-1])

    def _local_ms(self, order: OrderState) -> int:
        """Return when the order was last changed, by our clock: cooldowns are counted on it."""
        return order.update_time_ms - (self._rooms.server_clock.offset_ms or 0)

    async def _write(self, settlement: Settlement) -> Settled | NotSettled:
        """Write, and go on trying while Redis does not answer: a result is never given up.

        A try whose reply was lost may have been carried out; the next one then finds the plan
        terminal, which is success.
        """
        replies_lost = 0
        while True:
            try:
                outcome = await self._store.settle(self._rooms.lease.value, settlement, self._clock.now_ms())
            except RedisError as failed:
                replies_lost += 1
                log.warning("settle_retry", plan_id=settlement.plan_id, tries=replies_lost, error=str(failed))
                await self._clock.sleep(RETRY_PAUSE_S)
                continue
            if isinstance(outcome, NotSettled) and outcome.why == NOT_LEADER and await self._leads_again():
                continue
            if isinstance(outcome, NotSettled) and outcome.state == TERMINAL and replies_lost:
                outcome = Settled(await self._newest_epoch())
            if isinstance(outcome, Settled):
                self._rooms.book.forget(settlement.seen_claims)
                self._know_cooldowns(settlement)
            if isinstance(outcome, Settled) or settlement.expected_state == CLAIMED:
                self._rooms.mirror.settle(settlement.plan_id, self._clock.now_ms(), _floor_of(outcome))
            return outcome

    def _know_cooldowns(self, settlement: Settlement) -> None:
        """Have the next plan know of a symbol's cooldown that was set with the result."""
        for latch in settlement.latches:
            if latch.symbol:
                self._rooms.cooldowns.cools(latch.symbol)

    async def _leads_again(self) -> bool:
        """Take the lease back where nobody else has it: it ran out, or was lost with Redis' keys.

        Where another engine has it, the plan's claim is that engine's to settle.
        """
        try:
            return not await self._rooms.lease.renew()
        except RedisError as failed:
            log.warning("lease_unread", error=str(failed))
            return True

    async def _epoch_after_all(self, outcome: NotSettled) -> int:
        log.critical("settle_refused", why=outcome.why, state=outcome.state)
        return await self._newest_epoch()

    async def _newest_epoch(self) -> int:
        """Ask until Redis answers: what is settled there has to be taken over into memory as well."""
        while True:
            try:
                return await self._store.epoch()
            except RedisError as failed:
                log.warning("epoch_unread", error=str(failed))
            await self._clock.sleep(RETRY_PAUSE_S)

    def _report(
        self,
        outcome: Settled | NotSettled,
        result: Result,
        settlement: Settlement,
        decision: Decision | None,
    ) -> NotSettled | None:
        if isinstance(outcome, NotSettled):
            return outcome
        verdicts = verdicts_json(decision) if decision is not None else b"[]"
        self._reports.add(Report(result, settlement.result, decision, verdicts))
        failure = settlement.margin_failure
        if outcome.set_safe_mode and failure is not None:
            log.warning(
                "safe_mode_triggered",
                plan_id=result.plan_id,
                symbol=result.symbol,
                reason=result.reason,
                failures_max=failure.failures_max,
                window_s=failure.window_ms // 1000,
                ttl_s=failure.safe_mode_s,
            )
        return None


def _sized_by(order: StoredOrder) -> dict[str, SizedBy]:
    if order.position_amt is None or order.position_ms is None:
        return {}
    return {order.client_order_id: SizedBy(order.position_amt, order.position_ms)}


def _floor_of(outcome: Settled | NotSettled) -> str:
    return outcome.floor if isinstance(outcome, Settled) else ""
