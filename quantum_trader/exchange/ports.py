"""What the rest of the engine may ask of an exchange, cut by duty.

``EntryPort`` is the only way to open a position and accepts only ``Claimed``. ``ExitPort`` can
only reduce. The reads change nothing. Reads raise ``ExchangeError`` (exchange/errors.py) when
they have no answer: a failed read is never an empty answer. Orders never raise for what the
exchange or the network did; they return one of the four outcomes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Protocol

from quantum_trader.domain.order import (
    AccountTrade,
    Claimed,
    ExitOrder,
    OrderState,
    Outcome,
)
from quantum_trader.domain.trading import Account, Kline, Positions, SymbolRules


class MarketReads(Protocol):
    """Public market data."""

    async def server_time_ms(self) -> int:
        """Wall time of the exchange, ms since the epoch."""
        ...

    async def symbol_rules(self) -> Mapping[str, SymbolRules]:
        """Trading rules of every symbol of the venue, by symbol."""
        ...

    async def mark_prices(self) -> Mapping[str, Decimal]:
        """Mark price of every symbol, in quote asset."""
        ...

    async def klines(self, symbol: str, interval: str, limit: int) -> Sequence[Kline]:
        """Newest ``limit`` candles, oldest first; the last one may still be open."""
        ...


class AccountReads(Protocol):
    """Signed reads of the one account that the keys belong to."""

    async def positions(self) -> Positions:
        """Every live position, from one account-wide read."""
        ...

    async def account(self) -> Account:
        """Balances and margin."""
        ...

    async def account_id(self) -> str:
        """A stable code of the account (``accountAlias``), the same for all its keys."""
        ...

    async def leverages(self) -> Mapping[str, int]:
        """Leverage setting by symbol (``GET /fapi/v1/symbolConfig``)."""
        ...

    async def order(self, symbol: str, client_order_id: str) -> OrderState | None:
        """The newest order with this client id; None when the exchange says it does not exist.

        None is "not found yet", not proof: queries lag (BINANCE.md 4).
        """
        ...

    async def client_order_id_of(self, symbol: str, order_id: int) -> str | None:
        """The client id of an order known by the exchange's own id; None when it does not exist."""
        ...

    async def newest_orders(self, symbol: str) -> Sequence[OrderState]:
        """The newest orders of ``symbol``, a thousand at most, oldest first."""
        ...

    async def forced_orders(self, symbol: str, since_ms: int) -> Sequence[OrderState]:
        """Liquidations and auto-deleveraging of ``symbol`` since ``since_ms``, at most 90 days back."""
        ...

    async def open_orders(self) -> Sequence[OrderState]:
        """Every order that rests on the account, of all symbols."""
        ...

    async def trades(self, symbol: str, since_ms: int) -> Sequence[AccountTrade]:
        """The account's fills of ``symbol`` since ``since_ms``, oldest first, complete."""
        ...


class EntryPort(Protocol):
    """The one place that can open a position."""

    async def open_position(self, claimed: Claimed) -> Outcome:
        """Send the claimed MARKET order, signed with its stored timestamp, once."""
        ...

    async def set_leverage(self, symbol: str, leverage: int) -> None:
        """Set the symbol's leverage; raises ``ExchangeError`` when it was not confirmed."""
        ...


class ExitPort(Protocol):
    """Can only reduce positions."""

    async def reduce_position(self, order: ExitOrder) -> Outcome:
        """Send the reduce-only MARKET order, signed with its stored timestamp, once."""
        ...

    async def cancel_open_orders(self, symbol: str) -> None:
        """Cancel the symbol's resting orders (a -4118 obstacle); raises ``ExchangeError``."""
        ...

    async def cancel_conditional_orders(self, symbol: str) -> None:
        """Cancel the symbol's conditional orders, where plain ones were not all; raises ``ExchangeError``."""
        ...
