"""What the watchdog asks of the exchange: positions with their margin, trades, the order history.

Kept apart from ``account.py``: the fields differ (BINANCE.md 8.4), and nothing that the pipeline
holds is needed here (SPEC 10: input is the exchange, directly).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from quantum_trader.domain.order import AccountTrade, OrderState
from quantum_trader.domain.trading import Leg, PositionSide, QuantityLimits, Side
from quantum_trader.exchange.endpoints import ACCOUNT, ALL_ORDERS, EXCHANGE_INFO, POSITION_RISK
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.exchange.fields import Row, rows_of
from quantum_trader.exchange.filters import symbol_rules
from quantum_trader.exchange.order_replies import order_state
from quantum_trader.exchange.reads import Reader
from quantum_trader.exchange.server_clock import ServerClock
from quantum_trader.exchange.trades import trades_since

_ORDER_ROWS = 1_000
_ORDER_PAGES_MAX = 64
_ORDER_WINDOW_MS = 7 * 86_400_000 - 1


@dataclass(frozen=True, slots=True)
class MarginPosition:
    """One live position with its margin; money in USDT, ``amount`` signed in base asset.

    ``update_time_ms`` is when the exchange last changed the position. ``isolated_wallet_usdt`` is 0
    where ``is_isolated`` is false.
    """

    leg: Leg
    amount: Decimal
    entry_price: Decimal
    unrealized_pnl_usdt: Decimal
    maintenance_usdt: Decimal
    isolated_wallet_usdt: Decimal
    is_isolated: bool
    update_time_ms: int

    @property
    def side_to_close(self) -> Side:
        """The order side that reduces this position."""
        return Side.SELL if self.amount > 0 else Side.BUY

    def is_untouched_since(self, before: MarginPosition) -> bool:
        """Whether the exchange has not changed it since it was read as ``before``."""
        seen = (before.leg, before.amount, before.update_time_ms)
        return (self.leg, self.amount, self.update_time_ms) == seen


@dataclass(frozen=True, slots=True)
class CrossMargin:
    """The wallet behind all cross positions and their unrealised PnL, in USDT."""

    wallet_usdt: Decimal
    unrealized_pnl_usdt: Decimal


@dataclass(frozen=True, slots=True)
class PastOrder:
    """One entry of the order history; ``type`` as the exchange names it."""

    state: OrderState
    type: str
    reduce_only: bool
    created_ms: int


class MarginReads:
    """Signed reads of one account; each raises ``ExchangeError`` and never answers in part."""

    def __init__(self, reader: Reader, server_clock: ServerClock) -> None:
        self._reader = reader
        self._server_clock = server_clock

    async def positions(self) -> tuple[MarginPosition, ...]:
        """Every live position, from one account-wide read."""
        rows = rows_of(str(POSITION_RISK), await self._reader.read(POSITION_RISK))
        return tuple(position for position in map(_position, rows) if position.amount != 0)

    async def cross_margin(self) -> CrossMargin:
        """``totalCrossWalletBalance`` and ``totalCrossUnPnl``."""
        row = Row(str(ACCOUNT), await self._reader.read(ACCOUNT))
        return CrossMargin(row.decimal("totalCrossWalletBalance"), row.decimal("totalCrossUnPnl"))

    async def trades(self, symbol: str, since_ms: int) -> Sequence[AccountTrade]:
        """Every fill of ``symbol`` since ``since_ms``, oldest first, complete."""
        return await trades_since(self._reader, symbol, since_ms, self._server_clock.signing_time_ms())

    async def market_quantity(self, symbol: str) -> QuantityLimits:
        """What one MARKET order of ``symbol`` may carry, in base asset."""
        info = Row(str(EXCHANGE_INFO), await self._reader.read(EXCHANGE_INFO))
        for row in info.rows("symbols"):
            if row.text("symbol") == symbol:
                return symbol_rules(row).market_quantity
        raise ExchangeError(str(EXCHANGE_INFO), f"does not list {symbol}")

    async def orders(self, since_ms: int, until_ms: int) -> Sequence[PastOrder]:
        """Every order created from ``since_ms`` to ``until_ms``, of all symbols, oldest first."""
        return await _OrderHistory(self._reader).collect(since_ms, until_ms)


class _OrderHistory:
    """Pages by time alone: a page that is full is read again in two halves."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._pages = 0

    async def collect(self, since_ms: int, until_ms: int) -> Sequence[PastOrder]:
        found: dict[tuple[str, int], PastOrder] = {}
        for start_ms in range(since_ms, until_ms + 1, _ORDER_WINDOW_MS):
            for order in await self._window(start_ms, min(start_ms + _ORDER_WINDOW_MS - 1, until_ms)):
                found[order.state.leg.symbol, order.state.order_id] = order
        return sorted(found.values(), key=lambda order: (order.created_ms, order.state.order_id))

    async def _window(self, start_ms: int, end_ms: int) -> list[PastOrder]:
        page = await self._page(start_ms, end_ms)
        if len(page) < _ORDER_ROWS:
            return page
        if start_ms >= end_ms:
            raise ExchangeError(str(ALL_ORDERS), f"{_ORDER_ROWS} or more orders in one millisecond")
        middle_ms = (start_ms + end_ms) // 2
        return await self._window(start_ms, middle_ms) + await self._window(middle_ms + 1, end_ms)

    async def _page(self, start_ms: int, end_ms: int) -> list[PastOrder]:
        self._pages += 1
        if self._pages > _ORDER_PAGES_MAX:
            raise ExchangeError(str(ALL_ORDERS), f"more than {_ORDER_PAGES_MAX} pages of orders")
        bounds = (("startTime", str(start_ms)), ("endTime", str(end_ms)), ("limit", str(_ORDER_ROWS)))
        content = await self._reader.read(ALL_ORDERS, bounds)
        endpoint = str(ALL_ORDERS)
        raw = content if isinstance(content, list) else []
        rows = rows_of(endpoint, content)
        return [_past_order(row, order_state(endpoint, each)) for row, each in zip(rows, raw, strict=True)]


def _position(row: Row) -> MarginPosition:
    isolated_wallet = row.decimal("isolatedWallet")
    return MarginPosition(
        leg=Leg(row.text("symbol"), row.member("positionSide", PositionSide)),
        amount=row.decimal("positionAmt"),
        entry_price=row.decimal("entryPrice"),
        unrealized_pnl_usdt=row.decimal("unRealizedProfit"),
        maintenance_usdt=row.decimal("maintMargin"),
        isolated_wallet_usdt=isolated_wallet,
        # v3 rows do not name the margin type; isolatedMargin is wallet plus PnL, and 0 when cross
        is_isolated=isolated_wallet != 0 or row.decimal("isolatedMargin") != 0,
        update_time_ms=row.integer("updateTime"),
    )


def _past_order(row: Row, state: OrderState) -> PastOrder:
    return PastOrder(
        state=state,
        type=row.text("type"),
        reduce_only=row.truth("reduceOnly"),
        created_ms=row.integer("time"),
    )
