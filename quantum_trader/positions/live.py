"""Positions, balances and leverage as last read from the exchange, with our own fills applied.

A fill of ours is applied the moment its plan is settled, unless a reading shows it already; a
snapshot that was asked for before that fill does not undo it. ``epoch`` tells which settled opens a
reading is sure to contain.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

import structlog

from quantum_trader.concurrency import SharedRead
from quantum_trader.domain.clock import Clock
from quantum_trader.domain.evidence import Reading
from quantum_trader.domain.order import OrderState
from quantum_trader.domain.trading import Account, Leg, Position, Positions
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.exchange.ports import AccountReads

SOURCE = "exchange"

log = structlog.get_logger()


class LiveAccount:
    """Readings with their time and source; None until the first read succeeded."""

    def __init__(self, reads: AccountReads, clock: Clock) -> None:
        self._reads = reads
        self._clock = clock
        self._fills = 0
        self._reads_begun = 0
        self._read_number = 0
        self._answered_ms = 0
        self._last_fill_of: dict[Leg, int] = {}
        self._doubts = 0
        self._doubts_settled = 0
        self.positions: Reading[Positions] | None = None
        self.account: Reading[Account] | None = None
        self.leverages: Mapping[str, int] = {}
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

    async def mark_settlement(self, sent_ms: int) -> int:
        """Return a mark: readings that began after it hold the fills of orders that are final now.

        One that was answered since ``sent_ms`` (our wall time) may hold some of those fills, whenever
        it was asked for: requests overtake each other. They can neither be added to it nor left out,
        so it is read anew first; where that fails, nothing is judged by it any more.
        """
        mark = self._reads_begun
        if self._answered_ms >= sent_ms:
            try:
                await self.refresh_positions()
            except ExchangeError as failed:
                log.warning("fill_not_read_back", error=str(failed))
                self.doubt()
        return mark

    def take_over(self, orders: Iterable[OrderState], mark: int, epoch: int) -> None:
        """Take over final orders of ours that were settled in ``epoch``: those that no reading shows."""
        self.positions_epoch = max(self.positions_epoch, epoch)
        if self._read_number > mark:
            return
        for order in orders:
            self._apply_fill(order)

    def _apply_fill(self, order: OrderState) -> None:
        self._fills += 1
        self._last_fill_of[order.leg] = self._fills
        if self.positions is None or order.executed_quantity == 0:
            return
        held = self.positions.value.get(order.leg)
        positions = self.positions.value.with_leg(_after_fill(held, order))
        self.positions = Reading(positions, self.positions.read_at_ms, SOURCE)

    async def _read_positions(self) -> None:
        asked_ms, fills_before, epoch = self._clock.now_ms(), self._fills, self.positions_epoch
        self._reads_begun += 1
        number, doubts = self._reads_begun, self._doubts
        snapshot = await self._reads.positions()
        newer = {leg for leg, fill in self._last_fill_of.items() if fill > fills_before}
        live = {leg: held for leg, held in snapshot.items() if leg not in newer}
        if self.positions is not None:
            live |= {leg: held for leg, held in self.positions.value.items() if leg in newer}
        self.positions = Reading(Positions(live, hedge_mode=snapshot.hedge_mode), asked_ms, SOURCE)
        self._read_number, self._doubts_settled = number, doubts
        self._answered_ms = self._clock.now_ms()
        self.positions_epoch = max(self.positions_epoch, epoch)

    async def _read_account(self) -> None:
        asked_ms, epoch = self._clock.now_ms(), self.positions_epoch
        self.account = Reading(await self._reads.account(), asked_ms, SOURCE)
        self.account_epoch = max(self.account_epoch, epoch)

    async def _read_leverages(self) -> None:
        self.leverages = await self._reads.leverages()


def _after_fill(held: Position | None, order: OrderState) -> Position:
    before = held.amount if held is not None else Decimal(0)
    after = before + order.side.sign * order.executed_quantity
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


def entry_after(before: Decimal, entry: Decimal, after: Decimal, fill_price: Decimal) -> Decimal:
    """Return the entry price after a fill: weighted when enlarged, kept when reduced (BINANCE.md 12.4)."""
    if after == 0:
        return Decimal(0)
    if before == 0 or before * after < 0:
        return fill_price
    if abs(after) > abs(before):
        return (abs(before) * entry + (abs(after) - abs(before)) * fill_price) / abs(after)
    return entry
