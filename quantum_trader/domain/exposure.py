"""Exposure of positions and claims together, counted once.

An order that was claimed may or may not show in the positions yet. Per leg the larger of
"position as read" and "position before the order + the order" counts, so a claim is neither
forgotten nor counted twice, whenever the fill becomes visible.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from msgspec import Struct

from quantum_trader.domain.trading import ZERO, Leg, Positions


class ClaimedExposure(Struct, frozen=True, gc=False):
    """What one claimed open has taken for itself, in USDT.

    ``base_notional_usdt`` is the leg's notional before the order (0 for an OPEN). ``settled_epoch``
    is None while the order is under way; afterwards the number of its settlement, until every
    reading in use is newer than that.
    """

    plan_id: str
    leg: Leg
    notional_usdt: Decimal
    base_notional_usdt: Decimal
    margin_usdt: Decimal
    settled_epoch: int | None = None

    def counts_at(self, epoch: int) -> bool:
        """Whether a reading taken at ``epoch`` may still lack this claim's fill."""
        return self.settled_epoch is None or self.settled_epoch > epoch


def total_notional_usdt(positions: Positions, claims: Iterable[ClaimedExposure]) -> Decimal:
    """Return Σ notional of positions and claims in USDT, each leg counted once."""
    total_usdt = positions.notional_usdt
    for claim in claims:
        unseen_usdt = claim.base_notional_usdt + claim.notional_usdt
        held = positions.get(claim.leg)
        if held is not None:
            unseen_usdt -= held.notional_usdt
        if unseen_usdt > 0:
            total_usdt += unseen_usdt
    return total_usdt


def open_legs(positions: Positions, claims: Iterable[ClaimedExposure]) -> frozenset[Leg]:
    """Return the legs that hold a position or are about to."""
    return frozenset(positions) | {claim.leg for claim in claims}


def open_symbols(positions: Positions, claims: Iterable[ClaimedExposure]) -> frozenset[str]:
    """Return the symbols that hold a position or are about to; a symbol counts once (SPEC 6.4)."""
    return positions.symbols | {claim.leg.symbol for claim in claims}


def claimed_margin_usdt(claims: Iterable[ClaimedExposure]) -> Decimal:
    """Return Σ margin taken by ``claims`` in USDT."""
    return sum([claim.margin_usdt for claim in claims], ZERO)
