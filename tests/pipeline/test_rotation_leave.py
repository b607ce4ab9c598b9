"""A rotation whose plan went on elsewhere is ended: its lock must not stand for the hour of its TTL."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from support.cases import NOW_MS, leg, plan

from quantum_trader.pipeline.rotation import RotationSaga
from quantum_trader.stores.rotations import Rotation

PARKED = plan(plan_id="parked")
UNDER_WAY = Rotation("parked", PARKED.symbol, leg("XRPUSDT"), "rot_parked", NOW_MS)


class Store:
    """One stored rotation, and how it was ended."""

    def __init__(self, stored: Rotation | None) -> None:
        self.stored = stored
        self.ended: list[Mapping[str, str]] = []

    async def under_way(self) -> Rotation | None:
        return self.stored

    async def end(self, rotation: Rotation, event: Mapping[str, str]) -> None:
        self.stored = None
        self.ended.append(event)


def saga(store: Store) -> tuple[RotationSaga, Any]:
    rooms = SimpleNamespace(rotation=None)
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
