"""Orders of an exit that filled after the record which Redis came back with (SPEC 7.8)."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace
from support.cases import NOW_MS, leg

from quantum_trader.domain.order import AccountTrade, OrderState, OrderStatus, client_order_id, number_of
from quantum_trader.domain.trading import Side
from quantum_trader.exchange.errors import ExchangeRefused
from quantum_trader.exchange.replies import Reply
from quantum_trader.pipeline.plan_orders import LOOK_BACK_MS
from quantum_trader.pipeline.recover import Recovery
from quantum_trader.positions.sent_orders import SentOrders
from quantum_trader.stores.claims import PlanRecord, StoredOrder

FIRST = StoredOrder(leg(), Side.SELL, Decimal(5), client_order_id("exit"), NOW_MS)
RECORD = PlanRecord("exit", "1-0", "hash", {}, True, "CLOSE", Decimal(5), FIRST, 1, "config-1", NOW_MS)


class Account:
    """Fills of the symbol, by the client ids of their orders."""

    def __init__(self, *names: str) -> None:
        self._names = names

    async def trades(self, symbol: str, since_ms: int) -> list[AccountTrade]:
        return [
            AccountTrade(leg(), Side.SELL, number, number, Decimal(1), Decimal(100), Decimal(0), NOW_MS)
            for number, _ in enumerate(self._names)
        ]

    async def client_order_id_of(self, symbol: str, order_id: int) -> str:
        return self._names[order_id]


async def recovered(*names: str, sent: Sequence[str] = ()) -> PlanRecord:
    known = SentOrders()
    for name in sent:
        known.setdefault(name, NOW_MS)
    rooms: Any = SimpleNamespace(sent_orders_ms=known)
    recovery = Recovery(None, None, Account(*names), rooms, rules=None, clock=None)  # type: ignore[arg-type]
    return await recovery._as_far_as_it_got(RECORD, NOW_MS)


def newer(number: int) -> StoredOrder:
    long_before = NOW_MS - LOOK_BACK_MS
    name = client_order_id("exit", number)
    return replace(FIRST, client_order_id=name, number=number, timestamp_ms=long_before)


async def test_an_exit_goes_on_from_the_newest_of_its_orders_that_filled() -> None:
    names = [client_order_id("exit", 2), client_order_id("other", 4), "web-1", client_order_id("exit", 3)]
    record = await recovered(*names)
    assert record.order == newer(3)
    assert record.settled_orders == [client_order_id("exit", 0), client_order_id("exit", 2)]


async def test_an_exit_goes_on_from_the_newest_of_its_orders_that_state_dir_knows() -> None:
    sent = [client_order_id("exit", number) for number in (0, 1, 2)]
    record = await recovered(sent[0], sent=sent)
    assert record.order == newer(2)
    assert record.settled_orders == sent[:2]


async def test_an_exit_whose_record_is_the_newest_stays_as_it_is() -> None:
    assert await recovered(client_order_id("exit", 0), client_order_id("other", 7)) == RECORD


def test_the_number_of_an_order_is_told_of_its_own_plan_only() -> None:
    assert number_of(client_order_id("exit", 12), "exit") == 12
    assert number_of(client_order_id("other", 12), "exit") is None
    assert number_of("web-12", "exit") is None


class LateAccount:
    """An order that queries find at the third time."""

    asked = 0

    async def order(self, symbol: str, client_order_id: str) -> OrderState | None:
        self.asked += 1
        if self.asked < 3:
            return None
        five = Decimal(5)
        return OrderState(
            leg(), Side.SELL, 1, client_order_id, OrderStatus.FILLED, five, five, Decimal(100), NOW_MS, NOW_MS
        )


class SteppedClock:
    at_s = 0.0

    def monotonic_s(self) -> float:
        return self.at_s

    async def sleep(self, duration_s: float) -> None:
        self.at_s += duration_s


async def test_a_settled_order_that_queries_do_not_find_at_once_is_asked_for_again() -> None:
    account, clock = LateAccount(), SteppedClock()
    recovery = Recovery(None, None, account, None, rules=None, clock=clock)  # type: ignore[arg-type]
    record = replace(RECORD, settled_orders=[client_order_id("exit", 0)])
    assert [order.order_id for order in await recovery._earlier_orders(record)] == [1]


async def test_a_recovered_exit_has_its_own_deadline_and_no_new_one() -> None:
    asked: dict[str, Any] = {}

    class Exits:
        async def send(self, grant: Any, quantity: Any, deadline_ms: int, *_: Any, **__: Any) -> None:
            asked["deadline_ms"] = deadline_ms

    async def finish(*_: Any) -> None:
        """The result is another test's."""

    rooms: Any = SimpleNamespace(
        sent_orders_ms=SentOrders(), book=SimpleNamespace(hold_exit=lambda *_: None), ledger={}
    )
    steps: Any = SimpleNamespace(exits=Exits())
    rules: Any = SimpleNamespace(ages=SimpleNamespace(exit_ms=300_000), sends_orders=True)
    clock: Any = SimpleNamespace(now_ms=lambda: NOW_MS + 7_200_000, monotonic_s=lambda: 0.0)
    runner: Any = SimpleNamespace(finish=finish, unlock=finish)
    fields = {"plan_id": "exit", "decision": "EXECUTE", "symbol": leg().symbol, "side": "CLOSE", "qty": "5"}
    record = replace(RECORD, fields={**fields, "action": "FULL_CLOSE_PROPOSED"})
    recovery = Recovery(runner, steps, Account(), rooms, rules=rules, clock=clock)  # type: ignore[arg-type]
    await recovery.finish(record)
    assert asked["deadline_ms"] == NOW_MS + 300_000


@pytest.mark.parametrize("sends", [True, False])
async def test_a_recovered_exit_frees_its_symbol_first_and_sends_only_where_the_mode_does(
    sends: bool,
) -> None:
    done: list[object] = []

    class Exits:
        async def send(self, *_: Any, sends: bool, **__: Any) -> None:
            done.append(sends)

    async def unlock(grant: Any) -> None:
        done.append("unlocked")

    async def finish(*_: Any) -> None:
        """The result is another test's."""

    rooms: Any = SimpleNamespace(
        sent_orders_ms=SentOrders(), book=SimpleNamespace(hold_exit=lambda *_: None), ledger={}
    )
    rules: Any = SimpleNamespace(ages=SimpleNamespace(exit_ms=300_000), sends_orders=sends)
    clock: Any = SimpleNamespace(now_ms=lambda: NOW_MS, monotonic_s=lambda: 0.0)
    runner: Any = SimpleNamespace(finish=finish, unlock=unlock)
    steps: Any = SimpleNamespace(exits=Exits())
    fields = {"plan_id": "exit", "decision": "EXECUTE", "symbol": leg().symbol, "side": "CLOSE", "qty": "5"}
    record = replace(RECORD, fields={**fields, "action": "FULL_CLOSE_PROPOSED"})
    recovery = Recovery(runner, steps, Account(), rooms, rules=rules, clock=clock)  # type: ignore[arg-type]
    await recovery.finish(record)
    assert done == ["unlocked", sends]


async def test_an_exit_of_a_symbol_that_is_gone_is_recovered_as_it_was_stored() -> None:
    async def gone(*_: object) -> Any:
        raise ExchangeRefused("order", Reply(400, {}, b'{"code": -1121, "msg": "Invalid symbol."}'))

    account: Any = SimpleNamespace(trades=gone, order=gone)
    rooms: Any = SimpleNamespace(sent_orders_ms=SentOrders())
    recovery = Recovery(None, None, account, rooms, rules=None, clock=None)  # type: ignore[arg-type]
    assert await recovery._as_far_as_it_got(RECORD, NOW_MS) == RECORD
    assert await recovery._ask("GONEUSDT", "qt-exit") is None
