"""Correlation of returns between symbols (SPEC 6.3), worked out pair by pair when it is asked for.

A gate asks for a candidate and the symbols that are open, never for all pairs of all symbols: a
thousand symbols have half a million of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

from quantum_trader.domain.trading import Kline
from quantum_trader.market.indicators import ratio

COMMON_POINTS_MIN = 20

Returns = Mapping[int, float]


class Correlations:
    """Pearson's r of returns over the candles of one moment; what was worked out is remembered."""

    def __init__(self, candles: Mapping[str, Sequence[Kline]], former: Correlations | None = None) -> None:
        """Returns of series that ``former`` has as well are taken from it."""
        self._candles = dict(candles)
        self._returns: dict[str, Returns] = {}
        if former is not None:
            self._returns = {
                symbol: returns
                for symbol, returns in former._returns.items()  # noqa: SLF001 -- one of its own kind
                if self._candles.get(symbol) is former._candles[symbol]  # noqa: SLF001
            }
        self._known: dict[str, dict[str, Decimal | None]] = {}

    def __getitem__(self, symbol: str) -> Mapping[str, Decimal]:
        """Return the correlations of ``symbol``; a pair without 20 common points is not among them."""
        return _Row(self, symbol, self._known.setdefault(symbol, {}))

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols with candles."""
        return tuple(self._candles)

    def between(self, one: str, other: str) -> Decimal | None:
        """Return r of two different symbols; None where it cannot be told."""
        if one == other or one not in self._candles or other not in self._candles:
            return None
        known = self._known.setdefault(one, {})
        if other not in known:
            first, second = (one, other) if one < other else (other, one)
            r = _pearson(self._returns_of(first), self._returns_of(second))
            known[other] = self._known.setdefault(other, {})[one] = None if r is None else ratio(r)
        return known[other]

    def _returns_of(self, symbol: str) -> Returns:
        if symbol not in self._returns:
            self._returns[symbol] = _returns(self._candles[symbol])
        return self._returns[symbol]


class _Row(Mapping[str, Decimal]):
    """The correlations of one symbol."""

    def __init__(self, table: Correlations, symbol: str, known: Mapping[str, Decimal | None]) -> None:
        self._table = table
        self._symbol = symbol
        self._known = known

    def __getitem__(self, other: str) -> Decimal:
        found: Decimal | None = self.get(other)
        if found is None:
            raise KeyError(other)
        return found

    def get(self, other: str, default: Any = None) -> Any:
        """Return r with ``other``, or ``default`` where it cannot be told."""
        try:
            found = self._known[other]
        except KeyError:
            found = self._table.between(self._symbol, other)
        return default if found is None else found

    def __iter__(self) -> Iterator[str]:
        return (other for other in self._table.symbols if other in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _returns(candles: Sequence[Kline]) -> Returns:
    """Return the change from the candle before, by open time."""
    return {now.open_time_ms: float(now.close) / float(before.close) - 1 for before, now in pairwise(candles)}


def _pearson(one: Returns, other: Returns) -> float | None:
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
