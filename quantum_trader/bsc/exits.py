"""When a position must go: three triggers over one reading, as pure functions (SPEC 10).

Theory of operation. ``breaches_of`` judges each position by itself: loss, age, and isolated
margin. Cross margin is a matter of all cross positions at once: ``cross_ratio`` says whether it
is breached, and ``next_cross_victim`` which one goes first; after each close everything is read
again, because one close is often enough. What is not known (``age_ms`` None) breaches nothing: an
error never closes a position.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from quantum_trader.bsc import limits
from quantum_trader.domain.trading import ZERO, Leg
from quantum_trader.exchange.margin_reads import CrossMargin, MarginPosition

HOUR_MS = 3_600_000
INFINITE = Decimal("Infinity")


class Trigger(StrEnum):
    """Why a position is closed; the only three reasons there are."""

    LOSS = "MAX_LOSS_BREACH"
    DURATION = "MAX_DURATION_BREACH"
    MARGIN = "MAX_MARGIN_BREACH"


@dataclass(frozen=True, slots=True)
class Watched:
    """A position with its age; ``age_ms`` None where the trades could not be read."""

    position: MarginPosition
    age_ms: int | None


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything one poll saw. ``read_at_ms`` is the exchange's wall time."""

    watched: tuple[Watched, ...]
    cross: CrossMargin
    read_at_ms: int

    @property
    def cross_positions(self) -> tuple[MarginPosition, ...]:
        """Positions that share the cross wallet."""
        return tuple(each.position for each in self.watched if not each.position.is_isolated)


@dataclass(frozen=True, slots=True)
class Measures:
    """The numbers behind a verdict: PnL in %, margin ratio, age in hours; None where unknown."""

    pnl_pct: Decimal | None
    margin_ratio: Decimal | None
    age_h: Decimal | None


@dataclass(frozen=True, slots=True)
class Breach:
    """A position beyond a limit: the first trigger that fired, and what was measured."""

    watched: Watched
    trigger: Trigger
    measures: Measures

    @property
    def leg(self) -> Leg:
        """Which position."""
        return self.watched.position.leg


def pnl_pct(position: MarginPosition) -> Decimal | None:
    """Return uPnL / (|amount| × entry) × 100; None without an entry price."""
    invested = abs(position.amount) * position.entry_price
    return position.unrealized_pnl_usdt / invested * 100 if invested > 0 else None


def margin_ratio(maintenance_usdt: Decimal, balance_usdt: Decimal) -> Decimal:
    """Maintenance / balance; infinite where nothing is left to cover a maintenance above 0."""
    if balance_usdt > 0:
        return maintenance_usdt / balance_usdt
    return INFINITE if maintenance_usdt > 0 else ZERO


def isolated_ratio(position: MarginPosition) -> Decimal:
    """Return maintMargin / (isolatedWallet + uPnL)."""
    return margin_ratio(
        position.maintenance_usdt, position.isolated_wallet_usdt + position.unrealized_pnl_usdt
    )


def cross_ratio(reading: Reading) -> Decimal:
    """Σ maintenance of cross positions / (totalCrossWalletBalance + totalCrossUnPnl)."""
    maintenance = sum((position.maintenance_usdt for position in reading.cross_positions), ZERO)
    return margin_ratio(maintenance, reading.cross.wallet_usdt + reading.cross.unrealized_pnl_usdt)


def measure(watched: Watched, reading: Reading) -> Measures:
    """Return the numbers of one position of ``reading``."""
    position = watched.position
    return Measures(
        pnl_pct=pnl_pct(position),
        margin_ratio=isolated_ratio(position) if position.is_isolated else cross_ratio(reading),
        age_h=Decimal(watched.age_ms) / HOUR_MS if watched.age_ms is not None else None,
    )


def own_trigger(position: MarginPosition, measures: Measures) -> Trigger | None:
    """Return the first trigger that the position fires by itself; cross margin is not its own."""
    if measures.pnl_pct is not None and measures.pnl_pct <= limits.MAX_LOSS_PCT:
        return Trigger.LOSS
    if measures.age_h is not None and measures.age_h >= limits.MAX_DURATION_H:
        return Trigger.DURATION
    ratio = measures.margin_ratio
    if position.is_isolated and ratio is not None and ratio >= limits.MAX_MARGIN:
        return Trigger.MARGIN
    return None


def breaches_of(reading: Reading) -> list[Breach]:
    """Return every position that must go by itself, the largest loss first."""
    breaches = []
    for watched in reading.watched:
        measures = measure(watched, reading)
        trigger = own_trigger(watched.position, measures)
        if trigger is not None:
            breaches.append(Breach(watched, trigger, measures))
    return sorted(breaches, key=lambda breach: _urgency(breach.watched.position))


def next_cross_victim(reading: Reading, passed_over: Collection[Leg] = ()) -> Breach | None:
    """Return the cross position to close next; None while cross margin is within its limit.

    The largest loss first, then the largest maintenance; ``passed_over`` could not be closed.
    """
    if cross_ratio(reading) < limits.MAX_MARGIN:
        return None
    candidates = [
        watched
        for watched in reading.watched
        if not watched.position.is_isolated and watched.position.leg not in passed_over
    ]
    if not candidates:
        return None
    worst = min(candidates, key=lambda watched: _urgency(watched.position))
    return Breach(worst, Trigger.MARGIN, measure(worst, reading))


def all_breaches(reading: Reading) -> list[Breach]:
    """Return what an observer reports: own breaches, and the first cross victim if there is one."""
    breaches = breaches_of(reading)
    victim = next_cross_victim(reading, legs_of(breaches))
    return [*breaches, victim] if victim is not None else breaches


def legs_of(breaches: Iterable[Breach]) -> frozenset[Leg]:
    """Return the legs of ``breaches``."""
    return frozenset(breach.leg for breach in breaches)


def _urgency(position: MarginPosition) -> tuple[Decimal, Decimal]:
    return min(ZERO, position.unrealized_pnl_usdt), -position.maintenance_usdt
