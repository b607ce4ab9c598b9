"""Gate 1: stops that an operator, the lease or the watchdog has set (SPEC 5)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from quantum_trader.domain import facts
from quantum_trader.domain.case import Case
from quantum_trader.domain.reasons import Reason
from quantum_trader.domain.verdict import Mode, Verdict
from quantum_trader.gates.base import Gate

HALT_ALL = "1"
RUN = ("", "0")


class KillSwitch(Gate):
    """``quantum:kill``: absent or 0 runs, 1 halts every plan, anything else halts opens."""

    name: ClassVar[str] = "kill_switch"
    judges_exits: ClassVar[bool] = True

    mode: Literal[Mode.ENFORCE] = Field(
        default=Mode.ENFORCE, description="only enforce: an operator's stop is never optional"
    )

    def judge(self, case: Case) -> Verdict:
        """Deny all plans at 1 or without the lease; deny opens at any other stop."""
        kill = case.evidence.get(facts.KILL, age_ms_max=case.terms.operator_age_ms_max)
        if kill == HALT_ALL or (kill not in RUN and not case.is_exit):
            return self.denies(Reason.KILL_SWITCH_ACTIVE, kill=kill)
        if not case.evidence.get(facts.LEADER):
            return self.denies(Reason.NOT_LEADER)
        if case.is_exit:
            return self.passes(kill=kill)
        return self._judge_open(case, kill)

    def _judge_open(self, case: Case, kill: str) -> Verdict:
        age_ms_max = case.terms.operator_age_ms_max
        disarmed = case.evidence.get(facts.LATCHES, age_ms_max=age_ms_max).disarmed
        if disarmed:
            return self.denies(Reason.DISARMED, disarmed=disarmed)
        if not case.evidence.get(facts.KEYS_ACCEPTED):
            return self.denies(Reason.KEYS_REFUSED)
        if case.evidence.find(facts.CLOCK_OFFSET_MS) is None:
            return self.denies(Reason.CLOCK_SKEW)
        bsc = case.evidence.get(facts.BSC, age_ms_max=age_ms_max)
        if bsc.authority == "OBSERVER":
            return self.denies(Reason.BSC_DEMOTED, authority=bsc.authority)
        if bsc.required and bsc.state not in ("OK", "DEGRADED"):
            return self.denies(Reason.BSC_BLIND, state=bsc.state)
        return self.passes(kill=kill)
