"""Prices and candles as the venue sees them: a tape, a clock mapping, and prices set by hand.

Theory of operation. A *tape* (synthetic.py, candles.py) knows complete candles on its own time
axis. The market maps the caller's time onto that axis (origin and speed), reads the current
candle's walk for the last price, and lays *overrides* over it: a shock multiplies every later
price, a pin holds one exact price until it is released. Nothing runs in the background: the
price at a moment is computed when someone asks about that moment.

At a speed other than 1 the tape's candles pass faster than the clock. They are then reported
under times that count back from now, so that a client always gets a series without gaps whose
last row is the open candle.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final, NamedTuple

from quantum_trader.exchange.simulator.bars import (
    HOUR_MS,
    INTERVALS_MS,
    Bar,
    merged,
    open_of,
    part,
    price_at,
    shifted,
)
from quantum_trader.exchange.simulator.symbols import SymbolSpec
from quantum_trader.exchange.simulator.synthetic import Tape

FUNDING_INTERVAL_MS: Final = 8 * HOUR_MS
KLINES_MAX: Final = 1500
_OVERRIDES_MAX: Final = 64
_BPS: Final = 10_000
_INTEREST_RATE: Final = Decimal("0.0001")


class Quote(NamedTuple):
    """Prices of one symbol at one moment, in USDT, on its tick."""

    last: Decimal
    mark: Decimal
    index_price: Decimal
    bid: Decimal
    ask: Decimal


@dataclass(frozen=True, slots=True)
class _Override:
    """From ``from_ms`` (market time) on: ``pinned`` ticks, or the path times ``scale``."""

    from_ms: int
    scale: Fraction
    pinned: int | None = None
    pinned_mark: int | None = None


_NO_OVERRIDE: Final = _Override(0, Fraction(1))


class Market:
    """Last, mark, index and candles of every symbol, as a function of the caller's time.

    ``start_ms`` (caller's time) falls on ``tape_start_ms`` of the tape; from there ``speed`` tape
    milliseconds pass in each of the caller's. ``spread_bps`` is the distance of bid and ask in
    basis points, never less than one tick.
    """

    def __init__(
        self,
        tape: Tape,
        symbols: Mapping[str, SymbolSpec],
        *,
        start_ms: int,
        tape_start_ms: int | None = None,
        speed: Decimal = Decimal(1),
        spread_bps: Decimal = Decimal(1),
    ) -> None:
        self._tape = tape
        self._specs = symbols
        self._start_ms = start_ms
        self._tape_start_ms = start_ms if tape_start_ms is None else tape_start_ms
        self._speed_up, self._speed_down = speed.as_integer_ratio()
        self._spread = spread_bps / _BPS
        self._overrides: dict[str, deque[_Override]] = {}
        self._quotes: dict[str, tuple[int, Quote]] = {}
        self.revision = 0  # grows whenever a price is set by hand

    def market_ms(self, now_ms: int) -> int:
        """The tape's time at the caller's ``now_ms``."""
        return self._tape_start_ms + (now_ms - self._start_ms) * self._speed_up // self._speed_down

    def quote(self, symbol: str, now_ms: int) -> Quote:
        """Prices at ``now_ms``; KeyError for a symbol that is not listed."""
        cached = self._quotes.get(symbol)
        if cached is not None and cached[0] == now_ms:
            return cached[1]
        quote = self._quote_now(self._specs[symbol], self.market_ms(now_ms))
        self._quotes[symbol] = (now_ms, quote)
        return quote

    def extremes(self, symbol: str, from_ms: int, to_ms: int) -> tuple[Decimal, Decimal]:
        """Lowest and highest last price between two of the caller's moments, both included."""
        tick = self._specs[symbol].tick
        seen = self.candle(symbol, from_ms, to_ms)
        return seen.low * tick, seen.high * tick

    def candle(self, symbol: str, from_ms: int, to_ms: int) -> Bar:
        """One candle of what happened between two of the caller's moments, in the tape's times."""
        return self._bar(symbol, self.market_ms(from_ms), self.market_ms(to_ms))

    def premium(self, symbol: str, at_ms: int) -> Decimal:
        """How far the mark is above the index, a fraction of it; prices set by hand leave it alone."""
        mark_ppm, index_ppm = self._tape.premium_ppm(symbol, self.market_ms(at_ms))
        return Decimal(mark_ppm - index_ppm).scaleb(-6)

    def funding_rate(self, symbol: str, at_ms: int) -> Decimal:
        """Rate (a fraction of notional) that falls due at the end of the period of ``at_ms``."""
        period_ms = at_ms // FUNDING_INTERVAL_MS * FUNDING_INTERVAL_MS
        return _INTEREST_RATE - self.premium(symbol, period_ms)

    def klines(
        self, symbol: str, interval: str, now_ms: int, limit: int, window: tuple[int | None, int | None]
    ) -> list[Bar]:
        """At most ``limit`` candles, ascending, whose open lies in ``window`` (start, end; ms).

        Without a start the newest, otherwise the oldest of the window. The last one may be open.
        """
        reported_ms, tape_now_ms = open_of(interval, now_ms), self.market_ms(now_ms)
        tape_open_ms = open_of(interval, tape_now_ms)
        oldest = self._first_index(interval, tape_open_ms)
        start_ms, end_ms = window
        width = INTERVALS_MS[interval]
        newest = 0 if end_ms is None else min(0, (end_ms - reported_ms) // width)
        first = newest - limit + 1
        if start_ms is not None:
            first = -((reported_ms - start_ms) // width)
            newest = min(newest, first + limit - 1)
        rows = []
        for index in range(max(first, oldest), newest + 1):
            from_ms, to_ms = (
                shifted(interval, tape_open_ms, index),
                shifted(interval, tape_open_ms, index + 1),
            )
            bar = self._bar(symbol, from_ms, min(to_ms, tape_now_ms))
            opened_ms = shifted(interval, reported_ms, index)
            rows.append(bar._replace(open_ms=opened_ms, end_ms=shifted(interval, opened_ms, 1)))
        return rows

    def candle_open_ms(self, interval: str, now_ms: int) -> int:
        """Tape time at which the ``interval`` candle of now began; changes when a candle closes."""
        return open_of(interval, self.market_ms(now_ms))

    def window(self, symbol: str, now_ms: int, width_ms: int) -> Bar:
        """One candle of the last ``width_ms`` of the tape, up to now."""
        tape_now_ms = self.market_ms(now_ms)
        return self._bar(symbol, tape_now_ms - width_ms, tape_now_ms)

    def pin(self, symbol: str, price: Decimal, now_ms: int, mark: Decimal | None = None) -> None:
        """Hold last, index and mark at ``price`` (mark at ``mark``, if given) from now on.

        Prices are moved onto the tick. KeyError for a symbol that is not listed.
        """
        tick = self._specs[symbol].tick
        ticks = max(1, round(price / tick))
        mark_ticks = ticks if mark is None else max(1, round(mark / tick))
        path = self._path(symbol, self.market_ms(now_ms))
        self._override(symbol, _Override(self.market_ms(now_ms), Fraction(ticks, path), ticks, mark_ticks))

    def release(self, symbol: str, now_ms: int) -> None:
        """Let a pinned price move again, from where it is."""
        current = self._current(symbol, self.market_ms(now_ms))
        self._override(symbol, _Override(self.market_ms(now_ms), current.scale))

    def shock(self, symbol: str, factor: Decimal, now_ms: int) -> None:
        """Multiply the price by ``factor`` from now on; a pinned price stays pinned."""
        at_ms = self.market_ms(now_ms)
        current = self._current(symbol, at_ms)
        if current.pinned is None:
            self._override(symbol, _Override(at_ms, current.scale * Fraction(factor)))
        else:
            self.pin(symbol, current.pinned * self._specs[symbol].tick * factor, now_ms)

    def _quote_now(self, spec: SymbolSpec, at_ms: int) -> Quote:
        override = self._current(spec.symbol, at_ms)
        last = self._shown(override, self._path(spec.symbol, at_ms))
        mark_ppm, index_ppm = self._tape.premium_ppm(spec.symbol, at_ms)
        mark = override.pinned_mark or last + round(last * mark_ppm / 1_000_000)
        index = override.pinned or last + round(last * index_ppm / 1_000_000)
        spread = max(1, round(last * self._spread))
        bid = max(1, last - spread // 2)
        tick = spec.tick
        return Quote(last * tick, mark * tick, index * tick, bid * tick, (bid + spread) * tick)

    def _path(self, symbol: str, at_ms: int) -> int:
        levels_ms = self._tape.levels_ms(symbol)
        for width in levels_ms:  # a round moment needs no small candle
            if at_ms % width == 0:
                return self._tape.bar(symbol, width, at_ms).open
        width = levels_ms[-1]
        return price_at(self._tape.bar(symbol, width, at_ms // width * width), at_ms)

    def _current(self, symbol: str, at_ms: int) -> _Override:
        for override in reversed(self._overrides.get(symbol, ())):
            if override.from_ms <= at_ms:
                return override
        return _NO_OVERRIDE

    @staticmethod
    def _shown(override: _Override, path: int) -> int:
        if override.pinned is not None:
            return override.pinned
        return max(1, round(path * override.scale)) if override.scale != 1 else path

    def _override(self, symbol: str, override: _Override) -> None:
        kept = self._overrides.setdefault(symbol, deque(maxlen=_OVERRIDES_MAX))
        kept.append(override)
        self._quotes.pop(symbol, None)
        self.revision += 1

    def _first_index(self, interval: str, tape_open_ms: int) -> int:
        return -max(0, (tape_open_ms - self._tape.first_ms) // INTERVALS_MS[interval])

    def _bar(self, symbol: str, from_ms: int, to_ms: int) -> Bar:
        """The candle of [from_ms, to_ms] with overrides; a single point where they are equal."""
        bounds = [
            override.from_ms
            for override in self._overrides.get(symbol, ())
            if from_ms < override.from_ms <= to_ms
        ]
        pieces = [
            self._overridden(symbol, start, end)
            for start, end in zip([from_ms, *bounds], [*bounds, to_ms], strict=True)
        ]
        return merged(pieces, from_ms, to_ms)

    def _overridden(self, symbol: str, from_ms: int, to_ms: int) -> Bar:
        override = self._current(symbol, from_ms)
        bar = self._cover(symbol, from_ms, to_ms)
        return bar._replace(
            open=self._shown(override, bar.open),
            high=self._shown(override, bar.high),
            low=self._shown(override, bar.low),
            close=self._shown(override, bar.close),
        )

    def _cover(self, symbol: str, from_ms: int, to_ms: int) -> Bar:
        """The tape over [from_ms, to_ms], out of the widest candles that fit."""
        pieces: list[Bar] = []
        at_ms = from_ms
        while at_ms < to_ms or not pieces:
            width = _widest(self._tape.levels_ms(symbol), at_ms, to_ms)
            bar = self._tape.bar(symbol, width, at_ms // width * width)
            whole = bar.open_ms == at_ms and bar.end_ms <= to_ms
            pieces.append(bar if whole else part(bar, at_ms, to_ms))
            at_ms = bar.end_ms
        return merged(pieces, from_ms, to_ms)


def _widest(levels_ms: Sequence[int], at_ms: int, to_ms: int) -> int:
    for width in levels_ms:
        if at_ms % width == 0 and at_ms + width <= to_ms:
            return width
    return levels_ms[-1]
