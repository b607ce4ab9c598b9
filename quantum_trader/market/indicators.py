"""EMA, ATR, returns and correlation over candles, oldest first (SPEC 6.2, 6.3).

These are ratios and statistics, never money: they are computed in binary floating point and
handed on as Decimal, rounded to eight places.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise

from quantum_trader.domain.facts import Regime
from quantum_trader.domain.trading import Kline

EMA_FAST = 20
EMA_SLOW = 50
ATR_PERIOD = 14
CANDLES_NEEDED = 100


def regime(candles: Sequence[Kline]) -> Regime:
    """Return trend = |EMA20 − EMA50| / EMA50 and ATR(14) / close of closed candles.

    Raises:
        ValueError: there are fewer than ``CANDLES_NEEDED``: the averages would still remember their seed.
    """
    if len(candles) < CANDLES_NEEDED:
        raise ValueError(f"{len(candles)} candles, {CANDLES_NEEDED} needed")
    closes = [float(candle.close) for candle in candles]
    slow = ema(closes, EMA_SLOW)
    trend = abs(ema(closes, EMA_FAST) - slow) / slow
    return Regime(ratio(trend), ratio(atr(candles, ATR_PERIOD) / closes[-1]), len(candles))


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


def ratio(value: float) -> Decimal:
    """Return a ratio as Decimal, rounded to eight places."""
    return Decimal(f"{value:.8f}")
