"""Trading rules, mark prices, regimes and correlations, as last told by the exchange.

A mark price that a stream told is dated with the time of its source event, never with that of its
arrival, so that stale content cannot look fresh (INC-65).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from quantum_trader.concurrency import SharedRead
from quantum_trader.domain.clock import Clock
from quantum_trader.domain.evidence import Reading
from quantum_trader.domain.facts import Regime
from quantum_trader.domain.trading import Kline, SymbolRules
from quantum_trader.exchange.ports import MarketReads
from quantum_trader.market.correlation import Correlations
from quantum_trader.market.indicators import CANDLES_NEEDED, regime
from quantum_trader.market.tendencies import Tendencies, tendencies

KLINES_INTERVAL = "1h"
KLINES_READ = CANDLES_NEEDED + 2  # the open one, and one that is still open by a clock of ours that lags


class LiveMarket:
    """Readings with their time and source; None until the first read succeeded."""

    def __init__(self, reads: MarketReads, clock: Clock) -> None:
        self._reads = reads
        self._clock = clock
        self._candles: dict[str, Sequence[Kline]] = {}
        self._regimes: dict[str, Reading[Regime]] = {}
        self._tendencies: dict[str, Reading[Tendencies]] = {}
        self._correlations = Correlations({})
        self._correlations_at_ms: int | None = None
        self.rules: Reading[Mapping[str, SymbolRules]] | None = None
        self.marks: Reading[Mapping[str, Decimal]] | None = None
        self._streamed_marks: dict[str, Reading[Decimal]] = {}
        self.refresh_rules = SharedRead(self._read_rules).fresh
        self.refresh_marks = SharedRead(self._read_marks).fresh

    def rules_of(self, symbol: str) -> SymbolRules | None:
        """Return the trading rules of ``symbol``; None when unknown or never read."""
        return self.rules.value.get(symbol) if self.rules is not None else None

    def reading_of_rules(self, symbol: str) -> Reading[SymbolRules | None] | None:
        """Return the trading rules of ``symbol`` as a reading: of None where the venue does not have it."""
        rules = self.rules
        return None if rules is None else Reading(rules.value.get(symbol), rules.read_at_ms, rules.source)

    def mark_of(self, symbol: str) -> Reading[Decimal] | None:
        """Return the newer of what a read and what the stream told; None where neither did."""
        streamed, read = self._streamed_marks.get(symbol), self.marks
        if read is None or symbol not in read.value:
            return streamed
        if streamed is not None and streamed.read_at_ms >= read.read_at_ms:
            return streamed
        return Reading(read.value[symbol], read.read_at_ms, read.source)

    def mark_or_absence_of(self, symbol: str) -> Reading[Any] | None:
        """Return what says last what the mark price is, or that there is none: a read lists them all."""
        known = self.mark_of(symbol)
        return self.marks if known is None else known

    @property
    def newest_marks(self) -> Reading[Any] | None:
        """What was told last of any mark price, by a read or by the stream: how fresh they are."""
        told = (*self._streamed_marks.values(), *((self.marks,) if self.marks is not None else ()))
        return max(told, key=lambda reading: reading.read_at_ms, default=None)

    def take_mark(self, symbol: str, price: Decimal, event_ms: int) -> None:
        """Take over a mark price of the stream; ``event_ms`` is its source event's time, by our clock.

        One that is older than what is known changes nothing, and none is dated later than now.
        """
        known = self._streamed_marks.get(symbol)
        if known is None or event_ms >= known.read_at_ms:
            self._streamed_marks[symbol] = Reading(price, min(event_ms, self._clock.now_ms()), "stream")

    def take_candle(self, symbol: str, candle: Kline) -> None:
        """Append a closed candle that follows the newest one; any other is left to the next read."""
        known = self._candles.get(symbol)
        if not known or candle.open_time_ms != known[-1].close_time_ms + 1:
            return
        self._take_candles(symbol, [*known[1:], candle])
        self.recompute_correlations()

    def regime_of(self, symbol: str) -> Reading[Regime] | None:
        """Return the regime of ``symbol``, dated with the close of its newest closed candle."""
        return self._regimes.get(symbol)

    def tendencies_of(self, symbol: str) -> Reading[Tendencies] | None:
        """Return volatility and trend of ``symbol``, dated with the close of its newest closed candle."""
        return self._tendencies.get(symbol)

    def correlations_of(self, symbol: str) -> Reading[Mapping[str, Decimal]] | None:
        """Return correlations of ``symbol`` with other symbols."""
        if self._correlations_at_ms is None:
            return None
        return Reading(self._correlations[symbol], self._correlations_at_ms, "klines")

    async def refresh_klines(self, symbol: str) -> None:
        """Read the symbol's candles and recompute its regime; raises ``ExchangeError``."""
        candles = await self._reads.klines(symbol, KLINES_INTERVAL, KLINES_READ)
        now_ms = self._clock.now_ms()
        closed = [candle for candle in candles if candle.close_time_ms < now_ms]
        self._take_candles(symbol, closed[-CANDLES_NEEDED:])

    def _take_candles(self, symbol: str, closed: Sequence[Kline]) -> None:
        self._candles[symbol] = closed
        try:
            self._regimes[symbol] = Reading(regime(closed), closed[-1].close_time_ms, "klines")
        except (ValueError, ArithmeticError, IndexError):
            self._regimes.pop(symbol, None)  # too young a symbol has no regime: the gate errs on it
        try:
            self._tendencies[symbol] = Reading(tendencies(closed), closed[-1].close_time_ms, "klines")
        except ValueError:
            self._tendencies.pop(symbol, None)  # likewise: its kill score is unknown

    def recompute_correlations(self) -> None:
        """Let correlations be told from the candles read so far."""
        self._correlations = Correlations(self._candles, self._correlations)
        self._correlations_at_ms = self._clock.now_ms()

    async def _read_rules(self) -> None:
        asked_ms = self._clock.now_ms()
        self.rules = Reading(await self._reads.symbol_rules(), asked_ms, "exchangeInfo")

    async def _read_marks(self) -> None:
        asked_ms = self._clock.now_ms()
        self.marks = Reading(await self._reads.mark_prices(), asked_ms, "premiumIndex")
