"""What reading the plan left open: fields that only the venue or the effect can judge (SPEC 3).

Speaks under the name ``intake`` like the reader of the stream itself.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from quantum_trader.domain import facts
from quantum_trader.domain.case import Case
from quantum_trader.domain.evidence import EvidenceMissing
from quantum_trader.domain.plan import Plan, allowed_in
from quantum_trader.domain.reasons import invalid
from quantum_trader.domain.verdict import Mode, Ruling, Verdict
from quantum_trader.gates.base import Gate

GIVEN_SHOWN_MAX = 40


class Admission(Gate):
    """Refuses opens with malformed optional fields, unknown symbols and too much leverage.

    Of exits it refuses those of a symbol that the venue is known not to have, and that is not held:
    a missing fact stops no exit.
    """

    name: ClassVar[str] = "intake"
    judges_exits: ClassVar[bool] = True

    mode: Literal[Mode.ENFORCE] = Field(default=Mode.ENFORCE, description="only enforce")

    def judge(self, case: Case) -> Verdict:
        """Deny a plan for the first field that cannot be accepted."""
        if case.is_exit:
            return self._judge_exit(case)
        if case.plan.malformed:
            return self._refuses_malformed(case.plan)
        if case.evidence.get(facts.RULES) is None:
            return self._refuses("symbol", symbol=case.plan.symbol, allowed="a symbol of this venue")
        leverage = case.plan.leverage
        if leverage is not None and leverage > case.terms.leverage_max:
            return self._refuses("leverage", leverage=leverage, leverage_max=case.terms.leverage_max)
        return self.passes()

    def _judge_exit(self, case: Case) -> Verdict:
        """Deny one only on two facts: no such symbol, and nothing held of it."""
        try:
            rules = case.evidence.get(facts.RULES)
            positions = case.evidence.get(facts.POSITIONS, age_ms_max=case.terms.position_age_ms_max)
        except EvidenceMissing:
            return self.passes()
        if rules is None and not positions.of_symbol(case.plan.symbol):
            return self._refuses("symbol", symbol=case.plan.symbol, allowed="a symbol of this venue")
        return self.passes()

    def _refuses_malformed(self, plan: Plan) -> Verdict:
        field = plan.malformed[0]
        given = (plan.carried or {}).get(field, "")[:GIVEN_SHOWN_MAX]
        return self._refuses(field, given=given, allowed=allowed_in(field), malformed=list(plan.malformed))

    def _refuses(self, field: str, **evidence: object) -> Verdict:
        return Verdict(self.name, Ruling.DENY, invalid(field), self.mode, evidence)
