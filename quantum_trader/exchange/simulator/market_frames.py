"""Payloads of market streams, to the letter of BINANCE.md 11; pure functions of venue and time.

They are put together from the rows of the REST replies, so that both always agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from quantum_trader.domain.trading import Side
from quantum_trader.exchange.simulator.bars import Bar
from quantum_trader.exchange.simulator.book import LEVELS, levels
from quantum_trader.exchange.simulator.calls import Call
from quantum_trader.exchange.simulator.market_routes import (
    book_row,
    day_row,
    kline_row,
    level_row,
    premium_row,
)
from quantum_trader.exchange.simulator.replies import Body, plain
from quantum_trader.exchange.simulator.stream_names import Topic
from quantum_trader.exchange.simulator.symbols import SymbolSpec
from quantum_trader.exchange.simulator.trade_tape import first_trade_id, trades_between

USD_MARGINED: Final = 1  # ``st``, since 2026-06-30
Levels = dict[str, str]
Builder = Callable[[Call, SymbolSpec], Body]


def mark_price(call: Call, spec: SymbolSpec) -> Body:
    """``<s>@markPrice``."""
    row = premium_row(call, spec)
    return {
        "e": "markPriceUpdate",
        "E": call.now_ms,
        "s": spec.symbol,
        "p": row["markPrice"],
        "ap": row["markPrice"],
        "P": row["estimatedSettlePrice"],
        "i": row["indexPrice"],
        "r": row["lastFundingRate"],
        "T": row["nextFundingTime"],
        "st": USD_MARGINED,
    }


def book_ticker(call: Call, spec: SymbolSpec) -> Body:
    """``<s>@bookTicker``."""
    row = book_row(call, spec)
    return {
        "e": "bookTicker",
        "u": row["lastUpdateId"],
        "s": spec.symbol,
        "b": row["bidPrice"],
        "B": row["bidQty"],
        "a": row["askPrice"],
        "A": row["askQty"],
        "T": call.now_ms,
        "E": call.now_ms,
        "ps": spec.symbol,
        "st": USD_MARGINED,
    }


def mini_ticker(call: Call, spec: SymbolSpec) -> Body:
    """``<s>@miniTicker``."""
    row = day_row(call, spec)
    return {
        "e": "24hrMiniTicker",
        "E": call.now_ms,
        "s": spec.symbol,
        "c": row["lastPrice"],
        "o": row["openPrice"],
        "h": row["highPrice"],
        "l": row["lowPrice"],
        "v": row["volume"],
        "q": row["quoteVolume"],
        "ps": spec.symbol,
        "st": USD_MARGINED,
    }


def ticker(call: Call, spec: SymbolSpec) -> Body:
    """``<s>@ticker``."""
    row = day_row(call, spec)
    return {
        **mini_ticker(call, spec),
        "e": "24hrTicker",
        "p": row["priceChange"],
        "P": row["priceChangePercent"],
        "w": row["weightedAvgPrice"],
        "Q": row["lastQty"],
        "O": row["openTime"],
        "C": row["closeTime"],
        "F": row["firstId"],
        "L": row["lastId"],
        "n": row["count"],
    }


WHOLE: Final[dict[str, Builder]] = {
    "markPrice": mark_price,
    "bookTicker": book_ticker,
    "miniTicker": mini_ticker,
    "ticker": ticker,
}


def trades_since(call: Call, spec: SymbolSpec, since_ms: int) -> Iterator[Body]:
    """``<s>@aggTrade``: one payload a trade of the seconds completed since ``since_ms``."""
    for trade in trades_between(call.venue.market, spec, since_ms, call.now_ms):
        yield {
            "e": "aggTrade",
            "E": call.now_ms,
            "a": trade.trade_id,
            "s": spec.symbol,
            "p": plain(trade.price),
            "q": plain(trade.quantity),
            "nq": plain(trade.quantity),
            "f": trade.trade_id,
            "l": trade.trade_id,
            "T": trade.time_ms,
            "m": trade.buyer_is_maker,
            "st": USD_MARGINED,
        }


def kline(call: Call, spec: SymbolSpec, topic: Topic, bar: Bar, *, closed: bool) -> Body:
    """``<s>@kline_<i>`` and ``<pair>_perpetual@continuousKline_<i>``."""
    row = kline_row(bar, spec, call.now_ms)
    first_id = first_trade_id(bar.open_ms)
    body = {
        "t": row[0],
        "T": row[6],
        "s": spec.symbol,
        "i": topic.detail,
        "f": first_id,
        "L": first_id + max(0, row[8] - 1),
        "o": row[1],
        "c": row[4],
        "h": row[2],
        "l": row[3],
        "v": row[5],
        "n": row[8],
        "x": closed,
        "q": row[7],
        "V": row[9],
        "Q": row[10],
        "B": "0",
    }
    if topic.kind == "kline":
        return {"e": "kline", "E": call.now_ms, "s": spec.symbol, "k": body}
    del body["s"]
    return {
        "e": "continuous_kline",
        "E": call.now_ms,
        "ps": spec.symbol,
        "ct": "PERPETUAL",
        "k": body,
    }


def book_sides(call: Call, spec: SymbolSpec, count: int = LEVELS) -> tuple[Levels, Levels]:
    """Bids and asks as price → quantity, best first."""
    quote, depth_usdt = call.venue.market.quote(spec.symbol, call.now_ms), call.venue.terms.depth_usdt
    bids, asks = (
        dict(level_row(row) for row in levels(spec, quote, taker, depth_usdt, count))
        for taker in (Side.SELL, Side.BUY)
    )
    return bids, asks


def depth(call: Call, spec: SymbolSpec, bids: Levels, asks: Levels, before_ms: int) -> Body:
    """``<s>@depth…``: levels or differences; update ids are the times of the frames."""
    return {
        "e": "depthUpdate",
        "E": call.now_ms,
        "T": call.now_ms,
        "s": spec.symbol,
        "U": before_ms + 1,
        "u": call.now_ms,
        "pu": before_ms,
        "b": [list(level) for level in bids.items()],
        "a": [list(level) for level in asks.items()],
        "ps": spec.symbol,
        "st": USD_MARGINED,
    }


def difference(before: Levels, after: Levels) -> Levels:
    """Levels that changed; those that are gone get quantity 0."""
    gone = {price: "0" for price in before if price not in after}
    return gone | {price: size for price, size in after.items() if before.get(price) != size}


def comparable(payload: Any) -> Any:
    """The payload without its times and update ids, to tell whether anything has changed."""
    return {name: cell for name, cell in payload.items() if name not in ("E", "T", "u", "U", "pu")}
