"""rate_limit: four windows over claimed opens, and three latches that no mode switches off."""

import pytest
from support.cases import (
    NOW_MS,
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
    tables,
    without,
)

from quantum_trader.domain import facts
from quantum_trader.domain.evidence import Fact
from quantum_trader.domain.facts import Latches, RateCounts

SECOND = 1000
MINUTE = 60 * SECOND


def ago(*seconds: float) -> tuple[int, ...]:
    return tuple(sorted(NOW_MS - int(one * SECOND) for one in seconds))


DENIALS = [
    (RateCounts(symbol_ms=ago(29.999)), "rate_limit_symbol"),
    (RateCounts(global_ms=ago(1, 2, 3, 4, 59.999)), "rate_limit_global"),
    (RateCounts(symbol_ms=ago(31, 299.999)), "burst_limit_exceeded"),
    (RateCounts(symbol_ms=ago(31, 400, 3599.999)), "hourly_limit_exceeded"),
]
EDGES = [
    RateCounts(symbol_ms=ago(30)),
    RateCounts(global_ms=ago(1, 2, 3, 4, 60)),
    RateCounts(global_ms=ago(1, 2, 3, 4)),
    RateCounts(symbol_ms=ago(31, 300)),
    RateCounts(symbol_ms=ago(31, 400, 3600)),
]
LATCHED = [
    (Latches(safe_mode=True), "safe_mode"),
    (Latches(cooldown_global=True), "cooldown_global"),
    (Latches(cooldown_symbols=frozenset({"SOLUSDT"})), "cooldown_symbol"),
]


@pytest.mark.parametrize(("counts", "code"), DENIALS)
def test_each_window_alone_denies_an_open(counts: RateCounts, code: str) -> None:
    assert_denied_alone(judged(plan(), evidence(rates=counts)), "rate_limit", code)


@pytest.mark.parametrize("counts", EDGES)
def test_a_window_ends_exactly_at_its_length(counts: RateCounts) -> None:
    assert_allowed(judged(plan(), evidence(rates=counts)))


def test_inc_61_a_symbol_opened_again_and_again_is_stopped_by_the_burst_limit() -> None:
    flips = RateCounts(symbol_ms=ago(35, 70, 105))
    assert judged(plan(), evidence(rates=flips)).reason == "burst_limit_exceeded"


@pytest.mark.parametrize(("counts", "code"), DENIALS)
def test_no_window_holds_an_exit(counts: RateCounts, code: str) -> None:
    assert_allowed(judged(exit_plan(), evidence(rates=counts, positions=positions(position(2)))))


@pytest.mark.parametrize("mode", ["enforce", "shadow", "off"])
@pytest.mark.parametrize(("latches", "code"), LATCHED)
def test_inc_42_each_latch_stops_an_open_whatever_the_gates_mode(
    latches: Latches, code: str, mode: str
) -> None:
    decision = judged(plan(), evidence(latches=latches), tables(rate_limit={"mode": mode}))
    assert_denied_alone(decision, "rate_limit", code)


@pytest.mark.parametrize(("latches", "code"), LATCHED)
def test_inc_24_no_latch_holds_an_exit(latches: Latches, code: str) -> None:
    assert_allowed(judged(exit_plan(), evidence(latches=latches, positions=positions(position(2)))))


def test_the_cooldown_of_another_symbol_does_not_matter() -> None:
    assert_allowed(judged(plan(), evidence(latches=Latches(cooldown_symbols=frozenset({"BTCUSDT"})))))


@pytest.mark.parametrize("fact", [facts.RATES, facts.LATCHES])
def test_without_its_evidence_opens_are_blocked_and_exits_pass(fact: Fact[object]) -> None:
    assert_error_blocks_open(judged(plan(), without(evidence(), fact)), "rate_limit", fact)
    assert judged(exit_plan(), without(evidence(positions=positions(position(2))), fact)).allowed


def test_latches_read_too_long_ago_block_opens() -> None:
    decision = judged(plan(), aged(evidence(), facts.LATCHES, 5_001))
    assert_error_blocks_open(decision, "rate_limit", facts.LATCHES)
