"""Gate 6: how many positions and how much notional (SPEC 5)."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar

from pydantic import Field

from quantum_trader.domain import facts
from quantum_trader.domain.case import Case
from quantum_trader.domain.exposure import open_legs, total_notional_usdt
from quantum_trader.domain.intention import Effect
from quantum_trader.domain.reasons import Reason
from quantum_trader.domain.verdict import Verdict
from quantum_trader.gates.base import Gate


class FundCaps(Gate):
    """Caps on the projected state: what exists, what is claimed, and this order."""

    name: ClassVar[str] = "fund_caps"

    max_open_positions: int = Field(default=10, ge=1, description="open positions, claims included")
    max_notional_per_trade_usdt: Decimal = Field(
        default=Decimal(200), gt=0, description="USDT notional of one order, at the mark price"
    )
    max_total_notional_usdt: Decimal = Field(
        default=Decimal(2000), gt=0, description="USDT notional of all positions, claims and this order"
    )
    symbol_cooldown_s: int = Field(
        default=60, ge=0, le=86_400, description="seconds after a symbol's last executed open"
    )

    def judge(self, case: Case) -> Verdict:
        """Deny an open that would exceed a cap."""
        positions = case.evidence.get(facts.POSITIONS, age_ms_max=case.terms.position_age_ms_max)
        claims = case.evidence.get(facts.CLAIMS)
        if case.effect is Effect.OPEN:
            held = len(open_legs(positions, claims))
            if held >= self.max_open_positions:
                return self.denies(
                    Reason.MAX_POSITIONS_REACHED, open=held, max_open_positions=self.max_open_positions
                )
        notional = case.notional_usdt
        if notional > self.max_notional_per_trade_usdt:
            return self.denies(
                Reason.NOTIONAL_PER_TRADE_EXCEEDED,
                notional=notional,
                max_notional_per_trade_usdt=self.max_notional_per_trade_usdt,
            )
        total = total_notional_usdt(positions, claims) + notional
        if total > self.max_total_notional_usdt:
            return self.denies(
                Reason.TOTAL_NOTIONAL_EXCEEDED,
                projected=total,
                max_total_notional_usdt=self.max_total_notional_usdt,
            )
        return self._judge_cooldown(case, notional, total)

    def _judge_cooldown(self, case: Case, notional: Decimal, total: Decimal) -> Verdict:
        last_ms = case.evidence.get(facts.LAST_OPEN_MS)  # by the exchange's clock: may be ahead by some ms
        cooldown_ms = self.symbol_cooldown_s * 1000
        if cooldown_ms and last_ms is not None and case.now_ms - last_ms < cooldown_ms:
            return self.denies(
                Reason.SYMBOL_COOLDOWN,
                last_open_ms_ago=case.now_ms - last_ms,
                symbol_cooldown_s=self.symbol_cooldown_s,
            )
        return self.passes(notional=notional, projected=total)
