"""Frames of the user data stream become domain records (BINANCE.md 10.2).

What the engine has no use for is None and never an error: TRADE_LITE (every fill comes again, with
its price, as ORDER_TRADE_UPDATE), conditional orders before they trigger, and all events to come.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from quantum_trader.domain.order import OrderState, OrderStatus
from quantum_trader.domain.trading import Leg, PositionSide, Side
from quantum_trader.exchange.fields import Row, decoded


@dataclass(frozen=True, slots=True)
class OrderUpdate:
    """An order changed; ``order`` is what is known of it after the event."""

    order: OrderState


@dataclass(frozen=True, slots=True)
class AccountUpdate:
    """Wallet or positions changed; ``amounts`` are those of the legs that the event names.

    ``reason`` as in BINANCE.md 6 (``m``); amounts signed, in base asset, 0 for flat.
    """

    reason: str
    amounts: Mapping[Leg, Decimal]


@dataclass(frozen=True, slots=True)
class LeverageUpdate:
    """The leverage of a symbol was set."""

    symbol: str
    leverage: int


@dataclass(frozen=True, slots=True)
class MarginCall:
    """Positions are close to liquidation; advisory, and may come too late."""

    legs: tuple[Leg, ...]


@dataclass(frozen=True, slots=True)
class ListenKeyExpired:
    """Nothing more will come until the stream is opened with a new key."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The stream answered a control frame: it serves whoever asks."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A frame that could not be read: something changed, and only a read can tell what."""


UserEvent = OrderUpdate | AccountUpdate | LeverageUpdate | MarginCall | ListenKeyExpired | Answer | Unreadable


def user_event(content: Any) -> UserEvent | None:
    """Return the record of one decoded frame; None for one that does not matter.

    Raises ``ReplyUnreadable`` naming the field.
    """
    event = Row("user stream", content)
    if "e" not in event:
        return Answer() if "result" in event else None
    read = _EVENTS.get(event.text("e"))
    return None if read is None else read(event)


def user_event_of(frame: bytes) -> UserEvent | None:
    """Return the record of a frame as it came; see ``user_event``."""
    return user_event(decoded("user stream", frame))


def _order_update(event: Row) -> OrderUpdate:
    row = event.row("o")
    return OrderUpdate(
        OrderState(
            leg=_leg(row),
            side=row.member("S", Side),
            order_id=row.integer("i"),
            client_order_id=row.text("c"),
            status=row.member("X", OrderStatus),
            quantity=row.decimal("q"),
            executed_quantity=row.decimal("z"),
            avg_price=row.decimal("ap") or None,
            update_time_ms=row.integer("T"),
        )
    )


def _account_update(event: Row) -> AccountUpdate:
    account = event.row("a")
    return AccountUpdate(account.text("m"), {_leg(row): row.decimal("pa") for row in account.rows("P")})


def _config_update(event: Row) -> LeverageUpdate | None:
    if "ac" not in event:
        return None  # the multi-assets mode, which is no business of an engine
    config = event.row("ac")
    return LeverageUpdate(config.text("s"), config.integer("l"))


def _margin_call(event: Row) -> MarginCall:
    return MarginCall(tuple(_leg(row) for row in event.rows("p")))


def _listen_key_expired(_: Row) -> ListenKeyExpired:
    return ListenKeyExpired()


_EVENTS: Mapping[str, Callable[[Row], UserEvent | None]] = {
    "ORDER_TRADE_UPDATE": _order_update,
    "ACCOUNT_UPDATE": _account_update,
    "ACCOUNT_CONFIG_UPDATE": _config_update,
    "MARGIN_CALL": _margin_call,
    "listenKeyExpired": _listen_key_expired,
}


def _leg(row: Row) -> Leg:
    return Leg(row.text("s"), row.member("ps", PositionSide))
