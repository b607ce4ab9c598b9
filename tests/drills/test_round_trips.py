"""Speed by design: between delivery and order stands one Redis round trip, the claim."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis.asyncio as redis
from support.house import House

from quantum_trader.exchange.rest import RestTransport
from quantum_trader.stores.lane import Lane


async def test_one_redis_round_trip_between_delivery_and_order(
    running: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    trips: list[tuple[Any, str]] = []
    command, pipeline, send = redis.Redis.execute_command, redis.client.Pipeline.execute, RestTransport.send
    ask = Lane.ask

    async def counted_command(self: Any, *args: Any, **options: Any) -> Any:
        trips.append((asyncio.current_task(), f"redis {args[0]}"))
        return await command(self, *args, **options)

    async def counted_pipeline(self: Any, *args: Any, **options: Any) -> Any:
        trips.append((asyncio.current_task(), "redis pipeline"))
        return await pipeline(self, *args, **options)

    async def counted_ask(self: Any, commands: Any) -> Any:
        trips.append((asyncio.current_task(), f"redis {' '.join(command[0] for command in commands)}"))
        return await ask(self, commands)

    async def counted_send(self: Any, endpoint: Any, *args: Any, **options: Any) -> Any:
        trips.append((asyncio.current_task(), f"exchange {endpoint}"))
        return await send(self, endpoint, *args, **options)

    monkeypatch.setattr(redis.Redis, "execute_command", counted_command)
    monkeypatch.setattr(redis.client.Pipeline, "execute", counted_pipeline)
    monkeypatch.setattr(Lane, "ask", counted_ask)
    monkeypatch.setattr(RestTransport, "send", counted_send)
    await running.open(
        "ADAUSDT", qty=100
    )  # one that was on the stream before the group counts as redelivered
    trips.clear()
    assert (await running.open())["decision"] == "FILLED"

    order = "exchange POST /fapi/v1/order"
    task = next(task for task, trip in trips if trip == order)
    of_the_plan = [trip for owner, trip in trips if owner is task]
    assert of_the_plan[: of_the_plan.index(order)] == ["redis EVALSHA"]
