"""rotate.lua on a real server: nothing is closed for a plan that a stop keeps from opening."""

from __future__ import annotations

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
