"""Gate 2: a plan that carries a critical kill score may not open (SPEC 5)."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar

from pydantic import Field

from quantum_trader.domain.case import Case
from quantum_trader.domain.reasons import Reason
from quantum_trader.domain.verdict import Verdict
from quantum_trader.gates.base import Gate


class KillScore(Gate):
    """The plan's own ``kill_score``; a plan without one passes."""

    name: ClassVar[str] = "kill_score"

    critical: Decimal = Field(
        default=Decimal("0.8"), ge=0, le=1, description="kill score (0 to 1) from which opens are denied"
    )

    def judge(self, case: Case) -> Verdict:
        """Deny at or above ``critical``."""
        score = case.plan.kill_score
        if score is not None and score >= self.critical:
            return self.denies(Reason.KILL_SCORE_CRITICAL_OPEN, kill_score=score, critical=self.critical)
        return self.passes(kill_score=score, critical=self.critical)
