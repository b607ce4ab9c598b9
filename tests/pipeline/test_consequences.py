"""What verdicts set off besides blocking: latches and counted failures, and in shadow nothing."""

from decimal import Decimal
from typing import Any

import pytest
from support.cases import NOW_MS, account, evidence, exit_plan, judged, plan, position, positions, tables

from quantum_trader.domain.facts import PlanHistory, RateCounts
from quantum_trader.gates import GateTables
from quantum_trader.pipeline.consequences import Consequences, consequences
from quantum_trader.stores.keys import Keys

SHORT_OF_MARGIN = {"account": account(available=1)}
CROWDED = {"rates": RateCounts(global_ms=(NOW_MS,) * 5)}


def following(
    one: Any = None, *, gates: GateTables | None = None, denial: str = "", code: int = 0, **known: Any
) -> Consequences:
    gates = gates or GateTables()
    decision = judged(one or plan(), evidence(**known), gates)
    return consequences(decision, denial or decision.reason, code, gates=gates, keys=Keys(), now_ms=NOW_MS)


def latches(found: Consequences) -> dict[str, int]:
    return {latch.key: latch.ttl_s for latch in found.latches}


MARGIN_LATCHES = {"quantum:safety:cooldown_symbol:SOLUSDT": 300, "quantum:safety:cooldown_global": 300}


def test_a_plan_that_passes_sets_nothing_off() -> None:
    assert following() == Consequences()


def test_inc_14_a_lack_of_margin_sets_both_cooldowns_and_counts_a_failure() -> None:
    found = following(**SHORT_OF_MARGIN)
    assert latches(found) == MARGIN_LATCHES
    assert found.margin_failure is not None
    assert (found.margin_failure.failures_max, found.margin_failure.window_ms) == (5, 300_000)
    assert found.margin_failure.safe_mode_s == 900
    assert {latch.event["reason"] for latch in found.latches} == {"insufficient_margin"}


def test_a_lack_of_margin_counts_also_when_another_gate_denied_first() -> None:
    found = following(plan(kill_score=Decimal(1)), **SHORT_OF_MARGIN)
    assert latches(found) == MARGIN_LATCHES


@pytest.mark.parametrize("code", [-2018, -2019, -2027])
def test_the_exchanges_refusals_for_margin_count_as_well(code: int) -> None:
    found = following(denial="exchange_rejected", code=code)
    assert latches(found) == MARGIN_LATCHES
    assert found.margin_failure is not None


@pytest.mark.parametrize("code", [0, -1021, -2022, -4164])
def test_other_refusals_do_not_count(code: int) -> None:
    assert following(denial="exchange_rejected", code=code) == Consequences()


def test_a_refusal_of_the_claim_counts_like_the_gates_denial() -> None:
    assert latches(following(denial="insufficient_margin")) == MARGIN_LATCHES
    assert latches(following(denial="rate_limit_global")) == {"quantum:safety:cooldown_global": 300}


def test_plans_above_the_cap_of_one_trade_and_duplicates_count_no_failure() -> None:
    assert following(plan(quantity=3), **SHORT_OF_MARGIN) == Consequences()
    assert following(plan_history=PlanHistory(state="terminal"), **SHORT_OF_MARGIN) == Consequences()


def test_too_many_opens_in_a_minute_set_the_global_cooldown() -> None:
    assert latches(following(**CROWDED)) == {"quantum:safety:cooldown_global": 300}


@pytest.mark.parametrize("mode", ["shadow", "off"])
def test_a_gate_that_does_not_enforce_sets_no_latch_and_counts_no_failure(mode: str) -> None:
    assert following(gates=tables(margin_guard={"mode": mode}), **SHORT_OF_MARGIN) == Consequences()
    assert following(gates=tables(rate_limit={"mode": mode}), **CROWDED) == Consequences()


@pytest.mark.parametrize("code", [0, -2019])
def test_inc_24_an_exit_starts_no_cooldown(code: int) -> None:
    known = SHORT_OF_MARGIN | CROWDED | {"positions": positions(position(2))}
    assert following(exit_plan(), denial="exchange_rejected", code=code, **known) == Consequences()


def test_a_latch_of_no_length_is_not_set() -> None:
    gates = tables(margin_guard={"symbol_cooldown_s": 0, "global_cooldown_s": 0})
    found = following(gates=gates, **SHORT_OF_MARGIN)
    assert found.latches == ()
    assert found.margin_failure is not None
