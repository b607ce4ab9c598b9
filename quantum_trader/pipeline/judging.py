"""From a plan in hand to a claim, or to the reason why there is none (SPEC 5, 7.1, 7.2)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal

import structlog

from quantum_trader.domain.clock import Clock
from quantum_trader.domain.decision import Decision
from quantum_trader.domain.evidence import Evidence, Reading
from quantum_trader.domain.facts import LEADER, POSITIONS, PlanHistory
from quantum_trader.domain.order import OrderState
from quantum_trader.domain.plan import Plan, PlanSide
from quantum_trader.domain.reasons import Reason
from quantum_trader.domain.result import Ended
from quantum_trader.domain.sizing import split
from quantum_trader.domain.trading import Positions
from quantum_trader.domain.verdict import Ruling
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.pipeline.auto_disarm import AutoDisarm
from quantum_trader.pipeline.claim import OUTDATED, ClaimStep, Grant
from quantum_trader.pipeline.decide import decide
from quantum_trader.pipeline.evidence import Rooms, gather, is_fresh, refresh_stale, sees_all
from quantum_trader.pipeline.exits import ExitSender
from quantum_trader.pipeline.lanes import Lane, LaneTaken
from quantum_trader.pipeline.look_back import LookBack
from quantum_trader.pipeline.opens import OpenSender
from quantum_trader.pipeline.pace import ExitPace
from quantum_trader.pipeline.results import POSITION_GATE, Ending
from quantum_trader.pipeline.rotation import RotationSaga
from quantum_trader.pipeline.rules import RulesInForce
from quantum_trader.pipeline.settle import Settler
from quantum_trader.stores.claims import Refusal
from quantum_trader.stores.connection import RedisError
from quantum_trader.stores.operator_state import OperatorState

IN_FLIGHT_PAUSE_S = 0.1
BLIND_EXIT_AFTER_S = 5.0
OPERATOR_AGE_MS_MAX = 1000
LOOK_AGAIN_AFTER_MS = 1000
ADMISSION = "intake"
IN_FLIGHT = Refusal("claim", Reason.SYMBOL_IN_FLIGHT.value)

log = structlog.get_logger()


@dataclass(slots=True)
class Steps:
    """The steps that do I/O."""

    claims: ClaimStep
    opens: OpenSender
    exits: ExitSender
    settler: Settler
    read_operator: Callable[[str], Awaitable[OperatorState]]
    look_back: LookBack
    follow: Callable[[OrderState], Awaitable[OrderState]]
    rotation: RotationSaga
    auto_disarm: AutoDisarm


@dataclass(slots=True)
class InHand:
    """A plan in hand, with what was known at its delivery; ``history`` None means not known."""

    plan: Plan
    operator: OperatorState
    delivered_ms: int
    redelivered: bool
    history: PlanHistory | None = None
    paced: bool = False
    looked_again: bool = False
    renewed: bool = False
    unread: list[str] = field(default_factory=list)
    state: str = ""
    deadline_ms: int | None = None
    is_preceded: Callable[[], bool] = bool  # by nothing

    @property
    def issued_ms(self) -> int:
        """When the plan's time began, ms by our clock: at its delivery at the latest.

        A stream id, or a clock of Redis, that is ahead of ours gives no plan more time.
        """
        return min(self.plan.issued_at_ms, self.delivered_ms)


class Judge:
    """Gathers, decides and claims; between the first and the last of these there is no ``await``."""

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
        self._pace = ExitPace(rules.gates.rate_limit.exits_per_min, clock)
        rules.on_change(lambda config: self._pace.widen(config.gates.rate_limit.exits_per_min))

    async def judge_and_claim(self, delivery: InHand, lane: Lane) -> Ending | Grant:
        """Decide and claim; waits while an order of ours is in flight on the symbol.

        An open that waits, or did so in vain, may come back without its ``lane``: it has nothing to send.
        """
        plan = delivery.plan
        while True:
            delivery.unread = await self.see(plan, delivery.delivered_ms)
            await self._heed_operator(delivery)
            evidence = gather(plan, self._rooms, delivery.operator, delivery.history)
            if self._steps.rotation.is_withdrawn(plan):
                return Ending(Ended.EXPIRED, Reason.EXPIRED.value, "intake", "its rotation is over")
            decision = self._heed_doubt(self._decide(plan, evidence), delivery.unread)
            if not decision.allowed and not await self._worth_another_look(delivery, decision):
                return self._denied(decision)
            if not decision.allowed:
                continue
            if not self._rules.sends_orders:
                return Ending.of_decision(decision, Ended.DRY_RUN, Reason.DRY_RUN.value)
            outcome = await self._claim_in_turn(delivery, decision, evidence)
            if isinstance(outcome, Grant):
                return outcome
            if outcome == OUTDATED:
                continue
            if outcome.reason != Reason.SYMBOL_IN_FLIGHT.value:
                return self._refused(decision, outcome)
            if not await self._waits_in_flight(delivery, decision, lane):
                return self._refused(decision, outcome)

    async def out_of_turn(self, delivery: InHand) -> Ending:
        """End an open whose turn on its symbol did not come in time, with what every gate says of it."""
        await self._heed_operator(delivery)
        evidence = gather(delivery.plan, self._rooms, delivery.operator, delivery.history)
        return self._refused(self._decide(delivery.plan, evidence), IN_FLIGHT)

    async def _waits_in_flight(self, delivery: InHand, decision: Decision, lane: Lane) -> bool:
        """Pause before the next try to claim; false at the plan's deadline.

        An open lets the plans behind it pass meanwhile: what it waits for may be an order of unknown
        outcome, and exits do not wait for that (SPEC 5 "In flight"). An exit keeps its turn.
        """
        deadline_ms = delivery.deadline_ms or self._deadline_ms(delivery, decision)
        if self._clock.now_ms() >= deadline_ms:
            return False
        if decision.is_exit:
            await self._clock.sleep(IN_FLIGHT_PAUSE_S)
            return True
        lane.release()
        await self._clock.sleep(IN_FLIGHT_PAUSE_S)
        try:
            await lane.take(max(0.0, (deadline_ms - self._clock.now_ms()) / 1000))
        except LaneTaken:
            return False
        return True

    async def _worth_another_look(self, delivery: InHand, decision: Decision) -> bool:
        """Look again before the denial of what an older reading shows, or leaves out.

        For an exit the lease, once: it runs out with a loss of Redis, and nobody else may have it.
        The positions, once, for an exit; not what was read within the last second, so that a flood of exits
        without a position leaves weight for the rest. For a rotation the cooldown of its symbol: what is
        closed for a plan that cools down is closed for nothing. For an open the positions, once, where they
        changed while they were read.
        """
        if decision.rotation is not None and not _knows_cooldown(delivery):
            return await self._read_operator(delivery)
        if decision.is_exit and decision.reason == Reason.NOT_LEADER.value and not delivery.renewed:
            delivery.renewed = True
            return not await self._rooms.lease.renew()
        if delivery.looked_again:
            return False
        return await self._positions_again(delivery, decision)

    async def _positions_again(self, delivery: InHand, decision: Decision) -> bool:
        if decision.reason == Reason.EVIDENCE_MISSING.value and self._rooms.account.trusted_positions is None:
            delivery.looked_again = True
            return not delivery.unread
        if decision.intention.problem is None or not decision.is_exit:
            return False
        delivery.looked_again = True
        if is_fresh(self._rooms.account.positions, self._clock.now_ms(), LOOK_AGAIN_AFTER_MS):
            return False
        try:
            await self._rooms.account.refresh_positions()
        except ExchangeError:
            return False
        return True

    async def see(self, plan: Plan, delivered_ms: int) -> list[str]:
        """Read anew what is stale; an exit goes on trying until :meth:`_sees_until_ms`.

        Returns what could not be read, in words.
        """
        terms = self._rules.chain.terms
        if sees_all(self._rooms, terms, plan.symbol):
            return []
        failures = await refresh_stale(self._rooms, terms, plan.symbol)
        if not plan.says_exit:
            return failures
        while failures and self._clock.now_ms() < self._sees_until_ms(plan, delivered_ms):
            await self._clock.sleep(IN_FLIGHT_PAUSE_S)
            failures = await refresh_stale(self._rooms, terms, plan.symbol)
        return failures

    def _sees_until_ms(self, plan: Plan, delivered_ms: int) -> int:
        """Return until when an exit waits for a reading of the positions that nothing puts in doubt.

        5 s, after which it goes by the reading that there is, or without one as asked; one that says no size
        needs a reading, and waits for it up to its age limit.
        """
        account = self._rooms.account
        if self._is_fresh(account.trusted_positions):
            return 0
        sized = plan.side is not PlanSide.CLOSE and plan.blind_quantity is not None
        if sized or self._is_fresh(account.positions):
            return delivered_ms + int(BLIND_EXIT_AFTER_S * 1000)
        return min(plan.issued_at_ms, delivered_ms) + self._rules.ages.exit_ms

    def _is_fresh(self, positions: Reading[Positions] | None) -> bool:
        return is_fresh(positions, self._clock.now_ms(), self._rules.chain.terms.position_age_ms_max)

    async def _heed_operator(self, delivery: InHand) -> None:
        """Read the operator keys again after a wait, and where no claim will look at the symbol's cooldown.

        An old reading stops opens by its age alone.
        """
        if abs(self._clock.now_ms() - delivery.operator.read_at_ms) > OPERATOR_AGE_MS_MAX:
            await self._read_operator(delivery)
        self._rules.obey(delivery.operator)
        if not self._rules.sends_orders and not _knows_cooldown(delivery):
            await self._read_operator(delivery)

    async def _read_operator(self, delivery: InHand) -> bool:
        """Read the operator keys for the plan in hand; false without an answer."""
        try:
            delivery.operator = await self._steps.read_operator(delivery.plan.symbol)
        except RedisError as failed:
            log.warning("operator_keys_unread", error=str(failed))
            return False
        return True

    def _decide(self, plan: Plan, evidence: Evidence) -> Decision:
        decision = decide(plan, evidence, self._rules.chain)
        for verdict in decision.spoken:
            if verdict.ruling is Ruling.ERROR and verdict.code == Reason.GATE_ERROR:
                log.error("GATE_ERROR", plan_id=plan.plan_id, gate=verdict.gate, evidence=verdict.evidence)
        return decision

    def _heed_doubt(self, decision: Decision, unread: list[str]) -> Decision:
        """Refuse an open whose caps were counted over positions that are known to have changed.

        And one over the memory of a time before another engine led, until that is loaded anew.
        """
        if not decision.allowed or decision.is_exit:
            return decision
        if self._rooms.lease.another_led:
            compared = {
                "fact": LEADER.name,
                "detail": "another engine has led; what it left is being read",
            }
            return decision.refused(POSITION_GATE, Reason.EVIDENCE_MISSING.value, compared)
        if self._rooms.account.trusted_positions is not None:
            return decision
        detail = "; ".join(["they have changed since they were read", *unread])
        compared = {"fact": POSITIONS.name, "detail": detail}
        return decision.refused(POSITION_GATE, Reason.EVIDENCE_MISSING.value, compared)

    def _denied(self, decision: Decision) -> Ending:
        if decision.reason == Reason.EXIT_UNSIZED.value:
            log.error("exit_unsized", plan_id=decision.plan.plan_id, symbol=decision.plan.symbol)
            return Ending.of_decision(decision, Ended.FAILED, Reason.EXIT_UNSIZED.value)
        error = _words(decision) if decision.gate == ADMISSION else ""
        return Ending.of_decision(decision, Ended.BLOCKED, decision.reason, decision.gate, error)

    async def _paced(self, delivery: InHand, decision: Decision) -> bool:
        """Take an exit's turn in its own rate bucket; true if that took time, so judge again."""
        if not decision.is_exit or delivery.paced:
            return False
        delivery.paced = True
        return await self._pace.take_turn()

    async def _claim_in_turn(
        self, delivery: InHand, decision: Decision, evidence: Evidence
    ) -> Grant | Refusal:
        """Claim; ``OUTDATED`` where waiting for an exit's turn took time, so that it is judged again."""
        if await self._paced(delivery, decision):
            return OUTDATED
        return await self._claim(decision, evidence, delivery.state)

    async def _claim(self, decision: Decision, evidence: Evidence, state: str) -> Grant | Refusal:
        quantity = decision.quantity or Decimal(0)
        if decision.is_exit:
            quantity = split(quantity, self._rooms.market.rules_of(decision.plan.symbol))
        return await self._steps.claims.claim(
            decision, evidence, self._rules.gates, first_quantity=quantity, state=state
        )

    def _refused(self, decision: Decision, refusal: Refusal) -> Ending:
        if refusal.gate == "idempotency":
            return Ending(Ended.BLOCKED, Reason.DUPLICATE.value, refusal.gate, refusal.reason)
        if refusal.reason == Reason.COOLDOWN_SYMBOL.value:
            self._rooms.cooldowns.cools(decision.plan.symbol)
        return Ending.of_refusal(decision, refusal)

    def _deadline_ms(self, delivery: InHand, decision: Decision) -> int:
        return delivery.issued_ms + (
            self._rules.ages.exit_ms if decision.is_exit else self._rules.ages.open_ms
        )


def _knows_cooldown(delivery: InHand) -> bool:
    """Whether the operator keys were read with the cooldown of the plan's symbol among them."""
    return delivery.plan.symbol in delivery.operator.symbols_read


def _words(decision: Decision) -> str:
    """Say what the refusing verdict compared: a producer has to know what would be right."""
    verdict = decision.verdict_of(decision.gate)
    compared = verdict.evidence if verdict is not None else {}
    return ", ".join(f"{name} = {value}" for name, value in compared.items())
