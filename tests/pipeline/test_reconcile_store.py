"""What Redis lost of the ledger, or never got, is written again although memory and exchange agree."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from support.cases import NOW_MS, SYMBOL, leg, position, positions

from quantum_trader.domain.evidence import Reading
from quantum_trader.domain.trading import Leg
from quantum_trader.pipeline.lanes import SymbolLanes
from quantum_trader.pipeline.reconcile import Reconciler
from quantum_trader.positions.claim_book import ClaimBook
from quantum_trader.positions.ledger import Ledger, LedgerEntry


class Store:
    """Remembers what was written of the ledger."""

    def __init__(self) -> None:
        self.kept: dict[Leg, str] = {}

    async def keep(self, of: Leg, fields: Mapping[str, str]) -> None:
        self.kept[of] = fields["position_amt"]

    async def write_snapshots(self, *_: object) -> None:
        """Nobody looks."""


def reconciler(store: Store) -> tuple[Reconciler, Any]:
    reading = Reading(positions(position(7)), NOW_MS, "exchange")
    rooms = SimpleNamespace(
        account=SimpleNamespace(positions=reading, leverages={}),
        ledger=Ledger({leg(): LedgerEntry(position_amt=Decimal(7))}),
        book=ClaimBook(),
        lease=SimpleNamespace(is_held=True),
    )
    clock = SimpleNamespace(now_ms=lambda: NOW_MS)
    return Reconciler(store, rooms, SymbolLanes(), None, clock), rooms  # type: ignore[arg-type]


async def test_a_doubted_ledger_is_stored_again_once() -> None:
    store = Store()
    reconciles, rooms = reconciler(store)
    rooms.ledger.doubt_stored()
    await reconciles.reconcile()
    assert store.kept == {leg(): "7"}
    store.kept.clear()
    await reconciles.reconcile()
    assert store.kept == {}


async def test_a_leg_with_an_order_under_way_waits_for_its_settlement() -> None:
    store = Store()
    reconciles, rooms = reconciler(store)
    rooms.ledger.doubt_stored()
    rooms.book.hold_exit("plan-1", SYMBOL)
    await reconciles.reconcile()
    assert store.kept == {}
    rooms.book.release("plan-1")
    await reconciles.reconcile()
    assert store.kept == {leg(): "7"}


async def test_inc_16_an_engine_that_stands_by_leaves_the_ledger_to_the_leader() -> None:
    store = Store()
    reconciles, rooms = reconciler(store)
    rooms.ledger.doubt_stored()
    rooms.lease.is_held = False
    await reconciles.reconcile()
    assert store.kept == {}
    rooms.lease.is_held = True
    await reconciles.reconcile()
    assert store.kept == {leg(): "7"}
