"""kill_switch: stops set by an operator, the lease, the exchange's refusal of keys, or the watchdog."""

import pytest
from support.cases import (
    aged,
    assert_allowed,
    assert_denied_alone,
    assert_error_blocks_open,
    evidence,
    exit_plan,
    judged,
    objections,
    plan,
    position,
    positions,
    without,
)

from quantum_trader.domain import facts
from quantum_trader.domain.evidence import Fact
from quantum_trader.domain.facts import BscHealth, Latches

LONG = positions(position(2))


@pytest.mark.parametrize("kill", ["1", "opens", "OPENS", "true", "unreadable", " 1", "2"])
def test_any_value_but_0_or_none_stops_opens(kill: str) -> None:
    assert_denied_alone(judged(plan(), evidence(kill=kill)), "kill_switch", "kill_switch_active")


@pytest.mark.parametrize("kill", ["", "0"])
def test_absent_and_0_let_opens_run(kill: str) -> None:
    assert_allowed(judged(plan(), evidence(kill=kill)))


@pytest.mark.parametrize("kill", ["", "0", "opens", "unreadable", "2"])
def test_exits_pass_every_value_but_1(kill: str) -> None:
    assert_allowed(judged(exit_plan(), evidence(kill=kill, positions=LONG)))


def test_inc_40_the_value_1_stops_exits_too() -> None:
    decision = judged(exit_plan(), evidence(kill="1", positions=LONG))
    assert_denied_alone(decision, "kill_switch", "kill_switch_active")


def test_the_value_1_stops_exits_even_where_nobody_knows_who_leads() -> None:
    decision = judged(exit_plan(), without(evidence(kill="1", positions=LONG), facts.LEADER))
    assert decision.reason == "kill_switch_active"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"latches": Latches(disarmed='{"reason":"burst"}')}, "disarmed"),
        ({"keys_accepted": False}, "keys_refused"),
        ({"bsc": BscHealth(required=True, state="OK", authority="OBSERVER")}, "bsc_demoted"),
        ({"bsc": BscHealth(required=True, state="BLIND", authority="CONTROLLER")}, "bsc_blind"),
        ({"bsc": BscHealth(required=True)}, "bsc_blind"),
        ({"bsc": BscHealth(required=True, state="unreadable")}, "bsc_blind"),
    ],
)
def test_each_stop_alone_denies_opens_and_lets_exits_pass(change: dict[str, object], code: str) -> None:
    assert_denied_alone(judged(plan(), evidence(**change)), "kill_switch", code)
    assert_allowed(judged(exit_plan(), evidence(positions=LONG, **change)))


def test_an_engine_without_the_lease_sends_neither_opens_nor_exits() -> None:
    assert_denied_alone(judged(plan(), evidence(leader=False)), "kill_switch", "not_leader")
    assert_denied_alone(
        judged(exit_plan(), evidence(leader=False, positions=LONG)), "kill_switch", "not_leader"
    )


def test_a_clock_that_cannot_be_measured_stops_opens_only() -> None:
    assert_denied_alone(
        judged(plan(), without(evidence(), facts.CLOCK_OFFSET_MS)), "kill_switch", "clock_skew"
    )
    assert_allowed(judged(exit_plan(), without(evidence(positions=LONG), facts.CLOCK_OFFSET_MS)))


def test_a_clock_that_is_far_off_but_measured_stops_nothing() -> None:
    assert_allowed(judged(plan(), evidence(clock_offset_ms=86_400_000)))


@pytest.mark.parametrize("state", ["OK", "DEGRADED"])
def test_a_watchdog_that_sees_lets_opens_run(state: str) -> None:
    assert_allowed(
        judged(plan(), evidence(bsc=BscHealth(required=True, state=state, authority="CONTROLLER")))
    )


def test_a_blind_watchdog_that_is_not_required_stops_nothing() -> None:
    assert_allowed(judged(plan(), evidence(bsc=BscHealth(required=False, state="BLIND"))))


@pytest.mark.parametrize("fact", [facts.KILL, facts.LEADER, facts.LATCHES, facts.KEYS_ACCEPTED, facts.BSC])
def test_inc_22_missing_evidence_blocks_opens_and_lets_exits_pass(fact: Fact[object]) -> None:
    assert_error_blocks_open(judged(plan(), without(evidence(), fact)), "kill_switch", fact)
    decision = judged(exit_plan(), without(evidence(positions=LONG), fact))
    assert decision.allowed
    assert {gate for gate, _ in objections(decision)} <= {"kill_switch"}


@pytest.mark.parametrize("fact", [facts.KILL, facts.LATCHES, facts.BSC])
def test_operator_keys_read_too_long_ago_block_opens_and_let_exits_pass(fact: Fact[object]) -> None:
    assert_allowed(judged(plan(), aged(evidence(), fact, 5_000)))
    assert_error_blocks_open(judged(plan(), aged(evidence(), fact, 5_001)), "kill_switch", fact)
    assert judged(exit_plan(), aged(evidence(positions=LONG), fact, 5_001)).allowed
