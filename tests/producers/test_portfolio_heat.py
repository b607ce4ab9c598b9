"""P2.6: buckets, what each makes of a proposal, and what it never touches."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from support.cases import position, positions

from quantum_trader.domain.evidence import EvidenceMissing
from quantum_trader.domain.plan import Action
from quantum_trader.domain.verdict import Mode
from quantum_trader.gates.portfolio_heat import Bucket, PortfolioHeat, portfolio_heat

GATE = PortfolioHeat()
FULL = Action.FULL_CLOSE_PROPOSED
LOW = Decimal("0.6")
PARTIALS = (Action.PARTIAL_25, Action.PARTIAL_50, Action.PARTIAL_75)


def test_the_gate_is_in_shadow_unless_told_otherwise() -> None:
    assert GATE.mode is Mode.SHADOW


@pytest.mark.parametrize(
    ("heat", "bucket", "becomes"),
    [
        ("0", Bucket.COLD, Action.PARTIAL_25),
        ("0.2499999999", Bucket.COLD, Action.PARTIAL_25),
        ("0.25", Bucket.WARM, Action.PARTIAL_75),
        ("0.6499999999", Bucket.WARM, Action.PARTIAL_75),
        ("0.65", Bucket.HOT, FULL),
        ("12", Bucket.HOT, FULL),
    ],
)
def test_the_borders_of_the_buckets(heat: str, bucket: Bucket, becomes: Action) -> None:
    found = GATE.calibrate(FULL, LOW, Decimal(heat))
    assert (found.bucket, found.action, found.downgraded) == (bucket, becomes, becomes is not FULL)
    assert found.reason == f"portfolio_{bucket.lower()}"


@given(st.sampled_from(PARTIALS), st.decimals(0, 5, places=3), st.decimals(0, 1, places=3))
def test_partial_closes_pass_at_any_heat(action: Action, heat: Decimal, score: Decimal) -> None:
    found = GATE.calibrate(action, score, heat)
    assert (found.action, found.downgraded) == (action, False)


@given(st.sampled_from((*PARTIALS, FULL)), st.one_of(st.none(), st.decimals(0, 1, places=3)))
def test_inc_63_missing_evidence_changes_nothing_and_says_so(action: Action, score: Decimal | None) -> None:
    found = GATE.calibrate(action, score, EvidenceMissing("sigma", "XRPUSDT: absent or stale"))
    assert (found.action, found.heat, found.bucket) == (action, None, Bucket.UNKNOWN)
    assert not found.downgraded
    assert found.reason == "evidence_missing: sigma: XRPUSDT: absent or stale"


@given(st.decimals("0.8", 1, places=4), st.decimals(0, 5, places=3))
def test_inc_21_a_critical_kill_score_closes_everything_at_any_heat(score: Decimal, heat: Decimal) -> None:
    assert GATE.calibrate(FULL, score, heat).action is FULL


def test_just_below_the_critical_score_the_heat_decides() -> None:
    assert GATE.calibrate(FULL, Decimal("0.7999"), Decimal(0)).action is Action.PARTIAL_25


@pytest.mark.parametrize(("mode", "acts"), [("enforce", Action.PARTIAL_25), ("shadow", FULL), ("off", FULL)])
def test_only_enforce_lets_the_calibrated_close_act(mode: str, acts: Action) -> None:
    gate = PortfolioHeat(mode=Mode(mode))
    assert gate.acting(FULL, gate.calibrate(FULL, LOW, Decimal(0))) is acts


def test_heat_sums_notional_times_sigma_over_equity_whatever_the_side() -> None:
    live = positions(position(2, "SOLUSDT", mark=100), position(-3, "XRPUSDT", mark=50))
    sigmas = {"SOLUSDT": Decimal("0.01"), "XRPUSDT": Decimal("0.02")}
    assert portfolio_heat(live, sigmas, Decimal(10)) == Decimal("0.5")


@pytest.mark.parametrize("equity", ["0", "-1"])
def test_without_equity_there_is_no_heat(equity: str) -> None:
    with pytest.raises(EvidenceMissing, match="equity"):
        portfolio_heat(positions(position(1)), {"SOLUSDT": Decimal("0.01")}, Decimal(equity))


def test_one_unknown_volatility_makes_the_heat_unknown() -> None:
    live = positions(position(1), position(1, "XRPUSDT"))
    with pytest.raises(EvidenceMissing, match="XRPUSDT"):
        portfolio_heat(live, {"SOLUSDT": Decimal("0.01")}, Decimal(100))


def test_thresholds_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValidationError, match="must be below"):
        PortfolioHeat(warm_from=Decimal("0.7"))
