"""What the venue tells its observers: the raw material of user data streams and of saving."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from quantum_trader.domain.trading import Leg
from quantum_trader.exchange.simulator.algo_model import AlgoOrder
from quantum_trader.exchange.simulator.model import ZERO, Account, Order, Trade


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """An order changed; ``order`` is a copy of then. ``execution`` as in BINANCE.md 6 (``x``)."""

    account: Account
    order: Order
    execution: str
    trade: Trade | None
    at_ms: int


@dataclass(frozen=True, slots=True)
class AccountEvent:
    """Wallet, positions or settings changed; ``reason`` as in BINANCE.md 6 (``m``).

    ``change`` is what came into the wallet besides realised PnL and fees, in USDT (``bc``).
    """

    account: Account
    reason: str
    legs: tuple[Leg, ...]
    at_ms: int
    change: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class AlgoEvent:
    """A conditional order changed; ``algo`` is a copy of then."""

    account: Account
    algo: AlgoOrder
    at_ms: int


Event = OrderEvent | AccountEvent | AlgoEvent
Observer = Callable[[Event], None]
