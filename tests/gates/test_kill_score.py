"""kill_score: the plan's own score stops opens from 0.8 on, and never an exit."""

from decimal import Decimal

import pytest
from support.cases import (
    assert_allowed,
    assert_denied_alone,
    evidence,
    exit_plan,
    judged,
    plan,
    position,
    positions,
)


@pytest.mark.parametrize("score", ["0.8", "0.80000000000000000001", "1", "99"])
def test_at_or_above_the_critical_value_it_alone_denies(score: str) -> None:
    decision = judged(plan(kill_score=Decimal(score)), evidence())
    assert_denied_alone(decision, "kill_score", "kill_score_critical_open")


@pytest.mark.parametrize("score", [None, "0", "0.79999999999999999999", "-1"])
def test_below_the_critical_value_or_without_a_score_it_passes(score: str | None) -> None:
    assert_allowed(judged(plan(kill_score=None if score is None else Decimal(score)), evidence()))


@pytest.mark.parametrize("score", ["0.60", "0.65", "0.8", "1"])
def test_inc_21_no_score_blocks_an_exit(score: str) -> None:
    known = evidence(positions=positions(position(2)))
    assert_allowed(judged(exit_plan(kill_score=Decimal(score)), known))
