"""Gate 9: a quantity that the exchange takes (SPEC 5)."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar, Literal

from pydantic import Field

from quantum_trader.domain import facts
from quantum_trader.domain.case import Case
from quantum_trader.domain.reasons import Reason
from quantum_trader.domain.verdict import Mode, Verdict
from quantum_trader.gates.base import Gate


class ExchangeSizing(Gate):
    """Rounds down to the step and checks the symbol's limits; exits are exempt from minimum notional."""

    name: ClassVar[str] = "exchange_sizing"
    judges_exits: ClassVar[bool] = True

    mode: Literal[Mode.ENFORCE] = Field(
        default=Mode.ENFORCE, description="only enforce: an illegal quantity cannot be sent"
    )
    allow_upsize: bool = Field(
        default=False, description="raise an open to the smallest legal quantity that the caps allow"
    )
    mark_price_max_age_s: Decimal = Field(
        default=Decimal(5), gt=0, description="seconds after which a mark price is too old for an open"
    )

    def judge(self, case: Case) -> Verdict:
        """Deny what no legal order can express; opens also need a symbol that is TRADING."""
        if not case.is_exit:
            rules = case.evidence.get(facts.RULES)
            if rules is not None and not rules.is_trading:
                return self.denies(Reason.SYMBOL_NOT_TRADING, status=rules.status)
        sizing = case.sizing
        if sizing.problem is not None:
            return self.denies(sizing.problem, asked=case.plan.quantity, sized=sizing.quantity)
        return self.passes(asked=case.plan.quantity, sized=sizing.quantity)
