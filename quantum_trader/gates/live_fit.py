"""What no mode can switch off about the live position: it must be known, and the plan must fit it.

Speaks under the name ``position_sanity``, just before that gate's optional rules (SPEC 5).
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from quantum_trader.domain import facts
from quantum_trader.domain.case import Case
from quantum_trader.domain.reasons import Reason
from quantum_trader.domain.verdict import Mode, Verdict
from quantum_trader.gates.base import Gate


class LiveFit(Gate):
    """Refuses flips, exits without a position and exits on the wrong side."""

    name: ClassVar[str] = "position_sanity"
    judges_exits: ClassVar[bool] = True

    mode: Literal[Mode.ENFORCE] = Field(default=Mode.ENFORCE, description="only enforce")

    def judge(self, case: Case) -> Verdict:
        """Deny what the live position makes impossible."""
        intention = case.intention
        if intention.problem is not None:
            return self.denies(
                intention.problem, position_amt=intention.position_amount, effect=intention.effect
            )
        case.evidence.get(facts.POSITIONS, age_ms_max=case.terms.position_age_ms_max)
        return self.passes(
            Reason.SANITY_CHECKS_PASSED,
            position_amt=intention.position_amount,
            effect=intention.effect,
            safe_qty=intention.quantity if case.is_exit else None,
            notes=list(intention.notes),
        )
