"""Settlements of one symbol go one after another: each makes the ledger's next entry from the last."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from support.cases import NOW_MS, SYMBOL, exit_plan, leg
from support.claims import settlement

from quantum_trader.domain.order import OrderState, OrderStatus
from quantum_trader.domain.result import Ended
from quantum_trader.domain.trading import Side
from quantum_trader.pipeline.claim import Grant
from quantum_trader.pipeline.fate import Fate
from quantum_trader.pipeline.reports import Reports
from quantum_trader.pipeline.results import Ending
from quantum_trader.pipeline.settle import Settler
from quantum_trader.positions.claim_book import ClaimBook
from quantum_trader.positions.ledger import Ledger, LedgerEntry
from quantum_trader.stores.claims import PlanRecord, StoredOrder
from quantum_trader.stores.connection import RedisError
from quantum_trader.stores.cooldown_watch import CooldownWatch
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.settlement import Latch, NotSettled, Settled, Settlement


class SlowStore:
    """Writes a settlement when it is told to, in the order in which they arrived."""

    def __init__(self) -> None:
        self.written: list[Settlement] = []
        self.may_write = asyncio.Event()
        self.replies_lost = 0

    async def settle(self, lease_value: str, settlement: Settlement, now_ms: int) -> Settled:
        await self.may_write.wait()
        if settlement.plan_id in [written.plan_id for written in self.written]:
            return NotSettled("duplicate", "terminal")
        self.written.append(settlement)
        if self.replies_lost:
            raise RedisError("connection lost")
        return Settled(1)

    async def epoch(self) -> int:
        self.replies_lost -= 1
        if self.replies_lost > 0:
            raise RedisError("connection lost")
        return 1


class Account(SimpleNamespace):
    """A live view that has nothing to say."""

    async def mark_settlement(self, reads_answered: int, orders: object) -> int:
        return 0

    def take_over(self, *_: object) -> None:
        """Nobody looks."""


def settler(store: SlowStore) -> tuple[Settler, Any]:
    rooms = SimpleNamespace(
        account=Account(positions_epoch=0, account_epoch=0),
        book=ClaimBook(),
        ledger=Ledger({leg(): LedgerEntry(position_amt=Decimal(10))}),
        lease=SimpleNamespace(value="engine:1"),
        mirror=SimpleNamespace(settle=lambda *_: None),
        server_clock=SimpleNamespace(offset_ms=0),
    )
    rules = SimpleNamespace(mode="testnet", config_hash="config-1")
    clock = SimpleNamespace(now_ms=lambda: NOW_MS, sleep=lambda _: asyncio.sleep(0))
    return Settler(store, rooms, rules, Keys(), clock, Reports(lambda *_: None)), rooms  # type: ignore[arg-type]


def sold(number: int, quantity: int) -> tuple[Grant, Any, Ending]:
    plan, amount = exit_plan(plan_id=f"plan-{number}", quantity=quantity), Decimal(quantity)
    name = f"qt-{number}-0"
    order = OrderState(
        leg(), Side.SELL, number, name, OrderStatus.FILLED, amount, amount, Decimal(100), NOW_MS
    )
    stored = StoredOrder(leg(), Side.SELL, amount, name, NOW_MS)
    record = PlanRecord(
        plan.plan_id, plan.stream_id, "hash", {}, True, "REDUCE", amount, stored, 1, "config-1", NOW_MS
    )
    fate = Fate(Ended.FILLED, "filled", orders=(order,))
    return Grant(record, None), plan, Ending(Ended.FILLED, "filled", fate=fate)  # type: ignore[arg-type]


async def test_two_fills_that_are_settled_together_both_reach_the_ledger() -> None:
    store = SlowStore()
    writes, rooms = settler(store)
    both = [
        asyncio.create_task(writes.end_claimed(*sold(1, 3))),
        asyncio.create_task(writes.end_claimed(*sold(2, 4))),
    ]
    await asyncio.sleep(0)
    store.may_write.set()
    await asyncio.gather(*both)
    assert rooms.ledger[leg()].position_amt == 3
    assert [one.ledger["position_amt"] for one in store.written] == ["7", "3"]


async def test_a_settlement_whose_reply_was_lost_is_taken_over_however_long_redis_is_silent() -> None:
    store = SlowStore()
    store.replies_lost = 3
    store.may_write.set()
    writes, rooms = settler(store)
    rooms.book.hold_exit("plan-1", SYMBOL)
    await writes.end_claimed(*sold(1, 3))
    assert rooms.ledger[leg()].position_amt == 7
    assert not rooms.book.has_unsettled(SYMBOL)


async def test_a_fill_that_is_settled_again_after_redis_lost_its_settlement_counts_once() -> None:
    store = SlowStore()
    store.may_write.set()
    writes, rooms = settler(store)
    await writes.end_claimed(*sold(1, 3))
    store.written.clear()
    await writes.end_claimed(*sold(1, 3))
    assert rooms.ledger[leg()].position_amt == 7
    assert [one.ledger["position_amt"] for one in store.written] == ["7"]


async def test_a_symbols_cooldown_is_known_with_the_settlement_that_sets_it() -> None:
    store = SlowStore()
    store.may_write.set()
    desk, rooms = settler(store)
    rooms.cooldowns = CooldownWatch()
    cooldown = Latch("quantum:safety:cooldown_symbol:SOLUSDT", 300, {"symbol": "SOLUSDT"})
    of_all = Latch("quantum:safety:cooldown_global", 300, {"symbol": ""})
    await desk._write(settlement(latches=(cooldown, of_all)))
    assert rooms.cooldowns.asked().each == ("SOLUSDT",)


async def test_a_plan_whose_claim_redis_lost_leaves_nothing_claimed_in_memory() -> None:
    store = SlowStore()
    store.may_write.set()
    writes, rooms = settler(store)
    doubts: list[None] = []
    rooms.account.doubt = lambda: doubts.append(None)
    rooms.book.hold_exit("plan-1", SYMBOL)
    _, plan, ending = sold(1, 3)
    await writes.end(plan, ending)
    assert not rooms.book.has_unsettled(SYMBOL)
    assert len(doubts) == 1  # its fill is in no reading yet


async def test_a_plan_that_is_claimed_after_all_keeps_what_it_holds() -> None:
    store = SlowStore()
    store.may_write.set()
    writes, rooms = settler(store)
    rooms.book.hold_exit("plan-1", SYMBOL)
    _, plan, ending = sold(1, 3)
    store.written.append(settlement(plan_id=plan.plan_id))
    assert await writes.end(plan, ending) is not None
    assert rooms.book.has_unsettled(SYMBOL)
