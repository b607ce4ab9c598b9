"""When which market frame is due: the state behind one stream name that somebody follows.

Theory of operation. A feed is asked about every tick. It answers with the payloads that are due:
periodic ones at whole multiples of their period, books and candles when they changed (and once a
second, so that a silent stream always means a broken one), trades as their seconds complete.
"""

from __future__ import annotations

from typing import Any, Final

from quantum_trader.exchange.simulator import market_frames, occasion_frames
from quantum_trader.exchange.simulator.calls import Call
from quantum_trader.exchange.simulator.limits import RateLimits
from quantum_trader.exchange.simulator.market_frames import Levels, comparable
from quantum_trader.exchange.simulator.replies import Body
from quantum_trader.exchange.simulator.stream_names import Topic
from quantum_trader.exchange.simulator.symbols import SymbolSpec
from quantum_trader.exchange.simulator.venue import Venue

HEARTBEAT_MS: Final = 1000
CATCH_UP_MS: Final = 10_000
_LIMITS: Final = RateLimits()
_ON_CHANGE: Final = frozenset({"bookTicker", "depth", "kline", "continuousKline"})


class Feed:
    """One market stream; ``topic`` is known to the venue."""

    def __init__(self, venue: Venue, topic: Topic, now_ms: int) -> None:
        self.topic = topic
        self._venue = venue
        self._seen_ms = now_ms
        self._sent_ms = 0
        self._sent: Any = None
        self._book: tuple[Levels, Levels] = ({}, {})
        self._book_ms = now_ms
        self._open_ms = 0
        self._listed = dict(venue.specs)

    def due(self, now_ms: int) -> list[Any]:
        """Payloads that are due at ``now_ms``, in order; call with times that never go back."""
        topic = self.topic
        if now_ms // topic.period_ms <= self._seen_ms // topic.period_ms:
            return []
        since_ms, self._seen_ms = max(self._seen_ms, now_ms - CATCH_UP_MS), now_ms
        call = Call(self._venue, _LIMITS, {}, now_ms)
        if topic.kind == "forceOrder":
            return occasion_frames.liquidations_since(call, topic.symbol, since_ms)
        return self._of_one(call, since_ms) if topic.symbol else self._of_all(call)

    def _of_one(self, call: Call, since_ms: int) -> list[Any]:
        topic, spec = self.topic, self._venue.spec(self.topic.symbol)
        if topic.kind == "aggTrade":
            return list(market_frames.trades_since(call, spec, since_ms // 1000 * 1000))
        if topic.kind in _ON_CHANGE:
            return self._changed(call, spec)
        return [market_frames.WHOLE[topic.kind](call, spec)]

    def _of_all(self, call: Call) -> list[Any]:
        if self.topic.kind == "contractInfo":
            return self._contracts(call)
        build = market_frames.WHOLE[self.topic.kind]
        rows = [build(call, spec) for spec in self._venue.specs.values()]
        return rows if self.topic.kind == "bookTicker" else [rows]

    def _contracts(self, call: Call) -> list[Any]:
        """Symbols whose listing has changed since the last look."""
        before, self._listed = self._listed, dict(self._venue.specs)
        return [
            occasion_frames.contract_info(call, spec)
            for symbol, spec in self._listed.items()
            if before.get(symbol, spec) != spec
        ]

    def _changed(self, call: Call, spec: SymbolSpec) -> list[Any]:
        if self.topic.kind == "bookTicker":
            return self._if_new([], market_frames.book_ticker(call, spec))
        if self.topic.kind == "depth":
            return self._depth(call, spec)
        return self._klines(call, spec)

    def _if_new(self, before: list[Body], payload: Body) -> list[Body]:
        now_ms, content = self._seen_ms, comparable(payload)
        if not before and content == self._sent and now_ms < self._sent_ms + HEARTBEAT_MS:
            return []
        self._sent, self._sent_ms = content, now_ms
        return [*before, payload]

    def _klines(self, call: Call, spec: SymbolSpec) -> list[Body]:
        market, interval = self._venue.market, self.topic.detail
        rows = market.klines(spec.symbol, interval, call.now_ms, 2, (None, None))
        opened_ms = market.candle_open_ms(interval, call.now_ms)
        ended = self._open_ms not in (0, opened_ms) and len(rows) > 1
        self._open_ms = opened_ms
        closing = [market_frames.kline(call, spec, self.topic, rows[0], closed=True)] if ended else []
        return self._if_new(closing, market_frames.kline(call, spec, self.topic, rows[-1], closed=False))

    def _depth(self, call: Call, spec: SymbolSpec) -> list[Body]:
        count = self.topic.detail
        bids, asks = (
            market_frames.book_sides(call, spec, int(count)) if count else self._differences(call, spec)
        )
        rows = self._if_new([], market_frames.depth(call, spec, bids, asks, self._book_ms))
        if rows:
            self._book_ms = call.now_ms
        return rows

    def _differences(self, call: Call, spec: SymbolSpec) -> tuple[Levels, Levels]:
        before, self._book = self._book, market_frames.book_sides(call, spec)
        bids, asks = (market_frames.difference(*sides) for sides in zip(before, self._book, strict=True))
        return bids, asks
