"""Names of streams, and the routes that serve them (BINANCE.md 10.1, 11)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from quantum_trader.exchange.simulator.bars import INTERVALS_MS

STREAMS_MAX: Final = 1024
SECOND_MS: Final = 1000
_KLINE: Final = re.compile(r"kline_(\w+)")
_CONTINUOUS: Final = re.compile(r"(\w+)_perpetual@continuousKline_(\w+)")
_DEPTH: Final = re.compile(r"depth(5|10|20|)(?:@(100|250|500)ms)?")
_DEPTH_MS: Final = 250
_TICKER_MS: Final = {"miniTicker": 1000, "ticker": 2000}


class Route(StrEnum):
    """The first part of a stream's URL; un-routed ones serve what PUBLIC serves (BINANCE.md 0.3)."""

    PUBLIC = "public"
    MARKET = "market"
    PRIVATE = "private"
    NONE = ""

    def serves(self, topic: Topic) -> bool:
        """Whether the topic's frames ever arrive here; elsewhere it is silent, not an error."""
        if topic.is_public:
            return self in (Route.PUBLIC, Route.NONE)
        return self is Route.MARKET


@dataclass(frozen=True, slots=True)
class Topic:
    """What a market stream's name asks for; ``symbol`` empty means all of them.

    ``detail`` is the kline interval or the number of depth levels (empty for differences).
    """

    kind: str
    symbol: str
    period_ms: int
    detail: str = ""

    @property
    def is_public(self) -> bool:
        """Book streams are public, everything else is on the market route."""
        return self.kind in ("bookTicker", "depth")


def topic_of(name: str) -> Topic | None:
    """The topic of a stream name, or None where this venue serves nothing under it."""
    if name.startswith("!"):
        return _of_all(name[1:])
    continuous = _CONTINUOUS.fullmatch(name)
    if continuous is not None:
        return _kline("continuousKline", continuous[1].upper(), continuous[2])
    symbol, _, rest = name.partition("@")
    if not symbol or symbol != symbol.lower():
        return None
    return _of_symbol(symbol.upper(), rest)


def _of_all(rest: str) -> Topic | None:
    if rest == "bookTicker":
        return Topic("bookTicker", "", 5 * SECOND_MS)
    if rest == "contractInfo":
        return Topic(rest, "", SECOND_MS)
    kind, _, suffix = rest.partition("@")
    if kind == "markPrice" and suffix in ("arr", "arr@1s"):
        return Topic(kind, "", _mark_price_ms(suffix.removeprefix("arr")))
    if kind in (*_TICKER_MS, "forceOrder") and suffix == "arr":
        return Topic(kind, "", SECOND_MS)
    return None


def _of_symbol(symbol: str, rest: str) -> Topic | None:
    if rest in ("markPrice", "markPrice@1s"):
        return Topic("markPrice", symbol, _mark_price_ms(rest.removeprefix("markPrice")))
    if rest in ("bookTicker", "aggTrade"):
        return Topic(rest, symbol, 100)
    if rest in _TICKER_MS:
        return Topic(rest, symbol, _TICKER_MS[rest])
    if rest == "forceOrder":
        return Topic(rest, symbol, SECOND_MS)
    depth = _DEPTH.fullmatch(rest)
    if depth is not None:
        return Topic("depth", symbol, int(depth[2] or _DEPTH_MS), depth[1])
    kline = _KLINE.fullmatch(rest)
    return None if kline is None else _kline("kline", symbol, kline[1])


def _kline(kind: str, symbol: str, interval: str) -> Topic | None:
    return Topic(kind, symbol, 250, interval) if interval in INTERVALS_MS else None


def _mark_price_ms(suffix: str) -> int:
    return SECOND_MS if suffix == "@1s" else 3 * SECOND_MS
