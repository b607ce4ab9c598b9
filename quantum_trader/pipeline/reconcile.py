"""The reconciler: the ledger takes over the exchange's truth. It never trades (SPEC 8, INC-71)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from quantum_trader.domain.clock import Clock
from quantum_trader.domain.result import plain
from quantum_trader.domain.trading import Leg
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.pipeline.evidence import Rooms
from quantum_trader.pipeline.foreign_fills import ForeignFills
from quantum_trader.pipeline.lanes import SymbolLanes
from quantum_trader.positions.ledger import LedgerEntry
from quantum_trader.stores.positions import PositionStore

log = structlog.get_logger()


class Reconciler:
    """Compares after each position read; has no way to an order, only reads."""

    def __init__(
        self,
        store: PositionStore,
        rooms: Rooms,
        lanes: SymbolLanes,
        foreign_fills: ForeignFills,
        clock: Clock,
    ) -> None:
        self._store = store
        self._foreign_fills = foreign_fills
        self._rooms = rooms
        self._reconciling = asyncio.Lock()  # the chore and the stream both call for it
        self._lanes = lanes
        self._clock = clock

    async def reconcile(self) -> None:
        """Adopt every difference on symbols without an order under way, while this engine leads.

        One that stands by would overwrite what the leader's settlements have made of the ledger.

        Raises:
            ExchangeError: the fills behind a difference could not be read; the next turn tries again.
            RedisError: the ledger could not be written; likewise.
        """
        async with self._reconciling:
            await self._reconcile()

    async def _reconcile(self) -> None:
        reading, lease = self._rooms.account.positions, self._rooms.lease
        if reading is None or not lease.is_held or lease.another_led:  # the ledger is of a time before it
            return
        await self._compare_with_stored()
        legs = {*self._rooms.ledger.amounts(), *reading.value}
        busy = {leg.symbol for leg in legs if self.is_busy(leg.symbol)}
        differences = self._rooms.ledger.differences(reading.value, self._clock.now_ms(), busy_symbols=busy)
        failures = [await self._settle_difference(leg, differences[leg]) for leg in sorted(differences)]
        await self._store_again()
        await self._store.write_snapshots(
            reading.value,
            self._rooms.account.leverages,
            reading.read_at_ms,
            flat=sorted(set(self._rooms.ledger.amounts()) - set(reading.value)),
        )
        for failed in failures:
            if failed is not None:
                raise failed

    async def _compare_with_stored(self) -> None:
        """Notice entries that somebody else wrote or deleted, as far as nothing is under way.

        What stands in Redis counts as the ledger: where it says something else of the position, opens
        wait until the exchange's truth is adopted. Any other field is written again as it was.
        Another engine's entries, while it leads, are its own.
        """
        ledger, lease = self._rooms.ledger, self._rooms.lease
        known = {leg: ledger[leg] for leg in ledger.amounts() if self._is_quiet(leg)}
        if not known or not lease.is_held:
            return
        stored = await self._store.stored(known)
        for leg, entry in known.items():
            if lease.is_held and ledger[leg] is entry and self._is_quiet(leg):
                self._compare(leg, entry, stored[leg])

    def _compare(self, leg: Leg, entry: LedgerEntry, stored: Mapping[str, str]) -> None:
        if all(stored.get(name) == text for name, text in entry.as_fields().items()):
            return
        found = LedgerEntry.from_fields(stored)
        if found.holds_as_much_as(entry):
            self._rooms.ledger.unsure.add(leg)
            return
        log.warning("ledger_changed_elsewhere", leg=leg.key, ledger_amt=plain(found.position_amt))
        self._rooms.ledger.contest(leg, found)

    def _is_quiet(self, leg: Leg) -> bool:
        """Whether what stands in Redis of the leg should be what memory holds."""
        return leg not in self._rooms.ledger.unsure and not self.is_busy(leg.symbol)

    async def _settle_difference(self, leg: Leg, entry: LedgerEntry) -> ExchangeError | None:
        """Explain and adopt one difference; one that cannot be explained now does not hold up the others."""
        ours = self._rooms.ledger[leg]
        try:
            if not ours.holds_as_much_as(entry):  # else nobody traded: the ledger itself was changed
                since_ms, was_held = ours.last_update_ts or entry.last_update_ts, ours.position_amt != 0
                await self._foreign_fills.explain(leg, since_ms, was_held=was_held)
        except ExchangeError as failed:
            return failed
        if not self.is_busy(leg.symbol) and self._still_shows(leg, entry):
            await self._adopt(leg, entry)
        return None

    async def _store_again(self) -> None:
        """Write the entries that Redis may have lost, or may not have got, as far as nothing is under way."""
        ledger = self._rooms.ledger
        for leg in sorted(ledger.unsure):
            if not self.is_busy(leg.symbol):
                await self._store.keep(leg, ledger[leg].as_fields())
                ledger.unsure.discard(leg)

    def _still_shows(self, leg: Leg, entry: LedgerEntry) -> bool:
        """Whether the newest reading has what was about to be adopted; else the next turn sees to it."""
        reading = self._rooms.account.positions
        if reading is None:
            return False
        held = reading.value.get(leg)
        if held is None:
            return entry.position_amt == 0
        return (held.amount, held.entry_price) == (entry.position_amt, entry.avg_entry_price)

    def is_busy(self, symbol: str) -> bool:
        """Whether an order of ours may be under way on ``symbol``."""
        return self._lanes.is_busy(symbol) or self._rooms.book.has_unsettled(symbol)

    async def _adopt(self, leg: Leg, entry: LedgerEntry) -> None:
        before = self._rooms.ledger.said(leg)
        self._rooms.ledger.replace(leg, entry)
        self._rooms.ledger.unsure.add(leg)
        event = {
            "event": "RECONCILED",
            "symbol": leg.symbol,
            "position_side": leg.side.value,
            "ledger_amt": plain(before.position_amt),
            "exchange_amt": plain(entry.position_amt),
            "ledger_entry_price": plain(before.avg_entry_price),
            "exchange_entry_price": plain(entry.avg_entry_price),
            "timestamp": str(self._clock.now_ms()),
        }
        log.info("reconciled", **{name: value for name, value in event.items() if name != "event"})
        await self._store.adopt(leg, entry.as_fields(), event)
        self._rooms.ledger.unsure.discard(leg)
