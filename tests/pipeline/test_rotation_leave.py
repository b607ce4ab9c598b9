"""A rotation whose plan went on elsewhere is ended: its lock must not stand for the hour of its TTL.

And what was begun to be resumed while Redis was lost is resumed by the next try.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from support.cases import NOW_MS, leg, plan

from quantum_trader.pipeline.rotation import RotationSaga
from quantum_trader.stores.connection import RedisError
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.rotations import Rotation, RotationStore

PARKED = plan(plan_id="parked")
FIELDS = {"decision": "EXECUTE", "symbol": PARKED.symbol, "side": "BUY", "qty": "1", "reduceOnly": "false"}
UNDER_WAY = Rotation("parked", PARKED.symbol, leg("XRPUSDT"), "rot_parked", NOW_MS)


class Store:
    """One stored rotation, and how it was ended."""

    def __init__(self, stored: Rotation | None) -> None:
        self.stored = stored
        self.ended: list[Mapping[str, str]] = []
        self.is_lost = False

    async def parked_fields(self, plan_id: str) -> tuple[str, Mapping[str, str]]:
        if self.is_lost:
            raise RedisError("connection lost")
        return PARKED.stream_id, FIELDS | {"plan_id": plan_id}

    async def under_way(self) -> Rotation | None:
        return self.stored

    async def end(self, rotation: Rotation, event: Mapping[str, str]) -> None:
        self.stored = None
        self.ended.append(event)


def saga(store: Store) -> tuple[RotationSaga, Any]:
    rooms = SimpleNamespace(rotation=None, lease=SimpleNamespace(another_led=False))
    clock = SimpleNamespace(now_ms=lambda: NOW_MS)
    return RotationSaga(store, rooms, clock, 120), rooms  # type: ignore[arg-type]


async def test_the_lock_of_a_plan_that_is_parked_no_longer_is_lifted() -> None:
    store = Store(UNDER_WAY)
    rotation, rooms = saga(store)
    rotation._take(UNDER_WAY)
    await rotation.leave(PARKED)
    assert (store.stored, rotation.current, rooms.rotation) == (None, None, None)
    assert [event["event"] for event in store.ended] == ["ROTATION_COMPLETE"]


async def test_a_rotation_whose_begin_was_never_carried_out_is_forgotten() -> None:
    store = Store(None)
    rotation, rooms = saga(store)
    rotation._take(UNDER_WAY)
    await rotation.leave(PARKED)
    assert (store.ended, rotation.current, rooms.rotation) == ([], None, None)


async def test_the_rotation_of_another_plan_stands() -> None:
    store = Store(UNDER_WAY)
    rotation, rooms = saga(store)
    rotation._take(UNDER_WAY)
    await rotation.leave(plan(plan_id="other"))
    assert (store.stored, rotation.current) == (UNDER_WAY, UNDER_WAY)
    assert rooms.rotation is not None


async def test_a_resumption_that_redis_broke_off_can_be_had_again() -> None:
    store = Store(UNDER_WAY)
    rotation, rooms = saga(store)
    store.is_lost = True
    with pytest.raises(RedisError):
        await rotation.resume()
    assert (rotation.current, rooms.rotation) == (None, None), "nobody would see it through"
    store.is_lost = False
    resumed = await rotation.resume()
    assert resumed is not None
    assert (resumed[0], rotation.current) == (UNDER_WAY, UNDER_WAY)


async def test_an_engine_that_woke_up_behind_another_one_leaves_the_lock_to_it() -> None:
    store = Store(UNDER_WAY)
    rotation, rooms = saga(store)
    rooms.lease.another_led = True
    rotation._take(UNDER_WAY)
    await rotation.leave(PARKED)
    assert (store.stored, store.ended) == (UNDER_WAY, [])
    assert (rotation.current, rooms.rotation) == (None, None)


async def test_a_lock_that_runs_out_while_it_is_read_is_no_rotation() -> None:
    class Client:
        async def type(self, _: str) -> bytes:
            return b"string"

        async def get(self, _: str) -> None:
            return None

    store = RotationStore(SimpleNamespace(client=Client()), Keys(), "lease")  # type: ignore[arg-type]
    assert await store.under_way() is None
