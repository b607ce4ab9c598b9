"""All fills of the account on one symbol, however many pages they take (BINANCE.md 8.2).

``userTrades`` answers with the *oldest* rows of a window of at most 7 days. A full page is followed
by pages from the next trade id on, until one is not full or leaves the window; then the next window.
"""

from __future__ import annotations

from collections.abc import Sequence

from quantum_trader.domain.order import AccountTrade
from quantum_trader.domain.trading import Leg, PositionSide, Side
from quantum_trader.exchange.endpoints import USER_TRADES
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.exchange.fields import Row, rows_of
from quantum_trader.exchange.reads import Reader

_PAGE_ROWS = 1_000
_PAGES_MAX = 100
_WINDOW_MS = 7 * 86_400_000


async def trades_since(reader: Reader, symbol: str, since_ms: int, now_ms: int) -> Sequence[AccountTrade]:
    """Return every fill from ``since_ms`` on, oldest first; ``now_ms`` is the exchange's time.

    Raises ``ExchangeError`` when a page cannot be read or 100 pages do not hold them all: part of
    the trades is never returned as if it were all.
    """
    return await _Paging(reader, symbol).collect(since_ms, now_ms)


class _Paging:
    def __init__(self, reader: Reader, symbol: str) -> None:
        self._reader = reader
        self._symbol = symbol
        self._found: dict[int, AccountTrade] = {}
        self._pages = 0

    async def collect(self, since_ms: int, now_ms: int) -> Sequence[AccountTrade]:
        for start_ms in range(since_ms, max(now_ms, since_ms) + 1, _WINDOW_MS):
            await self._window(start_ms, start_ms + _WINDOW_MS - 1)
        wanted = (trade for trade in self._found.values() if trade.time_ms >= since_ms)
        return sorted(wanted, key=lambda trade: (trade.time_ms, trade.trade_id))

    async def _window(self, start_ms: int, end_ms: int) -> None:
        page = await self._page(("startTime", start_ms), ("endTime", end_ms))
        while len(page) >= _PAGE_ROWS:
            newest = max(page, key=lambda trade: trade.trade_id)
            if newest.time_ms > end_ms:
                return
            page = await self._page(("fromId", newest.trade_id + 1))

    async def _page(self, *bounds: tuple[str, int]) -> list[AccountTrade]:
        self._pages += 1
        if self._pages > _PAGES_MAX:
            raise ExchangeError(str(USER_TRADES), f"more than {_PAGES_MAX} pages of trades of {self._symbol}")
        params = [("symbol", self._symbol), *((name, str(bound)) for name, bound in bounds)]
        content = await self._reader.read(USER_TRADES, [*params, ("limit", str(_PAGE_ROWS))])
        page = [_trade(row) for row in rows_of(str(USER_TRADES), content)]
        self._found.update((trade.trade_id, trade) for trade in page)
        return page


def _trade(row: Row) -> AccountTrade:
    return AccountTrade(
        leg=Leg(row.text("symbol"), row.member("positionSide", PositionSide)),
        side=row.member("side", Side),
        trade_id=row.integer("id"),
        order_id=row.integer("orderId"),
        quantity=row.decimal("qty"),
        price=row.decimal("price"),
        realized_pnl=row.decimal("realizedPnl"),
        time_ms=row.integer("time"),
    )
