"""claim.lua on a real server: each part denies alone, all is taken in one step, and nothing otherwise."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace
from support.cases import NOW_MS, exposure, leg, number
from support.claims import LEASE, LEASE_KEY, LOCK_TTL_MS, Claims, record, settlement, words

from quantum_trader.stores.claims import OpenLimits, WentOnElsewhere
from quantum_trader.stores.codec import decode, encode
from quantum_trader.stores.connection import Database
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.settlement import SettlementStore

SECOND, MINUTE, HOUR = 1000, 60_000, 3_600_000
SYMBOLS = [f"S{index}USDT" for index in range(100)]


@pytest.fixture
async def claims(database: Database, keys: Keys) -> Claims:
    """A claim store whose lease is held by ``LEASE``."""
    await database.client.set(LEASE_KEY, LEASE)
    return Claims(database, keys)


@pytest.fixture
def settlements(database: Database, keys: Keys) -> SettlementStore:
    return SettlementStore(database, keys, LEASE_KEY, results_kept=1000, terminal_ttl_s=3600)


async def outcome_of_many(work: list[Awaitable[str]]) -> dict[str, int]:
    replies = await asyncio.gather(*work)
    return {reply: replies.count(reply) for reply in set(replies)}


# -- what is taken


async def test_a_granted_open_stores_everything_that_recovery_needs(claims: Claims) -> None:
    assert await claims.open() == ""
    stored = await claims.store.record("plan-1")
    assert stored == record()
    assert await claims.store.unsettled() == [record()]
    assert await claims.store.history("plan-1") == ("claimed", "hash-plan-1")
    assert await claims.client.get("quantum:exec:lock:SOLUSDT") == b"plan-1"
    assert await claims.store.rates() == [("SOLUSDT", "plan-1", NOW_MS)]
    assert decode(await claims.client.get("quantum:exec:plan:plan-1"))["timestamp_ms"] == NOW_MS


async def test_the_exposure_of_an_open_comes_back_as_it_was_claimed(claims: Claims) -> None:
    await claims.open(notional="123.456789", margin="12.3456789")
    (taken,) = await claims.store.exposures()
    assert (taken.plan_id, taken.leg, taken.settled_epoch) == ("plan-1", leg(), None)
    assert taken.notional_usdt == number("123.456789")
    assert taken.margin_usdt == number("12.345679")  # rounded up to a micro-USDT: never too little


async def test_an_exit_takes_neither_a_rate_token_nor_exposure(claims: Claims) -> None:
    assert await claims.exit() == ""
    assert await claims.store.rates() == []
    assert await claims.store.exposures() == []
    assert [one.plan_id for one in await claims.store.unsettled()] == ["exit-1"]


async def test_inc_03_what_must_expire_has_its_time_to_live_and_what_must_not_has_none(
    claims: Claims,
) -> None:
    await claims.open()
    names: Any = await claims.client.keys("*")
    ttls_ms = {name.decode(): await claims.client.pttl(name) for name in names}
    lasting = {name for name, ttl_ms in ttls_ms.items() if ttl_ms == -1}
    assert lasting == {
        LEASE_KEY,
        "quantum:exec:processed:plan-1",
        "quantum:exec:plan:plan-1",
        "quantum:exec:claims",
        "quantum:exec:claim_sums",
    }
    bounds = {
        "quantum:exec:lock:SOLUSDT": LOCK_TTL_MS,
        "quantum:exec:rate:symbol:SOLUSDT": HOUR,
        "quantum:exec:rate:global": MINUTE,
    }
    for name, ttl_ms_max in bounds.items():
        assert 0 < ttls_ms[name] <= ttl_ms_max


# -- each part alone


@pytest.mark.parametrize(
    ("name", "value", "reply"),
    [
        ("quantum:kill", "1", "kill_switch/kill_switch_active"),
        ("quantum:kill", "opens", "kill_switch/kill_switch_active"),
        ("quantum:kill", "whatever", "kill_switch/kill_switch_active"),
        ("quantum:kill", "", "kill_switch/kill_switch_active"),
        ("quantum:safety:disarmed", "{}", "kill_switch/disarmed"),
        ("quantum:safety:disarmed", "", "kill_switch/disarmed"),
        ("quantum:exec:processed:plan-1", "claimed", "idempotency/claimed"),
        ("quantum:exec:processed:plan-1", "terminal", "idempotency/terminal"),
        ("quantum:exec:lock:SOLUSDT", "someone", "claim/symbol_in_flight"),
        ("quantum:safety:safe_mode", "1", "rate_limit/safe_mode"),
        ("quantum:safety:cooldown_global", "1", "rate_limit/cooldown_global"),
        ("quantum:safety:cooldown_symbol:SOLUSDT", "1", "rate_limit/cooldown_symbol"),
    ],
)
async def test_inc_42_each_key_alone_refuses_an_open_and_nothing_is_taken(
    claims: Claims, name: str, value: str, reply: str
) -> None:
    await claims.client.set(name, value)
    before = await claims.snapshot()
    assert await claims.open() == reply
    assert await claims.snapshot() == before
    await claims.client.delete(name)
    assert await claims.open() == ""


@pytest.mark.parametrize(
    ("name", "value", "reply"),
    [
        ("quantum:kill", "1", "kill_switch/kill_switch_active"),
        ("quantum:exec:processed:exit-1", "claimed", "idempotency/claimed"),
        ("quantum:exec:processed:exit-1", "terminal", "idempotency/terminal"),
    ],
)
async def test_the_keys_that_concern_exits_refuse_them_and_nothing_is_taken(
    claims: Claims, name: str, value: str, reply: str
) -> None:
    await claims.client.set(name, value)
    before = await claims.snapshot()
    assert await claims.exit() == reply
    assert await claims.snapshot() == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("quantum:kill", "opens"),
        ("quantum:kill", "0"),
        ("quantum:kill", ""),
        ("quantum:safety:disarmed", "{}"),
        ("quantum:safety:safe_mode", "1"),
        ("quantum:safety:cooldown_global", "1"),
        ("quantum:safety:cooldown_symbol:SOLUSDT", "1"),
    ],
)
async def test_inc_24_what_concerns_opens_lets_exits_through(claims: Claims, name: str, value: str) -> None:
    await claims.client.set(name, value)
    assert await claims.exit() == ""


async def test_a_kill_switch_of_the_wrong_kind_stops_opens_and_lets_exits_through(claims: Claims) -> None:
    await claims.client.hset("quantum:kill", "value", "1")
    assert await claims.open() == "kill_switch/kill_switch_active"
    assert await claims.exit() == ""


@pytest.mark.parametrize(
    ("name", "reply"),
    [
        ("quantum:safety:disarmed", "kill_switch/disarmed"),
        ("quantum:safety:safe_mode", "rate_limit/safe_mode"),
        ("quantum:safety:cooldown_global", "rate_limit/cooldown_global"),
        ("quantum:safety:cooldown_symbol:SOLUSDT", "rate_limit/cooldown_symbol"),
    ],
)
async def test_a_stop_of_the_wrong_kind_stops_opens_and_lets_exits_through(
    claims: Claims, name: str, reply: str
) -> None:
    await claims.open("other", "BTCUSDT")
    await claims.client.hset(name, "value", "1")
    before = await claims.snapshot()
    assert await claims.open() == reply
    assert await claims.snapshot() == before
    assert await claims.exit() == ""
    assert await claims.client.hget(name, "value") == b"1"


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize(
    "name",
    ["processed:{}", "plan:{}", "lock:SOLUSDT", "claims", "claim_sums", "rate:symbol:SOLUSDT", "rate:global"],
)
async def test_a_key_of_ours_of_the_wrong_kind_stops_neither_opens_nor_exits(
    claims: Claims, name: str, begun: bool
) -> None:
    if begun:
        await claims.open("other", "BTCUSDT", positions_room=2)
    for plan_id, claim in (("exit-1", claims.exit), ("plan-1", claims.open)):
        key = f"quantum:exec:{name.format(plan_id)}"
        await claims.client.delete(key)
        await claims.client.rpush(key, "x")
        assert await claim() == ""
        assert await claims.client.get("quantum:exec:lock:SOLUSDT") == plan_id.encode()
        assert await claims.store.record(plan_id)
        await claims.client.delete("quantum:exec:lock:SOLUSDT")
        await claims.client.hdel("quantum:exec:claims", "exit-1")
    assert ("SOLUSDT", "plan-1", NOW_MS) in await claims.store.rates()
    assert [one.plan_id for one in await claims.store.unsettled()][-1] == "plan-1"


async def test_two_keys_of_the_wrong_kind_are_found_beside_each_other(claims: Claims) -> None:
    await claims.client.rpush("quantum:exec:rate:global", "x")
    await claims.client.rpush("quantum:safety:disarmed", "x")
    assert await claims.open() == "kill_switch/disarmed"


async def test_a_lease_of_the_wrong_kind_is_nobodys_and_goes(claims: Claims) -> None:
    await claims.client.delete(LEASE_KEY)
    await claims.client.rpush(LEASE_KEY, LEASE)
    assert await claims.open() == "kill_switch/not_leader"
    assert await claims.client.exists(LEASE_KEY) == 0


async def test_rate_claims_that_are_out_of_every_window_are_forgotten(claims: Claims) -> None:
    for index in range(40):
        assert await claims.open(f"plan-{index}", SYMBOLS[index], now_ms=NOW_MS + index * MINUTE) == ""
    assert await claims.client.zcard("quantum:exec:rate:global") <= 16
    for index in range(40):
        await claims.client.zadd("quantum:exec:rate:symbol:SOLUSDT", {f"old-{index}": NOW_MS - HOUR})
    for index in range(16):
        await claims.client.delete("quantum:exec:lock:SOLUSDT", "quantum:exec:claims")
        assert await claims.open(f"again-{index}", now_ms=NOW_MS + index, per_symbol_hour_max=100) == ""
    assert await claims.client.zcard("quantum:exec:rate:symbol:SOLUSDT") <= 16


@pytest.mark.parametrize("holder", ["engine-2:8", "engine-1:6", ""])
async def test_inc_16_another_lease_refuses_opens_and_exits(claims: Claims, holder: str) -> None:
    before = await claims.snapshot()
    assert await claims.open(lease=holder) == "kill_switch/not_leader"
    assert await claims.exit(lease=holder) == "kill_switch/not_leader"
    assert await claims.snapshot() == before


async def test_inc_15_a_lease_that_has_run_out_refuses(claims: Claims) -> None:
    await claims.client.delete(LEASE_KEY)
    assert await claims.open() == "kill_switch/not_leader"
    assert await claims.exit() == "kill_switch/not_leader"


async def test_a_parked_plan_may_be_claimed_by_its_rotation_alone(claims: Claims) -> None:
    await claims.client.set("quantum:exec:processed:plan-1", "parked")
    assert await claims.open() == "idempotency/parked"
    assert await claims.open(state="parked") == ""


@pytest.mark.parametrize(
    ("earlier_ms_ago", "limit", "reply"),
    [
        ([29_999], {"symbol_window_ms": 30_000}, "rate_limit/rate_limit_symbol"),
        ([30_000], {"symbol_window_ms": 30_000}, ""),
        ([1, 59_999], {"global_per_min": 2}, "rate_limit/rate_limit_global"),
        ([1, 60_000], {"global_per_min": 2}, ""),
        ([40_000, 299_999], {"per_symbol_5min_max": 2}, "rate_limit/burst_limit_exceeded"),
        ([40_000, 300_000], {"per_symbol_5min_max": 2}, ""),
        ([40_000, 3_599_999], {"per_symbol_hour_max": 2}, "rate_limit/hourly_limit_exceeded"),
        ([40_000, 3_600_000], {"per_symbol_hour_max": 2}, ""),
    ],
)
async def test_each_window_alone_refuses_and_ends_exactly_at_its_length(
    claims: Claims, earlier_ms_ago: list[int], limit: dict[str, int], reply: str
) -> None:
    for index, ms_ago in enumerate(earlier_ms_ago):
        member = {f"earlier-{index}": NOW_MS - ms_ago}
        await claims.client.zadd("quantum:exec:rate:symbol:SOLUSDT", member)
        await claims.client.zadd("quantum:exec:rate:global", member)
    before = await claims.snapshot()
    assert await claims.open(**limit) == reply
    assert (await claims.snapshot() == before) is bool(reply)


@pytest.mark.parametrize(
    ("limit", "reply"),
    [
        (
            {"required_margin_usdt": number("12.5"), "available_usdt": number("22.499999")},
            "margin_guard/insufficient_margin",
        ),
        ({"required_margin_usdt": number("12.5"), "available_usdt": number("22.5")}, ""),
        ({"usage_room_usdt": number("19.999999")}, "margin_guard/margin_usage_exceeded"),
        ({"usage_room_usdt": number(20)}, ""),
        ({"positions_room": 1}, "fund_caps/max_positions_reached"),
        ({"positions_room": 2}, ""),
        ({"notional_room_usdt": number("199.999999")}, "fund_caps/total_notional_exceeded"),
        ({"notional_room_usdt": number(200)}, ""),
        ({"slots_room": 1}, "active_slots/active_slots_full"),
        ({"slots_room": 2}, ""),
    ],
)
async def test_each_room_is_what_the_claims_of_others_leave(
    claims: Claims, limit: dict[str, Any], reply: str
) -> None:
    assert await claims.open("other", "BTCUSDT") == ""
    before = await claims.snapshot()
    assert await claims.open(**limit) == reply
    assert (await claims.snapshot() == before) is bool(reply)


async def test_limits_of_gates_that_do_not_enforce_are_none_and_the_claim_is_recorded(claims: Claims) -> None:
    for index, symbol in enumerate(SYMBOLS[:20]):
        assert await claims.open(f"plan-{index}", symbol) == ""
    assert len(await claims.store.rates()) == 20
    assert len(await claims.store.exposures()) == 20


async def test_enlarging_a_position_needs_room_for_money_and_none_for_a_place(claims: Claims) -> None:
    await claims.open("other", "BTCUSDT")
    assert await claims.open(is_new_leg=False, positions_room=0, slots_room=0) == ""


async def test_the_first_part_that_fails_in_chain_order_names_the_gate(claims: Claims) -> None:
    for name in ("quantum:kill", "quantum:safety:safe_mode"):
        await claims.client.set(name, "1")
    await claims.client.set("quantum:exec:processed:plan-1", "terminal")
    nothing_left = {"slots_room": 0, "positions_room": 0, "notional_room_usdt": number(0)}
    replies = []
    for name in ("quantum:kill", "quantum:exec:processed:plan-1", "quantum:safety:safe_mode"):
        replies.append(await claims.open(**nothing_left))
        await claims.client.delete(name)
    replies.append(await claims.open(**nothing_left))
    assert replies == [
        "kill_switch/kill_switch_active",
        "idempotency/terminal",
        "rate_limit/safe_mode",
        "fund_caps/max_positions_reached",
    ]


# -- an order in flight, or of unknown outcome


async def test_an_unsettled_claim_keeps_opens_off_its_symbol_and_lets_exits_through(claims: Claims) -> None:
    await claims.open()
    await claims.store.unlock("SOLUSDT", "plan-1")
    assert await claims.open("second") == "claim/symbol_in_flight"
    assert await claims.exit() == ""


async def test_the_lock_goes_with_its_owner_alone(claims: Claims) -> None:
    await claims.open()
    await claims.store.unlock("SOLUSDT", "another")
    assert await claims.client.get("quantum:exec:lock:SOLUSDT") == b"plan-1"
    await claims.store.unlock("SOLUSDT", "plan-1")
    assert await claims.client.get("quantum:exec:lock:SOLUSDT") is None


# -- amending


async def test_an_exit_waits_for_a_lock_whose_owner_holds_a_claim_and_passes_any_other(
    claims: Claims,
) -> None:
    await claims.open("plan-1")
    assert await claims.exit() == "claim/symbol_in_flight"
    await claims.client.set("quantum:exec:lock:SOLUSDT", "nobody")
    assert await claims.exit() == ""


async def test_inc_40_what_a_kill_stops_is_not_amended(claims: Claims) -> None:
    await claims.open()
    await claims.client.set("quantum:kill", "opens")
    refusal = await claims.store.amend(LEASE, record(), known_number=0, lock_ttl_ms=LOCK_TTL_MS)
    assert words(refusal) == "kill_switch/kill_switch_active"


async def test_amending_rewrites_what_is_stored_before_the_next_send(claims: Claims) -> None:
    await claims.open()
    later = record(settled_orders=["qt-first-0"], decided_at_ms=NOW_MS + 5)
    assert words(await claims.store.amend(LEASE, later, known_number=0, lock_ttl_ms=LOCK_TTL_MS)) == ""
    assert await claims.store.record("plan-1") == later


@pytest.mark.parametrize(
    ("name", "value", "reply"),
    [
        (LEASE_KEY, "engine-2:8", "kill_switch/not_leader"),
        ("quantum:exec:processed:plan-1", "terminal", "idempotency/not_claimed"),
        ("quantum:exec:lock:SOLUSDT", "another", "claim/symbol_in_flight"),
    ],
)
async def test_inc_15_what_has_changed_hands_is_not_amended(
    claims: Claims, name: str, value: str, reply: str
) -> None:
    await claims.open()
    await claims.client.set(name, value)
    before = await claims.snapshot()
    later = record(decided_at_ms=NOW_MS + 5)
    assert words(await claims.store.amend(LEASE, later, known_number=0, lock_ttl_ms=LOCK_TTL_MS)) == reply
    assert await claims.snapshot() == before


async def test_an_exit_that_another_engine_went_on_with_is_not_gone_on_with_from_before(
    claims: Claims,
) -> None:
    await claims.exit()
    first = await claims.store.record("exit-1")
    theirs = replace(first, order=replace(first.order, number=1), decided_at_ms=NOW_MS + 5)
    ours = replace(theirs, decided_at_ms=NOW_MS + 9)
    assert words(await claims.store.amend(LEASE, theirs, known_number=0, lock_ttl_ms=LOCK_TTL_MS)) == ""
    with pytest.raises(WentOnElsewhere):
        await claims.store.amend(LEASE, ours, known_number=0, lock_ttl_ms=LOCK_TTL_MS)
    assert await claims.store.record("exit-1") == theirs
    again = await claims.store.amend(LEASE, theirs, known_number=0, lock_ttl_ms=LOCK_TTL_MS)
    assert words(again) == ""  # as after a lost reply


# -- a hundred at once


async def test_inc_02_a_hundred_copies_of_one_plan_are_claimed_once(claims: Claims) -> None:
    counted = await outcome_of_many([claims.open() for _ in range(100)])
    assert counted == {"": 1, "idempotency/claimed": 99}
    assert len(await claims.store.unsettled()) == 1


@pytest.mark.parametrize(
    ("limit", "refusal"),
    [
        ({"positions_room": 8}, "fund_caps/max_positions_reached"),
        ({"notional_room_usdt": number("899.99")}, "fund_caps/total_notional_exceeded"),
        (
            {"required_margin_usdt": number("12.5"), "available_usdt": number("92.49")},
            "margin_guard/insufficient_margin",
        ),
        ({"usage_room_usdt": number("89.99")}, "margin_guard/margin_usage_exceeded"),
        ({"global_per_min": 8}, "rate_limit/rate_limit_global"),
        ({"slots_room": 8}, "active_slots/active_slots_full"),
    ],
)
async def test_inc_44_a_hundred_opens_at_once_against_room_for_eight_leave_eight(
    claims: Claims, limit: dict[str, Any], refusal: str
) -> None:
    work = [claims.open(f"plan-{index}", symbol, **limit) for index, symbol in enumerate(SYMBOLS)]
    counted = await outcome_of_many(work)
    assert counted == {"": 8, refusal: 92}
    assert len(await claims.store.exposures()) == 8


async def test_a_hundred_opens_of_one_symbol_leave_one(claims: Claims) -> None:
    counted = await outcome_of_many([claims.open(f"plan-{index}") for index in range(100)])
    assert counted == {"": 1, "claim/symbol_in_flight": 99}


# -- claims whose fills a reading may or may not show


async def settle_filled(settlements: SettlementStore, plan_id: str, symbol: str) -> None:
    await settlements.settle(LEASE, settlement(plan_id, symbol, filled_open=True), NOW_MS)


async def test_a_settled_open_counts_for_older_readings_and_no_more_for_newer_ones(
    claims: Claims, settlements: SettlementStore
) -> None:
    await claims.open("other", "BTCUSDT")
    await settle_filled(settlements, "other", "BTCUSDT")
    rooms: list[dict[str, Any]] = [
        {"positions_room": 1},
        {"notional_room_usdt": number(100)},
        {"slots_room": 1},
    ]
    for room in rooms:
        assert await claims.open(**room, positions_epoch=0, account_epoch=1) != ""
    tight = {"required_margin_usdt": number(10), "available_usdt": number(10)}
    assert (
        await claims.open(**tight, positions_epoch=1, account_epoch=0) == "margin_guard/insufficient_margin"
    )
    assert (
        await claims.open(**tight, **(rooms[0] | rooms[1] | rooms[2]), positions_epoch=1, account_epoch=1)
        == ""
    )


async def test_a_leg_that_the_reading_shows_is_counted_once(claims: Claims) -> None:
    await claims.open("other", "BTCUSDT")
    seen = {leg("BTCUSDT"): number(100)}
    rooms = {"positions_room": 1, "slots_room": 1, "notional_room_usdt": number(100)}
    assert await claims.open(seen=seen, **rooms) == ""


async def test_the_part_of_a_claim_that_a_reading_lacks_still_counts(claims: Claims) -> None:
    await claims.open("other", "BTCUSDT")
    seen = {leg("BTCUSDT"): number(40)}
    assert (
        await claims.open(seen=seen, notional_room_usdt=number("159.99"))
        == "fund_caps/total_notional_exceeded"
    )
    assert await claims.open(seen=seen, notional_room_usdt=number(160)) == ""


def _reversed(claim: dict[str, Any]) -> bytes:
    return encode(dict(reversed(claim.items())))


def _spaced(claim: dict[str, Any]) -> bytes:
    return json.dumps(claim).encode()


def _with_more(claim: dict[str, Any]) -> bytes:
    return encode({**claim, "note": "\\"})


@pytest.mark.parametrize("spelled", [encode, _reversed, _spaced, _with_more])
@pytest.mark.parametrize(("epoch", "counts"), [(None, True), (4, True), (3, False)])
async def test_a_claim_counts_the_same_however_it_is_spelled(
    claims: Claims, spelled: Callable[[dict[str, Any]], bytes], epoch: int | None, counts: bool
) -> None:
    await claims.open("other", "BTCUSDT")
    stored = await claims.client.hget("quantum:exec:claims", "other")
    claim = decode(stored) | ({"settled_epoch": epoch} if epoch is not None else {})
    await claims.client.hset("quantum:exec:claims", "other", spelled(claim))
    rooms: list[dict[str, Any]] = [
        {"positions_room": 1},
        {"slots_room": 1},
        {"notional_room_usdt": number(199)},
        {"required_margin_usdt": number(10), "available_usdt": number(19)},
    ]
    for room in rooms:
        refusal = await claims.open(**room, positions_epoch=3, account_epoch=3)
        assert bool(refusal) is counts, room
        if not counts:
            break  # the first one was granted


@pytest.mark.parametrize("spelled", [encode, _reversed, _spaced])
async def test_a_claim_is_dated_however_it_is_spelled(
    claims: Claims, settlements: SettlementStore, spelled: Callable[[dict[str, Any]], bytes]
) -> None:
    await claims.open("other", "BTCUSDT")
    claim = decode(await claims.client.hget("quantum:exec:claims", "other"))
    await claims.client.hset("quantum:exec:claims", "other", spelled(claim))
    await settle_filled(settlements, "other", "BTCUSDT")
    dated = decode(await claims.client.hget("quantum:exec:claims", "other"))
    assert dated == claim | {"settled_epoch": 1}


async def test_two_hedge_legs_of_a_symbol_are_two_positions_and_one_slot(claims: Claims) -> None:
    other = record("other", "BTCUSDT")
    short = OpenLimits(exposure("other", "BTCUSDT", side="SHORT"), True, 0, 0, {})
    order = replace(other.order, leg=leg("BTCUSDT", "SHORT"))
    await claims.store.claim(
        LEASE, replace(other, order=order), short, now_ms=NOW_MS, lock_ttl_ms=LOCK_TTL_MS
    )
    seen = {leg("BTCUSDT", "LONG"): number(100)}
    assert await claims.open(seen=seen, positions_room=1) == "fund_caps/max_positions_reached"
    assert await claims.open(seen=seen, slots_room=1) == ""


async def test_a_settled_symbol_may_be_opened_again(claims: Claims, settlements: SettlementStore) -> None:
    await claims.open()
    await settle_filled(settlements, "plan-1", "SOLUSDT")
    assert await claims.open("plan-2") == ""


async def test_with_full_memory_an_open_takes_nothing_and_an_exit_is_claimed(claims: Claims) -> None:
    await claims.client.config_set("maxmemory", "1")
    try:
        before = await claims.snapshot()
        assert await claims.open() == "claim/redis_full"
        assert await claims.snapshot() == before
        assert await claims.exit("exit-1", "SOLUSDT") == ""
    finally:
        await claims.client.config_set("maxmemory", "0")
