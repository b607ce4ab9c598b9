"""idempotency: only a terminal state refuses, and an order older than its plan is another's."""

import pytest
from support.cases import (
    NOW_MS,
    assert_allowed,
    assert_denied_alone,
    assert_error_blocks_open,
    evidence,
    exit_plan,
    judged,
    plan,
    position,
    positions,
    without,
)

from quantum_trader.domain import facts
from quantum_trader.domain.facts import PlanHistory
from quantum_trader.domain.plan import Plan
from quantum_trader.domain.trading import Positions

STREAM_MS = NOW_MS - 100
BOTH_KINDS = pytest.mark.parametrize(
    ("one", "held"), [(plan(), positions()), (exit_plan(), positions(position(2)))], ids=["open", "exit"]
)


@BOTH_KINDS
def test_a_plan_that_ended_is_refused(one: Plan, held: Positions) -> None:
    known = evidence(positions=held, plan_history=PlanHistory(state="terminal"))
    assert_denied_alone(judged(one, known), "idempotency", "duplicate")


@BOTH_KINDS
@pytest.mark.parametrize("state", ["", "claimed", "parked"])
def test_inc_04_only_a_terminal_state_refuses_a_redelivery(one: Plan, held: Positions, state: str) -> None:
    assert_allowed(judged(one, evidence(positions=held, plan_history=PlanHistory(state=state))))


@BOTH_KINDS
def test_inc_17_an_order_from_before_the_plan_means_the_id_was_reused(one: Plan, held: Positions) -> None:
    known = evidence(positions=held, plan_history=PlanHistory(prior_order_ms=STREAM_MS - 1))
    assert_denied_alone(judged(one, known), "idempotency", "plan_id_reused")


def test_an_order_of_the_plans_own_millisecond_is_its_own() -> None:
    assert_allowed(judged(plan(), evidence(plan_history=PlanHistory(prior_order_ms=STREAM_MS))))


def test_an_unknown_history_blocks_opens_and_lets_exits_pass() -> None:
    decision = judged(plan(), without(evidence(), facts.PLAN_HISTORY))
    assert_error_blocks_open(decision, "idempotency", facts.PLAN_HISTORY)
    held = positions(position(2))
    assert judged(exit_plan(), without(evidence(positions=held), facts.PLAN_HISTORY)).allowed
