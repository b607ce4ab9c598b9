"""Closing one position, all of it, until the exchange shows it flat (SPEC 10).

Theory of operation. A close is tried three times, two seconds apart. Each try sends the whole live
amount in MARKET orders that can only reduce, in several where the exchange takes no order so large
(it says so with -4005; only then its limits are read). A try ends well when every order was filled,
or when a read shows the position flat. It never ends well on hope: an unknown outcome is settled by
the next read. A second close of what is closed already is refused by the exchange (-2022), because
every order is reduce-only and of the full size (INC-106).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from decimal import Decimal

from quantum_trader.bsc import limits
from quantum_trader.bsc.reading import Line
from quantum_trader.domain.clock import Clock
from quantum_trader.domain.order import Accepted, ExitOrder, OrderState, Outcome, Rejected, Unknown
from quantum_trader.domain.trading import QuantityLimits
from quantum_trader.exchange.codes import Refusal, refusal_of
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.exchange.margin_reads import MarginPosition

CLIENT_ORDER_ID_PREFIX = "bsc-"
PARTS_MAX = 100
NOTHING_TO_REDUCE = -2022
IN_THE_WAY = -4118
TOO_LARGE = -4005


@dataclass(frozen=True, slots=True)
class Closed:
    """The position is flat; ``quantity`` is what orders known to be ours filled, in base asset.

    ``was_ours`` is False where someone else closed it first: no order of ours was, or may have been, taken.
    """

    quantity: Decimal
    order_ids: tuple[int, ...]
    client_order_ids: tuple[str, ...]
    was_ours: bool


@dataclass(frozen=True, slots=True)
class NotClosed:
    """Every try failed; ``reason`` is the last trouble. The next poll tries again."""

    reason: str
    client_order_ids: tuple[str, ...]


def client_order_id(
    position: MarginPosition, read_at_ms: int, attempt: int, part: int, prefix: str = CLIENT_ORDER_ID_PREFIX
) -> str:
    """Return the id of one order: a pure function of the position, the poll, the try and the part.

    At most 36 characters of ``[a-z0-9-]`` (BINANCE.md 12.3).
    """
    identity = f"{position.leg.key}|{position.amount}|{position.update_time_ms}|{read_at_ms}"
    digest = hashlib.sha256(identity.encode()).hexdigest()[:22]
    return f"{prefix}{digest}-{attempt}-{part}"


@dataclass(slots=True)
class _Progress:
    order_ids: list[int] = field(default_factory=list)
    client_order_ids: list[str] = field(default_factory=list)
    filled: Decimal = Decimal(0)
    trouble: str = ""
    is_unknown: bool = False


class Closer:
    """Closes one position of one reading, under BSC's prefix or under an operator's."""

    def __init__(
        self,
        line: Line,
        position: MarginPosition,
        read_at_ms: int,
        clock: Clock,
        prefix: str = CLIENT_ORDER_ID_PREFIX,
    ) -> None:
        self._prefix = prefix
        self._line = line
        self._clock = clock
        self._read_at_ms = read_at_ms
        self._position = position
        self._size_limits: QuantityLimits | None = None
        self._progress = _Progress()

    async def close(self) -> Closed | NotClosed:
        """Try until flat, at most three times."""
        for attempt in range(1, limits.CLOSE_TRIES + 1):
            if await self._send_all(attempt):
                return self._closed()
            await self._clock.sleep(limits.CLOSE_PAUSE_S)
            if await self._is_flat():
                return self._closed()
        return NotClosed(self._progress.trouble, tuple(self._progress.client_order_ids))

    async def _send_all(self, attempt: int) -> bool:
        """Send what closes the whole position; True once it is filled, or seen to be flat."""
        left = abs(self._position.amount)
        for part in range(1, PARTS_MAX + 1):
            filled = await self._send_one(left, attempt, part)
            if filled is None:
                return False
            left -= filled
            if left <= 0:
                return True
        return False

    async def _send_one(self, left: Decimal, attempt: int, part: int) -> Decimal | None:
        """Send one order of at most ``left``; how much less is left, or None where this try is over."""
        order = self._order(self._part_of(left), attempt, part)
        self._progress.client_order_ids.append(order.client_order_id)
        outcome = await self._line.exits.reduce_position(order)
        if isinstance(outcome, Accepted) and _may_reduce(outcome.order):
            self._progress.order_ids.append(outcome.order.order_id)
            self._progress.filled += outcome.order.executed_quantity
            if outcome.order.executed_quantity > 0:
                return outcome.order.executed_quantity
        self._progress.trouble = _described(outcome)
        self._progress.is_unknown |= isinstance(outcome, Unknown)
        if isinstance(outcome, Rejected):
            return await self._learn_from(outcome, left)
        return None

    async def _learn_from(self, refused: Rejected, left: Decimal) -> Decimal | None:
        """Do what makes the next order possible; 0 where it may follow within this very try."""
        if refused.code == TOO_LARGE and self._size_limits is None and await self._read_size_limits():
            return Decimal(0)
        if refused.code == NOTHING_TO_REDUCE and await self._is_flat():
            return left
        if refused.code in (NOTHING_TO_REDUCE, IN_THE_WAY):
            await self._clear_the_way()
        if refusal_of(refused.code) is Refusal.TIME:
            await self._line.clock.resync()
        return None

    def _order(self, quantity: Decimal, attempt: int, part: int) -> ExitOrder:
        position = self._position
        return ExitOrder(
            leg=position.leg,
            side=position.side_to_close,
            quantity=quantity,
            client_order_id=client_order_id(position, self._read_at_ms, attempt, part, self._prefix),
            timestamp_ms=self._line.clock.signing_time_ms(),
        )

    def _part_of(self, left: Decimal) -> Decimal:
        sizes = self._size_limits
        if sizes is None or left <= sizes.maximum:
            return left
        return sizes.round_down(sizes.maximum)

    async def _read_size_limits(self) -> bool:
        try:
            self._size_limits = await self._line.reads.market_quantity(self._position.leg.symbol)
        except ExchangeError as failed:
            self._progress.trouble = str(failed)
            return False
        return self._size_limits.maximum > 0

    async def _clear_the_way(self) -> None:
        try:
            await self._line.exits.cancel_open_orders(self._position.leg.symbol)
        except ExchangeError as failed:
            self._progress.trouble = str(failed)

    async def _is_flat(self) -> bool:
        """Whether a read shows the position gone, or turned round; takes over what is left of it."""
        try:
            live = await self._line.reads.positions()
        except ExchangeError as failed:
            self._progress.trouble = str(failed)
            return False
        rest = [each for each in live if each.leg == self._position.leg]
        if not rest or rest[0].amount * self._position.amount < 0:
            return True
        self._position = rest[0]
        return False

    def _closed(self) -> Closed:
        progress = self._progress
        return Closed(
            progress.filled,
            tuple(progress.order_ids),
            tuple(progress.client_order_ids),
            was_ours=bool(progress.order_ids) or progress.is_unknown,
        )


def _may_reduce(order: OrderState) -> bool:
    """Whether it has filled, or may yet: a reply of NEW comes before its fill, and is an order of ours."""
    return order.executed_quantity > 0 or not order.status.is_final


def _described(outcome: Outcome) -> str:
    if isinstance(outcome, Accepted):
        return f"accepted, but {outcome.order.status} without a fill"
    if isinstance(outcome, Rejected):
        return f"{outcome.code} {outcome.message}"
    return f"outcome unknown: {outcome.reason}" if isinstance(outcome, Unknown) else outcome.reason
