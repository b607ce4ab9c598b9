"""Putting a plan on the stream, as any program may (SPEC 2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from quantum_trader.stores.connection import Database
from quantum_trader.stores.keys import Keys


async def put_plan(database: Database, keys: Keys, fields: Mapping[str, str]) -> str:
    """Write one plan; return its stream id.

    Raises:
        RedisError: no reply; it may stand on the stream. The same plan id again is no second order.
    """
    entry: Any = dict(fields)
    name: Any = await database.client.xadd(keys.plans, entry)
    return str(name.decode())
