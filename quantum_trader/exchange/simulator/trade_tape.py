"""The trades of other people: what aggTrade frames, ``GET /fapi/v1/aggTrades`` and klines share.

Theory of operation. Every second of the caller's time holds four trades, at the second's open,
its two extremes and its close, and all of its volume. They follow from the market's walk, so a
trade has the same id, price and quantity whenever somebody asks, and candles put together from
trades are the venue's own (at speed 1, to the last step).
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Final, NamedTuple

from quantum_trader.exchange.simulator.market import Market
from quantum_trader.exchange.simulator.symbols import SymbolSpec

SECOND_MS: Final = 1000
TRADES_A_SECOND: Final = 4
_OFFSETS_MS: Final = (0, 333, 666, 999)


class TapeTrade(NamedTuple):
    """One trade of somebody else; ``buyer_is_maker`` where the seller was in a hurry."""

    trade_id: int
    price: Decimal
    quantity: Decimal
    time_ms: int
    buyer_is_maker: bool


def first_trade_id(at_ms: int) -> int:
    """Id of the first trade in the second that holds ``at_ms``; ids have no gaps."""
    return at_ms // SECOND_MS * TRADES_A_SECOND


def second_of(trade_id: int) -> int:
    """Start (ms) of the second that holds the trade."""
    return trade_id // TRADES_A_SECOND * SECOND_MS


def trades_between(market: Market, spec: SymbolSpec, from_ms: int, to_ms: int) -> Iterator[TapeTrade]:
    """Trades of the whole seconds that lie within [from_ms, to_ms), ascending."""
    first = -(-from_ms // SECOND_MS)
    for second in range(first, to_ms // SECOND_MS):
        yield from _trades_of_second(market, spec, second * SECOND_MS)


def _trades_of_second(market: Market, spec: SymbolSpec, start_ms: int) -> Iterator[TapeTrade]:
    bar = market.candle(spec.symbol, start_ms, start_ms + SECOND_MS)
    extremes = (bar.low, bar.high) if bar.close >= bar.open else (bar.high, bar.low)
    before = bar.open
    for index, price in enumerate((bar.open, *extremes, bar.close)):
        share = bar.volume * (index + 1) // TRADES_A_SECOND - bar.volume * index // TRADES_A_SECOND
        yield TapeTrade(
            first_trade_id(start_ms) + index,
            price * spec.tick,
            max(1, share) * spec.step,
            start_ms + _OFFSETS_MS[index],
            price < before,
        )
        before = price
