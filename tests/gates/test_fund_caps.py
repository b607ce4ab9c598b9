"""fund_caps: positions, claims and this order together may not exceed the caps."""

from decimal import Decimal

import pytest
from support.cases import (
    NOW_MS,
    OTHERS,
    aged,
    assert_allowed,
    assert_denied_alone,
    assert_error_blocks_open,
    evidence,
    exit_plan,
    exposure,
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
from quantum_trader.domain.trading import Positions

MANY_SLOTS = {"active_slots": {"base": 100}}


def held(count: int, amount: str = "0.1") -> Positions:
    return positions(*(position(amount, symbol) for symbol in OTHERS[:count]))


@pytest.mark.parametrize(
    ("live", "claimed", "allowed"), [(2, 0, True), (3, 0, False), (2, 1, False), (1, 1, True)]
)
def test_positions_and_claims_count_together(live: int, claimed: int, allowed: bool) -> None:
    claims = tuple(exposure(f"p{i}", symbol) for i, symbol in enumerate(OTHERS[live : live + claimed]))
    gates = tables(fund_caps={"max_open_positions": 3}, **MANY_SLOTS)
    decision = judged(plan(), evidence(positions=held(live), claims=claims), gates)
    if allowed:
        assert_allowed(decision)
    else:
        assert_denied_alone(decision, "fund_caps", "max_positions_reached")


def test_a_claim_whose_fill_already_shows_counts_once() -> None:
    claims = (exposure("p", OTHERS[0]),)
    gates = tables(fund_caps={"max_open_positions": 2}, **MANY_SLOTS)
    assert_allowed(judged(plan(), evidence(positions=held(1), claims=claims), gates))


def test_enlarging_a_position_takes_no_further_place() -> None:
    gates = tables(
        fund_caps={"max_open_positions": 1}, position_sanity={"allow_add": True}, active_slots={"base": 1}
    )
    assert_allowed(judged(plan(), evidence(positions=positions(position("0.1"))), gates))


def test_a_notional_above_the_cap_of_one_trade_is_denied_and_at_the_cap_allowed() -> None:
    assert_allowed(judged(plan(quantity=2), evidence()))
    decision = judged(plan(quantity="2.001"), evidence())
    assert_denied_alone(decision, "fund_caps", "notional_per_trade_exceeded")


def test_inc_45_the_total_is_the_projected_one_this_order_included() -> None:
    gates = tables(fund_caps={"max_total_notional_usdt": 1000}, **MANY_SLOTS)
    assert_allowed(judged(plan(), evidence(positions=held(2, "4.5")), gates))
    decision = judged(plan(), evidence(positions=held(2, "4.501")), gates)
    assert_denied_alone(decision, "fund_caps", "total_notional_exceeded")
    assert verdict_of(decision, "fund_caps").evidence["projected"] == Decimal("1000.2")


def test_the_total_counts_claims_that_no_read_shows_yet() -> None:
    gates = tables(fund_caps={"max_total_notional_usdt": 1000}, **MANY_SLOTS)
    claims = (exposure("p", OTHERS[3], notional="0.21"),)
    decision = judged(plan(), evidence(positions=held(2, "4.499"), claims=claims), gates)
    assert_denied_alone(decision, "fund_caps", "total_notional_exceeded")


def test_shorts_count_with_their_size_not_against_longs() -> None:
    gates = tables(fund_caps={"max_total_notional_usdt": 1000}, **MANY_SLOTS)
    both = positions(position(5, OTHERS[0]), position(-5, OTHERS[1]))
    decision = judged(plan(), evidence(positions=both), gates)
    assert_denied_alone(decision, "fund_caps", "total_notional_exceeded")


@pytest.mark.parametrize("last_open_ms", [NOW_MS - 1, NOW_MS, NOW_MS + 5])
def test_without_cooldowns_an_open_follows_at_once_also_where_the_exchange_is_some_ms_ahead(
    last_open_ms: int,
) -> None:
    gates = tables(fund_caps={"symbol_cooldown_s": 0}, position_sanity={"cooldown_s": 0})
    assert_allowed(judged(plan(), evidence(last_open_ms=last_open_ms), gates))


def test_the_symbol_cools_down_after_an_executed_open() -> None:
    decision = judged(plan(), evidence(last_open_ms=NOW_MS - 59_999))
    assert_denied_alone(decision, "fund_caps", "symbol_cooldown")
    assert_allowed(judged(plan(), evidence(last_open_ms=NOW_MS - 60_000)))


def test_inc_24_exits_obey_no_cap_and_no_cooldown() -> None:
    gates = tables(fund_caps={"max_open_positions": 1, "max_total_notional_usdt": 1})
    known = evidence(positions=positions(position(50)), last_open_ms=NOW_MS)
    assert_allowed(judged(exit_plan(quantity=50), known, gates))


@pytest.mark.parametrize("fact", [facts.POSITIONS, facts.CLAIMS, facts.MARK_PRICE, facts.LAST_OPEN_MS])
def test_inc_46_a_missing_fact_blocks_opens_and_lets_exits_pass(fact: Fact[object]) -> None:
    assert_error_blocks_open(judged(plan(), without(evidence(), fact)), "fund_caps", fact)
    assert judged(exit_plan(), without(evidence(positions=positions(position(2))), fact)).allowed


@pytest.mark.parametrize(("fact", "age_ms_max"), [(facts.POSITIONS, 10_000), (facts.MARK_PRICE, 5_000)])
def test_a_stale_fact_blocks_opens(fact: Fact[object], age_ms_max: int) -> None:
    assert_allowed(judged(plan(), aged(evidence(), fact, age_ms_max)))
    assert_error_blocks_open(judged(plan(), aged(evidence(), fact, age_ms_max + 1)), "fund_caps", fact)
