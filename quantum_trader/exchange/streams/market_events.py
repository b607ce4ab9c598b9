"""Frames of the market streams become domain records (BINANCE.md 11)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from quantum_trader.domain.trading import Kline
from quantum_trader.exchange.errors import ReplyUnreadable
from quantum_trader.exchange.fields import Row, decoded, rows_of

COIN_MARGINED = 2
_SOURCE = "market stream"


@dataclass(frozen=True, slots=True)
class MarkPrice:
    """A mark price in quote asset and the exchange's wall time (ms) of the event that told it."""

    price: Decimal
    event_ms: int


@dataclass(frozen=True, slots=True)
class MarkPrices:
    """Mark prices by symbol, from one event."""

    by_symbol: Mapping[str, MarkPrice]


@dataclass(frozen=True, slots=True)
class ClosedCandle:
    """A candle that will not change any more."""

    symbol: str
    interval: str
    candle: Kline


MarketEvent = MarkPrices | ClosedCandle


def market_event(content: Any) -> MarketEvent | None:
    """Return the record of one decoded frame, wrapped or not; None for one that does not matter.

    Coin-margined symbols, which share the streams of all symbols, are left out, and so are prices
    of 0 (no mark yet). Raises ``ReplyUnreadable`` naming the field.
    """
    if isinstance(content, dict) and "data" in content and "stream" in content:
        content = content["data"]
    if isinstance(content, list):
        return _marks(content)
    event = Row(_SOURCE, content)
    if "e" not in event:
        return None  # the answer to a control frame
    return _closed_candle(event) if event.text("e") == "kline" else None


def market_event_of(frame: bytes) -> MarketEvent | None:
    """Return the record of a frame as it came; see ``market_event``."""
    return market_event(decoded(_SOURCE, frame))


def _marks(content: list[Any]) -> MarkPrices:
    rows = [row for row in rows_of(_SOURCE, content) if row.text("e") == "markPriceUpdate"]
    read = {row.text("s"): MarkPrice(row.decimal("p"), row.integer("E")) for row in rows if _is_ours(row)}
    return MarkPrices({symbol: mark for symbol, mark in read.items() if mark.price > 0})


def _is_ours(row: Row) -> bool:
    return "st" not in row or row.integer("st") != COIN_MARGINED


def _closed_candle(event: Row) -> ClosedCandle | None:
    if not _is_ours(event):
        return None
    row = event.row("k")
    if not row.truth("x"):
        return None
    candle = Kline(
        open_time_ms=row.integer("t"),
        open=row.decimal("o"),
        high=row.decimal("h"),
        low=row.decimal("l"),
        close=row.decimal("c"),
        volume=row.decimal("v"),
        close_time_ms=row.integer("T"),
    )
    if candle.close_time_ms <= candle.open_time_ms:
        raise ReplyUnreadable(_SOURCE, "k.T", "ends before it begins")
    return ClosedCandle(row.text("s"), row.text("i"), candle)
