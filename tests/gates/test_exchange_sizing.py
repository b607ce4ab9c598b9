"""exchange_sizing: a quantity that the exchange takes, or the reason why there is none."""

from decimal import Decimal

import pytest
from support.cases import (
    aged,
    assert_allowed,
    assert_denied_alone,
    assert_error_blocks_open,
    close_plan,
    evidence,
    exit_plan,
    judged,
    plan,
    position,
    positions,
    rules,
    tables,
    verdict_of,
    without,
)

from quantum_trader.domain import facts
from quantum_trader.domain.plan import Action

LONG = positions(position(2))


@pytest.mark.parametrize("status", ["PENDING_TRADING", "SETTLING", "CLOSE", "", "trading"])
def test_a_symbol_that_is_not_trading_takes_exits_and_no_opens(status: str) -> None:
    known = {"rules": rules(status=status)}
    assert_denied_alone(judged(plan(), evidence(**known)), "exchange_sizing", "symbol_not_trading")
    assert_allowed(judged(exit_plan(), evidence(positions=LONG, **known)))


@pytest.mark.parametrize(
    ("asked", "limits", "code"),
    [
        ("0.0009", {}, "qty_below_min"),
        ("0.05", {"minimum": "0.06"}, "qty_below_min"),
        ("1.001", {"maximum": 1}, "qty_above_max"),
        ("0.049", {}, "min_notional_check_failed"),
    ],
)
def test_an_open_that_no_legal_order_can_express_is_denied(
    asked: str, limits: dict[str, object], code: str
) -> None:
    decision = judged(plan(quantity=asked), evidence(rules=rules(**limits)))
    assert_denied_alone(decision, "exchange_sizing", code)


@pytest.mark.parametrize(
    ("asked", "limits", "sent"),
    [
        ("0.05", {}, "0.05"),
        ("1", {"maximum": 1}, "1"),
        ("0.06", {"minimum": "0.06"}, "0.06"),
        ("1.2349", {}, "1.234"),
        ("1.9", {"step": 1, "minimum": 1}, "1"),
        ("1", {"maximum": 0}, "1"),
        ("1.00049", {"step": 0}, "1.00049"),
    ],
)
def test_an_open_at_the_limit_goes_out_rounded_down(asked: str, limits: dict[str, object], sent: str) -> None:
    assert_allowed(judged(plan(quantity=asked), evidence(rules=rules(**limits))), quantity=sent)


def test_inc_85_the_rounding_is_decimal_not_binary() -> None:
    assert_allowed(judged(plan(quantity="0.35"), evidence(rules=rules(step="0.05"))), quantity="0.35")


def test_a_smallest_order_above_the_cap_of_one_trade_is_infeasible() -> None:
    decision = judged(plan(), evidence(rules=rules(notional_min="200.2")))
    assert_denied_alone(decision, "exchange_sizing", "infeasible_sizing")


def test_a_smallest_order_exactly_at_the_cap_is_feasible() -> None:
    assert_allowed(judged(plan(quantity=2), evidence(rules=rules(notional_min=200))), quantity=2)


def test_upsizing_raises_to_the_smallest_legal_quantity_only_where_it_is_allowed() -> None:
    gates = tables(exchange_sizing={"allow_upsize": True})
    known = evidence(rules=rules(notional_min=20))
    assert_allowed(judged(plan(quantity="0.001"), known, gates), quantity="0.2")
    assert judged(plan(quantity="0.001"), known).reason == "min_notional_check_failed"


def test_upsizing_never_goes_above_the_cap_of_one_trade() -> None:
    gates = tables(exchange_sizing={"allow_upsize": True}, fund_caps={"max_notional_per_trade_usdt": 19})
    decision = judged(plan(quantity="0.001"), evidence(rules=rules(notional_min=20)), gates)
    assert_denied_alone(decision, "exchange_sizing", "infeasible_sizing")


def test_upsizing_never_touches_an_exit() -> None:
    gates = tables(exchange_sizing={"allow_upsize": True})
    known = evidence(positions=LONG, rules=rules(notional_min=20))
    assert_allowed(judged(exit_plan(quantity="0.0019"), known, gates), quantity="0.001")


def test_without_a_mark_price_the_gates_before_it_err_and_the_size_is_unavailable() -> None:
    for known in (without(evidence(), facts.MARK_PRICE), aged(evidence(), facts.MARK_PRICE, 5_001)):
        decision = judged(plan(), known)
        assert not decision.allowed
        assert verdict_of(decision, "exchange_sizing").code == "mark_price_unavailable"


def test_a_missing_mark_price_is_named_where_the_gates_before_it_are_off() -> None:
    gates = tables(margin_guard={"mode": "off"}, fund_caps={"mode": "off"})
    decision = judged(plan(), without(evidence(), facts.MARK_PRICE), gates)
    assert_denied_alone(decision, "exchange_sizing", "mark_price_unavailable")


def test_a_mark_price_of_nothing_opens_nothing() -> None:
    assert not judged(plan(), evidence(mark_price=Decimal(0))).allowed


def test_an_exit_needs_neither_mark_price_nor_rules() -> None:
    known = without(evidence(positions=LONG), facts.MARK_PRICE, facts.RULES)
    assert_allowed(judged(exit_plan(quantity="1.23456"), known), quantity="1.23456")


def test_rules_that_were_never_read_block_opens() -> None:
    decision = judged(plan(), without(evidence(), facts.RULES))
    assert_error_blocks_open(decision, "exchange_sizing", facts.RULES)


def test_a_symbol_unknown_to_the_venue_is_refused_by_name() -> None:
    decision = judged(plan(), evidence(rules=None))
    assert (decision.gate, decision.reason) == ("intake", "invalid_symbol")


def test_inc_29_dust_below_the_minimum_notional_can_be_closed() -> None:
    dust = positions(position("0.0123456"))
    assert_allowed(judged(close_plan(), evidence(positions=dust)), quantity="0.0123456")


def test_dust_below_one_step_can_be_closed_whole() -> None:
    assert_allowed(judged(close_plan(), evidence(positions=positions(position("0.0004")))), quantity="0.0004")


@pytest.mark.parametrize("action", [Action.PARTIAL_25, Action.PARTIAL_50, Action.PARTIAL_75])
def test_inc_27_a_part_that_rounds_to_zero_is_denied_and_never_means_everything(action: Action) -> None:
    decision = judged(close_plan(action), evidence(positions=positions(position("0.001"))))
    assert_denied_alone(decision, "exchange_sizing", "partial_rounds_to_zero")


@pytest.mark.parametrize(
    ("action", "closed"),
    [
        (Action.PARTIAL_25, "0.25"),
        (Action.PARTIAL_50, "0.5"),
        (Action.PARTIAL_75, "0.75"),
        (Action.FULL_CLOSE_PROPOSED, "1"),
    ],
)
def test_inc_26_each_action_closes_its_own_share(action: Action, closed: str) -> None:
    for amount in (1, -1):
        assert_allowed(
            judged(close_plan(action), evidence(positions=positions(position(amount)))), quantity=closed
        )


def test_a_quantity_below_one_step_that_closes_a_part_is_below_the_minimum() -> None:
    decision = judged(exit_plan(quantity="0.0004"), evidence(positions=LONG))
    assert_denied_alone(decision, "exchange_sizing", "qty_below_min")


def test_inc_31_an_exit_larger_than_the_largest_market_order_is_allowed_whole() -> None:
    known = evidence(positions=positions(position(25)), rules=rules(maximum=10))
    assert_allowed(judged(close_plan(), known), quantity=25)


def test_the_verdict_shows_what_was_asked_and_what_fits() -> None:
    shown = verdict_of(judged(plan(quantity="1.2349"), evidence()), "exchange_sizing").evidence
    assert shown == {"asked": Decimal("1.2349"), "sized": Decimal("1.234")}
