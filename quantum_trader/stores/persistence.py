"""Whether a Redis keeps what it is told (SPEC 11)."""

from __future__ import annotations

from typing import Any

from quantum_trader.stores.connection import Database


async def volatility_of(database: Database) -> str:
    """Return why the server may forget keys, with the cure; "" if it will not.

    Raises:
        RedisError: it does not answer.
    """
    facts: Any = await database.client.info("all")
    if facts.get("maxmemory_policy", "noeviction") != "noeviction":
        return f"Redis evicts keys ({facts['maxmemory_policy']}): CONFIG SET maxmemory-policy noeviction"
    if int(facts.get("aof_enabled", 0)) != 1:
        return "Redis keeps no append-only file: CONFIG SET appendonly yes"
    return ""
