"""Clients of a Redis behind Sentinel.

The master of ``service`` is asked for at every new connection, so after a failover the next one goes
to the new master. Password and user are those of Redis itself.
"""

from __future__ import annotations

from typing import Any

import redis.asyncio as redis
from redis.asyncio.sentinel import Sentinel

from quantum_trader.sentinel_address import SentinelAddress


def client_of(url: str, **settings: Any) -> redis.Redis:
    """Return a client of the master that the sentinels of ``url`` name; sends nothing yet."""
    address = SentinelAddress.from_url(url)
    asking = {name: settings[name] for name in ("socket_connect_timeout", "socket_timeout")}
    sentinel: Any = Sentinel(address.hosts, sentinel_kwargs=asking)  # type: ignore[no-untyped-call]
    client: redis.Redis = sentinel.master_for(
        address.service,
        db=address.database,
        username=address.username,
        password=address.password,
        **settings,
    )
    return client


async def close_watchers(client: redis.Redis) -> None:
    """Close the connections to the sentinels themselves."""
    pool: Any = client.connection_pool
    for watcher in pool.sentinel_manager.sentinels:
        await watcher.aclose()
