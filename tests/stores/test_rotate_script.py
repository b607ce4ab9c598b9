"""rotate.lua and end_rotation.lua on a real server.

Nothing is closed for a plan that a stop keeps from opening, and nobody ends the rotation of another plan.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
from support.cases import NOW_MS, leg, plan, position
from support.claims import LEASE, LEASE_KEY, Claims, words

from quantum_trader.stores.connection import Database
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.rotations import Rotation, RotationStore

CANDIDATE = plan(plan_id="candidate", carried={"plan_id": "candidate"})
ROTATION = Rotation("candidate", CANDIDATE.symbol, leg("XRPUSDT"), "rot_candidate", NOW_MS)


async def begun(database: Database, keys: Keys) -> str:
    """Begin the rotation; return "" when it is under way, else ``gate/reason``."""
    await database.client.set(LEASE_KEY, LEASE)
    store = RotationStore(database, keys, LEASE_KEY)
    return words(await store.begin(LEASE, CANDIDATE, ROTATION, position(20, "XRPUSDT"), 120_000))


async def test_a_rotation_parks_its_plan_and_asks_for_the_close(database: Database, keys: Keys) -> None:
    assert await begun(database, keys) == ""
    assert await database.client.get(keys.processed("candidate")) == b"parked"
    assert await database.client.xlen(keys.plans) == 1


STOPS = [
    ("quantum:kill", "kill_switch/kill_switch_active"),
    ("quantum:safety:disarmed", "kill_switch/disarmed"),
    ("quantum:safety:safe_mode", "rate_limit/safe_mode"),
    ("quantum:safety:cooldown_global", "rate_limit/cooldown_global"),
    ("quantum:safety:cooldown_symbol:SOLUSDT", "rate_limit/cooldown_symbol"),
]


@pytest.mark.parametrize("kind", ["string", "list"])
@pytest.mark.parametrize(("key", "refusal"), STOPS)
async def test_no_rotation_begins_against_a_stop(
    database: Database, keys: Keys, key: str, refusal: str, kind: str
) -> None:
    await (database.client.set(key, "1") if kind == "string" else database.client.lpush(key, "1"))
    await database.client.set(LEASE_KEY, LEASE)
    before = await Claims(database, keys).snapshot()
    assert await begun(database, keys) == refusal
    assert await Claims(database, keys).snapshot() == before


async def test_the_cooldown_of_another_symbol_stops_nothing(database: Database, keys: Keys) -> None:
    await database.client.set(keys.cooldown_symbol("XRPUSDT"), "1")
    assert await begun(database, keys) == ""


async def test_the_end_of_a_rotation_lifts_its_lock_and_is_published(database: Database, keys: Keys) -> None:
    await begun(database, keys)
    await end(database, keys, ROTATION)
    assert await database.client.exists(keys.rotation_lock, keys.rotation_lock_of("candidate")) == 0
    assert await events(database, keys) == ["ROTATION_LOCK_CREATED", "ROTATION_COMPLETE"]


async def test_an_engine_that_was_paused_does_not_end_the_rotation_that_came_after_its_own(
    database: Database, keys: Keys
) -> None:
    await begun(database, keys)
    await end(database, keys, replace(ROTATION, new_plan_id="former"))
    assert await database.client.exists(keys.rotation_lock, keys.rotation_lock_of("candidate")) == 2
    assert await events(database, keys) == ["ROTATION_LOCK_CREATED"]


@pytest.mark.parametrize("kind", ["nonsense", "number", "list", "none"])
async def test_a_lock_that_is_no_rotation_goes_with_the_one_that_ends(
    database: Database, keys: Keys, kind: str
) -> None:
    client = database.client
    if kind == "list":
        await cast("Any", client.lpush(keys.rotation_lock, "1"))
    elif kind != "none":
        await client.set(keys.rotation_lock, "{" if kind == "nonsense" else "1")
    await client.set(keys.governor_events, "no stream")
    await end(database, keys, ROTATION)
    assert await client.exists(keys.rotation_lock) == 0
    assert await events(database, keys) == ["ROTATION_COMPLETE"]


async def end(database: Database, keys: Keys, rotation: Rotation) -> None:
    store = RotationStore(database, keys, LEASE_KEY)
    await store.end(rotation, {"event": "ROTATION_COMPLETE", "outcome": "FILLED: filled"})


async def events(database: Database, keys: Keys) -> list[str]:
    return [fields[b"event"].decode() for _, fields in await database.client.xrange(keys.governor_events)]
