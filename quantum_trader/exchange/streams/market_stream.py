"""Mark prices of every symbol each second, and closed candles, on the market route (BINANCE.md 11).

The mark prices are the stream's beat: without them for four seconds it is dead, however open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from urllib.parse import quote

import structlog

from quantum_trader.domain.clock import Clock
from quantum_trader.exchange.errors import ReplyUnreadable
from quantum_trader.exchange.streams.link import Link, LinkTerms
from quantum_trader.exchange.streams.market_events import MarketEvent, market_event_of

TERMS = LinkTerms(silent_s_max=4.0, messages_are_the_beat=True)
MARKS = "!markPrice@arr@1s"
CANDLES_MAX = 200  # names in one URL; the exchange takes 1024 a connection

log = structlog.get_logger()


class MarketStream:
    """Hands mark prices and closed candles to ``on_event``, which must not raise and must bear doubles.

    ``candle_symbols`` is asked at every connection whose candles of ``interval`` to follow.
    """

    def __init__(
        self,
        stream_url: str,
        clock: Clock,
        *,
        interval: str,
        candle_symbols: Callable[[], Iterable[str]],
        on_event: Callable[[MarketEvent], None],
    ) -> None:
        self._stream_url = stream_url
        self._interval = interval
        self._candle_symbols = candle_symbols
        self._on_event = on_event
        self.link = Link("market", self._find_url, self._receive, clock, TERMS)

    async def run(self) -> None:
        """Listen until cancelled."""
        await self.link.run()

    async def _find_url(self) -> str:
        symbols = sorted(self._candle_symbols())[:CANDLES_MAX]
        candles = [f"{quote(symbol.lower(), safe='')}@kline_{self._interval}" for symbol in symbols]
        return f"{self._stream_url}/market/stream?streams={'/'.join([MARKS, *candles])}"

    def _receive(self, frame: bytes) -> None:
        try:
            event = market_event_of(frame)
        except ReplyUnreadable as unreadable:
            log.warning("stream_frame_unreadable", stream=self.link.name, error=str(unreadable))
            return
        if event is not None:
            self._on_event(event)
