"""A case: one plan with all that is known when it is judged. What gates look at."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from msgspec import Struct

from quantum_trader.domain import facts
from quantum_trader.domain.evidence import Evidence, EvidenceMissing
from quantum_trader.domain.intention import Effect, Intention, classify, classify_blind
from quantum_trader.domain.once import once
from quantum_trader.domain.plan import Plan
from quantum_trader.domain.reasons import Reason
from quantum_trader.domain.sizing import Sizing, SizingPolicy, size_exit, size_open


@dataclass(frozen=True, slots=True)
class Terms:
    """What the config says that more than one gate needs; ages in ms, leverage as a whole number."""

    allowed_symbols: frozenset[str]
    sizing: SizingPolicy = field(default_factory=SizingPolicy)
    position_age_ms_max: int = 10_000
    mark_age_ms_max: int = 5_000
    operator_age_ms_max: int = 5_000
    leverage_max: int = 10


class Case(Struct, frozen=True, dict=True):
    """Plan, evidence, and what follows from the two; pure, computed once, when first asked for."""

    plan: Plan
    evidence: Evidence
    terms: Terms

    @property
    def now_ms(self) -> int:
        """Wall time of the decision, ms since the epoch."""
        return self.evidence.now_ms

    @once
    def intention(self) -> Intention:
        """The plan laid against the live position, or its own words where none can be read."""
        positions = self.evidence.find(facts.POSITIONS, age_ms_max=self.terms.position_age_ms_max)
        if positions is None:
            hedge_mode = self.evidence.find(facts.HEDGE_MODE) or False
            return classify_blind(self.plan, hedge_mode=hedge_mode)
        return classify(self.plan, positions)

    @once
    def is_exit(self) -> bool:
        """Whether entry gates have no say (SPEC 1)."""
        return self.intention.is_exit

    @property
    def effect(self) -> Effect | None:
        """Effect on the live position; None where it is unknown."""
        return self.intention.effect

    @once
    def sizing(self) -> Sizing:
        """The quantity to send.

        Raises:
            EvidenceMissing: for an open without trading rules.
        """
        if self.is_exit:
            rules = self.evidence.find(facts.RULES)
            return size_exit(self.intention, rules, by_fraction=self.plan.close_fraction is not None)
        rules = self.evidence.get(facts.RULES)
        if rules is None:
            raise EvidenceMissing(facts.RULES.name, f"{self.plan.symbol} is unknown to this venue")
        mark_price = self.evidence.find(facts.MARK_PRICE, age_ms_max=self.terms.mark_age_ms_max)
        if mark_price is None:
            return Sizing(rules.market_quantity.round_down(self.plan.quantity), Reason.MARK_PRICE_UNAVAILABLE)
        return size_open(self.plan.quantity, rules, mark_price, self.terms.sizing)

    @once
    def notional_usdt(self) -> Decimal:
        """Notional of the order at the mark price, in USDT: sized where it can be, else as asked.

        Raises:
            EvidenceMissing: without a fresh mark price or trading rules.
        """
        mark_price = self.evidence.get(facts.MARK_PRICE, age_ms_max=self.terms.mark_age_ms_max)
        quantity = self.sizing.quantity if self.sizing.problem is None else self.plan.quantity
        return quantity * mark_price

    @property
    def leverage(self) -> int:
        """Leverage the order will have: the plan's, else the symbol's setting.

        Raises:
            EvidenceMissing: neither is known.
        """
        if self.plan.leverage is not None:
            return self.plan.leverage
        return self.evidence.get(facts.LEVERAGE)

    @property
    def initial_margin_usdt(self) -> Decimal:
        """Notional / leverage, in USDT; raises as its two parts do."""
        return self.notional_usdt / self.leverage
