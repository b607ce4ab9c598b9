"""EMA, ATR, returns and correlation over candles, oldest first (SPEC 6.2, 6.3).

These are ratios and statistics, never money: they are computed in binary floating point and
handed on as Decimal, rounded to eight places.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import pairwise

from quantum_trader.domain.facts import Regime
from quantum_trader.domain.trading import Kline

EMA_FAST = 20
EMA_SLOW = 50
ATR_PERIOD = 14
COMMON_POINTS_MIN = 20


def regime(candles: Sequence[Kline]) -> Regime:
    """Return trend = |EMA20 − EMA50| / EMA50 and ATR(14) / close of closed candles.

    Raises:
        ValueError: there are fewer candles than the slow average needs.
    """
    if len(candles) < EMA_SLOW:
        raise ValueError(f"{len(candles)} candles, {EMA_SLOW} needed")
    closes = [float(candle.close) for candle in candles]
    slow = ema(closes, EMA_SLOW)
    trend = abs(ema(closes, EMA_FAST) - slow) / slow
    return Regime(_ratio(trend), _ratio(atr(candles, ATR_PERIOD) / closes[-1]), len(candles))


def ema(values: Sequence[float], period: int) -> float:
    """Return the exponential moving average, seeded with the simple average of the first period."""
    average = sum(values[:period]) / period
    weight = 2 / (period + 1)
    for value in values[period:]:
        average += weight * (value - average)
    return average


def atr(candles: Sequence[Kline], period: int) -> float:
    """Return Wilder's average true range, in quote asset."""
    ranges = [
        max(
            float(now.high - now.low),
            abs(float(now.high - before.close)),
            abs(float(now.low - before.close)),
        )
        for before, now in pairwise(candles)
    ]
    average = sum(ranges[:period]) / period
    for true_range in ranges[period:]:
        average += (true_range - average) / period
    return average


def correlations(candles: Mapping[str, Sequence[Kline]]) -> dict[str, dict[str, Decimal]]:
    """Return Pearson's r of returns for every pair with at least 20 common points."""
    returns = {symbol: _returns(series) for symbol, series in candles.items()}
    table: dict[str, dict[str, Decimal]] = {symbol: {} for symbol in candles}
    symbols = sorted(candles)
    for index, one in enumerate(symbols):
        for other in symbols[index + 1 :]:
            r = _pearson(returns[one], returns[other])
            if r is not None:
                table[one][other] = table[other][one] = _ratio(r)
    return table


def _returns(candles: Sequence[Kline]) -> dict[int, float]:
    """Return the change from the candle before, by open time."""
    return {now.open_time_ms: float(now.close) / float(before.close) - 1 for before, now in pairwise(candles)}


def _pearson(one: Mapping[int, float], other: Mapping[int, float]) -> float | None:
    common = one.keys() & other.keys()
    if len(common) < COMMON_POINTS_MIN:
        return None
    mean_one = sum(one[at] for at in common) / len(common)
    mean_other = sum(other[at] for at in common) / len(common)
    covariance = sum((one[at] - mean_one) * (other[at] - mean_other) for at in common)
    spread = math.sqrt(
        sum((one[at] - mean_one) ** 2 for at in common) * sum((other[at] - mean_other) ** 2 for at in common)
    )
    return covariance / spread if spread > 0 else None


def _ratio(value: float) -> Decimal:
    return Decimal(f"{value:.8f}")
