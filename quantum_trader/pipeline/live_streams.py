"""The engine's streams: started, stopped, told apart; what they tell goes where it belongs.

Nothing depends on them. While one is down, or refused for good, the reads of the regular upkeep are
all there is, and they are made more often.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from quantum_trader.concurrency import end_tasks
from quantum_trader.domain.clock import Clock
from quantum_trader.exchange.binance import Exchange
from quantum_trader.exchange.streams.link import Link
from quantum_trader.exchange.streams.market_events import ClosedCandle, MarketEvent, MarkPrices
from quantum_trader.market.live import KLINES_INTERVAL
from quantum_trader.pipeline.account_news import AccountNews
from quantum_trader.pipeline.evidence import Rooms

RESTART_S = 1.0

log = structlog.get_logger()


class LiveStreams:
    """The user data stream and the market stream of one engine; none where the exchange has no address."""

    def __init__(
        self,
        exchange: Exchange,
        rooms: Rooms,
        news: AccountNews,
        clock: Clock,
        *,
        candle_symbols: tuple[str, ...],
    ) -> None:
        self._rooms = rooms
        self._news = news
        self._clock = clock
        self._ws_api = exchange.ws_api
        self._user = exchange.user_stream(news.take, on_live=news.on_live, on_dead=news.on_dead)
        self._market = exchange.market_stream(
            self._take_market, interval=KLINES_INTERVAL, candle_symbols=lambda: candle_symbols
        )
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to listen."""
        works = {
            "foreign orders": self._news.act_on_foreign_orders,
            "account news": self._news.read_what_changed,
        }
        for name, stream in (("user stream", self._user), ("market stream", self._market)):
            if stream is not None:
                works[name] = stream.run
        self._tasks = [
            asyncio.create_task(self._for_ever(name, work), name=name) for name, work in works.items()
        ]

    async def _for_ever(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """A bug in what a stream leads to ends neither the streams nor what else they lead to."""
        while True:
            try:
                await work()
            except Exception:
                log.exception("stream_work_broken", work=name, retry_s=RESTART_S)
            await self._clock.sleep(RESTART_S)

    async def stop(self) -> None:
        """End every stream."""
        await end_tasks(self._tasks)

    @property
    def account_is_live(self) -> bool:
        """Whether changes of the account are told as they happen."""
        return self._user is not None and self._user.link.is_live

    @property
    def market_is_live(self) -> bool:
        """Whether mark prices are told as they happen."""
        return self._market is not None and self._market.link.is_live

    async def look_after(self) -> None:
        """Have a user stream that kept a fill to itself opened anew (INC-88)."""
        if self._rooms.order_news.has_missed(self._clock.monotonic_s()) and self._user is not None:
            self._user.link.condemn("deaf: it did not tell of a fill")

    async def look_for_resting_orders(self) -> None:
        """Read what rests on the account while nothing tells of it; raises ``ExchangeError``."""
        if self._news.misses_resting_orders or not self.account_is_live:
            await self._news.read_resting_orders()

    def status(self) -> dict[str, Any]:
        """Return what is live, by stream, for ``status``; times in ms."""
        links = {
            "user": self._user.link if self._user is not None else None,
            "market": self._market.link if self._market is not None else None,
            "orders": self._ws_api.link if self._ws_api is not None else None,
        }
        return {name: _status_of(link) for name, link in links.items() if link is not None}

    def _take_market(self, event: MarketEvent) -> None:
        market, offset_ms = self._rooms.market, self._rooms.server_clock.offset_ms or 0
        if isinstance(event, MarkPrices):
            for symbol, mark in event.by_symbol.items():
                market.take_mark(symbol, mark.price, mark.event_ms - offset_ms)
        elif isinstance(event, ClosedCandle) and event.interval == KLINES_INTERVAL:
            market.take_candle(event.symbol, event.candle)


def _status_of(link: Link) -> dict[str, Any]:
    silent_s = link.silent_s
    return {
        "live": link.is_live,
        "silent_ms": None if silent_s is None else round(silent_s * 1000),
        "connections": link.connections,
    }
