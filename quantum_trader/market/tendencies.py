"""Volatility, trend strength and regime probabilities from closed 1 h candles (docs/harvest.md).

Over the last ``WINDOW`` hourly returns r = close / former close − 1:

- σ, their sample standard deviation: what an hour moves, as a ratio;
- ts, Kaufman's efficiency ratio |last − first close| / Σ|change|: 1 a straight line, 0 back where it began;
- ρ, the correlation of each return with the next one: below 0 moves are taken back.

Scores s_trend = min(ts / 0.3, 1), s_mr = min(max(−ρ, 0) / 0.3, 1), s_chop = 1 − max(s_trend, s_mr),
each plus ½, divided by their sum, are p_trend, p_mr and p_chop. Statistics, never money: binary
floating point inside, Decimal with eight places outside.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from quantum_trader.domain.trading import Kline

WINDOW = 24
STRONG = 0.3
PRIOR = 0.5


@dataclass(frozen=True, slots=True)
class Tendencies:
    """The inputs of the kill score; ratios, the three probabilities summing up to 1."""

    sigma: Decimal
    ts: Decimal
    p_trend: Decimal
    p_chop: Decimal
    p_mr: Decimal


def tendencies(candles: Sequence[Kline]) -> Tendencies:
    """Return what the newest closed ``candles`` say.

    Raises:
        ValueError: there are fewer than ``WINDOW`` + 1, or a price is 0.
    """
    closes = [float(candle.close) for candle in candles[-WINDOW - 1 :]]
    if len(closes) <= WINDOW or min(closes) <= 0:
        raise ValueError(f"{len(closes)} candles with a price, {WINDOW + 1} needed")
    returns = [now / before - 1 for before, now in pairwise(closes)]
    ts = _efficiency(closes)
    p_trend, p_chop, p_mr = _probabilities(ts, _serial_correlation(returns))
    return Tendencies(_ratio(_deviation(returns)), _ratio(ts), _ratio(p_trend), _ratio(p_chop), _ratio(p_mr))


def _deviation(returns: Sequence[float]) -> float:
    mean = sum(returns) / len(returns)
    return math.sqrt(sum((one - mean) ** 2 for one in returns) / (len(returns) - 1))


def _efficiency(closes: Sequence[float]) -> float:
    path = sum(abs(now - before) for before, now in pairwise(closes))
    return abs(closes[-1] - closes[0]) / path if path > 0 else 0


def _serial_correlation(returns: Sequence[float]) -> float:
    mean = sum(returns) / len(returns)
    spread = sum((one - mean) ** 2 for one in returns)
    together = sum((one - mean) * (later - mean) for one, later in pairwise(returns))
    return together / spread if spread > 0 else 0


def _probabilities(ts: float, serial: float) -> tuple[float, float, float]:
    trend = min(ts / STRONG, 1)
    reverting = min(max(-serial, 0) / STRONG, 1)
    choppy = 1 - max(trend, reverting)
    total = trend + choppy + reverting + 3 * PRIOR
    return (trend + PRIOR) / total, (choppy + PRIOR) / total, (reverting + PRIOR) / total


def _ratio(value: float) -> Decimal:
    return Decimal(f"{value:.8f}")
