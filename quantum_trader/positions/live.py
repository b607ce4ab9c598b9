"""Positions, balances and leverage as last read from the exchange, with our own fills applied.

A fill of ours is applied the moment its plan is settled, unless a reading shows it already; a
snapshot that was asked for before that settlement began does not undo it. ``epoch`` tells which
settled opens a reading is sure to contain.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType

import structlog
from msgspec import Struct
from msgspec.structs import replace

from quantum_trader.concurrency import SharedRead
from quantum_trader.domain.clock import Clock
from quantum_trader.domain.evidence import Reading
from quantum_trader.domain.order import OrderState
from quantum_trader.domain.trading import Account, Leg, Position, Positions, PositionSide
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.exchange.ports import AccountReads

SOURCE = "exchange"
READS_LAG_S = 2  # for so long after a fill of ours a read may still answer without it
CLOCK_DOUBT_MS = 1000  # by how much our idea of the exchange's time may be off
FILLS_KEPT = 32  # a leg: as many as may come between the sizing of an order and its settlement

log = structlog.get_logger()


class SizedBy(Struct, frozen=True, gc=False):
    """The signed amount (base asset) that an order was sized by, and since when it stood (exchange's ms)."""

    amount: Decimal
    at_ms: int


_NOTHING: Mapping[str, SizedBy] = MappingProxyType({})


class LiveAccount:
    """Readings with their time and source; None until the first read succeeded."""

    def __init__(self, reads: AccountReads, clock: Clock, exchange_now_ms: Callable[[], int]) -> None:
        self._reads = reads
        self._clock = clock
        self._exchange_now_ms = exchange_now_ms
        self._asked_at_ms = 0  # when the reading in use was asked for, by the exchange's clock
        self._reads_begun = 0
        self._read_number = 0
        self._is_reading = False
        self.reads_answered = 0
        self._last_mark_of: dict[Leg, int] = {}
        self._filled: dict[Leg, _Filled] = {}
        self._fills: dict[Leg, deque[OrderState]] = {}
        self._times_led_by_others = 0
        self._awaited: _AwaitedEpoch | None = None
        self._unseen_opens: list[_SettledOpens] = []
        self._kept: frozenset[Leg] = frozenset()  # what the reading in use has of them is from before it
        self.shown: Positions | None = None
        """What the last read itself said, whether it lags behind our own fills or not."""
        self._doubts = 0
        self._doubts_settled = 0
        self.positions: Reading[Positions] | None = None
        self.account: Reading[Account] | None = None
        self.leverages: Mapping[str, int] = {}
        self._leverage_doubts = 1
        self._leverage_doubts_settled = 0
        self.positions_epoch = 0
        self.account_epoch = 0
        self.refresh_positions = SharedRead(self._read_positions).fresh
        self.refresh_account = SharedRead(self._read_account).fresh
        self.refresh_leverages = SharedRead(self._read_leverages).fresh

    @property
    def trusted_positions(self) -> Reading[Positions] | None:
        """The positions, unless something is known to have changed since they were read."""
        return self.positions if self._doubts == self._doubts_settled else None

    def doubt(self) -> None:
        """Have the positions read anew before the next plan is judged: they, or their mode, changed."""
        self._doubts += 1

    def forget(self) -> None:
        """Have all of it read anew before anything is judged by it: another engine has traded.

        A read that is under way may be from before its last order, and is made again.
        """
        self._times_led_by_others += 1
        self.positions = self.account = None
        self.leverages = {}
        self.doubt_leverages()

    def expect(self, epoch: int, newest_open_ms: int) -> None:
        """Take over that opens were settled up to ``epoch`` by a former life, or another engine.

        Where the newest was filled (``newest_open_ms``, our clock) so lately that a read may lack it, they
        count as claims until readings were asked for so long after this that they cannot.
        """
        now_ms, now_s = self._clock.now_ms(), self._clock.monotonic_s()
        if _is_long_after(now_ms, newest_open_ms):
            self.positions_epoch = max(self.positions_epoch, epoch)
            self.account_epoch = max(self.account_epoch, epoch)
            return
        self._await_epoch(epoch, now_s)
        self._unseen_opens.append(_SettledOpens(self.account_epoch + 1, epoch, None, now_s))

    @property
    def awaits_opens(self) -> bool:
        """Whether a settled open may be missing in the positions, so that its claim counts still."""
        return self._awaited is not None

    @property
    def leverages_are_in_doubt(self) -> bool:
        """Whether a leverage may have changed since they were read."""
        return self._leverage_doubts != self._leverage_doubts_settled

    def doubt_leverages(self) -> None:
        """Have the leverages read anew, soon: they may have changed."""
        self._leverage_doubts += 1

    def know_leverage(self, symbol: str, leverage: int) -> None:
        """Take over the leverage that the exchange has confirmed; a read under way may be from before it."""
        self.leverages = {**self.leverages, symbol: leverage}
        self.doubt_leverages()

    def forget_leverage(self, symbol: str) -> None:
        """Have nothing judged by the symbol's leverage until it is read: it has changed, or may have."""
        self.leverages = {known: times for known, times in self.leverages.items() if known != symbol}
        self.doubt_leverages()

    async def mark_settlement(self, reads_answered: int, orders: Iterable[OrderState] = ()) -> int:
        """Return a mark: readings that began after it hold the fills of ``orders``, which are final now.

        One that was answered since ``reads_answered`` (as it was before the order, -1 where that is
        not known) may hold some of those fills, whenever it was asked for: requests overtake each
        other. So may one that is under way and will be answered before they are taken over. They can
        neither be added to it nor left out, so it is read anew first; where that fails, nothing is
        judged by it any more. Counted, not timed: clocks step. The new one may lag behind them as well, and
        then leaves their legs as they were.
        """
        mark = self._reads_begun
        for order in _filled(orders):
            self._note_fill(order)
        if self._is_reading or self.reads_answered != reads_answered:
            try:
                await self.refresh_positions()
            except ExchangeError as failed:
                log.warning("fill_not_read_back", error=str(failed))
                self.doubt()
        return mark

    def take_over(
        self, orders: Iterable[OrderState], mark: int, epoch: int, sized: Mapping[str, SizedBy] = _NOTHING
    ) -> None:
        """Take over final orders of ours that were settled in ``epoch``: those that no reading shows.

        ``sized`` gives, by client order id, what an order was sized by.
        """
        is_sure = self.positions is not None
        for order in _filled(orders):
            if not self._shows_though_in_doubt(order) and (
                self._read_number <= mark or self._was_kept_without(order) or (epoch and self._lacks(order))
            ):
                self._apply_fill(order, mark, sized.get(order.client_order_id), opens=epoch > 0)
            elif self._may_lack(order):
                is_sure = False
            self._note_fill(order)
            self._fills.setdefault(order.leg, deque(maxlen=FILLS_KEPT)).append(order)
            if epoch:
                settled_s = self._clock.monotonic_s()
                self._unseen_opens.append(_SettledOpens(epoch, epoch, order.update_time_ms, settled_s))
        if epoch:
            self._know_epoch(epoch, is_sure=is_sure)

    def _note_fill(self, order: OrderState) -> None:
        known = self._filled.get(order.leg)
        if known is None or known.at_ms <= order.update_time_ms:
            believed_until_s = self._clock.monotonic_s() + READS_LAG_S
            self._filled[order.leg] = _Filled(order.update_time_ms, believed_until_s)

    def _know_epoch(self, epoch: int, *, is_sure: bool) -> None:
        """Opens up to ``epoch`` are in memory now, unless one may be missing, or an earlier one is."""
        if not is_sure:
            self._await_epoch(epoch, self._clock.monotonic_s())
        elif self._awaited is not None:
            self._await_epoch(epoch, self._awaited.since_s)
        else:
            self.positions_epoch = max(self.positions_epoch, epoch)

    def _await_epoch(self, epoch: int, since_s: float) -> None:
        known = self._awaited.epoch if self._awaited is not None else self.positions_epoch
        self._awaited = _AwaitedEpoch(max(known, epoch), since_s)

    def _epoch_of_read(self, asked_s: float) -> int:
        """Return up to which epoch positions that are asked for now know all settled opens."""
        awaited = self._awaited
        if awaited is not None and asked_s >= awaited.since_s + READS_LAG_S:
            return max(self.positions_epoch, awaited.epoch)
        return self.positions_epoch

    def _shows_though_in_doubt(self, order: OrderState) -> bool:
        """Whether a reading that may hold the fill, and could not be made again, is from after it.

        Told by when its position last changed, or by when it was asked for: in the exchange's time as
        the order's is.
        """
        if self.positions is None or self.trusted_positions is not None:
            return False
        held = self.positions.value.get(order.leg)
        changed_since = held is not None and held.update_time_ms >= order.update_time_ms
        return changed_since or self._was_asked_long_after(order)

    def _was_asked_long_after(self, order: OrderState) -> bool:
        """Whether no lag of reads, and no error of our clock, can hide the order from the last reading."""
        return _is_long_after(self._asked_at_ms, order.update_time_ms)

    def sized_by(self, leg: Leg) -> SizedBy | None:
        """Return what an order on ``leg`` is sized by now; None before the first reading."""
        if self.positions is None:
            return None
        held = self.positions.value.get(leg)
        if held is None:
            return SizedBy(Decimal(0), self._exchange_now_ms())
        return SizedBy(held.amount, held.update_time_ms)

    def outruns_reads(self, leg: Leg) -> bool:
        """Whether ``leg`` is held by our own fills alone: the last read lagged, and may be wrong of it."""
        return leg in self._kept and self.positions is not None and leg in self.positions.value

    def _was_kept_without(self, order: OrderState) -> bool:
        """Whether the reading in use has the order's leg as it was before it, as the last read lagged."""
        held = self.positions.value.get(order.leg) if self.positions is not None else None
        return order.leg in self._kept and held is not None and held.update_time_ms < order.update_time_ms

    def _amount_where_part_is_held(self, order: OrderState, held: Position, sized: SizedBy) -> Decimal | None:
        """Return what is left after ``order`` where a leg kept from an older reading has a part of its fills.

        None where it has none of them, or all.
        """
        if order.leg not in self._kept:
            return None
        before, fill = sized.amount + self._filled_beside(order, sized.at_ms), _signed_fill(order)
        moved = (held.amount - before) * order.side.sign
        return before + fill if 0 < moved < order.executed_quantity else None

    def _amount_where_part_was_closed(self, order: OrderState, sized: SizedBy) -> Decimal | None:
        """Return what is left after ``order`` where orders of ours closed a part of it before it was settled.

        None where they did not: all of it is left. Its outcome was unknown meanwhile, and its leg is flat in
        memory since.
        """
        fill = _signed_fill(order)
        left = sized.amount + self._filled_beside(order, sized.at_ms) + fill
        return left if 0 <= left * order.side.sign < order.executed_quantity else None

    def _filled_beside(self, order: OrderState, since_ms: int) -> Decimal:
        """Return what other orders of ours, settled already, have moved its leg by since (signed)."""
        others = [
            each
            for each in self._fills.get(order.leg, ())
            if each.order_id != order.order_id and each.update_time_ms > since_ms
        ]
        return sum(map(_signed_fill, others), Decimal(0))

    def _lacks(self, opened: OrderState) -> bool:
        """Whether the last reading answered from before ``opened`` was filled: it does not know its leg.

        Unless it was asked for long after, or an order of ours was filled there since the open was sent:
        while its outcome was unknown, what it had opened by then may have been closed.
        """
        return self._may_lack(opened) and not self._was_filled_since(opened)

    def _may_lack(self, opened: OrderState) -> bool:
        """Whether the leg of ``opened`` is in no reading, and no time has passed that would tell why."""
        if self.positions is None or opened.leg in self.positions.value:
            return False
        return not self._was_asked_long_after(opened)

    def _was_filled_since(self, opened: OrderState) -> bool:
        sent_ms = opened.update_time_ms if opened.created_ms is None else opened.created_ms
        return any(
            each.order_id != opened.order_id and each.update_time_ms >= sent_ms
            for each in self._fills.get(opened.leg, ())
        )

    def _apply_fill(self, order: OrderState, mark: int, sized: SizedBy | None, *, opens: bool) -> None:
        self._last_mark_of[order.leg] = mark
        if self.positions is None:
            return
        held = self.positions.value.get(order.leg)
        after = _after_fill(held, order)
        if sized is not None:
            known = (
                self._amount_where_part_was_closed(order, sized)
                if held is None
                else self._amount_where_part_is_held(order, held, sized)
            )
            after = after if known is None else replace(after, amount=known)
        if held is not None and not opens and held.amount * after.amount < 0:
            after = replace(after, amount=Decimal(0))  # it only reduces: a part of it was counted already
        positions = self.positions.value.with_leg(after)
        self.positions = Reading(positions, self.positions.read_at_ms, SOURCE)

    async def _read_positions(self) -> None:
        asked_ms, asked_s = self._clock.now_ms(), self._clock.monotonic_s()
        led_by_others = self._times_led_by_others
        self._reads_begun += 1
        number, doubts, epoch = self._reads_begun, self._doubts, self._epoch_of_read(asked_s)
        asked_at_ms = self._exchange_now_ms()
        snapshot = await self._snapshot()
        if led_by_others != self._times_led_by_others:
            await self._read_positions()
            return
        newer = self._legs_known_better(snapshot, number, asked_s, asked_at_ms)
        live = {leg: held for leg, held in snapshot.items() if leg not in newer}
        if self.positions is not None:
            live |= {leg: held for leg, held in self.positions.value.items() if leg in newer}
        self.positions = Reading(Positions(live, hedge_mode=snapshot.hedge_mode), asked_ms, SOURCE)
        self.shown, self._kept = snapshot, frozenset(newer)
        self._read_number, self._doubts_settled, self._asked_at_ms = number, doubts, asked_at_ms
        self.reads_answered += 1
        self.positions_epoch = max(self.positions_epoch, epoch)
        if self._awaited is not None and self._awaited.epoch <= epoch:
            self._awaited = None

    def _legs_known_better(
        self, snapshot: Positions, number: int, asked_s: float, asked_at_ms: float
    ) -> set[Leg]:
        """Return the legs of which ``snapshot`` may lack a fill of ours that memory has."""
        newer = {leg for leg, mark in self._last_mark_of.items() if number <= mark}
        newer |= {
            leg
            for leg, filled in self._filled.items()
            if not _is_long_after(asked_at_ms, filled.at_ms) and self._lags(leg, filled, snapshot, asked_s)
        }
        if self.positions is not None or not newer:
            return newer
        self.doubt()  # memory has nothing: what the snapshot shows is the best there is, and may be old
        return set()

    async def _snapshot(self) -> Positions:
        self._is_reading = True
        try:
            return await self._reads.positions()
        finally:
            self._is_reading = False

    def _lags(self, leg: Leg, filled: _Filled, snapshot: Positions, asked_s: float) -> bool:
        """Whether a snapshot asked for soon after a fill of ours does not show that it holds it.

        Reads may answer from a moment ago; a position that changed since says that this one did not. An
        order of ours that is under way may be why it is gone: then it goes when that is settled.
        """
        held = snapshot.get(leg)
        is_older = held is None or held.update_time_ms < filled.at_ms
        return is_older and asked_s < filled.believed_until_s

    async def _read_account(self) -> None:
        asked_ms, asked_s = self._clock.now_ms(), self._clock.monotonic_s()
        led_by_others = self._times_led_by_others
        account = await self._reads.account()
        if led_by_others != self._times_led_by_others:
            await self._read_account()
            return
        self.account = Reading(account, asked_ms, SOURCE)
        self._date_account(account.changed_ms, asked_s)

    def _date_account(self, changed_ms: int, asked_s: float) -> None:
        """Settle up to which epoch balances that were asked for at ``asked_s`` know all settled opens."""
        if not self._unseen_opens:
            return
        newest = max(opened.last_epoch for opened in self._unseen_opens)
        lacking = [opened for opened in self._unseen_opens if not opened.is_in(changed_ms, asked_s)]
        known = min(opened.first_epoch for opened in lacking) - 1 if lacking else newest
        self._unseen_opens = lacking
        self.account_epoch = max(self.account_epoch, known)

    async def _read_leverages(self) -> None:
        doubts = self._leverage_doubts
        leverages = await self._reads.leverages()
        if doubts == self._leverage_doubts:
            self.leverages, self._leverage_doubts_settled = leverages, doubts


class _Filled(Struct, frozen=True, gc=False):
    """When the newest fill of ours was made (exchange's ms), and how long it is believed against a read."""

    at_ms: int
    believed_until_s: float


class _AwaitedEpoch(Struct, frozen=True, gc=False):
    """The newest epoch of opens that a reading may lack, and since when that is waited for."""

    epoch: int
    since_s: float


@dataclass(frozen=True, slots=True)
class _SettledOpens:
    """Opens that no reading of the balances is known to hold; ``filled_ms`` None: settled elsewhere."""

    first_epoch: int
    last_epoch: int
    filled_ms: int | None
    settled_s: float

    def is_in(self, changed_ms: int, asked_s: float) -> bool:
        """Whether balances that last changed then, asked for then, hold their fills."""
        is_shown = self.filled_ms is not None and self.filled_ms <= changed_ms
        return is_shown or asked_s >= self.settled_s + READS_LAG_S


def _filled(orders: Iterable[OrderState]) -> list[OrderState]:
    return [order for order in orders if order.executed_quantity > 0]


def _is_long_after(asked_at_ms: float, filled_at_ms: int) -> bool:
    """Whether no lag of reads, and no error of our clock, can hide a fill from a reading asked for then."""
    return asked_at_ms > filled_at_ms + READS_LAG_S * 1000 + CLOCK_DOUBT_MS


def _signed_fill(order: OrderState) -> Decimal:
    return order.side.sign * order.executed_quantity


def _after_fill(held: Position | None, order: OrderState) -> Position:
    before = held.amount if held is not None else Decimal(0)
    after = _on_its_side(order.leg, before + _signed_fill(order))
    fill_price = order.avg_price or (held.entry_price if held is not None else Decimal(0))
    return Position(
        leg=order.leg,
        amount=after,
        entry_price=entry_after(
            before, held.entry_price if held is not None else fill_price, after, fill_price
        ),
        mark_price=held.mark_price if held is not None else fill_price,
        unrealized_pnl=held.unrealized_pnl if held is not None else Decimal(0),
        update_time_ms=order.update_time_ms,
    )


def _on_its_side(leg: Leg, amount: Decimal) -> Decimal:
    """Return ``amount``, or zero where it would put a hedge leg on the other side: a reading had the fill."""
    if leg.side is PositionSide.BOTH:
        return amount
    return max(amount, Decimal(0)) if leg.side is PositionSide.LONG else min(amount, Decimal(0))


def entry_after(before: Decimal, entry: Decimal, after: Decimal, fill_price: Decimal) -> Decimal:
    """Return the entry price after a fill: weighted when enlarged, kept when reduced (BINANCE.md 12.4)."""
    if after == 0:
        return Decimal(0)
    if before == 0 or before * after < 0:
        return fill_price
    if abs(after) > abs(before):
        return (abs(before) * entry + (abs(after) - abs(before)) * fill_price) / abs(after)
    return entry
