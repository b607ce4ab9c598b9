"""The chain: its order, its modes, what happens when a gate cannot judge, and that it is pure."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar

import pytest
from pydantic import ValidationError
from support.cases import (
    OTHERS,
    aged,
    assert_allowed,
    assert_denied_alone,
    chain,
    close_plan,
    evidence,
    exit_plan,
    judged,
    objections,
    plan,
    position,
    positions,
    tables,
    verdict_of,
    without,
)

from quantum_trader.domain import facts
from quantum_trader.domain.case import Case
from quantum_trader.domain.facts import Latches, PlanHistory, Policy, RateCounts
from quantum_trader.domain.reasons import Reason, reason_of
from quantum_trader.domain.trading import Leg
from quantum_trader.domain.verdict import Mode, Ruling, Verdict
from quantum_trader.gates import Gate, GateTables
from quantum_trader.pipeline.decide import Chain, decide

ORDER = [
    "intake",
    "kill_switch",
    "kill_score",
    "idempotency",
    "rate_limit",
    "margin_guard",
    "fund_caps",
    "active_slots",
    "position_sanity",
    "exchange_sizing",
]
OPENS_ONLY = {"kill_score", "margin_guard", "fund_caps", "active_slots"}
LONG = positions(position(2))

# Everything is wrong with this one: each gate has a reason of its own.
ALL_WRONG = plan(quantity="0.01", kill_score=Decimal("0.9"), malformed=("price",))
WRONG_EVIDENCE: dict[str, Any] = {
    "kill": "1",
    "plan_history": PlanHistory(state="terminal"),
    "latches": Latches(safe_mode=True),
    "rates": RateCounts(symbol_ms=(1_795_000_000_000,)),
    "claimed_margin_usdt": Decimal(10_000),
    "positions": positions(*(position(1, symbol, mark=2000) for symbol in OTHERS)),
    "policy": Policy(problem="missing"),
    "ledger": {Leg("SOLUSDT"): Decimal(5)},
}


class Broken(Gate):
    """A gate with a bug."""

    name: ClassVar[str] = "broken"
    judges_exits: ClassVar[bool] = True

    def judge(self, case: Case) -> Verdict:
        raise KeyError("symbol")


class Speaks(Gate):
    """A gate that always denies, and says that it was asked."""

    name: ClassVar[str] = "speaks"
    judges_exits: ClassVar[bool] = True

    def judge(self, case: Case) -> Verdict:
        return self.denies(Reason.WOULD_FLIP, asked=True)


@dataclass(frozen=True)
class _With:
    gate: Gate

    def chain(self) -> Chain:
        """Return the ordinary chain with one more gate at its end."""
        usual = chain()
        return Chain((*usual.gates, self.gate), usual.terms, usual.config_hash)


def test_gates_stand_in_the_order_of_the_specification() -> None:
    seen = list(dict.fromkeys(gate.name for gate in GateTables().chain()))
    assert seen == ORDER


def test_the_first_denial_in_order_names_gate_and_reason_and_all_verdicts_are_kept() -> None:
    decision = judged(ALL_WRONG, evidence(**WRONG_EVIDENCE))
    assert objections(decision) == [
        ("intake", "invalid_price"),
        ("kill_switch", "kill_switch_active"),
        ("kill_score", "kill_score_critical_open"),
        ("idempotency", "duplicate"),
        ("rate_limit", "safe_mode"),
        ("rate_limit", "rate_limit_symbol"),
        ("margin_guard", "insufficient_margin"),
        ("fund_caps", "total_notional_exceeded"),
        ("active_slots", "active_slots_no_policy"),
        ("position_sanity", "reconcile_hold"),
        ("exchange_sizing", "min_notional_check_failed"),
    ]
    assert (decision.gate, decision.reason) == ("intake", "invalid_price")


def test_every_gate_judges_every_plan() -> None:
    for one, known in ((plan(), evidence()), (exit_plan(), evidence(positions=LONG))):
        assert len(judged(one, known).verdicts) == len(GateTables().chain())


def test_what_concerns_opens_only_is_skipped_for_exits_and_says_so() -> None:
    decision = judged(exit_plan(), evidence(positions=LONG))
    skipped = {v.gate for v in decision.verdicts if v.ruling is Ruling.SKIP and v.code == "exit_exempt"}
    assert skipped >= OPENS_ONLY
    assert {v.gate for v in decision.verdicts if v.ruling is Ruling.PASS} == {
        "intake",
        "kill_switch",
        "idempotency",
        "position_sanity",
        "exchange_sizing",
    }


def test_an_allowed_plan_has_a_quantity_and_an_open_what_it_claims() -> None:
    decision = judged(plan(quantity="1.2349"), evidence())
    assert_allowed(decision, "1.234")
    assert decision.exposure is not None
    assert decision.exposure.notional_usdt == Decimal("123.4")
    assert decision.exposure.margin_usdt == Decimal("12.34")
    assert decision.exposure.base_notional_usdt == 0
    assert judged(exit_plan(), evidence(positions=LONG)).exposure is None


def test_adding_to_a_position_claims_on_top_of_what_is_held() -> None:
    gates = tables(position_sanity={"allow_add": True})
    exposure = judged(plan(), evidence(positions=LONG), gates).exposure
    assert exposure is not None
    assert exposure.base_notional_usdt == 200


def test_without_a_known_leverage_an_unguarded_open_claims_its_whole_notional() -> None:
    decision = judged(plan(), without(evidence(), facts.LEVERAGE), tables(margin_guard={"mode": "shadow"}))
    assert decision.exposure is not None
    assert decision.exposure.margin_usdt == 100


# -- modes

DENIALS_OF_SWITCHABLE_GATES = [
    ("kill_score", {}, {"kill_score": Decimal(1)}),
    ("rate_limit", {"rates": RateCounts(symbol_ms=(1_795_000_000_000,))}, {}),
    ("margin_guard", {"claimed_margin_usdt": Decimal(10_000)}, {}),
    ("fund_caps", {"last_open_ms": 1_795_000_000_000 - 20_000}, {}),
    ("active_slots", {"policy": Policy(problem="missing")}, {}),
    ("position_sanity", {"ledger": {Leg("SOLUSDT"): Decimal(5)}}, {}),
]


@pytest.mark.parametrize(("gate", "facts_changed", "plan_changed"), DENIALS_OF_SWITCHABLE_GATES)
def test_a_gate_in_shadow_records_its_denial_and_blocks_nothing(
    gate: str, facts_changed: dict[str, Any], plan_changed: dict[str, Any]
) -> None:
    one, known = plan(**plan_changed), evidence(**facts_changed)
    assert judged(one, known).gate == gate
    decision = judged(one, known, tables(**{gate: {"mode": "shadow"}}))
    assert decision.allowed
    verdict = verdict_of(decision, gate)
    assert (verdict.ruling, verdict.mode) == (Ruling.DENY, Mode.SHADOW)


@pytest.mark.parametrize(("gate", "facts_changed", "plan_changed"), DENIALS_OF_SWITCHABLE_GATES)
def test_a_gate_that_is_off_is_not_asked(
    gate: str, facts_changed: dict[str, Any], plan_changed: dict[str, Any]
) -> None:
    decision = judged(plan(**plan_changed), evidence(**facts_changed), tables(**{gate: {"mode": "off"}}))
    assert decision.allowed
    verdict = verdict_of(decision, gate)
    assert (verdict.ruling, verdict.code, verdict.evidence) == (Ruling.SKIP, "gate_off", {})


def test_a_gate_in_shadow_that_cannot_judge_blocks_nothing() -> None:
    decision = judged(plan(), without(evidence(), facts.REGIME), tables(active_slots={"mode": "shadow"}))
    assert decision.allowed
    assert verdict_of(decision, "active_slots").code == "evidence_missing"


@pytest.mark.parametrize("gate", ["kill_switch", "idempotency", "exchange_sizing"])
@pytest.mark.parametrize("mode", ["shadow", "off"])
def test_what_protects_money_accepts_only_enforce(gate: str, mode: str) -> None:
    with pytest.raises(ValidationError):
        tables(**{gate: {"mode": mode}})


@pytest.mark.parametrize("gate", [gate for gate in ORDER if gate != "intake"])
def test_an_unknown_mode_is_refused(gate: str) -> None:
    with pytest.raises(ValidationError):
        tables(**{gate: {"mode": "warn"}})


# -- errors


def test_a_gate_that_raises_is_a_gate_error_that_blocks_opens_and_lets_exits_pass() -> None:
    with_bug = _With(Broken()).chain()
    decision = decide(plan(), evidence(), with_bug)
    assert_denied_alone(decision, "broken", "gate_error")
    assert verdict_of(decision, "broken").evidence["exception"] == "KeyError: 'symbol'"
    assert decide(exit_plan(), evidence(positions=LONG), with_bug).allowed


@pytest.mark.parametrize("mode", [Mode.SHADOW, Mode.OFF])
def test_a_broken_gate_that_does_not_enforce_blocks_nothing(mode: Mode) -> None:
    assert decide(plan(), evidence(), _With(Broken(mode=mode)).chain()).allowed


def test_a_gate_that_is_off_is_not_even_called() -> None:
    decision = decide(plan(), evidence(), _With(Speaks(mode=Mode.OFF)).chain())
    assert verdict_of(decision, "speaks").evidence == {}


def test_one_broken_gate_does_not_take_the_verdicts_of_the_others_along() -> None:
    usual = chain()
    decision = decide(plan(), evidence(), Chain((Broken(), *usual.gates), usual.terms, "config-1"))
    assert len(decision.verdicts) == len(usual.gates) + 1
    assert decision.gate == "broken"


def test_a_denial_names_the_reason_before_a_gate_that_could_not_judge() -> None:
    """Without a mark price margin and caps cannot be judged, and the ninth gate says what is missing."""
    decision = judged(plan(), without(evidence(), facts.MARK_PRICE))
    assert objections(decision) == [
        ("margin_guard", "evidence_missing"),
        ("fund_caps", "evidence_missing"),
        ("exchange_sizing", "mark_price_unavailable"),
    ]
    assert (decision.gate, decision.reason) == ("exchange_sizing", "mark_price_unavailable")


def test_a_symbol_of_which_nothing_is_kept_is_denied_for_not_being_allowed() -> None:
    known = without(evidence(), facts.REGIME, facts.LEVERAGE)  # kept for the config's symbols
    decision = judged(plan(), known, allowed_symbols=frozenset(OTHERS))
    assert objections(decision) == [
        ("margin_guard", "evidence_missing"),
        ("active_slots", "evidence_missing"),
        ("position_sanity", "symbol_not_allowed"),
    ]
    assert (decision.gate, decision.reason) == ("position_sanity", "symbol_not_allowed")


def test_where_nothing_is_denied_the_first_gate_that_could_not_judge_names_the_reason() -> None:
    decision = judged(plan(), without(evidence(), facts.ACCOUNT, facts.REGIME))
    assert (decision.gate, decision.reason) == ("margin_guard", "evidence_missing")


# -- purity


def test_deciding_the_same_twice_gives_the_same() -> None:
    for one in (plan(), exit_plan(), close_plan(), ALL_WRONG):
        assert judged(one, evidence()) == judged(one, evidence())


def test_evidence_from_the_future_is_fresh() -> None:
    assert_allowed(judged(plan(), aged(evidence(), facts.POSITIONS, -50)))


def test_every_code_that_a_gate_gives_is_in_the_list_of_reasons() -> None:
    for decision in (judged(ALL_WRONG, evidence(**WRONG_EVIDENCE)), judged(plan(), evidence())):
        for verdict in decision.verdicts:
            assert reason_of(verdict.code) or verdict.code.startswith("invalid_")


def test_a_verdict_survives_its_record() -> None:
    for verdict in judged(ALL_WRONG, evidence(**WRONG_EVIDENCE)).verdicts:
        assert Verdict.from_record(verdict.as_record()) == verdict


def test_the_decision_names_its_config_and_its_time() -> None:
    decision = judged(plan(), evidence())
    assert (decision.config_hash, decision.decided_at_ms) == ("config-1", 1_795_000_000_000)
