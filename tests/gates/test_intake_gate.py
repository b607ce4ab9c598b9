"""What reading left open: malformed optional fields, unknown symbols and too much leverage stop opens."""

from typing import Any

import pytest
from support.cases import (
    assert_allowed,
    assert_denied_alone,
    close_plan,
    evidence,
    exit_plan,
    judged,
    plan,
    position,
    positions,
    tables,
    verdict_of,
    without,
)

from quantum_trader.domain import facts
from quantum_trader.domain.evidence import Fact
from quantum_trader.domain.plan import Plan

LONG = positions(position(2))


@pytest.mark.parametrize("field", ["price", "venue", "confidence", "kill_score", "leverage", "timestamp"])
def test_a_malformed_optional_field_refuses_an_open_and_is_ignored_on_an_exit(field: str) -> None:
    assert_denied_alone(judged(plan(malformed=(field,)), evidence()), "intake", f"invalid_{field}")
    assert_allowed(judged(exit_plan(malformed=(field,)), evidence(positions=LONG)))


@pytest.mark.parametrize("reduce_only", [True, False])
def test_inc_23_an_exit_is_known_by_its_effect_not_by_its_label(reduce_only: bool) -> None:
    one = exit_plan(malformed=("price",), reduce_only=reduce_only)
    assert_allowed(judged(one, evidence(positions=LONG)))


@pytest.mark.parametrize(("leverage", "allowed"), [(10, True), (11, False)])
def test_leverage_above_the_limit_is_refused(leverage: int, allowed: bool) -> None:
    decision = judged(plan(leverage=leverage), evidence())
    if allowed:
        assert_allowed(decision)
    else:
        assert_denied_alone(decision, "intake", "invalid_leverage")


def test_the_leverage_limit_is_the_configs() -> None:
    assert_denied_alone(
        judged(plan(leverage=6), evidence(), tables(margin_guard={"leverage_max": 5})),
        "intake",
        "invalid_leverage",
    )


def test_an_exit_may_carry_any_leverage() -> None:
    assert_allowed(judged(exit_plan(leverage=100), evidence(positions=LONG)))


@pytest.mark.parametrize("one", [plan(malformed=("price",)), plan(leverage=11)])
def test_no_other_gate_objects_to_what_intake_refuses(one: Plan) -> None:
    decision = judged(one, without(evidence(), facts.REGIME))
    assert decision.gate == "intake"


@pytest.mark.parametrize("one", [plan(), exit_plan(), close_plan()])
def test_a_symbol_that_the_venue_does_not_have_is_refused(one: Plan) -> None:
    decision = judged(one, evidence(rules=None))
    assert (decision.gate, decision.reason) == ("intake", "invalid_symbol")


def test_an_exit_of_a_held_symbol_goes_out_though_the_rules_lack_it() -> None:
    assert_allowed(judged(exit_plan(), evidence(rules=None, positions=LONG)))


@pytest.mark.parametrize("missing", [(facts.RULES,), (facts.RULES, facts.POSITIONS), (facts.POSITIONS,)])
def test_no_exit_is_refused_for_its_symbol_while_a_fact_is_missing(missing: tuple[Fact[Any], ...]) -> None:
    for known in (evidence(), evidence(rules=None)):
        decision = judged(exit_plan(), without(known, *missing))
        assert decision.gate != "intake"


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (plan(malformed=("positionSide",), carried={"positionSide": "UP"}), ("UP", "LONG", "SHORT", "BOTH")),
        (plan(malformed=("venue",), carried={"venue": "kraken"}), ("kraken", "binance")),
        (plan(malformed=("leverage",), carried={"leverage": "much"}), ("much", "whole number")),
        (plan(malformed=("allowed",)), ("UTF-8",)),
        (plan(leverage=11), ("11", "10")),
        (plan(symbol="NOPEUSDT"), ("NOPEUSDT", "venue")),
    ],
)
def test_a_refusal_says_what_was_given_and_what_is_allowed(one: Plan, words: tuple[str, ...]) -> None:
    known = evidence(rules=None) if one.symbol == "NOPEUSDT" else evidence()
    said = str(verdict_of(judged(one, known), "intake").evidence)
    assert all(word in said for word in words)
