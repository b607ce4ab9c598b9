"""Candles in whole ticks, the path of the price inside one, and the calendar of intervals.

Theory of operation. A candle is open, high, low, close as integers of ticks. Inside it the price
walks in straight lines open → low → high → close (a rising candle) or open → high → low → close
(a falling one), a third of the time each. Every candle of every interval, every price and every
unfinished candle is read off that one walk, so they can never contradict each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final, NamedTuple

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000
_WEEK_MS: Final = 7 * DAY_MS
_FIRST_MONDAY_MS: Final = 4 * DAY_MS  # 1970-01-05
_MONTHS: Final = 12

INTERVALS_MS: Final[dict[str, int]] = {
    "1m": MINUTE_MS,
    "3m": 3 * MINUTE_MS,
    "5m": 5 * MINUTE_MS,
    "15m": 15 * MINUTE_MS,
    "30m": 30 * MINUTE_MS,
    "1h": HOUR_MS,
    "2h": 2 * HOUR_MS,
    "4h": 4 * HOUR_MS,
    "6h": 6 * HOUR_MS,
    "8h": 8 * HOUR_MS,
    "12h": 12 * HOUR_MS,
    "1d": DAY_MS,
    "3d": 3 * DAY_MS,
    "1w": _WEEK_MS,
    "1M": 30 * DAY_MS,  # nominal: months follow the calendar
}


class Bar(NamedTuple):
    """One candle over [open_ms, end_ms); prices in ticks, volume in quantity steps."""

    open_ms: int
    end_ms: int
    open: int
    high: int
    low: int
    close: int
    volume: int


def open_of(interval: str, at_ms: int) -> int:
    """Open time of the ``interval`` candle that holds ``at_ms`` (UTC calendar)."""
    if interval == "1M":
        day = datetime.fromtimestamp(at_ms / 1000, UTC)
        return _month_ms(day.year, day.month)
    if interval == "1w":
        return (at_ms - _FIRST_MONDAY_MS) // _WEEK_MS * _WEEK_MS + _FIRST_MONDAY_MS
    width = INTERVALS_MS[interval]
    return at_ms // width * width


def shifted(interval: str, open_ms: int, count: int) -> int:
    """Open time of the candle ``count`` intervals after (before, if negative) ``open_ms``."""
    if interval != "1M":
        return open_ms + count * INTERVALS_MS[interval]
    day = datetime.fromtimestamp(open_ms / 1000, UTC)
    month = day.year * _MONTHS + day.month - 1 + count
    return _month_ms(month // _MONTHS, month % _MONTHS + 1)


def _month_ms(year: int, month: int) -> int:
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp() * 1000)


def corners(bar: Bar) -> tuple[tuple[int, int], ...]:
    """The four points (time in ms, price in ticks) between which the price walks straight."""
    third = (bar.end_ms - bar.open_ms) // 3
    rising = bar.close >= bar.open
    first, second = (bar.low, bar.high) if rising else (bar.high, bar.low)
    return (
        (bar.open_ms, bar.open),
        (bar.open_ms + third, first),
        (bar.open_ms + 2 * third, second),
        (bar.end_ms, bar.close),
    )


def price_at(bar: Bar, at_ms: int) -> int:
    """Price in ticks at ``at_ms`` on the bar's walk; its ends outside of it."""
    if at_ms <= bar.open_ms:
        return bar.open
    points = corners(bar)
    for (from_ms, before), (to_ms, after) in pairwise(points):
        if at_ms < to_ms:
            return before + (after - before) * (at_ms - from_ms) // (to_ms - from_ms)
    return bar.close


def part(bar: Bar, from_ms: int, to_ms: int) -> Bar:
    """The bar that somebody sees who watches only [from_ms, to_ms) of ``bar``."""
    start, end = max(from_ms, bar.open_ms), min(to_ms, bar.end_ms)
    first, last = price_at(bar, start), price_at(bar, end)
    seen = [first, last, *(price for at_ms, price in corners(bar) if start <= at_ms <= end)]
    volume = _volume_until(bar, end) - _volume_until(bar, start)
    return Bar(start, end, first, max(seen), min(seen), last, volume)


def _volume_until(bar: Bar, at_ms: int) -> int:
    # Differences of this add up to the whole, however finely a bar is cut.
    return bar.volume * (at_ms - bar.open_ms) // (bar.end_ms - bar.open_ms)


def merged(bars: Sequence[Bar], open_ms: int, end_ms: int) -> Bar:
    """One bar over [open_ms, end_ms) out of consecutive smaller ones (at least one)."""
    return Bar(
        open_ms,
        end_ms,
        bars[0].open,
        max(bar.high for bar in bars),
        min(bar.low for bar in bars),
        bars[-1].close,
        sum(bar.volume for bar in bars),
    )
