"""The way of one plan: intake → evidence → decide → claim → send → settle (SPEC 3, 5, 7).

Decide without suspending; do I/O before and after. Between gathering the evidence and asking for
the claim there is no ``await``, so what was judged is what is claimed.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from decimal import Decimal
from functools import partial

import structlog
from msgspec.structs import replace

from quantum_trader.domain.case import Case
from quantum_trader.domain.clock import Clock
from quantum_trader.domain.facts import PlanHistory
from quantum_trader.domain.order import OrderState
from quantum_trader.domain.plan import Plan
from quantum_trader.domain.reasons import Reason
from quantum_trader.domain.result import Ended
from quantum_trader.pipeline.claim import Grant
from quantum_trader.pipeline.evidence import Rooms, gather_positions
from quantum_trader.pipeline.fate import Fate, fate_of_order, with_former_orders
from quantum_trader.pipeline.judging import (
    BLIND_EXIT_AFTER_S,
    InHand,
    Judge,
    Steps,
)
from quantum_trader.pipeline.lanes import Lane, LaneTaken, SymbolLanes
from quantum_trader.pipeline.opens import found_record
from quantum_trader.pipeline.results import Ending
from quantum_trader.pipeline.rules import RulesInForce
from quantum_trader.stores.connection import RedisError
from quantum_trader.stores.operator_state import OperatorState
from quantum_trader.stores.settlement import PARKED, NotSettled

PRECEDED = "preceded"
ENDED_BEFORE = "it had ended without an order at the exchange before Redis lost its result"

log = structlog.get_logger()


class PlanRunner:
    """Takes one plan from delivery to its result."""

    def __init__(
        self,
        rooms: Rooms,
        rules: RulesInForce,
        *,
        steps: Steps,
        clock: Clock,
    ) -> None:
        self._rooms = rooms
        self._rules = rules
        self._steps = steps
        self._clock = clock
        self._judge = Judge(rooms, rules, steps=steps, clock=clock)
        self.lanes = SymbolLanes()

    async def run(
        self,
        plan: Plan,
        operator: OperatorState,
        *,
        redelivered: bool,
        is_preceded: Callable[[], bool],
    ) -> NotSettled | None:
        """Bring ``plan`` to its result; not None if it turned out to be a duplicate.

        And where it ``is_preceded``: what claimed nothing leaves the one result to an earlier entry.

        Raises:
            RedisError: the claim's reply was lost; what became of it has to be looked up.
        """
        delivery = InHand(plan, operator, self._clock.now_ms(), redelivered, is_preceded=is_preceded)
        await self._judge.see(plan, delivery.delivered_ms)
        is_exit = Case(plan, gather_positions(self._rooms), self._rules.chain.terms).is_exit
        limit_ms = self._rules.ages.exit_ms if is_exit else self._rules.ages.open_ms
        expired = self._expired(delivery, limit_ms, is_exit=is_exit)
        if expired is not None:
            return await self._end_expired(delivery, expired, limit_ms)
        deadline_ms = delivery.issued_ms + self._rules.ages.open_ms
        wait_s = None if is_exit else max(0.0, (deadline_ms - self._clock.now_ms()) / 1000)
        try:
            return await self._run_in_lane(delivery, wait_s)
        except LaneTaken:
            ending = await self._judge.out_of_turn(delivery)
            return await self._end(delivery, await self._made_sure(delivery, ending))

    def has_sent(self, plan: Plan) -> bool:
        """Whether an order of the plan's id is known of, here or in ``state_dir``."""
        return self._steps.look_back.has_sent(plan)

    async def _run_in_lane(self, delivery: InHand, wait_s: float | None) -> NotSettled | None:
        plan = delivery.plan
        async with self.lanes.hold(plan.symbol, wait_s) as lane:
            ending = await self._look_back(delivery, lane) or await self._judge.judge_and_claim(
                delivery, lane
            )
            if isinstance(ending, Grant):
                await self._send_and_settle(ending, delivery, lane)
                return None
            if ending.reason == Reason.DUPLICATE.value:
                return NotSettled("duplicate", ending.error)
            ending = await self._made_sure(delivery, ending, lane)
            unparked = await self._rotate_or(ending, plan)
            if unparked is not None:
                await self._steps.auto_disarm.observe(unparked)
                return await self._end(delivery, unparked)
        await self._steps.rotation.see_through(plan, self.decide_parked)
        return None

    async def _rotate_or(self, ending: Ending, plan: Plan) -> Ending | None:
        """Park the plan and begin a rotation where that is all it lacks (SPEC 6.6), or return its ending."""
        decision = ending.decision
        if decision is None or decision.rotation is None or not self._rules.sends_orders:
            return ending
        refusal = await self._steps.rotation.begin(plan, decision.rotation)
        if refusal is None:
            return None
        return ending if refusal.gate == "idempotency" else Ending.of_refusal(decision, refusal)

    async def decide_parked(self, plan: Plan, ending: Ending | None) -> str:
        """Bring a parked plan to its result, by ``ending`` or a new decision; return how it ended.

        The exchange is asked for its order first: it is parked as well where Redis lost what came later.
        """
        async with self.lanes.hold(plan.symbol) as lane:
            now_ms = self._clock.now_ms()
            operator = await self._steps.read_operator(plan.symbol)
            delivery = InHand(plan, operator, now_ms, redelivered=True, state=PARKED)
            delivery.deadline_ms = now_ms + self._rules.ages.open_ms
            known = await self._look_back(delivery, lane) or ending
            outcome = known or await self._judge.judge_and_claim(delivery, lane)
            if isinstance(outcome, Grant):
                fate = await self._send_and_settle(outcome, delivery, lane)
                return f"{fate.ended}: {fate.reason}"
            outcome = await self._made_sure(delivery, outcome, lane)
            await self._steps.settler.end(plan, outcome, PARKED)
            return f"{outcome.ended}: {outcome.reason}"

    async def _look_back(self, delivery: InHand, lane: Lane) -> Ending | None:
        """Find out what is known of the plan id from before; end what has its order already.

        Without an answer the history stays unknown: an open is blocked, an exit goes on after 5 s. Not one
        that had its result before Redis lost it: it has closed what it was to, and nobody waits behind it.
        Where the exchange has no order of such a plan it ends without one: what is held now came later.
        """
        plan = delivery.plan
        if not self._has_to_ask(delivery):
            delivery.history = self._steps.look_back.at_first_sight(plan).history
            return None
        if not self._steps.look_back.has_ended(plan):
            return await self._adopted(delivery, delivery.delivered_ms + BLIND_EXIT_AFTER_S * 1000)
        lane.release()
        known = await self._adopted(delivery, math.inf)
        if known is None and delivery.history == PlanHistory():
            return Ending(Ended.FAILED, Reason.NOT_PLACED.value, error=ENDED_BEFORE)
        if known is None:
            await lane.take()
        return known

    def _has_to_ask(self, delivery: InHand) -> bool:
        """Whether the exchange is asked for an order of the plan's id, as one may be the plan's own."""
        may_have_order = delivery.redelivered or self._steps.look_back.may_have_order(delivery.plan)
        return may_have_order and self._rules.sends_orders

    async def _made_sure(self, delivery: InHand, ending: Ending, lane: Lane | None = None) -> Ending:
        """Deny a redelivered plan whose order was sent only once the exchange has said that it has none.

        It may have been filled in a former life: that a gate denies it now makes nothing undone. Plans of
        which ``state_dir`` knows no order do not wait: a backlog would use up the weight that exits need.
        """
        if ending.fate is not None or delivery.history is not None or not self._rules.sends_orders:
            return ending
        if not self._steps.look_back.has_sent(delivery.plan):
            return ending
        if lane is not None:
            lane.release()  # whatever else is to happen on the symbol does not wait for the answer
        return await self._adopted(delivery, math.inf) or ending

    async def _adopted(self, delivery: InHand, until_ms: float) -> Ending | None:
        """Return the end of a plan whose orders the exchange has; None where it has none, or is silent."""
        orders = await self._former_orders(delivery, until_ms)
        if not orders:
            return None
        fate = fate_of_order(orders[-1], [found_record(order) for order in orders])
        fate = replace(fate, orders=tuple(orders))
        return Ending(fate.ended, fate.reason, fate.gate, fate.error, fate=fate)

    async def _former_orders(self, delivery: InHand, until_ms: float) -> list[OrderState]:
        """Return the plan's orders that the exchange has, once they are final."""
        plan = delivery.plan
        seen = await self._steps.look_back.at_the_exchange(plan, until_ms)
        delivery.history = seen.history
        if seen.orders:
            log.warning("order_adopted", plan_id=plan.plan_id, order_id=seen.orders[-1].order_id)
        return [await self._steps.follow(order) for order in seen.orders]

    async def _end_expired(self, delivery: InHand, expired: Ending, limit_ms: int) -> NotSettled | None:
        """Write that a plan is too old, unless it was redelivered and has its order already."""
        plan = delivery.plan
        if self._has_to_ask(delivery) and self._steps.look_back.is_worth_asking(plan, limit_ms):
            patient = self._steps.look_back.has_sent(plan)
            until_ms = math.inf if patient else delivery.delivered_ms + BLIND_EXIT_AFTER_S * 1000
            expired = await self._adopted(delivery, until_ms) or expired
        return await self._end(delivery, expired)

    async def _end(self, delivery: InHand, ending: Ending) -> NotSettled | None:
        """End a plan that claimed nothing, unless an earlier entry of its id is to have it."""
        if delivery.is_preceded():
            return NotSettled(PRECEDED, "")
        return await self._steps.settler.end(delivery.plan, ending)

    def _expired(self, delivery: InHand, limit_ms: int, *, is_exit: bool) -> Ending | None:
        """End a plan that was too old when it was first delivered; a backlog is never traded (SPEC 3)."""
        plan = delivery.plan
        age_ms = delivery.delivered_ms - plan.issued_at_ms
        if age_ms <= limit_ms:
            return None
        if is_exit:
            log.error("expired_exit", plan_id=plan.plan_id, symbol=plan.symbol, age_ms=age_ms)
        detail = f"{age_ms} ms old, at most {limit_ms} ms"
        return Ending(Ended.EXPIRED, Reason.EXPIRED.value, "intake", detail)

    async def _send_and_settle(self, grant: Grant, delivery: InHand, lane: Lane) -> Fate:
        plan, claimed_ms = delivery.plan, self._clock.now_ms()
        went_out_blind = delivery.history is None and self._steps.look_back.has_sent(plan)

        async def outcome_unknown() -> None:
            log.warning(
                "unknown_outcome", plan_id=plan.plan_id, client_order_id=grant.record.order.client_order_id
            )
            await self.unlock(grant)
            lane.release()

        fate = await self._send(grant, claimed_ms, outcome_unknown, delivery if went_out_blind else None)
        if went_out_blind:
            await self.unlock(grant)
            lane.release()
            fate = await self._with_former_orders(fate, delivery)
        await self.finish(grant, plan, fate, claimed_ms)
        return fate

    async def _with_former_orders(self, fate: Fate, delivery: InHand) -> Fate:
        """Add what an exit that was sent unchecked had done before: its one result tells of all of it."""
        own = {order.order_id for order in fate.orders}
        orders = [
            order for order in await self._former_orders(delivery, math.inf) if order.order_id not in own
        ]
        return with_former_orders(fate, orders, [found_record(order) for order in orders])

    async def _send(
        self,
        grant: Grant,
        claimed_ms: int,
        outcome_unknown: Callable[[], Awaitable[None]],
        unchecked: InHand | None,
    ) -> Fate:
        """Send; ``unchecked`` is the delivery of an exit that goes out before its former orders are known."""
        if grant.claimed is not None:
            return await self._steps.opens.send(grant, outcome_unknown)
        asked = grant.decision.quantity or Decimal(0)
        deadline_ms = claimed_ms + self._rules.ages.exit_ms
        former = partial(self._former_orders, unchecked, deadline_ms) if unchecked is not None else None
        return await self._steps.exits.send(grant, asked, deadline_ms, outcome_unknown, former=former)

    async def unlock(self, grant: Grant) -> None:
        """Let exits of the symbol go on beside an order of unknown outcome; its claim keeps opens off."""
        try:
            await self._steps.claims.unlock(grant)
        except RedisError as failed:
            log.warning("unlock_failed", plan_id=grant.record.plan_id, error=str(failed))

    async def finish(self, grant: Grant, plan: Plan, fate: Fate, claimed_ms: int) -> None:
        """Settle a claimed plan and remember its orders' ids."""
        now_ms = self._clock.now_ms()
        for attempt in fate.attempts:
            self._rooms.sent_orders_ms.setdefault(attempt["client_order_id"], now_ms)
        timings = {"stream": plan.stream_ms, "claimed": claimed_ms, "settled": now_ms}
        await self._steps.settler.end_claimed(grant, plan, Ending.of_fate(grant.decision, fate, timings))
