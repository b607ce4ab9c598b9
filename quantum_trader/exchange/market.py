"""Public reads: time, rules, marks, candles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import structlog

from quantum_trader.domain.trading import Kline, SymbolRules
from quantum_trader.exchange.endpoints import EXCHANGE_INFO, KLINES, PREMIUM_INDEX_ALL, SERVER_TIME
from quantum_trader.exchange.errors import ReplyUnreadable
from quantum_trader.exchange.fields import Row, decimal_of, rows_of
from quantum_trader.exchange.filters import exchange_info
from quantum_trader.exchange.reads import Reader
from quantum_trader.exchange.weight import WeightBudget

_KLINE_COLUMNS_MIN = 7
_KLINE_LIMIT_MAX = 1_500
_KLINE_WEIGHTS = ((99, 1), (499, 2), (1_000, 5), (_KLINE_LIMIT_MAX, 10))
_log = structlog.get_logger(__name__)


class BinanceMarket:
    """``MarketReads`` over REST (BINANCE.md 8.1)."""

    def __init__(self, reader: Reader, weight: WeightBudget) -> None:
        self._reader = reader
        self._weight = weight

    async def server_time_ms(self) -> int:
        """Wall time of the exchange, ms since the epoch; asked once. Raises ``ExchangeError``."""
        content = await self._reader.read_once(SERVER_TIME)
        return Row(str(SERVER_TIME), content).integer("serverTime")

    async def symbol_rules(self) -> Mapping[str, SymbolRules]:
        """Trading rules by symbol; also takes over the rate limits that the reply states.

        Symbols that cannot be read are left out and logged. Raises ``ExchangeError``.
        """
        info = exchange_info(await self._reader.read(EXCHANGE_INFO))
        if info.rate_limits:
            self._weight.set_limits(info.rate_limits)
        for symbol, reason in info.unreadable.items():
            _log.warning("symbol_rules_unreadable", symbol=symbol, reason=reason)
        return info.rules

    async def mark_prices(self) -> Mapping[str, Decimal]:
        """Mark price by symbol, in quote asset; symbols without one (0) are left out.

        Raises ``ExchangeError``.
        """
        endpoint = str(PREMIUM_INDEX_ALL)
        rows = rows_of(endpoint, await self._reader.read(PREMIUM_INDEX_ALL))
        marks = {row.text("symbol"): row.decimal("markPrice") for row in rows}
        return {symbol: mark for symbol, mark in marks.items() if mark > 0}

    async def klines(self, symbol: str, interval: str, limit: int) -> Sequence[Kline]:
        """Newest ``limit`` (1 to 1500) candles, oldest first; the last one may still be open.

        Raises ``ValueError`` for another limit, ``ExchangeError``.
        """
        params = (("symbol", symbol), ("interval", interval), ("limit", str(limit)))
        content = await self._reader.read(KLINES, params, weight=_klines_weight(limit))
        if not isinstance(content, list):
            raise ReplyUnreadable(str(KLINES), "body", "is no array")
        return [_kline(columns, number) for number, columns in enumerate(content)]


def _klines_weight(limit: int) -> int:
    if limit >= 1:
        for limit_max, weight in _KLINE_WEIGHTS:
            if limit <= limit_max:
                return weight
    raise ValueError(f"klines limit must lie in 1..{_KLINE_LIMIT_MAX}, not {limit}")


def _kline(columns: Any, number: int) -> Kline:
    if not isinstance(columns, list) or len(columns) < _KLINE_COLUMNS_MIN:
        raise ReplyUnreadable(
            str(KLINES), f"body[{number}]", f"should hold {_KLINE_COLUMNS_MIN} columns or more"
        )
    return Kline(
        open_time_ms=_time(columns, number, 0),
        open=_price(columns, number, 1),
        high=_price(columns, number, 2),
        low=_price(columns, number, 3),
        close=_price(columns, number, 4),
        volume=_price(columns, number, 5),
        close_time_ms=_time(columns, number, 6),
    )


def _time(columns: list[Any], number: int, column: int) -> int:
    value = columns[column]
    if not isinstance(value, int) or isinstance(value, bool):
        raise ReplyUnreadable(str(KLINES), f"body[{number}][{column}]", "should be a time in ms")
    return value


def _price(columns: list[Any], number: int, column: int) -> Decimal:
    value = columns[column]
    price = decimal_of(value) if isinstance(value, str) else None
    if price is None:
        raise ReplyUnreadable(
            str(KLINES), f"body[{number}][{column}]", "should be a decimal number as a string"
        )
    return price
