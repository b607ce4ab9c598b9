"""Gate 7: universe, regime, correlation, slots, and who could go for a better one (SPEC 6.1 to 6.5).

The gate only answers "full, and this one could go"; pipeline/rotation.py acts on it.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar

from pydantic import Field

from quantum_trader.domain import facts
from quantum_trader.domain.case import Case
from quantum_trader.domain.evidence import EvidenceMissing
from quantum_trader.domain.exposure import open_symbols
from quantum_trader.domain.facts import Holding, Regime
from quantum_trader.domain.intention import Effect
from quantum_trader.domain.reasons import Reason
from quantum_trader.domain.trading import ZERO, Position, Positions
from quantum_trader.domain.verdict import Mode, Verdict
from quantum_trader.gates.base import Gate

KLINES_AGE_MS_MAX = 2 * 3_600_000
STRONG_TREND_MIN = Decimal("0.05")
STRONG_ATR_MAX = Decimal("0.02")
CHOP_ATR_MIN = Decimal("0.03")
CHOP_TREND_MAX = Decimal("0.01")
OLD_AGE_MS = 24 * 3_600_000
OLD_AGE_WEAKNESS = Decimal("0.05")


def weakness(held: Position, holding: Holding, now_ms: int) -> Decimal:
    """Return −uPnL / |entry notional|, plus 0.05 for a position older than 24 h (SPEC 6.5)."""
    entry_notional = abs(held.amount) * held.entry_price
    loss = -held.unrealized_pnl / entry_notional if entry_notional > 0 else ZERO
    return loss + (OLD_AGE_WEAKNESS if now_ms - holding.opened_at_ms > OLD_AGE_MS else ZERO)


class ActiveSlots(Gate):
    """Each symbol with a position or a claim takes one slot; the regime says how many there are."""

    name: ClassVar[str] = "active_slots"

    base: int = Field(default=4, ge=1, description="slots in an ordinary regime")
    trend_strong: int = Field(default=6, ge=1, description="slots while trend > 5 % and ATR < 2 %")
    chop: int = Field(default=3, ge=1, description="slots while ATR > 3 % or trend < 1 %")
    rotation_threshold: Decimal = Field(
        default=Decimal("1.15"),
        ge=1,
        description="a candidate's confidence over that of the position it would replace, at least",
    )
    rotation_timeout_s: int = Field(
        default=120, ge=1, description="seconds a rotation may take before its plan is blocked"
    )
    max_correlation: Decimal = Field(
        default=Decimal("0.80"), gt=0, le=1, description="largest |Pearson| of 1 h returns with a position"
    )
    correlation_mode: Mode = Field(
        default=Mode.SHADOW, description="mode of the correlation rule: enforce, shadow or off"
    )

    def judge(self, case: Case) -> Verdict:
        """Deny an OPEN outside the universe, too correlated, or without a free slot.

        And an ADD to what is being closed for a rotation: what is added would be left of it (INC-48).
        """
        positions = case.evidence.get(facts.POSITIONS, age_ms_max=case.terms.position_age_ms_max)
        rotation = case.evidence.get(facts.ROTATION)
        if case.effect is Effect.ADD and rotation is not None and case.plan.symbol == rotation.close_symbol:
            return self.denies(Reason.ACTIVE_SLOTS_WAITING, rotation=rotation.new_plan_id)
        if case.effect is not Effect.OPEN:
            return self.passes(effect=case.effect)
        policy = case.evidence.get(facts.POLICY, age_ms_max=case.terms.operator_age_ms_max)
        if policy.problem:
            return self.denies(Reason.ACTIVE_SLOTS_NO_POLICY, problem=policy.problem)
        if case.plan.symbol not in policy.universe:
            return self.denies(Reason.ACTIVE_SLOTS_NOT_IN_UNIVERSE, policy_version=policy.version)
        taken = open_symbols(positions, case.evidence.get(facts.CLAIMS))
        return self._judge_slots(case, positions, taken - {case.plan.symbol})

    def _judge_slots(self, case: Case, positions: Positions, taken: frozenset[str]) -> Verdict:
        regime = case.evidence.get(facts.REGIME, age_ms_max=KLINES_AGE_MS_MAX)
        slots = self.slots(regime)
        numbers: dict[str, Any] = {
            "trend": regime.trend,
            "atr_pct": regime.atr_pct,
            "desired_slots": slots,
            "current_open": len(taken),
            **self._correlation(case, taken),
        }
        if self.correlation_mode is Mode.ENFORCE and numbers.get("correlated"):
            return self.denies(Reason.ACTIVE_SLOTS_CORRELATED, **numbers)
        rotation = case.evidence.get(facts.ROTATION)
        if rotation is not None and rotation.new_plan_id != case.plan.plan_id:
            closing = case.plan.symbol == rotation.close_symbol  # opened again, it would never be flat
            if closing or len(taken | {rotation.new_symbol}) >= slots:
                return self.denies(Reason.ACTIVE_SLOTS_WAITING, **numbers, rotation=rotation.new_plan_id)
        elif len(taken) >= slots:
            return self.denies(
                Reason.ACTIVE_SLOTS_FULL, **numbers, **self._weakest(case, positions, len(taken), slots)
            )
        return self.passes(**numbers)

    def _weakest(self, case: Case, positions: Positions, taken: int, slots: int) -> dict[str, Any]:
        """Return the weakest position that may go, if freeing it suffices; empty if none (SPEC 6.5)."""
        if taken > slots:
            return {}
        holdings = case.evidence.get(facts.HOLDINGS)
        leaving = case.evidence.get(facts.EXITS_IN_FLIGHT)
        candidates = [
            (weakness(held, holdings[leg], case.now_ms), leg)
            for leg, held in positions.items()
            if leg in holdings
            and holdings[leg].is_ours
            and leg.symbol not in leaving
            and len(positions.of_symbol(leg.symbol)) == 1
        ]
        if not candidates:
            return {}
        weak, leg = max(candidates, key=lambda candidate: (candidate[0], candidate[1].key))
        if not self._is_better(case.plan.confidence, holdings[leg].confidence):
            return {}
        return {"weakest": leg.key, "weakness": weak}

    def _is_better(self, candidate: Decimal | None, held: Decimal | None) -> bool:
        """Where both confidences are known, the candidate's must be higher by the threshold."""
        if candidate is None or held is None:
            return True
        return candidate >= held * self.rotation_threshold

    def slots(self, regime: Regime) -> int:
        """Return how many slots ``regime`` gives (SPEC 6.2)."""
        if regime.trend > STRONG_TREND_MIN and regime.atr_pct < STRONG_ATR_MAX:
            return self.trend_strong
        if regime.atr_pct > CHOP_ATR_MIN or regime.trend < CHOP_TREND_MAX:
            return self.chop
        return self.base

    def _correlation(self, case: Case, taken: frozenset[str]) -> dict[str, object]:
        """Return the largest correlation with a taken symbol; unknown ones are named as such."""
        if self.correlation_mode is Mode.OFF or not taken:
            return {}
        enforces = self.correlation_mode is Mode.ENFORCE
        find = case.evidence.get if enforces else case.evidence.find
        found = find(facts.CORRELATIONS, age_ms_max=KLINES_AGE_MS_MAX)
        each = {symbol: found.get(symbol) for symbol in taken} if found is not None else {}
        known = {symbol: r for symbol, r in each.items() if r is not None}
        unknown = sorted(taken - known.keys())
        if enforces and unknown:
            raise EvidenceMissing(facts.CORRELATIONS.name, f"none with {', '.join(unknown)}")
        largest = max(map(abs, known.values()), default=Decimal(0))
        return {
            "correlation": largest,
            "correlated": largest > self.max_correlation,
            "correlation_unknown": unknown,
        }
