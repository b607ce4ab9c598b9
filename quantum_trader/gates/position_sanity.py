"""Gate 8, P3.3: an open needs a flat, allowed symbol that the ledger agrees about (SPEC 5).

Its rules about the live position itself have no mode and stand in ``live_fit``.
"""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar

from pydantic import Field

from quantum_trader.domain import facts
from quantum_trader.domain.case import Case
from quantum_trader.domain.intention import Effect
from quantum_trader.domain.reasons import Reason
from quantum_trader.domain.trading import ZERO
from quantum_trader.domain.verdict import Verdict
from quantum_trader.gates.base import Gate


class PositionSanity(Gate):
    """Allowlist, adds, agreement with the ledger, and the pause after an executed open."""

    name: ClassVar[str] = "position_sanity"

    stale_s: int = Field(
        default=10, ge=1, description="seconds after which a position read is taken anew before judging"
    )
    cooldown_s: int = Field(
        default=15, ge=0, le=86_400, description="seconds after a symbol's last executed open"
    )
    qty_tolerance: Decimal = Field(
        default=Decimal("0.01"),
        ge=0,
        lt=1,
        description="share by which ledger and exchange may differ before opens of the symbol are held",
    )
    allow_add: bool = Field(default=False, description="whether a plan may enlarge a live position")

    def judge(self, case: Case) -> Verdict:
        """Deny an open that breaks one of the four rules."""
        positions = case.evidence.get(facts.POSITIONS, age_ms_max=case.terms.position_age_ms_max)
        amount = positions.amount(case.intention.leg)
        if case.effect is Effect.ADD and not self.allow_add:
            return self.denies(Reason.POSITION_EXISTS_ADD_DENIED, position_amt=amount)
        if case.plan.symbol not in case.terms.allowed_symbols:
            return self.denies(Reason.SYMBOL_NOT_ALLOWED, symbol=case.plan.symbol)
        ledger = case.evidence.get(facts.LEDGER).get(case.intention.leg, ZERO)
        if abs(ledger - amount) > self._tolerance(case, amount):
            return self.denies(Reason.RECONCILE_HOLD, position_amt=amount, ledger_amt=ledger)
        last_ms = case.evidence.get(facts.LAST_OPEN_MS)  # by the exchange's clock: may be ahead by some ms
        cooldown_ms = self.cooldown_s * 1000
        if cooldown_ms and last_ms is not None and case.now_ms - last_ms < cooldown_ms:
            return self.denies(
                Reason.COOLDOWN_IN_FLIGHT,
                last_open_ms_ago=case.now_ms - last_ms,
                cooldown_s=self.cooldown_s,
            )
        return self.passes(Reason.SANITY_CHECKS_PASSED, position_amt=amount, ledger_amt=ledger)

    def _tolerance(self, case: Case, amount: Decimal) -> Decimal:
        rules = case.evidence.get(facts.RULES)
        step = rules.market_quantity.step if rules is not None else ZERO
        return max(step, abs(amount) * self.qty_tolerance)
