"""Redis forgets, freezes, fills up: nothing is lost, nothing doubled (SPEC 7.8, 15)."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisGone
from redis.exceptions import RedisError
from support.house import NO_STREAMS, House, Wire, engine, exchange, house, until

from quantum_trader.exchange.simulator import FaultKind, FaultRule
from quantum_trader.positions.sent_orders import SentOrders
from quantum_trader.stores.codec import encode
from quantum_trader.stores.connection import Database
from quantum_trader.stores.keys import GROUP
from quantum_trader.stores.plan_stream import PlanStream

OPEN = {"symbol": "XRPUSDT", "side": "BUY", "qty": 20, "reduceOnly": "false"}
CLOSE = {"symbol": "XRPUSDT", "side": "CLOSE", "qty": 0, "action": "FULL_CLOSE_PROPOSED"}
SIZES = {"XRPUSDT": 20, "ADAUSDT": 100, "DOGEUSDT": 100}
PATIENCE_S = 40.0


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[House]:
    """An engine on reads alone: nothing but an answer to a query may end an unknown outcome."""
    async with house(tmp_path, exchange=NO_STREAMS) as started:
        yield started


async def in_flight(running: House, plan_id: str) -> Wire:
    """Put an open whose order is executed, and of which the engine hears nothing until ``answer``."""
    running.spoil_order(FaultKind.STATUS_AFTER, preset="503_unknown")
    running.fault(FaultKind.STREAM_SILENCE, path="/private", ms=60_000, count=100_000)
    hide(running)
    wire = running.watch()
    await running.submit(**OPEN, plan_id=plan_id)

    async def arrived() -> bool:
        return bool(wire.orders)

    await until(arrived, PATIENCE_S, "the order at the exchange")
    return wire


def hide(running: House) -> None:
    """Let no query say what became of an order, until ``answer``."""
    running.fault(
        FaultKind.STATUS_BEFORE,
        method="GET",
        path="/fapi/v1/order",
        symbol="XRPUSDT",
        preset="500_unknown",
        count=100_000,
    )


def answer(running: House) -> None:
    """Let the exchange answer again."""
    running.venue.faults.clear()


async def write_policy(running: House) -> None:
    universe: Any = {"universe_symbols": encode(list(running.app.config.symbols)), "policy_version": "drill"}
    await running.redis.hset(running.keys.policy, mapping=universe)


async def one_order_each(running: House, plan_ids: list[str]) -> None:
    """Wait for the plans' results; assert one result a plan and one order a filled one, none else."""

    async def all_ended() -> bool:
        try:
            return {result["plan_id"] for result in await running.results()} >= set(plan_ids)
        except (RedisError, OSError):
            return False

    await until(all_ended, 2 * PATIENCE_S, "a result for every plan")
    results = await running.results()
    assert Counter(result["plan_id"] for result in results) == Counter(plan_ids)
    symbols = {result["symbol"] for result in results}
    orders = [order for symbol in symbols for order in await running.ask("/fapi/v1/allOrders", symbol=symbol)]
    sent = Counter(order["clientOrderId"] for order in orders)
    assert max(sent.values(), default=0) <= 1
    executed = {order["clientOrderId"] for order in orders if float(order["executedQty"]) > 0}
    assert executed == {result["client_order_id"] for result in results if result["executed"] == "true"}


async def nothing_pending(running: House) -> None:
    async def acknowledged() -> bool:
        summary: Any = await running.redis.xpending(running.keys.plans, GROUP)
        return summary["pending"] == 0

    await until(acknowledged, PATIENCE_S, "every entry acknowledged")


async def test_inc_18_flushall_in_flight_costs_no_result_and_no_second_order(running: House) -> None:
    wire = await in_flight(running, "flushed")
    await running.redis.flushall()
    answer(running)
    assert (await running.result("flushed", PATIENCE_S))["decision"] == "FILLED"
    await write_policy(running)
    assert (await running.open("ADAUSDT", qty=100, plan_id="later"))["decision"] == "FILLED"
    await one_order_each(running, ["flushed", "later"])
    assert len(wire.orders) == 2


async def test_inc_18_a_plan_sent_again_after_flushall_is_known_as_used(running: House) -> None:
    await running.open("XRPUSDT", qty=20, plan_id="again")
    await running.redis.flushall()
    await write_policy(running)
    result = await running.open("XRPUSDT", qty=20, plan_id="again")
    assert (result["decision"], result["reason"]) == ("BLOCKED", "plan_id_reused")
    assert len(await running.ask("/fapi/v1/allOrders", symbol="XRPUSDT")) == 1


async def test_inc_18_a_plan_id_is_known_as_used_though_our_clock_is_ahead_of_redis(
    running: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By our clock its first order is younger than the entry that uses it again, not by the exchange."""
    await running.open("XRPUSDT", qty=20, plan_id="again")
    known = SentOrders.get

    def get_from_ahead(sent: SentOrders, name: str) -> int | None:
        sent_ms = known(sent, name)
        return sent_ms and sent_ms + 30_000

    monkeypatch.setattr(SentOrders, "get", get_from_ahead)
    await running.redis.delete(running.keys.processed("again"), running.keys.results)
    result = await running.open("XRPUSDT", qty=30, plan_id="again")
    assert (result["decision"], result["reason"]) == ("BLOCKED", "plan_id_reused")
    assert len(await running.ask("/fapi/v1/allOrders", symbol="XRPUSDT")) == 1


async def test_inc_80_82_a_group_destroyed_after_the_terminal_ttl_brings_nothing_back(running: House) -> None:
    for number, (symbol, qty) in enumerate(SIZES.items()):
        await running.open(symbol, qty=qty, plan_id=f"old-{number}")
    await nothing_pending(running)
    for number in range(3):  # as if their hour were over
        names = running.keys.processed(f"old-{number}"), running.keys.plan(f"old-{number}")
        await running.redis.delete(*names)
    await running.redis.xgroup_destroy(running.keys.plans, GROUP)
    await running.open("SOLUSDT", qty=1, plan_id="new")
    await one_order_each(running, ["old-0", "old-1", "old-2", "new"])
    await nothing_pending(running)
    groups: Any = await running.redis.xinfo_groups(running.keys.plans)
    assert [group["name"] for group in groups] == [GROUP.encode()]


async def test_inc_80_a_group_destroyed_in_flight_costs_nothing(running: House) -> None:
    wire = await in_flight(running, "first")
    await running.redis.xgroup_destroy(running.keys.plans, GROUP)
    await running.open("ADAUSDT", qty=100, plan_id="second")
    answer(running)
    await one_order_each(running, ["first", "second"])
    assert len(wire.orders) == 2


async def test_the_stream_deleted_in_flight_costs_no_result(running: House) -> None:
    await in_flight(running, "first")
    await running.redis.delete(running.keys.plans)
    await running.open("ADAUSDT", qty=100, plan_id="second")
    answer(running)
    await one_order_each(running, ["first", "second"])


async def test_redis_frozen_for_seven_seconds_loses_and_doubles_nothing(running: House) -> None:
    server = running.app._server
    assert server is not None
    pid = server.pid
    assert pid is not None
    await in_flight(running, "first")
    second = await running.submit(symbol="ADAUSDT", side="BUY", qty=100, reduceOnly="false")
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(7)
    finally:
        os.kill(pid, signal.SIGCONT)
    answer(running)
    third = await running.submit(symbol="DOGEUSDT", side="BUY", qty=100, reduceOnly="false")
    await one_order_each(running, ["first", second, third])
    await nothing_pending(running)


async def test_connections_cut_again_and_again_lose_and_double_nothing(running: House) -> None:
    plan_ids = []
    for number in range(12):
        symbol, qty = list(SIZES.items())[number % 3]
        if number // 3 % 2:
            plan_ids.append(await running.submit(**{**CLOSE, "symbol": symbol}))
        else:
            plan_ids.append(await running.submit(symbol=symbol, side="BUY", qty=qty, reduceOnly="false"))
        await running.redis.client_kill_filter(_type="normal", skipme=True)
        await asyncio.sleep(0.02)
    await one_order_each(running, plan_ids)
    await nothing_pending(running)


@pytest.mark.parametrize("script", ["claim", "settle", "amend"])
async def test_a_reply_that_was_lost_after_the_step_was_done_is_looked_up(
    running: House, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    await running.open("ADAUSDT", qty=100, plan_id="before")
    if script == "amend":
        running.spoil_order(FaultKind.STATUS_BEFORE, preset="400_timestamp")
    lost = _lose_reply(monkeypatch, script)
    await running.submit(**OPEN, plan_id="interrupted")
    await one_order_each(running, ["before", "interrupted"])
    assert lost == [script]


async def test_a_delivery_whose_reply_was_lost_is_asked_for_again(
    running: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, lost = PlanStream.read, []

    async def reading(stream: PlanStream, count: int) -> Any:
        deliveries, operator = await read(stream, count)
        if deliveries and not lost:
            lost.append(deliveries[0].stream_id)
            raise RedisGone("the reply was lost")
        return deliveries, operator

    monkeypatch.setattr(PlanStream, "read", reading)
    await running.submit(**OPEN, plan_id="delivered-unseen")
    await one_order_each(running, ["delivered-unseen"])
    assert len(lost) == 1
    await nothing_pending(running)


async def test_with_full_memory_opens_stop_and_exits_and_results_go_on(running: House) -> None:
    await running.open("XRPUSDT", qty=20, plan_id="held")
    wire = await _open_ready(running, "ADAUSDT")
    try:
        blocked = await running.result("full-open", PATIENCE_S)
        assert (blocked["gate"], blocked["reason"]) == ("claim", "redis_full")
        closed = await running.result("full-close", PATIENCE_S)
        assert closed["decision"] == "FILLED"
    finally:
        await running.redis.config_set("maxmemory", "0")
    assert len(wire.orders) == 1
    assert (await running.open("ADAUSDT", qty=100))["decision"] == "FILLED"


async def test_scripts_that_the_server_forgot_are_handed_over_again(running: House) -> None:
    await running.redis.script_flush()
    assert (await running.open("XRPUSDT", qty=20))["decision"] == "FILLED"


async def test_a_server_that_became_a_replica_ends_nothing_and_goes_on_as_master(running: House) -> None:
    await in_flight(running, "first")
    await running.redis.replicaof("127.0.0.1", "1")
    answer(running)

    async def noticed() -> bool:
        joined = running.app._joined
        return joined is not None and not joined.consumer.connected

    await until(noticed, PATIENCE_S, "the loss")
    await running.redis.replicaof("NO", "ONE")
    second = await running.submit(symbol="ADAUSDT", side="BUY", qty=100, reduceOnly="false")
    await one_order_each(running, ["first", second])


async def test_inc_82_plans_that_others_trimmed_are_told_of(
    running: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, reached = asyncio.Event(), asyncio.Event()
    read = PlanStream.read

    async def reading(stream: PlanStream, count: int) -> Any:
        reached.set()
        await held.wait()
        return await read(stream, count)

    await running.open("XRPUSDT", qty=20, plan_id="seen")
    monkeypatch.setattr(PlanStream, "read", reading)
    await asyncio.wait_for(reached.wait(), PATIENCE_S)
    for number in range(5):
        await running.submit(
            symbol="ADAUSDT", side="BUY", qty=100, reduceOnly="false", plan_id=f"lost-{number}"
        )
    await running.redis.xtrim(running.keys.plans, maxlen=1, approximate=False)
    await running.redis.client_kill_filter(_type="normal", skipme=True)
    joined = running.app._joined
    assert joined is not None
    await joined.stream.tell_trimmed()
    held.set()
    events = await running.events("PLANS_LOST")
    assert [event["count"] for event in events] == ["4"]
    assert (await running.result("lost-4", PATIENCE_S))["decision"] == "FILLED"


async def test_a_mirror_that_cannot_be_written_stops_opens_and_no_exit(
    running: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await running.open("XRPUSDT", qty=20)
    joined = running.app._joined
    assert joined is not None

    def full(*_: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(joined.rooms.mirror, "keep", full)
    wire = running.watch()
    refused = await running.open("ADAUSDT", qty=100)
    assert (refused["decision"], refused["reason"]) == ("FAILED", "not_sent")
    assert (await running.close("XRPUSDT"))["decision"] == "FILLED"
    assert [order["side"] for order in wire.orders] == ["SELL"]


async def test_inc_05_keys_deleted_during_an_unknown_outcome_let_no_other_open_onto_the_symbol(
    running: House,
) -> None:
    running.spoil_order(FaultKind.STATUS_BEFORE, preset="503_unknown")
    hide(running)
    await running.submit(**OPEN, plan_id="unknown")

    async def unlocked() -> bool:
        claimed = await running.redis.get(running.keys.processed("unknown")) == b"claimed"
        return claimed and not await running.redis.exists(running.keys.lock("XRPUSDT"))

    await until(unlocked, PATIENCE_S, "the unknown outcome")
    await running.redis.delete(*[name async for name in running.redis.scan_iter(match="quantum:exec:*")])
    late = await running.open("XRPUSDT", qty=20, timestamp=running.app._clock.now_ms() - 54_000)
    assert late["decision"] == "BLOCKED"
    # the second reason is given once a read of the positions shows what the engine cannot know yet
    assert late["reason"] in ("symbol_in_flight", "position_exists_add_denied")
    answer(running)
    assert (await running.result("unknown", PATIENCE_S))["reason"] == "not_placed"
    assert await running.ask("/fapi/v1/allOrders", symbol="XRPUSDT") == []


async def _open_ready(running: House, symbol: str) -> Wire:
    """Put an open and a close on the stream, to be delivered at once when the memory is full."""
    wire = running.watch()
    pipeline = running.redis.pipeline(transaction=True)
    for plan_id, fields in (
        ("full-open", {**OPEN, "symbol": symbol, "qty": 100}),
        ("full-close", CLOSE),
    ):
        entry = {"plan_id": plan_id, "decision": "EXECUTE", **fields}
        pipeline.xadd(running.keys.plans, {name: str(value) for name, value in entry.items()})
    pipeline.config_set("maxmemory", "1")
    await pipeline.execute()
    return wire


def _lose_reply(monkeypatch: pytest.MonkeyPatch, script: str) -> list[str]:
    """Let the next run of ``script`` be done and its reply be lost; the list fills when it happened."""
    run, lost = Database.run, []

    async def running_once(database: Database, name: str, *args: Any) -> Any:
        reply = await run(database, name, *args)
        if name == script and not lost:
            lost.append(name)
            raise RedisGone("the reply was lost")
        return reply

    monkeypatch.setattr(Database, "run", running_once)
    return lost


async def test_a_plan_id_of_a_former_life_is_known_where_redis_and_state_dir_are_new(tmp_path: Path) -> None:
    async with exchange() as (venue, url):
        async with engine(tmp_path / "first", venue, url) as first:
            assert (await first.open(plan_id="once"))["decision"] == "FILLED"
            assert (await first.close(plan_id="gone"))["decision"] == "FILLED"
        async with engine(tmp_path / "second", venue, url) as second:
            again = await second.open(plan_id="once")
            assert (again["gate"], again["reason"]) == ("idempotency", "plan_id_reused")
            assert (await second.open(plan_id="another"))["decision"] == "FILLED"
            closing = await second.close(plan_id="gone")
            assert (closing["gate"], closing["reason"]) == ("idempotency", "plan_id_reused")


async def test_an_engine_starts_though_the_orders_of_a_former_life_cannot_be_read(tmp_path: Path) -> None:
    async with exchange() as (venue, url):
        venue.faults.add(
            FaultRule(FaultKind.STATUS_BEFORE, path="/fapi/v1/allOrders", preset="500_unknown", count=100_000)
        )
        async with engine(tmp_path, venue, url) as running:
            assert (await running.open())["decision"] == "FILLED"


async def test_a_connection_that_broke_while_nobody_waited_on_it_is_a_loss_as_well(running: House) -> None:
    """Redis may have failed over meanwhile: a take-over finds what it forgot, and makes the sums anew."""
    assert (await running.open())["decision"] == "FILLED"
    ids = [
        about["id"]
        for about in await running.redis.client_list()
        if about["name"] == "quantum-trader" and about["cmd"] == "evalsha"
    ]
    assert len(ids) == 1
    await running.redis.set(running.keys.claim_sums, "1 0 0\n")
    await running.redis.client_kill_filter(_id=ids[0])

    async def are_gone() -> bool:
        return not await running.redis.exists(running.keys.claim_sums)

    await until(are_gone, PATIENCE_S, "a take-over")
    assert (await running.open("ADAUSDT", 100))["decision"] == "FILLED"
