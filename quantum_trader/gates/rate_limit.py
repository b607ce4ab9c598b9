"""Gate 4: how often opens may be claimed (SPEC 5).

The gate judges the engine's own count; the claim counts again, atomically, and takes the token.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import ClassVar

from pydantic import Field

from quantum_trader.domain import facts
from quantum_trader.domain.case import Case
from quantum_trader.domain.reasons import Reason
from quantum_trader.domain.verdict import Verdict
from quantum_trader.gates.base import Gate

MINUTE_MS = 60_000
FIVE_MINUTES_MS = 300_000
HOUR_MS = 3_600_000


class RateLimit(Gate):
    """Sliding windows over the times at which opens were claimed."""

    name: ClassVar[str] = "rate_limit"

    per_symbol_s: int = Field(
        default=30, ge=0, le=3600, description="seconds between two opens of one symbol"
    )
    global_per_min: int = Field(default=5, ge=1, description="opens of all symbols within a minute")
    per_symbol_5min_max: int = Field(default=2, ge=1, description="opens of one symbol within 5 minutes")
    per_symbol_hour_max: int = Field(default=3, ge=1, description="opens of one symbol within an hour")
    global_cooldown_s: int = Field(
        default=300, ge=0, description="seconds of cooldown_global set when global_per_min is exceeded"
    )
    exits_per_min: int = Field(
        default=60, ge=1, description="exits sent within a minute; further ones wait, none is denied"
    )

    def judge(self, case: Case) -> Verdict:
        """Deny an open that would exceed one of the four windows."""
        counts = case.evidence.get(facts.RATES)
        now_ms = case.now_ms
        if _since(counts.symbol_ms, now_ms - self.per_symbol_s * 1000):
            return self.denies(
                Reason.RATE_LIMIT_SYMBOL,
                last_ms_ago=now_ms - counts.symbol_ms[-1],
                per_symbol_s=self.per_symbol_s,
            )
        if _since(counts.global_ms, now_ms - MINUTE_MS) >= self.global_per_min:
            return self.denies(Reason.RATE_LIMIT_GLOBAL, global_per_min=self.global_per_min)
        if _since(counts.symbol_ms, now_ms - FIVE_MINUTES_MS) >= self.per_symbol_5min_max:
            return self.denies(Reason.BURST_LIMIT_EXCEEDED, per_symbol_5min_max=self.per_symbol_5min_max)
        if _since(counts.symbol_ms, now_ms - HOUR_MS) >= self.per_symbol_hour_max:
            return self.denies(Reason.HOURLY_LIMIT_EXCEEDED, per_symbol_hour_max=self.per_symbol_hour_max)
        return self.passes(global_in_a_minute=_since(counts.global_ms, now_ms - MINUTE_MS))


def _since(times_ms: tuple[int, ...], start_ms: int) -> int:
    return len(times_ms) - bisect_right(times_ms, start_ms)
