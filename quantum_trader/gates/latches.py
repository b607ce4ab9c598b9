"""The latches safe mode, global and symbol cooldown: in force whatever rate_limit's mode (SPEC 5.4)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from quantum_trader.domain import facts
from quantum_trader.domain.case import Case
from quantum_trader.domain.reasons import Reason
from quantum_trader.domain.verdict import Mode, Verdict
from quantum_trader.gates.base import Gate


class LatchedStops(Gate):
    """Speaks under the name ``rate_limit``, has no table of its own and no mode but enforce."""

    name: ClassVar[str] = "rate_limit"

    mode: Literal[Mode.ENFORCE] = Field(default=Mode.ENFORCE, description="only enforce")

    def judge(self, case: Case) -> Verdict:
        """Deny an open while one of the three latches holds for it."""
        latches = case.evidence.get(facts.LATCHES, age_ms_max=case.terms.operator_age_ms_max)
        if latches.safe_mode:
            return self.denies(Reason.SAFE_MODE)
        if latches.cooldown_global:
            return self.denies(Reason.COOLDOWN_GLOBAL)
        if case.plan.symbol in latches.cooldown_symbols:
            return self.denies(Reason.COOLDOWN_SYMBOL)
        return self.passes()
