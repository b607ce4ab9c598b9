"""margin_guard: free balance against notional / leverage × 1.25, and margin usage after the order."""

from decimal import Decimal

import pytest
from support.cases import (
    account,
    aged,
    assert_allowed,
    assert_denied_alone,
    assert_error_blocks_open,
    evidence,
    exit_plan,
    judged,
    plan,
    position,
    positions,
    verdict_of,
    without,
)

from quantum_trader.domain import facts
from quantum_trader.domain.evidence import Fact

# an open of 1 unit at 100 USDT with leverage 10: margin 10, required 12.5


def test_a_short_balance_alone_denies_and_the_numbers_are_shown() -> None:
    decision = judged(plan(), evidence(account=account(available="12.499999")))
    assert_denied_alone(decision, "margin_guard", "insufficient_margin")
    shown = verdict_of(decision, "margin_guard").evidence
    assert shown == {"available": Decimal("12.499999"), "required": Decimal("12.50")}


def test_exactly_the_required_margin_is_enough() -> None:
    assert_allowed(judged(plan(), evidence(account=account(available="12.5"))))


def test_margin_claimed_by_others_is_not_free() -> None:
    known = evidence(account=account(available=20), claimed_margin_usdt=Decimal("7.51"))
    assert_denied_alone(judged(plan(), known), "margin_guard", "insufficient_margin")
    assert_allowed(
        judged(plan(), evidence(account=account(available=20), claimed_margin_usdt=Decimal("7.5")))
    )


def test_the_plans_own_leverage_counts_before_the_symbols() -> None:
    known = evidence(account=account(available=50), leverage=10)
    assert_denied_alone(judged(plan(leverage=2), known), "margin_guard", "insufficient_margin")


@pytest.mark.parametrize(
    ("initial", "claimed", "allowed"),
    [("640", "0", True), ("640.000001", "0", False), ("600", "40", True), ("600", "40.1", False)],
)
def test_usage_counts_what_is_used_claimed_and_asked_for(initial: str, claimed: str, allowed: bool) -> None:
    known = evidence(
        account=account(margin_balance=1000, initial_margin=initial), claimed_margin_usdt=Decimal(claimed)
    )
    decision = judged(plan(), known)
    if allowed:
        assert_allowed(decision)
    else:
        assert_denied_alone(decision, "margin_guard", "margin_usage_exceeded")


@pytest.mark.parametrize("balance", ["0", "-5"])
def test_an_account_without_margin_balance_may_not_open(balance: str) -> None:
    known = evidence(account=account(margin_balance=balance))
    assert_denied_alone(judged(plan(), known), "margin_guard", "margin_usage_exceeded")


def test_inc_23_an_exit_is_never_margin_checked() -> None:
    known = evidence(account=account(available=0, margin_balance=0), positions=positions(position(2)))
    assert_allowed(judged(exit_plan(), known))


@pytest.mark.parametrize("fact", [facts.ACCOUNT, facts.CLAIMED_MARGIN_USDT, facts.LEVERAGE, facts.MARK_PRICE])
def test_inc_46_a_missing_fact_blocks_opens_and_lets_exits_pass(fact: Fact[object]) -> None:
    assert_error_blocks_open(judged(plan(), without(evidence(), fact)), "margin_guard", fact)
    assert judged(exit_plan(), without(evidence(positions=positions(position(2))), fact)).allowed


@pytest.mark.parametrize(("fact", "age_ms_max"), [(facts.ACCOUNT, 30_000), (facts.MARK_PRICE, 5_000)])
def test_a_stale_fact_blocks_opens(fact: Fact[object], age_ms_max: int) -> None:
    assert_allowed(judged(plan(), aged(evidence(), fact, age_ms_max)))
    decision = judged(plan(), aged(evidence(), fact, age_ms_max + 1))
    assert_error_blocks_open(decision, "margin_guard", fact)
