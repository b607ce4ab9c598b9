"""Gate 3: one plan id, one decision, one order (SPEC 5, 7).

The gate judges what the engine knows; the atomic claim has the last word on the stored state.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from quantum_trader.domain import facts
from quantum_trader.domain.case import Case
from quantum_trader.domain.reasons import Reason
from quantum_trader.domain.verdict import Mode, Verdict
from quantum_trader.gates.base import Gate

TERMINAL = "terminal"


class Idempotency(Gate):
    """Refuses plan ids that ended, and those whose order is older than the plan itself."""

    name: ClassVar[str] = "idempotency"
    judges_exits: ClassVar[bool] = True

    mode: Literal[Mode.ENFORCE] = Field(
        default=Mode.ENFORCE, description="only enforce: a second order is never optional"
    )
    terminal_ttl_s: int = Field(
        default=3600, ge=1, description="seconds for which an ended plan id refuses a redelivery"
    )

    def judge(self, case: Case) -> Verdict:
        """Deny a terminal plan id, and one whose order is from before its stream id."""
        history = case.evidence.get(facts.PLAN_HISTORY)
        if history.state == TERMINAL:
            return self.denies(Reason.DUPLICATE, state=history.state)
        prior_ms = history.prior_order_ms
        if prior_ms is not None and prior_ms < case.plan.stream_ms:
            return self.denies(Reason.PLAN_ID_REUSED, prior_order_ms=prior_ms, stream_id=case.plan.stream_id)
        return self.passes(state=history.state or "new")
