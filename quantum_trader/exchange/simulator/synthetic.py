"""A seeded synthetic tape: candles of any day, out of nothing but the seed and the time.

Theory of operation. Day boundaries come from value noise: random values at multiples of 1, 2, 4
… 64 days, joined by straight lines and added up; part of it is common to all symbols (``beta``),
part is each symbol's own. A day's candle is drawn between two boundaries and split top-down: a
day into hours, an hour into five-minute candles, those into minutes. A split is a random bridge
from the parent's open to its close that stays within the parent's low and high and touches both,
in one of three regimes: trend (straight), chop (to and fro), jump (most of the way in one child).
Hence any candle can be made alone, at any time, in any order, and always comes out the same; one
may restart years later and find the price where it would have been. Only a bounded cache is kept.

Floating point makes the random shapes; from the whole ticks on, everything is exact.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Final, Protocol

from quantum_trader.exchange.simulator.bars import DAY_MS, HOUR_MS, MINUTE_MS, Bar
from quantum_trader.exchange.simulator.symbols import SymbolSpec

LEVELS_MS: Final = (DAY_MS, HOUR_MS, 5 * MINUTE_MS, MINUTE_MS)
HISTORY_DAYS: Final = 800
_OCTAVES: Final = 7
_PARENTS_CACHED_MAX: Final = 1024
_TURNOVER_USDT: Final[dict[str, float]] = {
    "btc": 1.3e10,
    "eth": 9e9,
    "large": 1.5e9,
    "mid": 2e8,
    "small": 8e7,
}
_REGIMES: Final = ((0.40, "trend"), (0.88, "chop"), (1.0, "jump"))


class Tape(Protocol):
    """A source of candles for every symbol, on its own time axis (``market`` time, ms)."""

    def levels_ms(self, symbol: str) -> Sequence[int]:
        """Widths of candles that ``bar`` serves, widest first; each divides the one before."""
        ...

    @property
    def first_ms(self) -> int:
        """Market time before which there is no candle."""
        ...

    def bar(self, symbol: str, width_ms: int, open_ms: int) -> Bar:
        """The complete candle that opens at ``open_ms``, a multiple of ``width_ms``."""
        ...

    def premium_ppm(self, symbol: str, at_ms: int) -> tuple[int, int]:
        """By how many millionths of the last price (mark, index) differ from it."""
        ...


class SyntheticTape:
    """Random but reproducible candles for ``symbols``; see the module's theory of operation."""

    def __init__(self, seed: int, symbols: Mapping[str, SymbolSpec], start_ms: int) -> None:
        self._seed = seed
        self._specs = dict(symbols)
        self.first_ms = (start_ms // DAY_MS - HISTORY_DAYS) * DAY_MS
        self._knot = lru_cache(maxsize=4096)(self._make_knot)
        self._day = lru_cache(maxsize=_PARENTS_CACHED_MAX)(self._make_day)
        self._children = lru_cache(maxsize=_PARENTS_CACHED_MAX)(self._split)

    def levels_ms(self, symbol: str) -> Sequence[int]:  # noqa: ARG002 -- the same for all
        """Days, hours, five minutes, minutes."""
        return LEVELS_MS

    def bar(self, symbol: str, width_ms: int, open_ms: int) -> Bar:
        """The complete candle that opens at ``open_ms``, a multiple of ``width_ms``."""
        if width_ms == DAY_MS:
            return self._day(symbol, open_ms)
        parent_ms = LEVELS_MS[LEVELS_MS.index(width_ms) - 1]
        parent_open_ms = open_ms // parent_ms * parent_ms
        return self._children(symbol, parent_ms, parent_open_ms)[(open_ms - parent_open_ms) // width_ms]

    def premium_ppm(self, symbol: str, at_ms: int) -> tuple[int, int]:
        """A slow swing of the mark within ±150 ppm around last, the index a little further off."""
        phase = int(self._knot(symbol, "phase", 0) * 1000)
        swing = math.sin((at_ms / HOUR_MS + phase) * 0.7) + 0.5 * math.sin(at_ms / MINUTE_MS / 7 + phase)
        return round(100 * swing), round(180 * swing)

    def _make_knot(self, name: str, octave: object, index: int) -> float:
        digest = blake2b(f"{self._seed}:{name}:{octave}:{index}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**63 - 1.0

    def _noise(self, name: str, day: int) -> float:
        total = 0.0
        for octave in range(_OCTAVES):
            index, offset = divmod(day, 1 << octave)
            here, there = self._knot(name, octave, index), self._knot(name, octave, index + 1)
            total += math.sqrt(1 << octave) * (here + (there - here) * offset / (1 << octave))
        return total

    def _boundary_ticks(self, spec: SymbolSpec, day: int) -> int:
        sigma = spec.daily_moves_bps / 10_000
        moves = 0.012 * spec.beta * self._noise("common", day) + 0.5 * sigma * self._noise(spec.symbol, day)
        return max(1, round(float(spec.price_typical / spec.tick) * math.exp(moves)))

    def _make_day(self, symbol: str, open_ms: int) -> Bar:
        spec, day = self._specs[symbol], open_ms // DAY_MS
        rng = self._rng(symbol, "day", open_ms)
        first, last = self._boundary_ticks(spec, day), self._boundary_ticks(spec, day + 1)
        reach = first * spec.daily_moves_bps / 10_000
        high = max(first, last) + round(reach * abs(rng.gauss(0.35, 0.25)))
        low = max(1, min(first, last) - round(reach * abs(rng.gauss(0.35, 0.25))))
        price = float(spec.tick) * first
        volume = _TURNOVER_USDT[spec.tier] / price / float(spec.step) * math.exp(rng.gauss(0, 0.4))
        return Bar(open_ms, open_ms + DAY_MS, first, high, low, last, round(volume))

    def _split(self, symbol: str, width_ms: int, open_ms: int) -> tuple[Bar, ...]:
        parent = self.bar(symbol, width_ms, open_ms)
        child_ms = LEVELS_MS[LEVELS_MS.index(width_ms) + 1]
        count = width_ms // child_ms
        market = self._rng("common", width_ms, open_ms)
        own = self._rng(symbol, width_ms, open_ms)
        regime = _regime(market.random())
        steps = _mixed_steps(market, own, self._specs[symbol].beta, count)
        points = _bridge(parent, steps, regime)
        return _bars_along(parent, points, own, child_ms)

    def _rng(self, name: str, level: object, open_ms: int) -> random.Random:
        digest = blake2b(f"{self._seed}:{name}:{level}:{open_ms}".encode(), digest_size=8).digest()
        return random.Random(int.from_bytes(digest, "big"))  # noqa: S311 -- a market, not a key


def _regime(draw: float) -> str:
    return next(name for up_to, name in _REGIMES if draw <= up_to)


def _mixed_steps(market: random.Random, own: random.Random, beta: float, count: int) -> list[float]:
    share = min(0.85, 0.6 * beta)
    rest = math.sqrt(1 - share * share)
    return [share * market.gauss(0, 1) + rest * own.gauss(0, 1) for _ in range(count)]


def _bridge(parent: Bar, steps: list[float], regime: str) -> list[int]:
    """Boundary prices of the children: from open to close, inside the parent's range."""
    count = len(steps)
    if regime == "jump":
        leap = max(range(count), key=lambda index: abs(steps[index]))
        steps = [step * (5.0 if index == leap else 0.35) for index, step in enumerate(steps)]
    drift_share = {"trend": 0.35, "chop": 0.75, "jump": 0.5}[regime]
    scale = drift_share * (parent.high - parent.low) / math.sqrt(count)
    total, walked = sum(steps), 0.0
    points = [parent.open]
    for index, step in enumerate(steps[:-1], start=1):
        walked += step
        on_line = parent.open + (parent.close - parent.open) * index / count
        price = round(on_line + scale * (walked - total * index / count))
        points.append(_folded(price, parent.low, parent.high))
    points.append(parent.close)
    return points


def _folded(price: int, low: int, high: int) -> int:
    """Mirror a price that left the range back into it: clipping would leave flat stretches."""
    if price > high:
        price = 2 * high - price
    elif price < low:
        price = 2 * low - price
    return min(high, max(low, price))


def _bars_along(parent: Bar, points: list[int], rng: random.Random, child_ms: int) -> tuple[Bar, ...]:
    count = len(points) - 1
    wick = (parent.high - parent.low) / (2 * count)
    highs = [
        min(parent.high, max(points[i], points[i + 1]) + round(wick * rng.random())) for i in range(count)
    ]
    lows = [max(parent.low, min(points[i], points[i + 1]) - round(wick * rng.random())) for i in range(count)]
    highs[max(range(count), key=highs.__getitem__)] = parent.high
    lows[min(range(count), key=lows.__getitem__)] = parent.low
    shares = [0.3 + rng.random() for _ in range(count)]
    unit = parent.volume / sum(shares)
    volumes = [int(share * unit) for share in shares]
    volumes[-1] += parent.volume - sum(volumes)
    return tuple(
        Bar(
            parent.open_ms + index * child_ms,
            parent.open_ms + (index + 1) * child_ms,
            points[index],
            highs[index],
            lows[index],
            points[index + 1],
            volumes[index],
        )
        for index in range(count)
    )
