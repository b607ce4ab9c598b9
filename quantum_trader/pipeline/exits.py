"""Sending the orders of an exit, one after another, until its effect is reached (SPEC 7.6).

Each order is sized from a position read after the former was settled, so an exit never flips and
never closes more than was asked. What it asks for is a quantity; what is left of it is that
quantity minus what was filled, at most the live position.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import structlog

from quantum_trader.domain.clock import Clock
from quantum_trader.domain.order import (
    Accepted,
    ExitOrder,
    NotSent,
    OrderState,
    Outcome,
    Rejected,
    Unknown,
    client_order_id,
)
from quantum_trader.domain.reasons import Reason
from quantum_trader.domain.result import Ended
from quantum_trader.domain.sizing import split
from quantum_trader.domain.trading import ZERO, PositionSide, SymbolRules
from quantum_trader.exchange.codes import Refusal as Refused
from quantum_trader.exchange.codes import refusal_of
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.exchange.ports import ExitPort
from quantum_trader.pipeline.claim import ClaimStep, Grant
from quantum_trader.pipeline.evidence import Rooms, read_rules_anew
from quantum_trader.pipeline.fate import Fate, filled_quantity
from quantum_trader.pipeline.follow import OrderFollower
from quantum_trader.pipeline.opens import attempt_record, found_record, recovered_record
from quantum_trader.positions.live import READS_LAG_S
from quantum_trader.stores.claims import Refusal, StoredOrder

ORDERS_MAX = 100
PAUSE_FIRST_S = 0.2
PAUSE_MAX_S = 5.0
NOTHING_TO_REDUCE = -2022
REDUCE_ONLY_OBSTRUCTED = -4118
RETRIED = frozenset(
    {
        Refused.TRANSIENT,
        Refused.THROTTLE,
        Refused.POSITION_STATE,
        Refused.POSITION_MODE,
        Refused.TIME,  # also where the clock could not be measured: the order may just have been late
    }
)
RETRIED_STATUSES = frozenset({403, 429, 503})  # not executed, whatever the code says (BINANCE.md 4)

log = structlog.get_logger()


@dataclass(slots=True)
class Progress:
    """How far an exit has got."""

    asked: Decimal
    grant: Grant
    deadline_ms: int
    orders: list[OrderState] = field(default_factory=list)
    attempts: list[dict[str, Any]] = field(default_factory=list)
    pause_s: float = PAUSE_FIRST_S
    last_refusal: Rejected | None = None
    last_trouble: str = ""
    signed_anew: bool = False
    times_obstructed: int = 0
    nothing_to_reduce_since_ms: int | None = None
    """Since when the exchange has said so, order after order, of a position that it shows."""
    former: Callable[[], Awaitable[list[OrderState]]] | None = None
    """Asks for what the plan did in a former life, where it went out before that could be known."""
    filled_before: Decimal = ZERO
    misfit: tuple[Decimal, SymbolRules | None] | None = None
    """The quantity that broke a filter last, and the rules that it was sized by."""
    amount: Decimal | None = None
    """The leg's signed amount as it was last read for this exit; None before the first read."""

    @property
    def remaining(self) -> Decimal:
        """What is still to be closed of what was asked, in base asset."""
        return self.asked - self.filled_before - filled_quantity(self.orders)


class ExitSender:
    """Sends a granted exit's orders through the exit port, which can only reduce."""

    def __init__(
        self, exits: ExitPort, claims: ClaimStep, follower: OrderFollower, rooms: Rooms, clock: Clock
    ) -> None:
        self._exits = exits
        self._claims = claims
        self._follower = follower
        self._rooms = rooms
        self._clock = clock

    async def send(
        self,
        grant: Grant,
        asked: Decimal,
        deadline_ms: int,
        outcome_unknown: Callable[[], Awaitable[None]],
        *,
        earlier: list[OrderState] | None = None,
        settle_first: bool = False,
        sends: bool = True,
        former: Callable[[], Awaitable[list[OrderState]]] | None = None,
    ) -> Fate:
        """Close ``asked`` (base asset) and sum up.

        ``settle_first`` asks what became of the stored order before anything is sent (recovery), and without
        ``sends`` that is all (a mode that sends nothing). ``former`` asks for orders of a former life, which
        one order may precede, and no second one.
        """
        progress = Progress(asked, grant, deadline_ms, orders=list(earlier or []), former=former)
        progress.attempts = [found_record(order) for order in progress.orders]
        if settle_first:
            progress.attempts.append(recovered_record(grant))
            await self._settle_unknown(progress)
            if not sends:
                progress.last_trouble = "this mode sends no order: nothing was added to what had been sent"
            if not sends or not await self._next_order(progress):
                return self._sum_up(progress)
        while len(progress.attempts) < ORDERS_MAX:
            outcome = await self._send_once(progress)
            if isinstance(outcome, Accepted):
                progress.orders.append(await self._follower.until_final(outcome.order, outcome_unknown))
                await self._pause_unless_filled(progress)
            elif isinstance(outcome, Unknown):
                await outcome_unknown()
                await self._settle_unknown(progress)
            elif not await self._may_go_on(progress, outcome):
                break
            if not await self._next_order(progress):
                break
        return self._sum_up(progress)

    async def _send_once(self, progress: Progress) -> Outcome:
        stored = progress.grant.record.order
        order = ExitOrder(
            stored.leg, stored.side, stored.quantity, stored.client_order_id, stored.timestamp_ms
        )
        self._claims.mirror(progress.grant)
        outcome = await self._follower.first_word(self._exits.reduce_position(order), stored)
        self._rooms.keys.order_answered(outcome)
        progress.attempts.append(attempt_record(progress.grant, outcome))
        progress.last_refusal = outcome if isinstance(outcome, Rejected) else None
        progress.last_trouble = outcome.reason if isinstance(outcome, (NotSent, Unknown)) else ""
        return outcome

    async def _settle_unknown(self, progress: Progress) -> None:
        order = progress.grant.record.order
        earlier = order.side.sign * filled_quantity(progress.orders)  # the ledger learns of them at the end

        def ledger_amount() -> Decimal:
            return self._rooms.ledger[order.leg].position_amt + earlier

        found = await self._follower.resolve(order, ledger_amount)
        if found is not None:
            progress.orders.append(found)

    async def _may_go_on(self, progress: Progress, outcome: Rejected | NotSent) -> bool:
        """Whether a definite non-execution is worth another order; waits as long as that needs."""
        if isinstance(outcome, Rejected):
            refusal = refusal_of(outcome.code)
            if (
                refusal is Refused.TIME
                and await self._rooms.server_clock.resync()
                and not progress.signed_anew
            ):
                progress.signed_anew = True
                return True
            if refusal is Refused.PRECISION:
                return await self._may_fit(progress)
            if refusal not in RETRIED and outcome.http_status not in RETRIED_STATUSES:
                return False
            if outcome.code == REDUCE_ONLY_OBSTRUCTED or self._is_crowded_out(progress, outcome.code):
                await self._clear_the_way(progress)
        await self._pause(progress)
        return True

    def _is_crowded_out(self, progress: Progress, code: int | None) -> bool:
        """Whether resting orders hold what the exit is to reduce (BINANCE.md 12.1).

        -2022 says so, and also that the position is gone: for as long as reads may lag it is taken for that.
        """
        if code != NOTHING_TO_REDUCE:
            return False
        now_ms = self._clock.now_ms()
        if progress.nothing_to_reduce_since_ms is None:
            progress.nothing_to_reduce_since_ms = now_ms
        return now_ms - progress.nothing_to_reduce_since_ms >= READS_LAG_S * 1000

    async def _pause_unless_filled(self, progress: Progress) -> None:
        """Give the market time where it took nothing of an order: what expired at once would again."""
        progress.nothing_to_reduce_since_ms = None
        if progress.orders[-1].executed_quantity > 0:
            progress.pause_s = PAUSE_FIRST_S
        else:
            await self._pause(progress)

    async def _pause(self, progress: Progress) -> None:
        await self._clock.sleep(progress.pause_s)
        progress.pause_s = min(progress.pause_s * 2, PAUSE_MAX_S)

    async def _may_fit(self, progress: Progress) -> bool:
        """Read the rules that a quantity broke, for the next one; False past the deadline."""
        order = progress.grant.record.order
        progress.misfit = (order.quantity, self._rooms.market.rules_of(order.leg.symbol))
        while not await read_rules_anew(self._rooms):
            if self._rooms.clock.now_ms() >= progress.deadline_ms:
                return False
            await self._clock.sleep(PAUSE_FIRST_S)
        return True

    async def _clear_the_way(self, progress: Progress) -> None:
        """Cancel the resting orders of the symbol; conditional ones only when plain ones were not all."""
        symbol, exits = progress.grant.record.order.leg.symbol, self._exits
        cancel = exits.cancel_conditional_orders if progress.times_obstructed else exits.cancel_open_orders
        progress.times_obstructed += 1
        try:
            await cancel(symbol)
        except ExchangeError as failed:
            log.warning("orders_in_the_way_stay", symbol=symbol, error=str(failed))

    async def _next_order(self, progress: Progress) -> bool:
        """Read the position again and store the next order; False when there is none to send.

        Where another exit took the symbol while the end of an order was waited for, it is waited for.
        """
        await self._count_former(progress)
        while (quantity := await self._next_quantity(progress)) is not None:
            if self._rooms.clock.now_ms() >= progress.deadline_ms:
                return False
            refusal = await self._store_next(progress, quantity)
            if refusal is None:
                return True
            progress.last_trouble = f"{refusal.gate}: {refusal.reason}"
            if refusal.reason != Reason.SYMBOL_IN_FLIGHT.value:
                return False
            await self._pause(progress)
        return False

    async def _count_former(self, progress: Progress) -> None:
        if progress.former is None:
            return
        former, progress.former = progress.former, None
        own = {order.order_id for order in progress.orders}
        progress.filled_before = filled_quantity(
            [each for each in await former() if each.order_id not in own]
        )

    async def _store_next(self, progress: Progress, quantity: Decimal) -> Refusal | None:
        before = progress.grant.record.order
        sized = self._rooms.account.sized_by(before.leg)
        number = before.number + 1
        next_order = StoredOrder(
            leg=before.leg,
            side=before.side,
            quantity=quantity,
            client_order_id=client_order_id(progress.grant.record.plan_id, number),
            timestamp_ms=self._rooms.server_clock.signing_time_ms(),
            number=number,
            position_amt=sized.amount if sized is not None else None,
            position_ms=sized.at_ms if sized is not None else None,
        )
        known = progress.grant.record.settled_orders
        settled = dict.fromkeys([*known, *(order.client_order_id for order in progress.orders)])
        amended = await self._claims.amend(progress.grant, next_order, list(settled))
        if isinstance(amended, Refusal):
            return amended
        progress.grant = amended
        return None

    async def _next_quantity(self, progress: Progress) -> Decimal | None:
        leg, side = progress.grant.record.order.leg, progress.grant.record.order.side
        rules = self._rooms.market.rules_of(leg.symbol)
        if progress.remaining <= 0:
            return None
        amount = await self._live_amount(progress)
        if amount is None or amount == 0 or (amount > 0) == (side.sign > 0):
            return None
        wanted = min(progress.remaining, abs(amount))
        if rules is not None and (wanted != abs(amount) or progress.misfit is not None):
            wanted = rules.market_quantity.round_down(wanted)  # dust that was refused would be again
        quantity = split(wanted, rules)
        fits = (quantity, rules) != progress.misfit  # the same one is sent once by each set of rules
        return quantity if quantity > 0 and fits else None

    async def _live_amount(self, progress: Progress) -> Decimal | None:
        """Return the leg's signed amount from a read that began now; None past the deadline."""
        leg = progress.grant.record.order.leg
        while self._rooms.clock.now_ms() < progress.deadline_ms:
            try:
                await self._rooms.account.refresh_positions()
            except ExchangeError as failed:
                progress.last_trouble = str(failed)
                await self._clock.sleep(PAUSE_FIRST_S)
                continue
            shown = self._rooms.account.shown
            progress.amount = shown.amount(leg) if shown is not None else None
            if not self._hides(progress):
                return progress.amount
            await self._clock.sleep(PAUSE_FIRST_S)
        return None

    def _hides(self, progress: Progress) -> bool:
        """Whether a read that says flat answered from before our open: nothing yet says that it is gone."""
        if progress.amount != 0 or filled_quantity(progress.orders) > 0:
            return False
        refused = progress.last_refusal
        if refused is not None and refusal_of(refused.code) is Refused.POSITION_STATE:
            return False
        return self._rooms.account.outruns_reads(progress.grant.record.order.leg)

    def _sum_up(self, progress: Progress) -> Fate:
        orders, attempts = tuple(progress.orders), progress.attempts
        filled = filled_quantity(orders)
        if filled + progress.filled_before >= progress.asked:
            return Fate(Ended.FILLED, Reason.FILLED.value, orders=orders, attempts=attempts)
        if filled > 0:
            return self._partial(progress, orders)
        if self._is_flat(progress):
            return Fate(Ended.SKIPPED, Reason.ALREADY_FLAT.value, orders=orders, attempts=attempts)
        if progress.last_refusal is not None:
            refused = progress.last_refusal
            return Fate(
                Ended.REJECTED,
                Reason.EXCHANGE_REJECTED.value,
                error=f"{refused.code} {refused.message}".strip(),
                orders=orders,
                attempts=attempts,
                rejected_code=refused.code,
            )
        if orders:
            status = orders[-1].status.value
            return Fate(Ended.REJECTED, Reason.NO_FILL.value, error=status, orders=orders, attempts=attempts)
        return Fate(Ended.FAILED, Reason.NOT_SENT.value, error=progress.last_trouble, attempts=attempts)

    def _partial(self, progress: Progress, orders: tuple[OrderState, ...]) -> Fate:
        """What was asked may be more than what was left to close: flat counts as done."""
        ended, reason = Ended.PARTIALLY_FILLED, Reason.PARTIALLY_FILLED
        if self._is_flat(progress):
            ended, reason = Ended.FILLED, Reason.FILLED
        return Fate(
            ended, reason.value, error=progress.last_trouble, orders=orders, attempts=progress.attempts
        )

    def _is_flat(self, progress: Progress) -> bool:
        leg, shown = progress.grant.record.order.leg, self._rooms.account.shown
        if shown is not None and shown.hedge_mode is (leg.side is PositionSide.BOTH):
            return False  # sent while the mode was not known: a leg that cannot be says nothing
        if progress.amount is not None:
            return progress.amount == 0
        reading = self._rooms.account.positions
        return reading is not None and reading.value.amount(leg) == 0
