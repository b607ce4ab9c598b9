"""What P2.6 would have changed, or changed, and what that is worth since (SPEC 9). Pure.

A downgraded close keeps a part of the position that the proposal would have closed. The difference in
PnL is what that part earned since: kept amount × (mark now − mark then), before fees and funding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from quantum_trader.domain.plan import Action
from quantum_trader.domain.trading import ZERO


@dataclass(frozen=True, slots=True)
class Change:
    """One close that the heat made smaller; amounts in base asset, prices and PnL in quote asset."""

    plan_id: str
    symbol: str
    timestamp_ms: int
    proposal: str
    calibrated_action: str
    heat: str
    bucket: str
    mode: str
    kept_amount: Decimal
    mark_then: Decimal
    mark_now: Decimal | None

    @property
    def pnl_difference(self) -> Decimal | None:
        """PnL with the calibrated close minus PnL with the proposal; None without a price of now."""
        if self.mark_now is None:
            return None
        return self.kept_amount * (self.mark_now - self.mark_then)

    def as_record(self) -> dict[str, Any]:
        """Return the change for JSON."""
        names = (name for name in self.__slots__)
        return {name: getattr(self, name) for name in names} | {"pnl_difference_usdt": self.pnl_difference}


@dataclass(frozen=True, slots=True)
class HeatReport:
    """Every proposal that passed by the heat gate and is still on the stream."""

    proposals: int
    since_ms: int | None
    buckets: Mapping[str, int]
    reasons: Mapping[str, int]
    modes: Mapping[str, int]
    changes: tuple[Change, ...]
    unreadable: int

    @property
    def pnl_difference(self) -> Decimal | None:
        """The sum over all changes; None while one of them has no price of now."""
        parts = [change.pnl_difference for change in self.changes]
        known = [part for part in parts if part is not None]
        return sum(known, ZERO) if len(known) == len(parts) else None

    def as_record(self) -> dict[str, Any]:
        """Return the report for JSON."""
        return {
            "proposals": self.proposals,
            "since": self.since_ms,
            "buckets": dict(self.buckets),
            "reasons": dict(self.reasons),
            "modes": dict(self.modes),
            "downgraded": len(self.changes),
            "pnl_difference_usdt": self.pnl_difference,
            "changes": [change.as_record() for change in self.changes],
            "unreadable": self.unreadable,
        }


def report_of(entries: Sequence[Mapping[str, str]], marks: Mapping[str, Decimal]) -> HeatReport:
    """Sum up entries of ``harvest.calibrated``, oldest first, at the ``marks`` of now."""
    changes, unreadable = [], 0
    for entry in entries:
        if entry.get("downgraded") != "true":
            continue
        try:
            changes.append(_change(entry, marks))
        except (KeyError, ValueError, InvalidOperation):
            unreadable += 1  # written by somebody else
    return HeatReport(
        proposals=len(entries),
        since_ms=int(entries[0]["timestamp"])
        if entries and entries[0].get("timestamp", "").isdigit()
        else None,
        buckets=Counter(entry.get("bucket", "") for entry in entries),
        reasons=Counter(entry.get("reason", "").partition(":")[0] for entry in entries),
        modes=Counter(entry.get("mode", "") for entry in entries),
        changes=tuple(changes),
        unreadable=unreadable,
    )


def _change(entry: Mapping[str, str], marks: Mapping[str, Decimal]) -> Change:
    kept = _fraction(entry["proposal"]) - _fraction(entry["calibrated_action"])
    return Change(
        plan_id=entry["plan_id"],
        symbol=entry["symbol"],
        timestamp_ms=int(entry["timestamp"]),
        proposal=entry["proposal"],
        calibrated_action=entry["calibrated_action"],
        heat=entry["heat"],
        bucket=entry["bucket"],
        mode=entry["mode"],
        kept_amount=Decimal(entry["position_amt"]) * kept,
        mark_then=Decimal(entry["mark_price"]),
        mark_now=marks.get(entry["symbol"]),
    )


def _fraction(action: str) -> Decimal:
    fraction = Action(action).close_fraction
    if fraction is None:
        raise ValueError(f"{action} closes nothing")
    return fraction
