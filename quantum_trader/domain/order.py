"""Orders, what is known of them, and the four outcomes of sending one.

Three types carry the promise that one place alone can open a position:

* ``ExitOrder`` cannot be built in a form that opens or enlarges a position.
* ``OpenOrder`` can be built by anyone, and is accepted by no one.
* ``Claimed`` wraps an ``OpenOrder`` and is accepted by the one function that opens;
  only the claim step can make it (``Claimed.granted``, enforced by a test over the tree).
"""

from __future__ import annotations

import hashlib
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache

from msgspec import Struct
from msgspec.structs import replace

from quantum_trader.domain.trading import Leg, PositionSide, Side

CLIENT_ORDER_ID_PREFIX = "qt-"
_IDS_KEPT = 1_024


@lru_cache(_IDS_KEPT)  # a plan asks for the same one from its decision to its result
def client_order_id(plan_id: str, number: int = 0) -> str:
    r"""Return the client order id of the ``number``-th order of a plan: a pure function of both.

    30 characters or a few more of ``[a-z0-9-]``, within ``^[\.A-Z\:/a-z0-9_-]{1,36}$`` (SPEC 7.2).
    """
    digest = hashlib.sha256(plan_id.encode()).hexdigest()[:24]
    return f"{CLIENT_ORDER_ID_PREFIX}{digest}-{number}"


def number_of(name: str, plan_id: str) -> int | None:
    """Return which order of ``plan_id`` a client order id names; None where it is another plan's."""
    stem, _, number = name.rpartition("-")
    if stem != client_order_id(plan_id).rpartition("-")[0] or not number.isdigit():
        return None
    return int(number)


class OrderStatus(StrEnum):
    """Life cycle of an order on the exchange (BINANCE.md 6)."""

    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    EXPIRED_IN_MATCH = "EXPIRED_IN_MATCH"

    @property
    def is_final(self) -> bool:
        """Whether no further fill can happen."""
        return self not in _UNFINISHED


_UNFINISHED = (OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED)


class OpenOrder(Struct, frozen=True, gc=False):
    """A MARKET order that opens or enlarges a position.

    ``quantity`` in base asset; ``timestamp_ms`` is the wall time it is signed with, which
    together with recvWindow fences how late the exchange may still accept it (SPEC 7.3).
    """

    leg: Leg
    side: Side
    quantity: Decimal
    client_order_id: str
    timestamp_ms: int


class ExitOrder(Struct, frozen=True, gc=False):
    """A MARKET order that can only reduce a position.

    In one-way mode it goes out with ``reduceOnly=true``. In hedge mode the exchange takes no
    reduceOnly (-1106), but SELL on LONG and BUY on SHORT only reduce (BINANCE.md 12.1).

    Raises ``ValueError`` for a quantity that is not positive and for a side that would open
    the hedge leg.
    """

    leg: Leg
    side: Side
    quantity: Decimal
    client_order_id: str
    timestamp_ms: int

    def __post_init__(self) -> None:
        """Refuse every form that could open."""
        if self.quantity <= 0:
            raise ValueError(f"exit quantity must be positive, not {self.quantity}")
        opens = {PositionSide.LONG: Side.BUY, PositionSide.SHORT: Side.SELL}
        if opens.get(self.leg.side) is self.side:
            raise ValueError(f"{self.side} on {self.leg.side} would open, not reduce")


class OrderState(Struct, frozen=True, gc=False):
    """What the exchange says about one order; quantities in base asset, price in quote asset.

    ``avg_price`` is None where the answer does not carry it (replies to an order no longer do,
    BINANCE.md 0.1). ``created_ms`` is None for the same reason in order replies.
    """

    leg: Leg
    side: Side
    order_id: int
    client_order_id: str
    status: OrderStatus
    quantity: Decimal
    executed_quantity: Decimal
    avg_price: Decimal | None
    update_time_ms: int
    created_ms: int | None = None

    @property
    def is_settled(self) -> bool:
        """Whether nothing more can happen to it and the price of what was filled is known."""
        return self.status.is_final and (self.executed_quantity == 0 or self.avg_price is not None)


def furthest(known: OrderState, told: OrderState) -> OrderState:
    """Return what two words about orders of one client id add up to, whichever came first.

    Of two orders the newer one counts. Of one order: fills never go back, a final status stays, and
    a price once known is kept; so doubled, late and reordered words change nothing (INC-12).
    """
    if known.order_id != told.order_id:
        return max(known, told, key=lambda order: order.order_id)
    first, second = sorted((known, told), key=_progress)
    if (
        second.avg_price is None
        and first.avg_price is not None
        and first.executed_quantity == second.executed_quantity
    ):
        second = replace(second, avg_price=first.avg_price)
    if second.created_ms is None and first.created_ms is not None:
        second = replace(second, created_ms=first.created_ms)
    return second


def _progress(order: OrderState) -> tuple[Decimal, bool, int]:
    return order.executed_quantity, order.status.is_final, order.update_time_ms


class Accepted(Struct, frozen=True, gc=False):
    """The exchange took the order; ``order`` says how far it has got."""

    order: OrderState


class Rejected(Struct, frozen=True, gc=False):
    """The exchange definitely did not execute the order, and said why.

    ``code`` is Binance's negative error code, or 0 where the refusal carried none.
    """

    code: int
    message: str
    http_status: int


class NotSent(Struct, frozen=True, gc=False):
    """Not one byte of the request can have reached the exchange."""

    reason: str


class Unknown(Struct, frozen=True, gc=False):
    """The exchange may or may not have executed the order; only asking can tell."""

    reason: str


Outcome = Accepted | Rejected | NotSent | Unknown


class AccountTrade(Struct, frozen=True, gc=False):
    """One fill of the account (``GET /fapi/v1/userTrades``)."""

    leg: Leg
    side: Side
    trade_id: int
    order_id: int
    quantity: Decimal
    price: Decimal
    realized_pnl: Decimal
    time_ms: int


class Claimed:
    """Proof that a plan passed every gate and holds its claims.

    Made by the claim step only; the function that opens a position accepts nothing else.
    """

    __slots__ = ("_fencing_token", "_order", "_plan_id")

    _order: OpenOrder
    _plan_id: str
    _fencing_token: int

    def __init__(self, *_: object) -> None:
        """Refuse: a claim is granted, never built."""
        raise TypeError("a Claimed is granted by the claim step, never constructed")

    @classmethod
    def granted(cls, order: OpenOrder, plan_id: str, fencing_token: int) -> Claimed:
        """Wrap ``order`` after the atomic claim succeeded under ``fencing_token``."""
        claimed = object.__new__(cls)
        claimed._order = order
        claimed._plan_id = plan_id
        claimed._fencing_token = fencing_token
        return claimed

    @property
    def order(self) -> OpenOrder:
        """The exact order that was claimed."""
        return self._order

    @property
    def plan_id(self) -> str:
        """The plan that holds the claim."""
        return self._plan_id

    @property
    def fencing_token(self) -> int:
        """The lease token under which the claim was taken."""
        return self._fencing_token
