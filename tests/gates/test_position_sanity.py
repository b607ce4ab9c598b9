"""position_sanity: the plan must fit the live position, and the ledger must agree about it."""

from decimal import Decimal

import pytest
from support.cases import (
    NOW_MS,
    aged,
    assert_allowed,
    assert_denied_alone,
    assert_error_blocks_open,
    close_plan,
    evidence,
    exit_plan,
    judged,
    leg,
    objections,
    plan,
    position,
    positions,
    rules,
    tables,
    verdict_of,
    without,
)

from quantum_trader.domain import facts
from quantum_trader.domain.evidence import Fact
from quantum_trader.domain.plan import Action, Plan
from quantum_trader.domain.trading import Positions, PositionSide, SymbolRules

LONG, SHORT = positions(position(2)), positions(position(-2))
LONG_AND_SHORT = positions(position(2, side="LONG"), position(-2, side="SHORT"), hedge_mode=True)
PARTIAL = close_plan(Action.PARTIAL_50, side="SELL", quantity=1)


def test_an_open_needs_a_symbol_on_the_allowlist() -> None:
    decision = judged(plan(), evidence(), allowed_symbols=frozenset({"BTCUSDT"}))
    assert_denied_alone(decision, "position_sanity", "symbol_not_allowed")


def test_a_position_on_a_symbol_off_the_allowlist_can_still_be_closed() -> None:
    assert_allowed(judged(exit_plan(), evidence(positions=LONG), allowed_symbols=frozenset({"BTCUSDT"})))


@pytest.mark.parametrize(("side", "held"), [("BUY", LONG), ("SELL", SHORT)])
def test_enlarging_is_denied_unless_it_is_allowed(side: str, held: Positions) -> None:
    decision = judged(plan(side=side), evidence(positions=held))
    assert_denied_alone(decision, "position_sanity", "position_exists_add_denied")
    assert_allowed(
        judged(plan(side=side), evidence(positions=held), tables(position_sanity={"allow_add": True}))
    )


@pytest.mark.parametrize("mode", ["enforce", "shadow", "off"])
@pytest.mark.parametrize(("side", "held"), [("SELL", LONG), ("BUY", SHORT)])
def test_a_flip_is_denied_whatever_the_gates_mode(side: str, held: Positions, mode: str) -> None:
    gates = tables(position_sanity={"mode": mode}, fund_caps={"max_notional_per_trade_usdt": 1000})
    decision = judged(plan(side=side, quantity=3), evidence(positions=held), gates)
    assert (decision.gate, decision.reason) == ("position_sanity", "would_flip")
    assert not decision.allowed


@pytest.mark.parametrize(
    ("one", "held", "code"),
    [
        (exit_plan(), positions(), "no_position"),
        (close_plan(), positions(), "no_position"),
        (exit_plan(side="BUY"), LONG, "side_mismatch"),
        (exit_plan(side="SELL"), SHORT, "side_mismatch"),
        (close_plan(), LONG_AND_SHORT, "position_side_required"),
    ],
)
@pytest.mark.parametrize("mode", ["enforce", "shadow", "off"])
def test_an_exit_that_does_not_fit_the_position_is_denied_whatever_the_mode(
    one: Plan, held: Positions, code: str, mode: str
) -> None:
    decision = judged(one, evidence(positions=held), tables(position_sanity={"mode": mode}))
    assert (decision.allowed, decision.gate, decision.reason) == (False, "position_sanity", code)


def test_inc_60_a_reduce_only_plan_never_flips_but_shrinks_to_the_position() -> None:
    assert_allowed(judged(exit_plan(quantity=5), evidence(positions=LONG)), quantity=2)


def test_a_pause_follows_an_executed_open() -> None:
    gates = tables(fund_caps={"symbol_cooldown_s": 0})
    decision = judged(plan(), evidence(last_open_ms=NOW_MS - 14_999), gates)
    assert_denied_alone(decision, "position_sanity", "cooldown_in_flight")
    assert_allowed(judged(plan(), evidence(last_open_ms=NOW_MS - 15_000), gates))


def test_inc_24_a_close_right_after_an_open_is_not_held() -> None:
    assert_allowed(judged(exit_plan(), evidence(positions=LONG, last_open_ms=NOW_MS)))


@pytest.mark.parametrize(
    ("held", "ledger", "step", "allowed"),
    [
        ("0", "0.001", "0.001", True),
        ("0", "0.002", "0.001", False),
        ("0", "-0.002", "0.001", False),
        ("0", "0.009", "0.01", True),
    ],
)
def test_a_ledger_that_differs_by_more_than_a_step_holds_opens(
    held: str, ledger: str, step: str, allowed: bool
) -> None:
    known = evidence(
        positions=positions(position(held)),
        ledger={leg(): Decimal(ledger)},
        rules=rules(step=step, minimum=step),
    )
    decision = judged(plan(), known)
    if allowed:
        assert_allowed(decision)
    else:
        assert_denied_alone(decision, "position_sanity", "reconcile_hold")


@pytest.mark.parametrize(
    ("ledger", "allowed"), [("2.02", True), ("1.98", True), ("2.021", False), ("1.979", False)]
)
def test_a_ledger_may_differ_by_one_percent_of_the_position(ledger: str, allowed: bool) -> None:
    gates = tables(position_sanity={"allow_add": True})
    for sign, side in ((1, "BUY"), (-1, "SELL")):
        known = evidence(positions=positions(position(2 * sign)), ledger={leg(): sign * Decimal(ledger)})
        decision = judged(plan(side=side), known, gates)
        if allowed:
            assert_allowed(decision)
        else:
            assert_denied_alone(decision, "position_sanity", "reconcile_hold")


def test_inc_25_a_ledger_that_differs_never_holds_the_close_and_the_exchange_sizes_it() -> None:
    known = evidence(positions=LONG, ledger={leg(): Decimal(7)})
    assert_allowed(judged(close_plan(), known), quantity=2)


def test_inc_67_flat_on_the_exchange_and_no_ledger_is_flat() -> None:
    assert_allowed(judged(plan(), evidence(positions=positions(), ledger={})))


@pytest.mark.parametrize("fact", [facts.LEDGER, facts.LAST_OPEN_MS])
def test_a_missing_fact_blocks_opens_and_lets_exits_pass(fact: Fact[object]) -> None:
    assert_error_blocks_open(judged(plan(), without(evidence(), fact)), "position_sanity", fact)
    assert_allowed(judged(exit_plan(), without(evidence(positions=LONG), fact)))


def test_inc_68_positions_that_could_not_be_read_are_not_flat() -> None:
    for known in (
        without(evidence(), facts.POSITIONS),
        aged(evidence(), facts.POSITIONS, 10_001),
    ):
        assert_error_blocks_open(judged(plan(), known), "position_sanity", facts.POSITIONS)


@pytest.mark.parametrize("mode", ["shadow", "off"])
def test_unread_positions_block_opens_even_where_the_gate_does_not_enforce(mode: str) -> None:
    decision = judged(plan(), without(evidence(), facts.POSITIONS), tables(position_sanity={"mode": mode}))
    assert not decision.allowed


@pytest.mark.parametrize("one", [exit_plan(quantity="1.5"), close_plan(side="SELL", quantity="1.5")])
@pytest.mark.parametrize("age_ms", [10_001, None])
def test_inc_20_an_exit_with_side_and_quantity_goes_out_as_asked_without_a_position_read(
    age_ms: int | None, one: Plan
) -> None:
    known = evidence(positions=LONG)
    known = without(known, facts.POSITIONS) if age_ms is None else aged(known, facts.POSITIONS, age_ms)
    decision = judged(one, known)
    assert decision.allowed
    assert decision.quantity == Decimal("1.5")
    assert objections(decision) == [("position_sanity", "evidence_missing")]


@pytest.mark.parametrize("known_rules", [rules(), None])
@pytest.mark.parametrize("one", [close_plan(), close_plan(side="SELL"), exit_plan(side="CLOSE"), PARTIAL])
def test_an_exit_that_names_no_side_or_quantity_cannot_go_out_without_a_position_read(
    one: Plan, known_rules: SymbolRules | None
) -> None:
    known = without(evidence(positions=LONG, rules=known_rules), facts.POSITIONS)
    decision = judged(one, known)
    assert (decision.allowed, decision.gate, decision.reason) == (False, "exchange_sizing", "exit_unsized")


def test_a_stopped_exit_that_cannot_be_sized_is_blocked_by_the_stop() -> None:
    decision = judged(close_plan(), without(evidence(kill="1"), facts.POSITIONS))
    assert (decision.gate, decision.reason) == ("kill_switch", "kill_switch_active")


def test_a_verdict_shows_the_amounts_it_compared() -> None:
    shown = verdict_of(judged(plan(), evidence(ledger={leg(): Decimal(5)})), "position_sanity").evidence
    assert shown == {"position_amt": Decimal(0), "ledger_amt": Decimal(5)}


def test_an_exit_that_would_enlarge_the_side_it_names_needs_no_position_to_be_refused() -> None:
    one = exit_plan(side="BUY", position_side=PositionSide.LONG)
    assert_denied_alone(judged(one, without(evidence(), facts.POSITIONS)), "position_sanity", "side_mismatch")
