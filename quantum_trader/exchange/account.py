"""Signed reads of the account (BINANCE.md 8.2, 8.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quantum_trader.domain.order import AccountTrade, OrderState
from quantum_trader.domain.trading import Account, Leg, Position, Positions, PositionSide
from quantum_trader.exchange.endpoints import (
    ACCOUNT,
    ACCOUNT_CONFIG,
    ALL_ORDERS,
    BALANCE,
    FORCE_ORDERS,
    OPEN_ORDERS_ALL,
    ORDER,
    POSITION_RISK,
    SYMBOL_CONFIG,
)
from quantum_trader.exchange.errors import ExchangeRefused, ReplyUnreadable
from quantum_trader.exchange.fields import Row, rows_of
from quantum_trader.exchange.order_replies import order_state
from quantum_trader.exchange.position_mode import PositionMode
from quantum_trader.exchange.reads import Reader
from quantum_trader.exchange.server_clock import ServerClock
from quantum_trader.exchange.trades import trades_since

_NO_SUCH_ORDER = -2013
_BAD_REQUEST = 400
_ORDER_ROWS = 1_000
_FORCED_ROWS = 100
_NAMES_MAX = 10_000


@dataclass(frozen=True, slots=True)
class AccountConfig:
    """How the account is set up (``GET /fapi/v1/accountConfig``)."""

    can_trade: bool
    multi_assets_margin: bool
    hedge_mode: bool


class BinanceAccount:
    """``AccountReads`` over REST."""

    def __init__(self, reader: Reader, position_mode: PositionMode, server_clock: ServerClock) -> None:
        self._reader = reader
        self._position_mode = position_mode
        self._server_clock = server_clock
        self._names: dict[tuple[str, int], str] = {}

    async def positions(self) -> Positions:
        """Every live position of the account. Raises ``ExchangeError``; never empty for a failure.

        A position that cannot exist in the mode known so far shows that the mode was changed: it is
        then read again.
        """
        rows = rows_of(str(POSITION_RISK), await self._reader.read(POSITION_RISK))
        held = [position for position in map(_position, rows) if position.amount != 0]
        hedge_mode = await self._position_mode.is_hedge()
        if any((position.leg.side is PositionSide.BOTH) == hedge_mode for position in held):
            self._position_mode.doubt()
        live = {position.leg: position for position in held}
        return Positions(live, hedge_mode=await self._position_mode.is_hedge())

    def doubt_mode(self) -> None:
        """Have the position mode read again with the next positions: it may have been changed."""
        self._position_mode.doubt()

    async def is_hedge_mode(self) -> bool:
        """Whether the account is in hedge mode, read anew. Raises ``ExchangeError``."""
        self._position_mode.doubt()
        return await self._position_mode.is_hedge()

    async def account(self) -> Account:
        """Balances and margin, in USDT. Raises ``ExchangeError``."""
        content = await self._reader.read(ACCOUNT)
        row = Row(str(ACCOUNT), content)
        return Account(
            available_balance=row.decimal("availableBalance"),
            margin_balance=row.decimal("totalMarginBalance"),
            wallet_balance=row.decimal("totalWalletBalance"),
            initial_margin=row.decimal("totalInitialMargin"),
            maintenance_margin=row.decimal("totalMaintMargin"),
            changed_ms=_changed_ms(content),
        )

    async def account_id(self) -> str:
        """``accountAlias``, the same for all keys of the account. Raises ``ExchangeError``."""
        content = await self._reader.read(BALANCE)
        aliases = {row.text("accountAlias") for row in rows_of(str(BALANCE), content)}
        if len(aliases) != 1:
            raise ReplyUnreadable(
                str(BALANCE), "accountAlias", f"{len(aliases)} values where one is expected"
            )
        return aliases.pop()

    async def leverages(self) -> Mapping[str, int]:
        """Leverage setting by symbol. Raises ``ExchangeError``."""
        rows = rows_of(str(SYMBOL_CONFIG), await self._reader.read(SYMBOL_CONFIG))
        return {row.text("symbol"): row.integer("leverage") for row in rows}

    async def order(self, symbol: str, client_order_id: str) -> OrderState | None:
        """The newest order with this client id; None for -2013, which means "not found yet".

        Raises ``ExchangeError`` for every other failure.
        """
        state = await self._find_order(symbol, "origClientOrderId", client_order_id)
        if state is not None and state.client_order_id != client_order_id:
            raise ReplyUnreadable(str(ORDER), "clientOrderId", "is another order's")
        return state

    async def client_order_id_of(self, symbol: str, order_id: int) -> str | None:
        """The client id of the order with this exchange id, which never changes. Raises ``ExchangeError``."""
        known = self._names.get((symbol, order_id))
        if known is not None:
            return known
        state = await self._find_order(symbol, "orderId", str(order_id))
        if state is None:
            return None
        if len(self._names) >= _NAMES_MAX:
            del self._names[next(iter(self._names))]
        return self._names.setdefault((symbol, order_id), state.client_order_id)

    async def _find_order(self, symbol: str, name: str, value: str) -> OrderState | None:
        try:
            content = await self._reader.read(ORDER, (("symbol", symbol), (name, value)))
        except ExchangeRefused as error:
            if error.code == _NO_SUCH_ORDER and error.http_status == _BAD_REQUEST:
                return None
            raise
        state = order_state(str(ORDER), content)
        if state.leg.symbol != symbol:
            raise ReplyUnreadable(str(ORDER), "symbol", "is another order's")
        return state

    async def newest_orders(self, symbol: str) -> Sequence[OrderState]:
        """The newest orders of ``symbol``, a thousand at most, oldest first. Raises ``ExchangeError``."""
        params = (("symbol", symbol), ("limit", str(_ORDER_ROWS)))
        return _orders(str(ALL_ORDERS), await self._reader.read(ALL_ORDERS, params))

    async def forced_orders(self, symbol: str, since_ms: int) -> Sequence[OrderState]:
        """Liquidations and auto-deleveraging of ``symbol`` since ``since_ms``; weighs 20.

        Raises ``ExchangeError``.
        """
        params = (("symbol", symbol), ("startTime", str(since_ms)), ("limit", str(_FORCED_ROWS)))
        return _orders(str(FORCE_ORDERS), await self._reader.read(FORCE_ORDERS, params))

    async def open_orders(self) -> Sequence[OrderState]:
        """Every order that rests on the account, of all symbols; weighs 40. Raises ``ExchangeError``."""
        return _orders(str(OPEN_ORDERS_ALL), await self._reader.read(OPEN_ORDERS_ALL))

    async def trades(self, symbol: str, since_ms: int) -> Sequence[AccountTrade]:
        """Every fill of ``symbol`` since ``since_ms``, oldest first. Raises ``ExchangeError``."""
        return await trades_since(self._reader, symbol, since_ms, self._server_clock.signing_time_ms())

    async def account_config(self) -> AccountConfig:
        """Permissions and modes, for ``doctor``. Raises ``ExchangeError``."""
        row = Row(str(ACCOUNT_CONFIG), await self._reader.read(ACCOUNT_CONFIG))
        return AccountConfig(
            can_trade=row.truth("canTrade"),
            multi_assets_margin=row.truth("multiAssetsMargin"),
            hedge_mode=row.truth("dualSidePosition"),
        )


def _orders(endpoint: str, content: Any) -> list[OrderState]:
    if not isinstance(content, list):
        raise ReplyUnreadable(endpoint, "body", "is no array")
    return [order_state(endpoint, row) for row in content]


def _changed_ms(account: Any) -> int:
    parts = [
        row for name in ("positions", "assets") for row in rows_of(str(ACCOUNT), account.get(name, []), name)
    ]
    return max((row.integer("updateTime") for row in parts), default=0)


def _position(row: Row) -> Position:
    return Position(
        leg=Leg(row.text("symbol"), row.member("positionSide", PositionSide)),
        amount=row.decimal("positionAmt"),
        entry_price=row.decimal("entryPrice"),
        mark_price=row.decimal("markPrice"),
        unrealized_pnl=row.decimal("unRealizedProfit"),
        update_time_ms=row.integer("updateTime"),
        # v3 rows no longer say it; only an isolated position has a wallet of its own (BINANCE.md 8.4)
        margin_type="isolated" if row.decimal("isolatedWallet") != 0 else "cross",
    )
