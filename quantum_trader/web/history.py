"""Equity and exposure over the last day, one point every ten seconds, in memory."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import islice

from quantum_trader.domain.clock import Clock
from quantum_trader.pipeline.evidence import Rooms

EVERY_MS = 10_000
POINTS_KEPT = 8_640
POINTS_SHOWN = 720


@dataclass(frozen=True, slots=True)
class Point:
    """USDT at a moment (ms); for charts, so plain floats."""

    at_ms: int
    equity_usdt: float
    exposure_usdt: float
    positions: int


class History:
    """Takes a point when one is due and both readings are known."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._points: deque[Point] = deque(maxlen=POINTS_KEPT)

    def note(self, rooms: Rooms) -> None:
        """Add a point, unless the last one is younger than ``EVERY_MS``."""
        now_ms = self._clock.now_ms()
        account, positions = rooms.account.account, rooms.account.positions
        if account is None or positions is None:
            return
        if self._points and now_ms - self._points[-1].at_ms < EVERY_MS:
            return
        point = Point(
            now_ms,
            float(account.value.margin_balance),
            float(positions.value.notional_usdt),
            len(positions.value),
        )
        self._points.append(point)

    @property
    def newest_ms(self) -> int:
        """When the newest point was taken; 0 before the first."""
        return self._points[-1].at_ms if self._points else 0

    def columns(self, since_ms: int = 0) -> dict[str, list[float]]:
        """Return the points after ``since_ms`` by column, thinned to about ``POINTS_SHOWN``; times in s."""
        points = [point for point in self._points if point.at_ms > since_ms]
        step = max(1, -(-len(points) // POINTS_SHOWN))
        shown = list(islice(reversed(points), 0, None, step))[::-1]
        return {
            "at_s": [point.at_ms / 1000 for point in shown],
            "equity_usdt": [point.equity_usdt for point in shown],
            "exposure_usdt": [point.exposure_usdt for point in shown],
        }
