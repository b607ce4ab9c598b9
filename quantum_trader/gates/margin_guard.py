"""Gate 5: free margin and margin usage (SPEC 5)."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar

from pydantic import Field

from quantum_trader.domain import facts
from quantum_trader.domain.case import Case
from quantum_trader.domain.reasons import Reason
from quantum_trader.domain.verdict import Verdict
from quantum_trader.gates.base import Gate

ACCOUNT_AGE_MS_MAX = 30_000


class MarginGuard(Gate):
    """Required margin against the free balance, and the usage after this order."""

    name: ClassVar[str] = "margin_guard"

    buffer: Decimal = Field(
        default=Decimal("1.25"), ge=1, description="required margin = notional / leverage × this"
    )
    failures_max: int = Field(default=5, ge=1, description="margin failures in the window that set safe_mode")
    failure_window_s: int = Field(default=300, ge=1, description="seconds over which failures are counted")
    symbol_cooldown_s: int = Field(
        default=300, ge=0, description="seconds of cooldown_symbol after a margin failure"
    )
    global_cooldown_s: int = Field(
        default=300, ge=0, description="seconds of cooldown_global after a margin failure"
    )
    safe_mode_s: int = Field(default=900, ge=0, description="seconds of safe_mode")
    usage_max: Decimal = Field(
        default=Decimal("0.65"), gt=0, le=1, description="initial margin / margin balance, at most"
    )
    leverage_max: int = Field(
        default=10, ge=1, le=125, description="largest leverage that a plan may ask for"
    )

    def judge(self, case: Case) -> Verdict:
        """Deny when the free balance is short or usage would exceed ``usage_max``."""
        account = case.evidence.get(facts.ACCOUNT, age_ms_max=ACCOUNT_AGE_MS_MAX)
        claimed = case.evidence.get(facts.CLAIMED_MARGIN_USDT)
        margin = case.initial_margin_usdt
        available, required = account.available_balance - claimed, margin * self.buffer
        if available < required:
            return self.denies(Reason.INSUFFICIENT_MARGIN, available=available, required=required)
        if account.margin_balance <= 0:
            return self.denies(Reason.MARGIN_USAGE_EXCEEDED, margin_balance=account.margin_balance)
        usage = (account.initial_margin + claimed + margin) / account.margin_balance
        if usage > self.usage_max:
            return self.denies(Reason.MARGIN_USAGE_EXCEEDED, usage=usage, usage_max=self.usage_max)
        return self.passes(available=available, required=required, usage=usage)
