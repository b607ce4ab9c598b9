"""Sides, position sides, positions, the account and a symbol's trading rules."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, ROUND_UP, Context, Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple

from msgspec import Struct

from quantum_trader.domain.once import once

ZERO = Decimal(0)

_EXACT = Context(prec=80)  # any quantity that a plan may carry, over any step, without rounding


class Side(StrEnum):
    """Direction of an order."""

    BUY = "BUY"
    SELL = "SELL"

    @property
    def sign(self) -> int:
        """+1 for BUY, -1 for SELL: the sign an order adds to a signed position."""
        return 1 if self is Side.BUY else -1

    @property
    def opposite(self) -> Side:
        """The side that undoes this one."""
        return Side.SELL if self is Side.BUY else Side.BUY


class PositionSide(StrEnum):
    """BOTH in one-way mode; LONG or SHORT in hedge mode (BINANCE.md 12.1)."""

    BOTH = "BOTH"
    LONG = "LONG"
    SHORT = "SHORT"


class Leg(NamedTuple):
    """What a position is known by: its symbol and, in hedge mode, its side."""

    symbol: str
    side: PositionSide = PositionSide.BOTH

    @property
    def key(self) -> str:
        """Suffix of Redis keys by symbol: ``BTCUSDT``, or ``BTCUSDT:LONG`` in hedge mode."""
        return self.symbol if self.side is PositionSide.BOTH else f"{self.symbol}:{self.side}"


@lru_cache(maxsize=4096)
def legs_of(symbol: str) -> tuple[Leg, Leg, Leg]:
    """Return every leg that a symbol can have, in either position mode."""
    return Leg(symbol), Leg(symbol, PositionSide.LONG), Leg(symbol, PositionSide.SHORT)


class Position(Struct, frozen=True, dict=True):
    """One live position as the exchange reports it.

    ``amount`` is signed in base asset (short < 0, in hedge mode too); prices in quote asset.
    ``margin_type`` is isolated or cross; "" where the read does not say.
    """

    leg: Leg
    amount: Decimal
    entry_price: Decimal
    mark_price: Decimal
    unrealized_pnl: Decimal
    update_time_ms: int
    margin_type: str = ""

    @property
    def side_to_close(self) -> Side:
        """The order side that reduces this position."""
        return Side.SELL if self.amount > 0 else Side.BUY

    @once
    def notional_usdt(self) -> Decimal:
        """|amount| × mark price, in USDT."""
        return abs(self.amount) * self.mark_price


class Positions(Mapping[Leg, Position]):
    """Every live position of the account, from one account-wide read.

    A leg that a successful read does not list is flat (SPEC 5, position_sanity);
    a failed read never becomes a ``Positions``.
    """

    __slots__ = ("_by_leg", "_notional_usdt", "_symbols", "hedge_mode")

    def __init__(
        self,
        live: Mapping[Leg, Position],
        *,
        hedge_mode: bool = False,
        notional_usdt: Decimal | None = None,
    ) -> None:
        """Keep the non-flat ones of ``live``; ``notional_usdt`` is their sum where it is known."""
        self._by_leg = {leg: held for leg, held in live.items() if held.amount != 0}
        self._notional_usdt = notional_usdt
        self._symbols: frozenset[str] | None = None
        self.hedge_mode = hedge_mode

    def __getitem__(self, leg: Leg) -> Position:
        """Return the live position of ``leg``; KeyError when it is flat."""
        return self._by_leg[leg]

    def __iter__(self) -> Iterator[Leg]:
        """Iterate over the legs that hold a position."""
        return iter(self._by_leg)

    def __len__(self) -> int:
        """Count legs that hold a position."""
        return len(self._by_leg)

    def amount(self, leg: Leg) -> Decimal:
        """Signed amount of ``leg`` in base asset; 0 when flat."""
        held = self._by_leg.get(leg)
        return held.amount if held is not None else ZERO

    def get(self, leg: Leg, default: Any = None) -> Any:
        """Return the live position of ``leg``, or ``default`` when it is flat."""
        return self._by_leg.get(leg, default)

    def of_symbol(self, symbol: str) -> list[Position]:
        """Live positions of ``symbol``: at most one in one-way mode, two in hedge mode."""
        held = [self._by_leg.get(leg) for leg in legs_of(symbol)]
        return [one for one in held if one is not None]

    def notionals_of(self, symbols: Collection[str]) -> dict[Leg, Decimal]:
        """Return the notional (USDT) of every live leg of ``symbols``."""
        legs = [leg for symbol in symbols for leg in legs_of(symbol) if leg in self._by_leg]
        return {leg: self._by_leg[leg].notional_usdt for leg in legs}

    def without(self, leg: Leg) -> Positions:
        """Return the positions as they were if ``leg`` were flat."""
        rest = {other: held for other, held in self._by_leg.items() if other != leg}
        return Positions(rest, hedge_mode=self.hedge_mode)

    @property
    def symbols(self) -> frozenset[str]:
        """Symbols with at least one live position."""
        if self._symbols is None:
            self._symbols = frozenset([leg.symbol for leg in self._by_leg])
        return self._symbols

    @property
    def notional_usdt(self) -> Decimal:
        """Σ |amount| × mark price over all positions, in USDT."""
        if self._notional_usdt is None:
            self._notional_usdt = sum([held.notional_usdt for held in self._by_leg.values()], ZERO)
        return self._notional_usdt

    def with_leg(self, after: Position) -> Positions:
        """Return the positions with ``after`` in the place of its leg's; their sum is carried on."""
        before = self._by_leg.get(after.leg)
        gone_usdt = before.notional_usdt if before is not None else ZERO
        notional_usdt = self.notional_usdt - gone_usdt + after.notional_usdt
        changed = Positions({}, hedge_mode=self.hedge_mode, notional_usdt=notional_usdt)
        changed._by_leg = {**self._by_leg, after.leg: after}
        if after.amount == 0:
            del changed._by_leg[after.leg]
        elif self._symbols is not None:
            changed._symbols = self._symbols | {after.leg.symbol}
        return changed


@dataclass(frozen=True, slots=True)
class Account:
    """Balances of the futures account, in USDT (``GET /fapi/v3/account``)."""

    available_balance: Decimal
    margin_balance: Decimal
    wallet_balance: Decimal
    initial_margin: Decimal
    maintenance_margin: Decimal
    changed_ms: int = 0
    """When a position or an asset in it last changed (exchange's ms): what was filled by then is in it."""

    def freed_of(self, margin: Decimal) -> Account:
        """Return the balances as they would be with ``margin`` (initial margin, USDT) released."""
        released = min(margin, self.initial_margin)
        return replace(
            self,
            available_balance=self.available_balance + released,
            initial_margin=self.initial_margin - released,
        )


@dataclass(frozen=True)
class QuantityLimits:
    """One of LOT_SIZE or MARKET_LOT_SIZE, in base asset."""

    minimum: Decimal
    maximum: Decimal
    step: Decimal

    @once
    def smallest(self) -> Decimal:
        """The smallest multiple of the step that is not below the minimum."""
        return self.round_up(self.minimum)

    def round_down(self, quantity: Decimal) -> Decimal:
        """Return the largest multiple of the step that is not above ``quantity``."""
        return self._whole_steps(quantity, ROUND_DOWN)

    def round_up(self, quantity: Decimal) -> Decimal:
        """Return the smallest multiple of the step that is not below ``quantity``."""
        return self._whole_steps(quantity, ROUND_UP)

    def _whole_steps(self, quantity: Decimal, rounding: str) -> Decimal:
        if self.step <= 0:  # a 0 step switches the check off (BINANCE.md 7)
            return quantity
        whole = _EXACT.divide(quantity, self.step).to_integral_value(rounding=rounding)
        return _EXACT.multiply(whole, self.step)


@dataclass(frozen=True, slots=True)
class SymbolRules:
    """What exchangeInfo says about one symbol (BINANCE.md 7)."""

    symbol: str
    status: str
    market_quantity: QuantityLimits
    notional_min: Decimal

    @property
    def is_trading(self) -> bool:
        """Only TRADING may open; unknown statuses may not (BINANCE.md 6)."""
        return self.status == "TRADING"


@dataclass(frozen=True, slots=True)
class Kline:
    """One candle; prices in quote asset, volume in base asset, times ms since the epoch."""

    open_time_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    close_time_ms: int
