"""The one result of a plan and the records of the two groups of gates."""

from decimal import Decimal
from typing import Any

import pytest
from support.cases import (
    NOW_MS,
    close_plan,
    evidence,
    exit_plan,
    judged,
    leg,
    plan,
    position,
    positions,
    tables,
    without,
)

from quantum_trader import __version__
from quantum_trader.domain import facts
from quantum_trader.domain.evidence import Fact
from quantum_trader.domain.plan import Action
from quantum_trader.domain.result import Ended, Result
from quantum_trader.pipeline.intake import Refused, read_entry
from quantum_trader.pipeline.results import Ending, permit_p32, permit_p33, result_of, result_of_refused
from quantum_trader.stores.claims import Refusal
from quantum_trader.stores.codec import decode, encode_text

LONG = positions(position(2))


def verdicts_of(result: Result) -> list[dict[str, Any]]:
    return list(decode(encode_text(result.trace))["verdicts"])


def blocked(one: Any, known: Any) -> Result:
    decision = judged(one, known)
    ending = Ending.of_decision(decision, Ended.BLOCKED, decision.reason, decision.gate)
    return result_of(one, ending, mode="PAPER", now_ms=NOW_MS, config_hash="config-1")


def test_inc_94_a_result_carries_every_verdict_the_config_and_the_version() -> None:
    result = blocked(plan(), evidence(kill="opens"))
    assert (result.gate, result.reason, result.effect) == ("kill_switch", "kill_switch_active", "OPEN")
    assert len(verdicts_of(result)) == len(tables().chain())
    assert (result.trace["config_hash"], result.trace["version"]) == ("config-1", __version__)
    assert '"kill_switch_active"' in encode_text(result.trace)


def test_a_denied_plan_would_not_execute_and_was_not_executed() -> None:
    fields = blocked(plan(), evidence(kill="1")).as_fields("{}")
    assert (fields["executed"], fields["would_execute"], fields["filled_qty"]) == ("false", "false", "0")


def test_the_notes_of_reading_and_of_the_position_stand_in_the_trace() -> None:
    one = close_plan(Action.PARTIAL_25, quantity=9, notes=("reduce_only_implied_by_action",))
    result = blocked(one, evidence(kill="1", positions=LONG))
    assert result.trace["notes"] == ["reduce_only_implied_by_action", "qty_action_mismatch"]


def test_a_plan_refused_at_intake_has_a_result_that_names_the_field() -> None:
    refused = read_entry("1-1", {b"plan_id": b"p", b"decision": b"EXECUTE", b"symbol": b"!"})
    assert isinstance(refused, Refused)
    result = result_of_refused(refused, mode="PAPER", now_ms=NOW_MS, config_hash="config-1")
    assert (result.decision, result.gate, result.reason) == (Ended.BLOCKED, "intake", "invalid_symbol")
    assert result.error
    assert result.trace["plan"]["symbol"] == "!"


@pytest.mark.parametrize(
    ("given", "qty", "reduce_only"),
    [
        ({"qty": "2.50", "reduceOnly": "YES"}, "2.5", "true"),
        ({"qty": "-3", "reduceOnly": "0"}, "-3", "false"),
        ({"qty": "0", "action": "PARTIAL_25"}, "0", "true"),
        ({"qty": "1e3", "reduceOnly": "maybe", "action": "NONE"}, "", ""),
        ({}, "", ""),
    ],
)
def test_a_plan_refused_at_intake_keeps_what_of_it_was_readable(
    given: dict[str, str], qty: str, reduce_only: str
) -> None:
    entry = {"plan_id": "p", "decision": "EXECUTE", "symbol": "!", **given}
    refused = read_entry("1-1", {name.encode(): text.encode() for name, text in entry.items()})
    assert isinstance(refused, Refused)
    fields = result_of_refused(refused, mode="PAPER", now_ms=NOW_MS, config_hash="c").as_fields("{}")
    assert (fields["qty"], fields["reduceOnly"]) == (qty, reduce_only)


def test_the_governors_record_has_the_fields_of_the_specification() -> None:
    assert permit_p32(judged(plan(), evidence()), NOW_MS) == {
        "allow": True,
        "symbol": "SOLUSDT",
        "decision": "EXECUTE",
        "computed_qty": "1",
        "computed_notional": "100",
        "created_at": NOW_MS,
        "reason": "pass",
    }


def test_the_governors_record_names_its_own_first_denial_only() -> None:
    known = evidence(kill="1", policy=facts.Policy(problem="missing"))
    permit = permit_p32(judged(plan(), known), NOW_MS)
    assert (permit["allow"], permit["reason"]) == (False, "active_slots_no_policy")


def test_the_position_gates_record_of_an_open_says_zero_and_that_it_is_one() -> None:
    assert permit_p33(judged(plan(), evidence()), "0", NOW_MS) == {
        "allow": True,
        "symbol": "SOLUSDT",
        "safe_qty": "0",
        "is_open": True,
        "exchange_position_amt": "0",
        "ledger_amt": "0",
        "created_at": NOW_MS,
        "reason": "sanity_checks_passed",
    }


def test_inc_64_the_record_of_an_exit_has_the_safe_quantity_and_the_signed_position() -> None:
    short = positions(position("-2"))
    permit = permit_p33(judged(exit_plan(side="BUY", quantity=5), evidence(positions=short)), "-2", NOW_MS)
    assert (permit["safe_qty"], permit["exchange_position_amt"], permit["is_open"]) == ("2", "-2", False)


def test_a_denial_of_the_position_gate_comes_with_what_it_compared() -> None:
    known = evidence(ledger={leg(): Decimal(5)})
    permit = permit_p33(judged(plan(), known), "5", NOW_MS)
    assert (permit["allow"], permit["reason"]) == (False, "reconcile_hold")
    assert permit["context"] == {"position_amt": Decimal(0), "ledger_amt": Decimal(5)}


@pytest.mark.parametrize("missing", [facts.POSITIONS, facts.LEDGER])
def test_a_gate_that_could_not_judge_gives_no_permit_to_an_open(missing: Fact[object]) -> None:
    permit = permit_p33(judged(plan(), without(evidence(), missing)), "", NOW_MS)
    assert (permit["allow"], permit["reason"]) == (False, "evidence_missing")


# -- what the claim refuses is its gate's denial, wherever the plan's end is told


def refused(gate: str, reason: str, **compared: Any) -> tuple[Ending, Result]:
    ending = Ending.of_refusal(judged(plan(), evidence()), Refusal(gate, reason, compared))
    return ending, result_of(plan(), ending, mode="PAPER", now_ms=NOW_MS, config_hash="config-1")


def test_a_refusal_by_the_claim_stands_in_trace_result_and_permit() -> None:
    ending, result = refused("rate_limit", "rate_limit_symbol", symbol_window_ms=30_000)
    assert (result.decision, result.gate, result.reason) == (Ended.BLOCKED, "rate_limit", "rate_limit_symbol")
    assert result.as_fields("{}")["would_execute"] == "false"
    spoken = [verdict for verdict in verdicts_of(result) if verdict["gate"] == "rate_limit"]
    assert [verdict["ruling"] for verdict in spoken] == ["pass", "pass", "deny"]
    assert spoken[-1]["evidence"] == {"found_by": "claim", "symbol_window_ms": 30_000}
    assert ending.decision is not None
    permit = permit_p32(ending.decision, NOW_MS)
    assert (permit["allow"], permit["reason"]) == (False, "rate_limit_symbol")
    assert permit_p33(ending.decision, "0", NOW_MS)["allow"]


def test_a_latch_found_by_the_claim_denies_whatever_the_mode_of_its_gate() -> None:
    decision = judged(plan(), evidence(), tables(rate_limit={"mode": "off"}))
    ending = Ending.of_refusal(decision, Refusal("rate_limit", "cooldown_symbol"))
    assert ending.decision is not None
    assert not permit_p32(ending.decision, NOW_MS)["allow"]


def test_an_order_in_flight_is_the_last_verdict() -> None:
    _, result = refused("claim", "symbol_in_flight")
    last = verdicts_of(result)[-1]
    assert (last["gate"], last["ruling"], last["code"]) == ("claim", "deny", "symbol_in_flight")
    assert (result.gate, result.would_execute) == ("claim", False)


def test_a_refused_rotation_is_named_by_the_first_denial_in_chain_order() -> None:
    full = judged(plan(), evidence(policy=facts.Policy(problem="missing")))
    earlier = Ending.of_refusal(full, Refusal("rate_limit", "safe_mode"))
    assert (earlier.gate, earlier.reason) == ("rate_limit", "safe_mode")
    later = Ending.of_refusal(full, Refusal("claim", "symbol_in_flight"))
    assert (later.gate, later.reason) == ("active_slots", "active_slots_no_policy")
