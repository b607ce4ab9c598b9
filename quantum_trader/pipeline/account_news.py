"""What the user data stream sets going (SPEC 8; INC-12, INC-32, INC-69, INC-87, INC-88).

The rule, so that no fill counts twice and none is missed: *a stream event never changes a reading.*
Readings of positions, account and leverage are dated with epochs that say which settled opens they
are sure to contain (docs/decisions/0003); an event carries no such date, arrives before or after the
reply to the same order, and names some legs only. So:

- what an event says of an **order** goes to whoever follows that order (``OrderNews``), and from there
  into the one settlement of its plan, as a reply or a query would;
- that **positions or wallet** have changed is a reason to read them, account-wide, now.
  Reads are shared and at least a second apart. An event that comes while a read is under way leads to
  one that begins after it, which is what buffering events behind a snapshot would achieve. Positions of
  symbols or legs that nobody knew are adopted by the same read (INC-69);
- an **order that is not ours** is acted on at once, and once only, whoever finds it first
  (``ForeignFills``). One that rests leaves no trace in a position, so those that a stream which was down
  may have kept to itself are read, account-wide, when it is back, and now and then while it is not.

A **leverage** that is not as known is forgotten, which stops opens of its symbol, and read within a second.

A plan that is judged meanwhile does not judge by what is known to be out of date: a change that is
not of an order of ours in flight puts the positions in doubt, and whoever needs them reads them first.

While an order of ours is in flight on the symbol, the read waits for its settlement, for a second at
most: one that began before would have to be made again by the settlement (``LiveAccount``).

When the stream becomes live it has missed what happened before, so everything is read then, too. A
stream that did not tell of a fill that a reply or a query shows is deaf and is opened anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from enum import Enum, auto

import structlog

from quantum_trader.domain.clock import Clock
from quantum_trader.domain.order import OrderState
from quantum_trader.domain.trading import Leg, Positions, PositionSide
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.exchange.streams.user_events import (
    AccountUpdate,
    LeverageUpdate,
    MarginCall,
    OrderUpdate,
    UserEvent,
)
from quantum_trader.pipeline.evidence import Rooms
from quantum_trader.pipeline.foreign_fills import ForeignFills
from quantum_trader.pipeline.reconcile import Reconciler
from quantum_trader.stores.connection import RedisError

READS_APART_S = 1.0
SETTLEMENT_WAIT_S = 1.0
LOOK_EVERY_S = 0.05
RETRY_PAUSE_S = 0.5
FOREIGN_ORDERS_MAX = 10_000  # told and not yet acted on

log = structlog.get_logger()


class Wanted(Enum):
    """What an event may have made out of date."""

    POSITIONS = auto()
    ACCOUNT = auto()
    RESTING_ORDERS = auto()


MONEY = frozenset({Wanted.POSITIONS, Wanted.ACCOUNT})


class AccountNews:
    """Takes the events of one account's stream, acts on foreign orders, and reads what has changed.

    ``doubt_mode`` makes the next read of positions ask for the position mode, too.
    """

    def __init__(
        self,
        rooms: Rooms,
        reconciler: Reconciler,
        foreign_fills: ForeignFills,
        clock: Clock,
        *,
        doubt_mode: Callable[[], None],
        open_orders: Callable[[], Awaitable[Sequence[OrderState]]],
    ) -> None:
        self._rooms = rooms
        self._reconciler = reconciler
        self._foreign_fills = foreign_fills
        self._clock = clock
        self._doubt_mode = doubt_mode
        self._open_orders = open_orders
        self.misses_resting_orders = True
        """Whether orders may rest on the account that were neither told nor read."""
        self._wanted: set[Wanted] = set()
        self._changed_symbols: set[str] = set()
        self._reading_due = asyncio.Event()
        self._foreign: asyncio.Queue[OrderState] = asyncio.Queue(FOREIGN_ORDERS_MAX)

    # -- called by the stream

    def take(self, event: UserEvent) -> None:
        """Take one event, in the order of arrival; doubles and late ones do no harm."""
        if isinstance(event, OrderUpdate):
            self._take_order(event.order)
        elif isinstance(event, LeverageUpdate):
            self._take_leverage(event)
        elif isinstance(event, AccountUpdate):
            self._take_account(event)
        elif isinstance(event, MarginCall):
            log.error("margin_call", legs=[leg.key for leg in event.legs], cure="reduce, or add margin")
            self._want(MONEY)
        else:
            self._want_all()

    def on_live(self) -> None:
        """The stream has become live: what happened before it did has to be read."""
        self._rooms.order_news.restart()
        self._rooms.order_news.is_live = True
        self._want_all()

    def on_dead(self) -> None:
        """The stream is down: nothing is heard any more, and reads go on alone."""
        self._rooms.order_news.is_live = False
        self.misses_resting_orders = True

    def _take_order(self, order: OrderState) -> None:
        self._rooms.order_news.tell(order)
        self._note_foreign(order)

    def _note_foreign(self, order: OrderState) -> None:
        if not self._foreign_fills.concerns(order):
            return
        try:
            self._foreign.put_nowait(order)
        except asyncio.QueueFull:  # the next difference between ledger and exchange leads to it
            log.warning("foreign_order_not_queued", symbol=order.leg.symbol, order_id=order.order_id)

    def _take_account(self, event: AccountUpdate) -> None:
        reading = self._rooms.account.positions
        if reading is not None and _contradicts(event.amounts, reading.value):
            self._doubt_mode()
        symbols = {leg.symbol for leg in event.amounts}
        if not all(map(self._reconciler.is_busy, symbols)):
            self._rooms.account.doubt()
        self._changed_symbols |= symbols
        self._want(MONEY)

    def _take_leverage(self, event: LeverageUpdate) -> None:
        if self._rooms.account.leverages.get(event.symbol) != event.leverage:
            self._rooms.account.forget_leverage(event.symbol)

    def _want_all(self) -> None:
        self._rooms.account.doubt_leverages()
        self._want(frozenset(Wanted))

    def _want(self, wanted: frozenset[Wanted]) -> None:
        self._wanted |= wanted
        self._reading_due.set()

    # -- what follows from it

    async def act_on_foreign_orders(self) -> None:
        """Answer orders that nobody here sent, until cancelled."""
        while True:
            order = await self._foreign.get()
            while not await self._is_acted_on(order):
                await self._clock.sleep(RETRY_PAUSE_S)

    async def _is_acted_on(self, order: OrderState) -> bool:
        try:
            await self._foreign_fills.act_on_told(order)
        except RedisError as failed:
            log.warning("foreign_order_retry", order_id=order.order_id, error=str(failed))
            return False
        return True

    async def read_what_changed(self) -> None:
        """Read what the events say has changed, until cancelled."""
        while True:
            await self._reading_due.wait()
            self._reading_due.clear()
            await self._wait_for_settlement()
            try:
                await self._read()
            except (ExchangeError, RedisError) as failed:
                log.warning("stream_follow_up_failed", error=str(failed), retry="with the regular reads")
            await self._clock.sleep(READS_APART_S)

    async def _read(self) -> None:
        wanted, self._wanted = self._wanted, set()
        if Wanted.POSITIONS in wanted:
            await self._rooms.account.refresh_positions()
            await self._reconciler.reconcile()
        if Wanted.ACCOUNT in wanted:
            await self._rooms.account.refresh_account()
        if Wanted.RESTING_ORDERS in wanted:
            await self.read_resting_orders()

    async def read_resting_orders(self) -> None:
        """Look for orders that rest on the account and are not ours; raises ``ExchangeError``."""
        self.misses_resting_orders = False  # not after the read: the stream may break meanwhile
        try:
            orders = await self._open_orders()
        except ExchangeError:
            self.misses_resting_orders = True
            raise
        for order in orders:
            self._note_foreign(order)

    async def _wait_for_settlement(self) -> None:
        symbols, self._changed_symbols = self._changed_symbols, set()
        deadline_s = self._clock.monotonic_s() + SETTLEMENT_WAIT_S
        while any(map(self._reconciler.is_busy, symbols)) and self._clock.monotonic_s() < deadline_s:
            await self._clock.sleep(LOOK_EVERY_S)


def _contradicts(amounts: Mapping[Leg, Decimal], positions: Positions) -> bool:
    """Whether a leg that holds something cannot exist in the position mode that is known."""
    return any(
        amount != 0 and (leg.side is PositionSide.BOTH) == positions.hedge_mode
        for leg, amount in amounts.items()
    )
