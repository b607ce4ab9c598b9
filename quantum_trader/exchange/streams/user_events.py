"""Frames of the user data stream become domain records (BINANCE.md 10.2).

What the engine has no use for is None and never an error: TRADE_LITE (every fill comes again, with
its price, as ORDER_TRADE_UPDATE), conditional orders before they trigger, and all events to come.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from msgspec import UNSET, Raw, Struct, field
from msgspec.json import Decoder

from quantum_trader.domain.order import OrderState, OrderStatus
from quantum_trader.domain.trading import Leg, PositionSide, Side
from quantum_trader.exchange.errors import ReplyUnreadable
from quantum_trader.exchange.fields import Integer, Text, number_in, typed_body

STREAM = "user stream"
_NOTHING = Raw()


class OrderUpdate(Struct, frozen=True, gc=False):
    """An order changed; ``order`` is what is known of it after the event."""

    order: OrderState


class AccountUpdate(Struct, frozen=True, gc=False):
    """Wallet or positions changed; ``amounts`` are those of the legs that the event names.

    ``reason`` as in BINANCE.md 6 (``m``); amounts signed, in base asset, 0 for flat.
    """

    reason: str
    amounts: Mapping[Leg, Decimal]


class LeverageUpdate(Struct, frozen=True, gc=False):
    """The leverage of a symbol was set."""

    symbol: str
    leverage: int


class MarginCall(Struct, frozen=True, gc=False):
    """Positions are close to liquidation; advisory, and may come too late."""

    legs: tuple[Leg, ...]


class ListenKeyExpired(Struct, frozen=True, gc=False):
    """Nothing more will come until the stream is opened with a new key."""


class Answer(Struct, frozen=True, gc=False):
    """The stream answered a control frame: it serves whoever asks."""


class Unreadable(Struct, frozen=True, gc=False):
    """A frame that could not be read: something changed, and only a read can tell what."""


UserEvent = OrderUpdate | AccountUpdate | LeverageUpdate | MarginCall | ListenKeyExpired | Answer | Unreadable


class _Frame(Struct, gc=False):
    """What a frame carries, by the names that Binance gives it; parts are read once their event is known."""

    event: Any = field(name="e", default=UNSET)
    result: Any = UNSET
    order: Raw = field(name="o", default=_NOTHING)
    account: Raw = field(name="a", default=_NOTHING)
    config: Raw = field(name="ac", default=_NOTHING)
    positions: Raw = field(name="p", default=_NOTHING)


class _Order(Struct, gc=False):
    symbol: Text = field(name="s")
    position_side: PositionSide = field(name="ps")
    side: Side = field(name="S")
    order_id: Integer = field(name="i")
    client_order_id: Text = field(name="c")
    status: OrderStatus = field(name="X")
    quantity: str = field(name="q")
    executed_quantity: str = field(name="z")
    average_price: str = field(name="ap")
    updated_ms: Integer = field(name="T")


class _Leg(Struct, gc=False):
    symbol: Text = field(name="s")
    position_side: PositionSide = field(name="ps")


class _Amount(_Leg, gc=False):
    amount: str = field(name="pa")


class _Account(Struct, gc=False):
    reason: Text = field(name="m")
    positions: list[_Amount] = field(name="P")


class _Config(Struct, gc=False):
    symbol: Text = field(name="s")
    leverage: Integer = field(name="l")


_FRAMES, _ORDERS, _ACCOUNTS = Decoder(_Frame), Decoder(_Order), Decoder(_Account)
_CONFIGS, _LEGS = Decoder(_Config), Decoder(list[_Leg])


def user_event_of(frame: bytes) -> UserEvent | None:
    """Return the record of a frame; None for one that does not matter.

    Raises ``ReplyUnreadable`` naming the field.
    """
    told = typed_body(STREAM, frame, _FRAMES)
    if told.event is UNSET:
        return None if told.result is UNSET else Answer()
    if not isinstance(told.event, str) or not told.event:
        raise ReplyUnreadable(STREAM, "e", "should be a string")
    read = _EVENTS.get(told.event)
    return None if read is None else read(told)


def _order_update(told: _Frame) -> OrderUpdate:
    order = typed_body(STREAM, _part(told.order, "o"), _ORDERS, "o.")
    return OrderUpdate(
        OrderState(
            leg=Leg(order.symbol, order.position_side),
            side=order.side,
            order_id=order.order_id,
            client_order_id=order.client_order_id,
            status=order.status,
            quantity=number_in(STREAM, "o.q", order.quantity),
            executed_quantity=number_in(STREAM, "o.z", order.executed_quantity),
            avg_price=number_in(STREAM, "o.ap", order.average_price) or None,
            update_time_ms=order.updated_ms,
        )
    )


def _account_update(told: _Frame) -> AccountUpdate:
    account = typed_body(STREAM, _part(told.account, "a"), _ACCOUNTS, "a.")
    amounts = {
        Leg(held.symbol, held.position_side): number_in(STREAM, "a.P.pa", held.amount)
        for held in account.positions
    }
    return AccountUpdate(account.reason, amounts)


def _config_update(told: _Frame) -> LeverageUpdate | None:
    if told.config is _NOTHING:
        return None  # the multi-assets mode, which is no business of an engine
    config = typed_body(STREAM, told.config, _CONFIGS, "ac.")
    return LeverageUpdate(config.symbol, config.leverage)


def _margin_call(told: _Frame) -> MarginCall:
    try:
        legs = _LEGS.decode(_part(told.positions, "p"))
    except ValueError as misfit:  # also for text that is no UTF-8, which msgspec finds when it is read
        raise ReplyUnreadable(STREAM, "p", str(misfit)) from None
    return MarginCall(tuple(Leg(leg.symbol, leg.position_side) for leg in legs))


def _listen_key_expired(_: _Frame) -> ListenKeyExpired:
    return ListenKeyExpired()


def _part(part: Raw, name: str) -> Raw:
    if part is _NOTHING:
        raise ReplyUnreadable(STREAM, name, "is missing")
    return part


_EVENTS: Mapping[str, Callable[[_Frame], UserEvent | None]] = {
    "ORDER_TRADE_UPDATE": _order_update,
    "ACCOUNT_UPDATE": _account_update,
    "ACCOUNT_CONFIG_UPDATE": _config_update,
    "MARGIN_CALL": _margin_call,
    "listenKeyExpired": _listen_key_expired,
}
