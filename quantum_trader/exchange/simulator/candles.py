"""A tape out of files of candles: Binance's own CSV and JSON, and hourly last/index/mark prices.

Theory of operation. The rows of a file are laid end to end from tape time 0, whatever dates they
carried, and cut to whole days (or hours, if shorter). Behind the last row the tape is read
backwards, then forwards again: the price never jumps, never ends and stays within what was
recorded. Hours and days are put together once, at loading. Symbols without a file come from
another tape.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import orjson

from quantum_trader.exchange.simulator.bars import DAY_MS, HOUR_MS, MINUTE_MS, Bar, merged, part
from quantum_trader.exchange.simulator.symbols import SymbolSpec
from quantum_trader.exchange.simulator.synthetic import Tape

ROWS_MAX: Final = 200_000
HISTORY_ROWS: Final = 1000
HISTORY_MS: Final = 5 * DAY_MS  # whole days; a regime needs 100 closed hours (SPEC 6.2), or nothing opens
_SYMBOL: Final = re.compile(r"[0-9A-Z]+?USDT")
_KLINE_COLUMNS: Final = ("open_time", "open", "high", "low", "close", "volume")
_PPM: Final = 1_000_000


class CandleFileError(ValueError):
    """A file that holds no usable candles; the text names the file and the trouble."""


@dataclass(frozen=True, slots=True)
class _Row:
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal = Decimal(0)
    premium_ppm: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class _Reel:
    """One symbol's candles by width, all over the same whole unit of time."""

    by_width: dict[int, tuple[Bar, ...]]
    base_ms: int
    premiums: tuple[tuple[int, int], ...]

    @property
    def levels_ms(self) -> tuple[int, ...]:
        below = tuple(width for width in (5 * MINUTE_MS, MINUTE_MS) if width < self.base_ms)
        return (*sorted(self.by_width, reverse=True), *below)

    def bar(self, width_ms: int, open_ms: int) -> Bar:
        known = self.by_width.get(width_ms)
        if known is None:
            whole = self.bar(self.base_ms, open_ms // self.base_ms * self.base_ms)
            return part(whole, open_ms, open_ms + width_ms)
        index, backwards = _folded(open_ms // width_ms, len(known))
        bar = known[index]._replace(open_ms=open_ms, end_ms=open_ms + width_ms)
        return bar._replace(open=bar.close, close=bar.open) if backwards else bar

    def premium_ppm(self, at_ms: int) -> tuple[int, int]:
        index, _ = _folded(at_ms // self.base_ms, len(self.premiums))
        return self.premiums[index]


class CandleTape:
    """Candles of files for the symbols that have one, of ``others`` for the rest."""

    def __init__(self, files: Iterable[Path], symbols: Mapping[str, SymbolSpec], others: Tape) -> None:
        self._reels = {symbol: _load(path, symbols[symbol]) for symbol, path in _by_symbol(files, symbols)}
        self._others = others
        self.first_ms = 0

    @property
    def start_ms(self) -> int:
        """Tape time with some history behind it, where playing should begin.

        Of a file that is shorter than ``HISTORY_MS`` the history runs to and fro, as its future does.
        """
        reels = self._reels.values()
        rows_ms = max(min(HISTORY_ROWS, len(r.premiums) // 2) * r.base_ms for r in reels)
        return max(rows_ms, HISTORY_MS)

    def levels_ms(self, symbol: str) -> Sequence[int]:
        """Widths of candles that ``bar`` serves for ``symbol``, widest first."""
        reel = self._reels.get(symbol)
        return self._others.levels_ms(symbol) if reel is None else reel.levels_ms

    def bar(self, symbol: str, width_ms: int, open_ms: int) -> Bar:
        """The complete candle that opens at ``open_ms``, a multiple of ``width_ms``."""
        reel = self._reels.get(symbol)
        if reel is None:
            return self._others.bar(symbol, width_ms, open_ms)
        return reel.bar(width_ms, open_ms)

    def premium_ppm(self, symbol: str, at_ms: int) -> tuple[int, int]:
        """Millionths by which mark and index differ from last; 0 where the file has none."""
        reel = self._reels.get(symbol)
        return self._others.premium_ppm(symbol, at_ms) if reel is None else reel.premium_ppm(at_ms)


def _folded(index: int, count: int) -> tuple[int, bool]:
    """Where an endless to-and-fro over ``count`` candles is at ``index``, and if backwards."""
    lap, place = divmod(index, count)
    return (count - 1 - place, True) if lap % 2 else (place, False)


def _by_symbol(files: Iterable[Path], symbols: Mapping[str, SymbolSpec]) -> Iterator[tuple[str, Path]]:
    for path in files:
        found = _SYMBOL.search(path.name.upper())
        if found is None or found.group() not in symbols:
            raise CandleFileError(f"{path}: the file name must contain a listed symbol, such as BTCUSDT")
        yield found.group(), path


def _load(path: Path, spec: SymbolSpec) -> _Reel:
    try:
        rows = _parsed(path)
    except (OSError, ValueError, InvalidOperation, IndexError, KeyError, TypeError) as error:
        raise CandleFileError(f"{path}: {error}") from error
    times = sorted(rows)[:ROWS_MAX]
    if len(times) < 2:  # noqa: PLR2004 -- a width needs two rows
        raise CandleFileError(f"{path}: at least two candles are needed")
    base_ms = min(after - before for before, after in pairwise(times))
    if base_ms % MINUTE_MS or (HOUR_MS % base_ms and base_ms % HOUR_MS) or DAY_MS % base_ms:
        raise CandleFileError(f"{path}: candles of {base_ms} ms do not divide an hour or a day")
    return _reel([rows[at_ms] for at_ms in times], base_ms, spec)


def _reel(rows: list[_Row], base_ms: int, spec: SymbolSpec) -> _Reel:
    unit_ms = next((unit for unit in (DAY_MS, HOUR_MS) if base_ms <= unit <= len(rows) * base_ms), base_ms)
    count = len(rows) * base_ms // unit_ms * unit_ms // base_ms
    base = tuple(_bar(row, index, base_ms, spec) for index, row in enumerate(rows[:count]))
    by_width = {base_ms: base}
    for width in (HOUR_MS, DAY_MS):
        if base_ms < width <= unit_ms:
            by_width[width] = _joined(base, width // base_ms, width)
    return _Reel(by_width, base_ms, tuple(row.premium_ppm for row in rows[:count]))


def _bar(row: _Row, index: int, width_ms: int, spec: SymbolSpec) -> Bar:
    prices = [max(1, round(price / spec.tick)) for price in (row.open, row.high, row.low, row.close)]
    first, _, _, last = prices
    volume = int(row.volume / spec.step)
    return Bar(index * width_ms, (index + 1) * width_ms, first, max(prices), min(prices), last, volume)


def _joined(base: tuple[Bar, ...], group: int, width_ms: int) -> tuple[Bar, ...]:
    return tuple(
        merged(base[index : index + group], index // group * width_ms, (index // group + 1) * width_ms)
        for index in range(0, len(base), group)
    )


def _parsed(path: Path) -> dict[int, _Row]:
    """Rows by their time in ms since the epoch."""
    if path.suffix == ".json":
        return dict(_kline_row(row) for row in orjson.loads(path.read_bytes()))
    with path.open(newline="", encoding="utf-8") as lines:
        rows = csv.reader(lines)
        header = next(rows)
        if "last_price" in header:
            return _hourly_rows([dict(zip(header, row, strict=False)) for row in rows])
        if "open_time" not in header:
            return dict([_kline_row(header), *(_kline_row(row) for row in rows)])
        columns = [header.index(name) for name in _KLINE_COLUMNS]
        return dict(_kline_row([row[column] for column in columns]) for row in rows)


def _kline_row(row: Sequence[Any]) -> tuple[int, _Row]:
    numbers = [Decimal(str(cell)) for cell in row[1:6]]
    if not all(number.is_finite() for number in numbers) or min(numbers[:4]) <= 0:
        raise ValueError(f"no prices in {list(row)[:6]}")
    first, high, low, last, volume = numbers
    return int(row[0]), _Row(first, high, low, last, volume)


def _hourly_rows(rows: list[dict[str, str]]) -> dict[int, _Row]:
    points = [
        (
            int(datetime.fromisoformat(row["timestamp"]).timestamp() * 1000),
            Decimal(row["last_price"]),
            Decimal(row["mark_price"]),
            Decimal(row["index_price"]),
        )
        for row in rows
        if row["last_price"] and row["mark_price"] and row["index_price"]
    ]
    result = {}
    for (at_ms, last, mark, index), after in pairwise(points):
        premium = (round((mark / last - 1) * _PPM), round((index / last - 1) * _PPM))
        high, low = max(last, after[1]), min(last, after[1])
        result[at_ms] = _Row(last, high, low, after[1], premium_ppm=premium)
    return result
