"""active_slots: universe, regime, correlation and slots; judges an OPEN only."""

from decimal import Decimal
from typing import Any

import pytest
from support.cases import (
    NOW_MS,
    OTHERS,
    SYMBOL,
    account,
    aged,
    assert_allowed,
    assert_denied_alone,
    assert_error_blocks_open,
    evidence,
    exit_plan,
    exposure,
    judged,
    leg,
    objections,
    plan,
    position,
    positions,
    tables,
    verdict_of,
    without,
)

from quantum_trader.domain import facts
from quantum_trader.domain.evidence import Fact
from quantum_trader.domain.facts import Holding, Latches, Policy, Regime, RotationUnderWay
from quantum_trader.domain.trading import Positions
from quantum_trader.gates.active_slots import ActiveSlots

HOUR_MS = 3_600_000


def held(count: int) -> Positions:
    return positions(*(position("0.1", symbol) for symbol in OTHERS[:count]))


def regime(trend: str, atr_pct: str) -> Regime:
    return Regime(Decimal(trend), Decimal(atr_pct), 100)


@pytest.mark.parametrize(
    ("trend", "atr_pct", "slots"),
    [
        ("0.0501", "0.0199", 6),
        ("0.05", "0.0199", 4),
        ("0.0501", "0.02", 4),
        ("0.02", "0.03", 4),
        ("0.02", "0.0301", 3),
        ("0.0501", "0.0301", 3),
        ("0.01", "0.02", 4),
        ("0.0099", "0.02", 3),
    ],
)
def test_the_regime_says_how_many_slots_there_are(trend: str, atr_pct: str, slots: int) -> None:
    assert ActiveSlots().slots(regime(trend, atr_pct)) == slots
    known = {"regime": regime(trend, atr_pct)}
    assert_allowed(judged(plan(), evidence(positions=held(slots - 1), **known)))
    decision = judged(plan(), evidence(positions=held(slots), **known))
    assert_denied_alone(decision, "active_slots", "active_slots_full")


def test_the_numbers_of_the_regime_are_shown() -> None:
    shown = verdict_of(judged(plan(), evidence(positions=held(2))), "active_slots").evidence
    assert (shown["desired_slots"], shown["current_open"]) == (4, 2)
    assert (shown["trend"], shown["atr_pct"]) == (Decimal("0.02"), Decimal("0.02"))


def test_a_symbol_with_a_position_and_a_claim_takes_one_slot() -> None:
    same = (exposure("p", OTHERS[0]),)
    assert_allowed(judged(plan(), evidence(positions=held(3), claims=same)))
    other = (exposure("p", OTHERS[3]),)
    decision = judged(plan(), evidence(positions=held(3), claims=other))
    assert_denied_alone(decision, "active_slots", "active_slots_full")


def test_the_two_hedge_legs_of_a_symbol_take_one_slot() -> None:
    legs = positions(
        position("0.1", OTHERS[0], side="LONG"),
        position("-0.1", OTHERS[0], side="SHORT"),
        *(position("0.1", symbol, side="LONG") for symbol in OTHERS[1:3]),
        hedge_mode=True,
    )
    assert_allowed(judged(plan(), evidence(positions=legs)))


def test_the_second_hedge_leg_of_a_held_symbol_needs_no_further_slot() -> None:
    legs = positions(
        position("-0.1", SYMBOL, side="SHORT"),
        *(position("0.1", symbol, side="LONG") for symbol in OTHERS[:3]),
        hedge_mode=True,
    )
    assert_allowed(judged(plan(), evidence(positions=legs)))


@pytest.mark.parametrize("problem", ["missing", "expired at 1", "universe_symbols is no JSON list"])
def test_a_policy_that_cannot_be_used_blocks_opens(problem: str) -> None:
    decision = judged(plan(), evidence(policy=Policy(problem=problem)))
    assert_denied_alone(decision, "active_slots", "active_slots_no_policy")


def test_a_symbol_outside_the_universe_is_denied() -> None:
    decision = judged(plan(), evidence(policy=Policy(frozenset({"BTCUSDT"}))))
    assert_denied_alone(decision, "active_slots", "active_slots_not_in_universe")


@pytest.mark.parametrize(("r", "allowed"), [("0.80", True), ("0.8001", False), ("-0.8001", False)])
def test_the_correlation_rule_denies_above_its_limit_where_it_enforces(r: str, allowed: bool) -> None:
    gates = tables(active_slots={"correlation_mode": "enforce"})
    decision = judged(plan(), evidence(positions=held(1), correlations={OTHERS[0]: Decimal(r)}), gates)
    if allowed:
        assert_allowed(decision)
    else:
        assert_denied_alone(decision, "active_slots", "active_slots_correlated")


def test_the_correlation_rule_in_shadow_is_recorded_and_blocks_nothing() -> None:
    decision = judged(plan(), evidence(positions=held(1), correlations={OTHERS[0]: Decimal("0.99")}))
    assert_allowed(decision)
    assert verdict_of(decision, "active_slots").evidence["correlated"] is True


@pytest.mark.parametrize("mode", ["shadow", "off"])
def test_a_correlation_rule_that_does_not_enforce_never_blocks_for_want_of_evidence(mode: str) -> None:
    gates = tables(active_slots={"correlation_mode": mode})
    assert_allowed(judged(plan(), without(evidence(positions=held(1)), facts.CORRELATIONS), gates))


def test_an_enforced_correlation_rule_without_evidence_blocks() -> None:
    gates = tables(active_slots={"correlation_mode": "enforce"})
    decision = judged(plan(), without(evidence(positions=held(1)), facts.CORRELATIONS), gates)
    assert_error_blocks_open(decision, "active_slots", facts.CORRELATIONS)


def test_inc_54_enlarging_a_position_asks_for_no_slot() -> None:
    gates = tables(position_sanity={"allow_add": True})
    known = evidence(
        positions=positions(position("0.1"), *held(6).values()), policy=Policy(problem="missing")
    )
    assert_allowed(judged(plan(), known, gates))


def test_exits_need_neither_policy_nor_slot() -> None:
    known = evidence(positions=positions(position(2), *held(6).values()), policy=Policy(problem="missing"))
    assert_allowed(judged(exit_plan(), known))


@pytest.mark.parametrize("fact", [facts.POSITIONS, facts.POLICY, facts.CLAIMS, facts.REGIME])
def test_a_missing_fact_blocks_opens_and_lets_exits_pass(fact: Fact[object]) -> None:
    assert_error_blocks_open(judged(plan(), without(evidence(), fact)), "active_slots", fact)
    assert judged(exit_plan(), without(evidence(positions=positions(position(2))), fact)).allowed


@pytest.mark.parametrize(
    ("fact", "age_ms_max"),
    [(facts.POSITIONS, 10_000), (facts.REGIME, 2 * HOUR_MS), (facts.POLICY, 5_000)],
)
def test_a_stale_fact_blocks_opens(fact: Fact[object], age_ms_max: int) -> None:
    assert_allowed(judged(plan(), aged(evidence(), fact, age_ms_max)))
    decision = judged(plan(), aged(evidence(), fact, age_ms_max + 1))
    assert_error_blocks_open(decision, "active_slots", fact)


def test_the_slot_being_freed_is_the_parked_plans_and_its_old_symbol_stays_closed() -> None:
    under_way = RotationUnderWay(new_plan_id="parked", new_symbol=OTHERS[2], close_symbol=SYMBOL)
    known = {"regime": regime("0.02", "0.0301"), "rotation": under_way}  # three slots
    reopened = judged(plan(), evidence(positions=held(1), **known))
    assert_denied_alone(reopened, "active_slots", "active_slots_waiting_rotation_close")
    adds = tables(position_sanity={"allow_add": True})
    enlarged = judged(plan(), evidence(positions=positions(position("0.1")), **known), adds)
    assert_denied_alone(enlarged, "active_slots", "active_slots_waiting_rotation_close")
    other = RotationUnderWay(new_plan_id="parked", new_symbol=OTHERS[2], close_symbol=OTHERS[0])
    added = judged(
        plan(), evidence(positions=positions(position("0.1")), **{**known, "rotation": other}), adds
    )
    assert_allowed(added)
    taken = judged(plan(), evidence(positions=held(2), **{**known, "rotation": other}))
    assert_denied_alone(taken, "active_slots", "active_slots_waiting_rotation_close")
    parked = judged(plan(plan_id="parked"), evidence(positions=held(2), **{**known, "rotation": other}))
    assert_allowed(parked)


# -- the weakest goes where it is all that stands in the way, whichever gate says so first

THREE_SLOTS = regime("0.02", "0.0301")


def full_house(mark: int = 100) -> dict[str, Any]:
    """Three positions of 1 unit in three slots, each of them ours; the last by name is the weakest."""
    live = positions(*(position(1, symbol, mark=mark) for symbol in OTHERS[:3]))
    ours = {held: Holding(NOW_MS, None, is_ours=True) for held in live}
    return {"positions": live, "holdings": ours, "regime": THREE_SLOTS}


STANDS_IN_THE_WAY = [
    ("max_positions_reached", {"fund_caps": {"max_open_positions": 3}}, {}),
    ("total_notional_exceeded", {"fund_caps": {"max_total_notional_usdt": 350}}, {}),
    ("insufficient_margin", {}, {"account": account(available=5, initial_margin=30)}),
    ("margin_usage_exceeded", {}, {"account": account(margin_balance=50, initial_margin=30)}),
]


@pytest.mark.parametrize(("reason", "limits", "known"), STANDS_IN_THE_WAY)
def test_a_gate_that_denies_for_the_weakest_alone_does_not_keep_it_there(
    reason: str, limits: dict[str, Any], known: dict[str, Any]
) -> None:
    decision = judged(plan(), evidence(**full_house(), **known), tables(**limits))
    assert [code for _, code in objections(decision)] == [reason, "active_slots_full"]
    assert (decision.reason, decision.rotation) == (reason, leg(max(OTHERS[:3])))


STAYS_IN_THE_WAY = [
    ({"fund_caps": {"max_open_positions": 2}}, {}),
    ({"fund_caps": {"max_total_notional_usdt": 250}}, {}),
    ({}, {"account": account(available=1, initial_margin=30)}),
    ({}, {"account": account(available=5, initial_margin=30), "leverages": {}}),
    ({}, {"latches": Latches(safe_mode=True)}),
]


@pytest.mark.parametrize(("limits", "known"), STAYS_IN_THE_WAY)
def test_nothing_goes_for_a_candidate_that_would_be_denied_all_the_same(
    limits: dict[str, Any], known: dict[str, Any]
) -> None:
    decision = judged(plan(), evidence(**full_house(), **known), tables(**limits))
    assert verdict_of(decision, "active_slots").evidence["weakest"]
    assert decision.rotation is None


def test_a_gate_in_shadow_rotates_nothing() -> None:
    limits = {"active_slots": {"mode": "shadow"}, "fund_caps": {"max_open_positions": 3}}
    assert judged(plan(), evidence(**full_house()), tables(**limits)).rotation is None
