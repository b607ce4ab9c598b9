"""What Redis lost of the ledger, or others wrote there, is noticed although memory and exchange agree."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from support.cases import NOW_MS, SYMBOL, leg, position, positions
from support.values import replace

from quantum_trader.domain.evidence import Reading
from quantum_trader.domain.trading import Leg
from quantum_trader.pipeline.lanes import SymbolLanes
from quantum_trader.pipeline.reconcile import Reconciler
from quantum_trader.positions.claim_book import ClaimBook
from quantum_trader.positions.ledger import Ledger, LedgerEntry

ENTRY = LedgerEntry(
    position_amt=Decimal(7), avg_entry_price=Decimal(100), opened_at=5, confidence="0.9", source="fill"
)


class Store:
    """Remembers what was written of the ledger; ``stands`` is what Redis has of it."""

    def __init__(self) -> None:
        self.kept: dict[Leg, str] = {}
        self.adopted: list[tuple[Mapping[str, str], Mapping[str, str]]] = []
        self.stands: dict[str, str] = ENTRY.as_fields()
        self.while_asked: Callable[[], None] = int

    async def stored(self, legs: Iterable[Leg]) -> dict[Leg, Mapping[str, str]]:
        stands = dict(self.stands)
        self.while_asked()
        return dict.fromkeys(legs, stands)

    async def adopt(self, of: Leg, fields: Mapping[str, str], event: Mapping[str, str]) -> None:
        self.adopted.append((fields, event))

    async def keep(self, of: Leg, fields: Mapping[str, str]) -> None:
        self.kept[of] = fields["position_amt"]

    async def write_snapshots(self, *_: object, **__: object) -> None:
        """Nobody looks."""


def reconciler(store: Store) -> tuple[Reconciler, Any]:
    reading = Reading(positions(position(7)), NOW_MS, "exchange")
    rooms = SimpleNamespace(
        account=SimpleNamespace(positions=reading, leverages={}),
        ledger=Ledger({leg(): ENTRY}),
        book=ClaimBook(),
        lease=SimpleNamespace(is_held=True, another_led=False),
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


EDITS: list[dict[str, str]] = [{}, {"position_amt": "70"}, {"position_amt": "-7"}, {"position_amt": "7"}]


@pytest.mark.parametrize("edit", EDITS)
async def test_an_entry_that_somebody_else_wrote_counts_until_the_exchange_is_adopted(
    edit: dict[str, str],
) -> None:
    store = Store()
    reconciles, rooms = reconciler(store)
    store.stands = edit
    held: list[Decimal] = []
    contest = rooms.ledger.contest

    def contesting(of: Leg, stored: LedgerEntry) -> None:
        contest(of, stored)
        held.append(rooms.ledger.amounts()[of])

    rooms.ledger.contest = contesting
    await reconciles.reconcile()
    fields, event = store.adopted[0]
    assert held == [Decimal(edit.get("position_amt", "0"))]
    assert (event["ledger_amt"], event["exchange_amt"]) == (edit.get("position_amt", "0"), "7")
    assert (fields["position_amt"], fields["confidence"], fields["source"]) == ("7", "0.9", "fill")
    assert rooms.ledger.amounts() == {leg(): 7}


async def test_a_field_that_says_nothing_of_the_position_is_written_again_quietly() -> None:
    store = Store()
    reconciles, rooms = reconciler(store)
    store.stands |= {"source": "exchange", "confidence": "0.1"}
    await reconciles.reconcile()
    assert (store.kept, store.adopted) == ({leg(): "7"}, [])
    assert rooms.ledger.holdings()[leg()].is_ours


async def test_what_is_settled_while_redis_is_asked_is_no_change_by_others() -> None:
    store = Store()
    reconciles, rooms = reconciler(store)
    store.stands["position_amt"] = "3"
    store.while_asked = lambda: rooms.ledger.replace(leg(), replace(ENTRY))
    await reconciles.reconcile()
    store.while_asked = lambda: rooms.book.hold_exit("plan-1", SYMBOL)
    await reconciles.reconcile()
    assert (store.kept, store.adopted) == ({}, [])


async def test_an_engine_that_does_not_lead_leaves_the_ledger_to_the_one_that_does() -> None:
    store = Store()
    reconciles, rooms = reconciler(store)
    store.stands["position_amt"] = "3"
    rooms.lease.is_held = False
    await reconciles.reconcile()
    assert (store.kept, store.adopted) == ({}, [])


@pytest.mark.parametrize(("reason", "leads"), [("is_held", True), ("another_led", False)])
async def test_inc_16_an_engine_that_stands_by_or_has_stood_by_leaves_the_ledger_to_the_leader(
    reason: str, leads: bool
) -> None:
    """The second one has the lease again, and has not read yet what the other one left."""
    store = Store()
    reconciles, rooms = reconciler(store)
    rooms.ledger.doubt_stored()
    setattr(rooms.lease, reason, not leads)
    await reconciles.reconcile()
    assert store.kept == {}
    setattr(rooms.lease, reason, leads)
    await reconciles.reconcile()
    assert store.kept == {leg(): "7"}
