"""settle.lua on a real server: one result a plan, with all that goes with it, in one step."""

import asyncio
from typing import Any

import pytest
from support.cases import NOW_MS, exposure
from support.claims import LEASE, LEASE_KEY, Claims, record, settlement

from quantum_trader.stores.claims import claim_json
from quantum_trader.stores.codec import decode
from quantum_trader.stores.connection import Database
from quantum_trader.stores.keys import GROUP, Keys
from quantum_trader.stores.settlement import (
    Latch,
    MarginFailure,
    NotSettled,
    Settled,
    Settlement,
    SettlementStore,
)

EVENTS = "quantum:stream:governor.events"
RESULTS = "quantum:stream:apply.result"
SAFE_MODE = "quantum:safety:safe_mode"


class Desk:
    """The settlement store with the lease in place, a plan stream and its group."""

    def __init__(self, database: Database, keys: Keys) -> None:
        self.client = database.client
        self.claims = Claims(database, keys)
        self._store = SettlementStore(database, keys, LEASE_KEY, results_kept=1000, terminal_ttl_s=3600)

    async def settle(
        self, ending: Settlement, *, now_ms: int = NOW_MS, lease: str = LEASE
    ) -> Settled | NotSettled:
        return await self._store.settle(lease, ending, now_ms)

    async def results(self) -> list[dict[bytes, bytes]]:
        return [fields for _, fields in await self.client.xrange(RESULTS)]

    async def events(self) -> list[str]:
        return [fields[b"event"].decode() for _, fields in await self.client.xrange(EVENTS)]


@pytest.fixture
async def desk(database: Database, keys: Keys) -> Desk:
    await database.client.set(LEASE_KEY, LEASE)
    await database.client.xgroup_create(keys.plans, GROUP, id="0", mkstream=True)
    return Desk(database, keys)


async def test_inc_92_a_settled_plan_has_its_result_its_state_and_no_claim_left(desk: Desk) -> None:
    await desk.claims.open()
    assert await desk.settle(settlement()) == Settled(0)
    assert await desk.results() == [{b"plan_id": b"plan-1", b"decision": b"FILLED", b"reason": b"filled"}]
    assert await desk.client.get("quantum:exec:processed:plan-1") == b"terminal"
    assert await desk.client.hgetall("quantum:exec:claims") == {}
    assert await desk.client.get("quantum:exec:lock:SOLUSDT") is None


async def test_inc_03_a_terminal_state_expires_with_its_record_and_not_before(desk: Desk) -> None:
    await desk.claims.open()
    await desk.settle(settlement())
    for name in ("processed", "plan"):
        assert 3_590_000 < await desk.client.pttl(f"quantum:exec:{name}:plan-1") <= 3_600_000
    assert await desk.claims.store.history("plan-1") == ("terminal", "hash-plan-1")


async def test_a_second_settlement_is_a_duplicate_and_writes_nothing(desk: Desk) -> None:
    await desk.claims.open()
    await desk.settle(settlement())
    before = await desk.claims.snapshot()
    again = settlement(events=({"event": "X"},), latches=(Latch(SAFE_MODE, 60, {"event": "Y"}),))
    assert await desk.settle(again) == NotSettled("duplicate", "terminal")
    assert await desk.claims.snapshot() == before


async def test_inc_02_a_hundred_settlements_at_once_write_one_result(desk: Desk) -> None:
    await desk.claims.open()
    outcomes = await asyncio.gather(*(desk.settle(settlement()) for _ in range(100)))
    assert sum(isinstance(one, Settled) for one in outcomes) == 1
    assert len(await desk.results()) == 1


@pytest.mark.parametrize(
    ("stored", "expected"), [(None, "parked"), ("claimed", ""), ("parked", "claimed"), ("parked", "")]
)
async def test_a_plan_in_another_state_is_left_alone(desk: Desk, stored: str | None, expected: str) -> None:
    if stored is not None:
        await desk.client.set("quantum:exec:processed:plan-1", stored)
    before = await desk.claims.snapshot()
    outcome = await desk.settle(settlement(expected_state=expected))
    assert outcome == NotSettled("duplicate", stored or "")
    assert await desk.claims.snapshot() == before


async def test_inc_18_a_plan_whose_claim_was_lost_is_settled_once(desk: Desk) -> None:
    await desk.claims.open()
    await desk.client.delete(*await desk.client.keys("quantum:exec:*"))
    assert isinstance(await desk.settle(settlement()), Settled)
    await desk.client.delete(*await desk.client.keys("quantum:exec:*"))
    assert await desk.settle(settlement()) == NotSettled("duplicate", "terminal")
    assert len(await desk.results()) == 1


async def test_an_older_result_of_the_same_id_does_not_stand_for_this_one(desk: Desk) -> None:
    older = {"plan_id": "plan-1", "decision": "EXPIRED"}
    await desk.client.xadd(RESULTS, older, id=f"{NOW_MS - 1}-0")  # type: ignore[arg-type]
    await desk.settle(settlement())
    assert [fields[b"decision"] for fields in await desk.results()] == [b"EXPIRED", b"FILLED"]


async def test_the_number_of_settled_opens_goes_on_where_redis_lost_it(desk: Desk) -> None:
    await desk.claims.open()
    assert await desk.settle(settlement(filled_open=True, epoch_known=41)) == Settled(42)
    assert await desk.client.get("quantum:exec:epoch") == b"42"


@pytest.mark.parametrize(("filled", "number"), [(True, b"1"), (False, None)])
async def test_a_number_of_settled_opens_that_is_none_begins_anew(
    desk: Desk, filled: bool, number: bytes | None
) -> None:
    await desk.claims.open()
    await desk.client.set("quantum:exec:epoch", "nonsense")
    assert await desk.settle(settlement(filled_open=filled)) == Settled(int(filled))
    assert await desk.client.get("quantum:exec:epoch") == number


async def test_inc_82_the_floor_is_the_oldest_entry_without_a_result(desk: Desk, keys: Keys) -> None:
    for number in range(3):
        await desk.client.xadd(keys.plans, {"n": "1"}, id=f"{NOW_MS}-{number}")
    await desk.client.xreadgroup(GROUP, "engine", {keys.plans: ">"})
    middle = settlement("b", expected_state="", stream_id=f"{NOW_MS}-1")
    oldest = settlement("a", expected_state="", stream_id=f"{NOW_MS}-0")
    assert (await desk.settle(middle)).floor == f"{NOW_MS}-0"  # type: ignore[union-attr]
    assert (await desk.settle(oldest)).floor == f"{NOW_MS}-2"  # type: ignore[union-attr]
    assert await desk.client.get(keys.floor) == f"{NOW_MS}-2".encode()
    newest = settlement("c", expected_state="", stream_id=f"{NOW_MS}-2")
    assert (await desk.settle(newest)).floor == f"({NOW_MS}-2"  # type: ignore[union-attr]


async def test_with_full_memory_a_result_is_written_all_the_same(desk: Desk) -> None:
    await desk.claims.open()
    await desk.client.config_set("maxmemory", "1")
    try:
        assert isinstance(await desk.settle(settlement()), Settled)
    finally:
        await desk.client.config_set("maxmemory", "0")
    assert len(await desk.results()) == 1


async def test_a_plan_that_was_never_claimed_gets_its_result_too(desk: Desk) -> None:
    assert await desk.settle(settlement(expected_state="")) == Settled(0)
    assert await desk.client.get("quantum:exec:processed:plan-1") == b"terminal"


@pytest.mark.parametrize("lease", ["engine-2:8", "engine-1:6", ""])
async def test_inc_15_an_engine_without_the_lease_settles_nothing(desk: Desk, lease: str) -> None:
    await desk.claims.open()
    before = await desk.claims.snapshot()
    assert await desk.settle(settlement(), lease=lease) == NotSettled("not_leader", "")
    assert await desk.claims.snapshot() == before


async def test_inc_82_the_entry_is_acknowledged_in_the_step_that_writes_its_result(desk: Desk) -> None:
    plans = "quantum:stream:apply.plan"
    stream_id = (await desk.client.xadd(plans, {"plan_id": "plan-1"})).decode()
    await desk.client.xreadgroup(GROUP, "engine", {plans: ">"})
    assert (await desk.client.xpending(plans, GROUP))["pending"] == 1
    await desk.settle(settlement(expected_state="", stream_id=stream_id))
    assert (await desk.client.xpending(plans, GROUP))["pending"] == 0


# -- what a filled open leaves behind


async def test_a_filled_open_is_dated_with_the_next_epoch_and_keeps_its_claim(desk: Desk) -> None:
    for number, plan_id in enumerate(("plan-1", "plan-2"), start=1):
        await desk.claims.open(plan_id, f"S{number}USDT")
        assert await desk.settle(settlement(plan_id, f"S{number}USDT", filled_open=True)) == Settled(number)
    epochs = {one.plan_id: one.settled_epoch for one in await desk.claims.store.exposures()}
    assert epochs == {"plan-1": 1, "plan-2": 2}
    assert await desk.claims.store.unsettled() == []
    assert await desk.claims.store.epoch() == 2


async def test_a_claim_that_was_deleted_meanwhile_is_put_back_when_its_open_is_filled(desk: Desk) -> None:
    await desk.claims.open()
    await desk.client.delete("quantum:exec:claims")
    claim = claim_json(record(), exposure("plan-1", "SOLUSDT"))
    await desk.settle(settlement(filled_open=True, claim=claim))
    (kept,) = await desk.claims.store.exposures()
    assert (kept.notional_usdt, kept.settled_epoch) == (100, 1)


async def test_claims_that_every_reading_shows_are_forgotten(desk: Desk) -> None:
    await desk.claims.open("seen", "BTCUSDT")
    await desk.settle(settlement("seen", "BTCUSDT", filled_open=True))
    await desk.claims.open()
    await desk.settle(settlement(seen_claims=("seen",)))
    assert await desk.claims.store.exposures() == []


async def test_a_claim_that_is_unsettled_here_is_kept_whatever_the_engine_has_seen_of_it(desk: Desk) -> None:
    """A failover took back its settlement: recovery has to find it (SPEC 7.8)."""
    await desk.claims.open("rolled-back", "BTCUSDT")
    await desk.claims.open()
    await desk.settle(settlement(seen_claims=("rolled-back",)))
    assert [claim.plan_id for claim in await desk.claims.store.exposures()] == ["rolled-back"]


async def test_a_lock_that_another_plan_holds_by_now_stays(desk: Desk) -> None:
    await desk.claims.open()
    await desk.client.set("quantum:exec:lock:SOLUSDT", "another")
    await desk.settle(settlement())
    assert await desk.client.get("quantum:exec:lock:SOLUSDT") == b"another"


@pytest.mark.parametrize(("returned", "left"), [(False, 1), (True, 0)])
async def test_a_rate_token_is_given_back_only_where_no_byte_was_sent(
    desk: Desk, returned: bool, left: int
) -> None:
    await desk.claims.open()
    await desk.settle(settlement(return_rate_token=returned))
    assert await desk.client.zcard("quantum:exec:rate:symbol:SOLUSDT") == left
    assert await desk.client.zcard("quantum:exec:rate:global") == left


async def test_a_plan_that_was_never_claimed_gives_no_token_of_another_back(desk: Desk) -> None:
    await desk.claims.open("other")
    await desk.settle(settlement(expected_state="", return_rate_token=True))
    assert await desk.client.zcard("quantum:exec:rate:global") == 1


async def test_ledger_cooldown_and_permits_are_written_with_the_result(desk: Desk) -> None:
    await desk.claims.open()
    await desk.settle(
        settlement(
            ledger={"position_amt": "-1.5", "source": "fill"},
            opened_ms=NOW_MS,
            permit_p32={"allow": True},
            permit_p33={"allow": False, "context": {"position_amt": NOW_MS}},
        )
    )
    assert await desk.client.hgetall("quantum:position:ledger:SOLUSDT") == {
        b"position_amt": b"-1.5",
        b"source": b"fill",
    }
    assert await desk.client.get("quantum:cooldown:last_exec_ts:SOLUSDT") == str(NOW_MS).encode()
    for name in ("p32", "p33"):
        assert 0 < await desk.client.ttl(f"quantum:permit:{name}:plan-1") <= 60
    assert decode(await desk.client.get("quantum:permit:p33:plan-1"))["context"]["position_amt"] == NOW_MS


async def test_a_claim_that_cannot_be_read_is_put_back_when_its_open_is_filled(desk: Desk) -> None:
    await desk.claims.open()
    await desk.client.hset("quantum:exec:claims", "plan-1", "nonsense")
    claim = claim_json(record(), exposure("plan-1", "SOLUSDT"))
    assert await desk.settle(settlement(filled_open=True, claim=claim)) == Settled(1)
    (kept,) = await desk.claims.store.exposures()
    assert (kept.notional_usdt, kept.settled_epoch) == (100, 1)


async def test_any_number_of_claims_is_forgotten_at_once(desk: Desk) -> None:
    claims = {f"seen-{number}": '{"settled_epoch":1}' for number in range(1700)}
    await desk.client.hset("quantum:exec:claims", mapping=claims | {"kept": "{}"})  # type: ignore[arg-type]
    await desk.settle(settlement(expected_state="", seen_claims=(*claims, "kept", "unknown")))
    assert await desk.client.hkeys("quantum:exec:claims") == [b"kept"]


@pytest.mark.parametrize("filled", [True, False])
@pytest.mark.parametrize(
    "name",
    [
        "exec:plan:plan-1",
        "exec:epoch",
        "exec:lock:SOLUSDT",
        "exec:claim_sums",
        "exec:claims",
        "stream:apply.result",
        "stream:governor.events",
        "exec:rate:symbol:SOLUSDT",
        "exec:rate:global",
        "exec:margin_fails",
        "position:ledger:SOLUSDT",
        "cooldown:last_exec_ts:SOLUSDT",
        "permit:p32:plan-1",
        "permit:p33:plan-1",
        "engine:floor",
    ],
)
async def test_a_key_of_the_wrong_kind_keeps_no_result_from_being_written(
    desk: Desk, keys: Keys, name: str, filled: bool
) -> None:
    stream_id = (await desk.client.xadd(keys.plans, {"plan_id": "plan-1"})).decode()
    await desk.client.xreadgroup(GROUP, "engine", {keys.plans: ">"})
    await desk.claims.open()
    await desk.client.delete(f"quantum:{name}")
    await desk.client.sadd(f"quantum:{name}", "x")
    ending = settlement(
        stream_id=stream_id,
        filled_open=filled,
        claim=claim_json(record(), exposure("plan-1", "SOLUSDT")),
        return_rate_token=not filled,
        ledger={"position_amt": "1"},
        opened_ms=NOW_MS,
        permit_p32={"allow": True},
        permit_p33={"allow": True},
        seen_claims=("nobody",),
        margin_failure=failure(),
        events=({"event": "A"},),
    )
    assert await desk.settle(ending) == Settled(int(filled))
    assert len(await desk.results()) == 1
    assert await desk.events() == ["A"]
    assert await desk.client.hget("quantum:position:ledger:SOLUSDT", "position_amt") == b"1"
    assert [one.plan_id for one in await desk.claims.store.exposures()] == ["plan-1"] * filled
    assert await desk.claims.store.unsettled() == []
    assert await desk.client.exists("quantum:exec:lock:SOLUSDT") == 0
    assert await desk.client.get("quantum:engine:floor") == f"({stream_id}".encode()
    assert await desk.claims.open("plan-2") == ""


async def test_a_state_of_the_wrong_kind_is_none_and_the_result_stream_tells(desk: Desk) -> None:
    await desk.claims.open()
    for outcome in (Settled(0), NotSettled("duplicate", "terminal")):
        await desk.client.delete("quantum:exec:processed:plan-1")
        await desk.client.rpush("quantum:exec:processed:plan-1", "x")
        assert await desk.settle(settlement()) == outcome
    assert len(await desk.results()) == 1


async def test_a_lease_of_the_wrong_kind_is_nobodys(desk: Desk) -> None:
    await desk.claims.open()
    await desk.client.delete(LEASE_KEY)
    await desk.client.rpush(LEASE_KEY, LEASE)
    assert await desk.settle(settlement()) == NotSettled("not_leader", "")


async def test_plans_on_a_key_of_the_wrong_kind_end_all_the_same(desk: Desk, keys: Keys) -> None:
    await desk.claims.open()
    await desk.client.delete(keys.plans)
    await desk.client.rpush(keys.plans, "x")
    assert await desk.settle(settlement()) == Settled(0)
    assert await desk.client.hgetall("quantum:exec:claims") == {}


# -- latches and margin failures


async def test_inc_52_a_latch_is_set_with_its_time_to_live_and_a_running_one_is_not_extended(
    desk: Desk,
) -> None:
    latch = Latch(SAFE_MODE, 900, {"event": "COOLDOWN_SET"})
    await desk.settle(settlement("a", expected_state="", latches=(latch,)))
    assert 0 < await desk.client.ttl(SAFE_MODE) <= 900
    await desk.client.expire(SAFE_MODE, 50)
    await desk.settle(settlement("b", expected_state="", latches=(latch,)))
    assert 0 < await desk.client.ttl(SAFE_MODE) <= 50
    assert await desk.events() == ["COOLDOWN_SET"]


def failure(**changes: Any) -> MarginFailure:
    values: dict[str, Any] = {"window_ms": 300_000, "failures_max": 5, "safe_mode_s": 900}
    return MarginFailure(**(values | changes), event={"event": "SAFE_MODE_ON"})


async def fail(desk: Desk, plan_id: str, now_ms: int, **changes: Any) -> None:
    ending = settlement(plan_id, expected_state="", margin_failure=failure(**changes))
    begins = not await desk.client.exists(SAFE_MODE)
    settled = await desk.settle(ending, now_ms=now_ms)
    set_now = begins and bool(await desk.client.exists(SAFE_MODE))
    assert settled == Settled(0, set_safe_mode=set_now)


async def test_a_running_safe_mode_is_not_set_again(desk: Desk) -> None:
    await fail(desk, "plan-1", NOW_MS, failures_max=1)
    ending = settlement("plan-2", expected_state="", margin_failure=failure(failures_max=1))
    assert await desk.settle(ending, now_ms=NOW_MS) == Settled(0, set_safe_mode=False)
    assert await desk.events() == ["SAFE_MODE_ON"]


async def test_inc_14_the_fifth_margin_failure_in_the_window_sets_safe_mode(desk: Desk) -> None:
    for number in range(5):
        assert not await desk.client.exists(SAFE_MODE)
        await fail(desk, f"plan-{number}", NOW_MS + number)
    assert 0 < await desk.client.ttl(SAFE_MODE) <= 900
    assert await desk.events() == ["SAFE_MODE_ON"]
    assert 0 < await desk.client.pttl("quantum:exec:margin_fails") <= 300_000


async def test_margin_failures_outside_the_window_do_not_count(desk: Desk) -> None:
    for number in range(4):
        await fail(desk, f"plan-{number}", NOW_MS)
    await fail(desk, "plan-late", NOW_MS + 300_000)
    assert not await desk.client.exists(SAFE_MODE)
    assert await desk.client.zcard("quantum:exec:margin_fails") == 1


async def test_a_safe_mode_of_no_length_is_not_set_and_the_plan_is_settled_in_one_piece(desk: Desk) -> None:
    await fail(desk, "plan-1", NOW_MS, failures_max=1, safe_mode_s=0)
    assert not await desk.client.exists(SAFE_MODE)
    assert len(await desk.results()) == 1
    assert await desk.events() == []


async def test_events_stand_on_the_governors_stream_in_order(desk: Desk) -> None:
    await desk.settle(settlement(expected_state="", events=({"event": "A"}, {"event": "B", "why": "x"})))
    assert await desk.events() == ["A", "B"]


async def test_a_result_of_any_text_is_stored_as_it_is(desk: Desk) -> None:
    text = 'quote " back\\slash \n snow ☃ \x00 nul ' + "x" * 100_000
    await desk.settle(settlement(expected_state="", result={"plan_id": "plan-1", "trace": text}))
    assert (await desk.results())[0][b"trace"].decode() == text
