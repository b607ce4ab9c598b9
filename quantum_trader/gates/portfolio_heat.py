"""P2.6: how much of a proposed close the portfolio's heat asks for (SPEC 9).

heat = Σ(|notional|·σ) / equity. A cool portfolio can afford to keep most of a position that harvest
would close; a hot one cannot. Unlike the gates of the chain this one judges harvest's proposals
before they become plans: whatever else closes (rotation, a person, BSC) never passes here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from quantum_trader.domain.evidence import EvidenceMissing
from quantum_trader.domain.plan import Action
from quantum_trader.domain.trading import ZERO, Positions
from quantum_trader.domain.verdict import Mode

KILL_SCORE_UNTOUCHED = Decimal("0.8")


class Bucket(StrEnum):
    """How hot the portfolio is; UNKNOWN where evidence is missing."""

    COLD = "COLD"
    WARM = "WARM"
    HOT = "HOT"
    UNKNOWN = "UNKNOWN"


FULL_CLOSE_BECOMES: Mapping[Bucket, Action] = {
    Bucket.COLD: Action.PARTIAL_25,
    Bucket.WARM: Action.PARTIAL_75,
    Bucket.HOT: Action.FULL_CLOSE_PROPOSED,
}


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the heat makes of one proposal; ``heat`` is a ratio, None where it is unknown."""

    action: Action
    heat: Decimal | None
    bucket: Bucket
    reason: str
    downgraded: bool = False


class PortfolioHeat(BaseModel):
    """P2.6 portfolio heat: how much of a close that harvest proposes is needed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Mode = Field(
        default=Mode.SHADOW,
        description="enforce: the calibrated close acts; shadow: the proposal acts, both are recorded; off",
    )
    warm_from: Decimal = Field(
        default=Decimal("0.25"), gt=0, description="heat (ratio to equity) from which the portfolio is WARM"
    )
    hot_from: Decimal = Field(
        default=Decimal("0.65"), gt=0, description="heat (ratio to equity) from which the portfolio is HOT"
    )

    @model_validator(mode="after")
    def _warm_below_hot(self) -> Self:
        if self.warm_from >= self.hot_from:
            raise ValueError(f"warm_from {self.warm_from} must be below hot_from {self.hot_from}")
        return self

    def bucket_of(self, heat: Decimal) -> Bucket:
        """Return the bucket: COLD < ``warm_from`` ≤ WARM < ``hot_from`` ≤ HOT."""
        if heat < self.warm_from:
            return Bucket.COLD
        return Bucket.WARM if heat < self.hot_from else Bucket.HOT

    def calibrate(
        self, action: Action, kill_score: Decimal | None, heat: Decimal | EvidenceMissing
    ) -> Calibration:
        """Return what ``heat`` makes of a proposed ``action``; missing evidence changes nothing."""
        if isinstance(heat, EvidenceMissing):
            return Calibration(action, None, Bucket.UNKNOWN, f"evidence_missing: {heat}")
        bucket = self.bucket_of(heat)
        if action is not Action.FULL_CLOSE_PROPOSED:
            return Calibration(action, heat, bucket, "partial_passes")
        if kill_score is not None and kill_score >= KILL_SCORE_UNTOUCHED:
            return Calibration(action, heat, bucket, "kill_score_critical")
        becomes = FULL_CLOSE_BECOMES[bucket]
        return Calibration(becomes, heat, bucket, f"portfolio_{bucket.lower()}", becomes is not action)

    def acting(self, action: Action, calibration: Calibration) -> Action:
        """Return which of the two acts: the calibrated one in ``enforce`` only."""
        return calibration.action if self.mode is Mode.ENFORCE else action


def portfolio_heat(positions: Positions, sigmas: Mapping[str, Decimal], equity_usdt: Decimal) -> Decimal:
    """Return Σ(|notional|·σ) / equity.

    Raises:
        EvidenceMissing: a live position's σ is not known, or there is no equity to compare with.
    """
    if equity_usdt <= 0:
        raise EvidenceMissing("equity", f"{equity_usdt} USDT")
    at_risk = ZERO
    for leg, held in positions.items():
        if leg.symbol not in sigmas:
            raise EvidenceMissing("sigma", f"{leg.symbol}: absent or stale")
        at_risk += held.notional_usdt * sigmas[leg.symbol]
    return at_risk / equity_usdt
