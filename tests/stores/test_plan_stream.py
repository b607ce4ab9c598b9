"""The plan stream on a real server: where a group made anew begins, what others trimmed, our own trimming."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support.clock import HandClock

from quantum_trader.stores.connection import Database
from quantum_trader.stores.cooldown_watch import WATCHED_MAX, Asked, CooldownWatch
from quantum_trader.stores.keys import CONSUMER, GROUP, Keys
from quantum_trader.stores.plan_stream import PlanStream
from quantum_trader.stores.stream_ids import id_before, is_after, is_stream_id, start_of


@pytest.fixture
def stream(database: Database, keys: Keys) -> PlanStream:
    return PlanStream(database, keys, HandClock(), bsc_required=False)


async def fill(database: Database, keys: Keys, count: int) -> None:
    for number in range(1, count + 1):
        await database.client.xadd(keys.plans, {"plan_id": f"plan-{number}"}, id=f"{number}-0")


async def delivered(stream: PlanStream, count: int = 64) -> list[str]:
    deliveries, _ = await stream.read(count)
    return [delivery.stream_id for delivery in deliveries]


async def events(database: Database, keys: Keys) -> list[dict[bytes, bytes]]:
    return [fields for _, fields in await database.client.xrange(keys.governor_events)]


async def test_inc_82_the_first_group_begins_at_the_first_entry(
    database: Database, keys: Keys, stream: PlanStream
) -> None:
    await fill(database, keys, 3)
    found = await stream.ensure_group()
    assert (found.was_created, found.newest, found.start) == (True, "3-0", "0")
    assert await delivered(stream) == ["1-0", "2-0", "3-0"]


async def test_inc_80_a_group_made_anew_begins_at_the_oldest_unsettled_entry(
    database: Database, keys: Keys, stream: PlanStream
) -> None:
    await stream.ensure_group()
    await fill(database, keys, 5)
    await delivered(stream)
    await database.client.set(keys.floor, "3-0")
    await database.client.xgroup_destroy(keys.plans, GROUP)
    await stream.ensure_group("1-0")
    assert await delivered(stream) == ["3-0", "4-0", "5-0"]


async def test_inc_80_where_redis_has_lost_its_floor_the_newest_results_may_be_lost_as_well(
    database: Database, keys: Keys, stream: PlanStream
) -> None:
    for stream_id in ("10000-0", "13999-9", "14000-0", "18000-0", "19000-0"):
        await database.client.xadd(keys.plans, {"plan_id": stream_id}, id=stream_id)
    await stream.ensure_group("(19000-0")
    assert await delivered(stream) == ["14000-0", "18000-0", "19000-0"]


async def test_a_floor_from_another_stream_or_of_nobodys_making_is_not_believed(
    database: Database, keys: Keys, stream: PlanStream
) -> None:
    await fill(database, keys, 2)
    await database.client.set(keys.floor, "nonsense")
    found = await stream.ensure_group("900-0")
    assert found.start == "0"
    assert await delivered(stream) == ["1-0", "2-0"]


async def test_a_group_that_stands_is_left_as_it_is(
    database: Database, keys: Keys, stream: PlanStream
) -> None:
    await stream.ensure_group()
    await fill(database, keys, 2)
    await delivered(stream)
    found = await stream.ensure_group("1-0")
    assert (found.was_created, found.newest) == (False, "2-0")
    assert await delivered(stream) == []


async def test_a_cooldown_that_was_set_while_the_read_waited_is_known_with_the_plan(
    database: Database, keys: Keys, stream: PlanStream
) -> None:
    await stream.ensure_group()
    reading = asyncio.create_task(stream.read())
    await asyncio.sleep(0)  # its keys are chosen
    stream.cooldowns.cools("XRPUSDT")
    await database.client.set(keys.cooldown_symbol("XRPUSDT"), "1", ex=60)
    await fill(database, keys, 1)
    deliveries, operator = await reading
    assert len(deliveries) == 1
    assert operator.latches.cooldown_symbols == {"XRPUSDT"}


@pytest.mark.parametrize("kind", ["string", "list"])
async def test_a_cooldown_that_anyone_sets_on_a_watched_symbol_is_known_with_the_next_plan(
    database: Database, keys: Keys, stream: PlanStream, kind: str
) -> None:
    await stream.ensure_group()
    for symbol in ("ADAUSDT", "XRPUSDT"):
        stream.cooldowns.watch(symbol)
    reading = asyncio.create_task(stream.read())
    await asyncio.sleep(0)  # its keys are chosen
    cooldown = keys.cooldown_symbol("XRPUSDT")
    await (database.client.set(cooldown, "1") if kind == "string" else database.client.lpush(cooldown, "1"))
    await fill(database, keys, 1)
    _, operator = await reading
    assert operator.latches.cooldown_symbols == {"XRPUSDT"}
    assert operator.symbols_read == {"ADAUSDT", "XRPUSDT"}
    assert stream.cooldowns.asked() == Asked(each=("XRPUSDT",), together=("ADAUSDT",))
    await database.client.delete(cooldown)
    assert (await stream.operator_state()).latches.cooldown_symbols == frozenset()
    assert stream.cooldowns.asked() == Asked(together=("ADAUSDT", "XRPUSDT"))


@pytest.mark.parametrize("over_lanes", [True, False])
@pytest.mark.parametrize(
    "name", ["kill", "disarmed", "safe_mode", "cooldown_global", "bsc_health", "dry_run"]
)
async def test_a_stop_of_the_wrong_type_is_set_and_unreadable(
    database: Database, keys: Keys, stream: PlanStream, name: str, *, over_lanes: bool
) -> None:
    await stream.ensure_group()
    if over_lanes:
        database.open_lanes()
    await database.client.hset(getattr(keys, name), "value", "1")
    _, read = await stream.read()
    told = {
        "kill": read.kill == "unreadable",
        "disarmed": read.latches.disarmed == "unreadable",
        "safe_mode": read.latches.safe_mode,
        "cooldown_global": read.latches.cooldown_global,
        "bsc_health": read.bsc.state == "unreadable",
        "dry_run": read.dry_run,
    }
    assert [stop for stop, is_told in told.items() if is_told] == [name]
    assert (await stream.operator_state()).latches == read.latches


def test_a_reading_from_before_a_cooldown_does_not_end_it() -> None:
    watch = CooldownWatch()
    watch.cools("XRPUSDT")
    asked, moment = watch.asked(), watch.moment
    watch.cools("XRPUSDT")  # set anew while the reading was under way
    watch.learn(asked.each, frozenset(), moment)
    assert watch.asked().each == ("XRPUSDT",)
    watch.learn(asked.each, frozenset(), watch.moment)
    assert watch.asked().each == ()


def test_of_many_symbols_the_newest_are_watched() -> None:
    watch = CooldownWatch()
    for number in range(WATCHED_MAX + 10):
        watch.watch("FIRSTUSDT")
        watch.watch(f"COIN{number}USDT")
    watched = watch.asked().symbols
    assert len(watched) == WATCHED_MAX
    assert watched >= {"FIRSTUSDT", f"COIN{WATCHED_MAX + 9}USDT"}
    assert "COIN0USDT" not in watched


async def test_plans_that_others_trimmed_unseen_are_told_once(
    database: Database, keys: Keys, stream: PlanStream
) -> None:
    await stream.ensure_group()
    await fill(database, keys, 6)
    await delivered(stream, 2)
    assert await stream.tell_trimmed() == 0
    await database.client.xtrim(keys.plans, minid="5-0", approximate=False)
    assert await stream.tell_trimmed() == 2
    assert await stream.tell_trimmed() == 0
    told = await events(database, keys)
    assert [(event[b"event"], event[b"count"]) for event in told] == [(b"PLANS_LOST", b"2")]


async def test_plans_that_others_trimmed_all_away_are_told(
    database: Database, keys: Keys, stream: PlanStream
) -> None:
    await stream.ensure_group()
    await fill(database, keys, 3)
    await database.client.xtrim(keys.plans, maxlen=0, approximate=False)
    assert await stream.tell_trimmed() == 3


async def test_entries_that_others_trimmed_in_our_hands_are_given_up_by_name(
    database: Database, keys: Keys, stream: PlanStream
) -> None:
    await stream.ensure_group()
    await fill(database, keys, 3)
    await delivered(stream)
    await database.client.xtrim(keys.plans, minid="3-0", approximate=False)
    gone = [one.stream_id for one in await stream.pending() if not one.fields]
    await stream.give_up(gone)
    told = (await events(database, keys))[0]
    assert (told[b"event"], told[b"stream_ids"]) == (b"PLANS_LOST", b"1-0 2-0")
    assert [one.stream_id for one in await stream.pending()] == ["3-0"]


async def test_our_own_trimming_spares_what_is_unsettled(
    database: Database, keys: Keys, stream: PlanStream
) -> None:
    await stream.ensure_group()
    await database.client.config_set("stream-node-max-entries", 1)
    try:
        await fill(database, keys, 10)
        await delivered(stream, 8)
        await database.client.xack(keys.plans, GROUP, *[f"{number}-0" for number in range(1, 5)])
        await stream.trim(1)
    finally:
        await database.client.config_set("stream-node-max-entries", 100)
    left: Any = await database.client.xrange(keys.plans)
    assert left[0][0] == b"5-0"
    assert await stream.tell_trimmed() == 0


async def test_an_entry_is_left_with_its_event_also_when_memory_is_full(
    database: Database, keys: Keys, stream: PlanStream
) -> None:
    await stream.ensure_group()
    await fill(database, keys, 1)
    await delivered(stream)
    await database.client.config_set("maxmemory", "1")
    try:
        await stream.dismiss("1-0", {"event": "DUPLICATE_PLAN"})
    finally:
        await database.client.config_set("maxmemory", "0")
    assert await stream.pending() == []
    assert [event[b"event"] for event in await events(database, keys)] == [b"DUPLICATE_PLAN"]


async def test_inc_81_the_consumer_has_one_name(database: Database, keys: Keys, stream: PlanStream) -> None:
    await stream.ensure_group()
    for _ in range(3):
        again = PlanStream(database, keys, HandClock(), bsc_required=False)
        await again.ensure_group()
        await delivered(again)
    consumers: Any = await database.client.xinfo_consumers(keys.plans, GROUP)
    assert [consumer["name"] for consumer in consumers] == [CONSUMER.encode()]


@pytest.mark.parametrize(("stream_id", "before"), [("5-3", "5-2"), ("5-0", f"4-{2**64 - 1}"), ("0-0", "0")])
def test_the_id_before_another(stream_id: str, before: str) -> None:
    assert id_before(stream_id) == before


def test_ids_are_compared_as_numbers() -> None:
    assert is_after("10-0", "9-5")
    assert is_after("10-10", "10-9")
    assert not is_after("10-9", "10-9")
    assert is_stream_id("1-1")
    assert not is_stream_id("1")
    assert not is_stream_id("a-1")


@pytest.mark.parametrize(
    ("floor", "start"),
    [("5-1", "5-0"), ("(5-1", "5-1"), ("9-0", None), ("(9-0", None), ("", None), ("(", None), ("x", None)],
)
def test_a_floor_says_where_a_group_begins(floor: str, start: str | None) -> None:
    assert start_of(floor, "7-0") == start


async def test_inc_81_what_a_consumer_of_another_name_was_given_is_taken_over(
    database: Database, keys: Keys, stream: PlanStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stream.ensure_group()
    await fill(database, keys, 3)
    await database.client.xreadgroup(GROUP, "somebody", {keys.plans: ">"}, count=2)
    await delivered(stream)
    assert [one.stream_id for one in await stream.pending()] == ["3-0"]
    monkeypatch.setattr("quantum_trader.stores.plan_stream.FOREIGN_IDLE_MS", 0)
    await database.client.xdel(keys.plans, "1-0")
    taken = await stream.pending()
    assert [(one.stream_id, bool(one.fields)) for one in taken] == [
        ("1-0", False),
        ("2-0", True),
        ("3-0", True),
    ]
    assert all(one.redelivered for one in taken)
    assert [one.stream_id for one in await stream.pending()] == ["2-0", "3-0"]
