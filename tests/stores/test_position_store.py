"""Snapshots of positions on a real server: what they show, and that they go when the position goes."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest
from support.cases import NOW_MS, leg, position, positions

from quantum_trader.stores.connection import Database
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.positions import PositionStore


@pytest.fixture
def store(database: Database, keys: Keys) -> PositionStore:
    return PositionStore(database, keys)


async def test_a_snapshot_goes_when_the_exchange_shows_the_leg_flat(
    database: Database, keys: Keys, store: PositionStore
) -> None:
    other = leg("BTCUSDT")
    held = positions(position(7), position(1, "BTCUSDT"))
    await store.write_snapshots(held, {"SOLUSDT": 5}, NOW_MS, flat=())
    shown = await database.client.hgetall(keys.snapshot(leg().key))
    assert (shown[b"position_amt"], shown[b"leverage"]) == (b"7", b"5")
    await store.write_snapshots(positions(position(1, "BTCUSDT")), {}, NOW_MS, flat=[leg()])
    assert not await database.client.exists(keys.snapshot(leg().key))
    assert await database.client.exists(keys.snapshot(other.key))


async def test_inc_03_a_snapshot_and_its_end_are_set_in_one_step(
    database: Database, keys: Keys, store: PositionStore
) -> None:
    async with database.client.monitor() as monitor:
        await store.write_snapshots(positions(position(Decimal(7))), {}, NOW_MS, flat=())
        seen: list[str] = []
        while "EXEC" not in seen:
            command = await asyncio.wait_for(monitor.next_command(), 10)
            seen.append(command["command"].split()[0].upper())
    assert seen[-5:] == ["MULTI", "DEL", "HSET", "EXPIRE", "EXEC"]
