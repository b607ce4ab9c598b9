"""Speed by design: between delivery and order stands one Redis round trip, the claim."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import pytest
import redis.asyncio as redis
from support.house import House

from quantum_trader.exchange.rest import RestTransport
from quantum_trader.pipeline.runner import PlanRunner
from quantum_trader.stores.lane import Lane

PLAN_ID = ContextVar("PLAN_ID", default="")  # tasks that work for a plan inherit it


async def test_one_redis_round_trip_between_delivery_and_order(
    running: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    trips: list[tuple[str, str]] = []
    command, pipeline, send = redis.Redis.execute_command, redis.client.Pipeline.execute, RestTransport.send
    run, ask = PlanRunner.run, Lane.ask

    async def named_run(self: Any, plan: Any, *args: Any, **options: Any) -> Any:
        PLAN_ID.set(plan.plan_id)
        return await run(self, plan, *args, **options)

    async def counted_command(self: Any, *args: Any, **options: Any) -> Any:
        trips.append((PLAN_ID.get(), f"redis {args[0]}"))
        return await command(self, *args, **options)

    async def counted_pipeline(self: Any, *args: Any, **options: Any) -> Any:
        trips.append((PLAN_ID.get(), "redis pipeline"))
        return await pipeline(self, *args, **options)

    async def counted_ask(self: Any, commands: Any, *others: Any) -> Any:
        trips.append((PLAN_ID.get(), f"redis {' '.join(command[0] for command in commands)}"))
        return await ask(self, commands, *others)

    async def counted_send(self: Any, endpoint: Any, *args: Any, **options: Any) -> Any:
        trips.append((PLAN_ID.get(), f"exchange {endpoint}"))
        return await send(self, endpoint, *args, **options)

    monkeypatch.setattr(PlanRunner, "run", named_run)
    monkeypatch.setattr(redis.Redis, "execute_command", counted_command)
    monkeypatch.setattr(redis.client.Pipeline, "execute", counted_pipeline)
    monkeypatch.setattr(Lane, "ask", counted_ask)
    monkeypatch.setattr(RestTransport, "send", counted_send)
    result = await running.open()
    assert result["decision"] == "FILLED"

    order = "exchange POST /fapi/v1/order"
    of_the_plan = [trip for plan_id, trip in trips if plan_id == result["plan_id"]]
    assert of_the_plan[: of_the_plan.index(order)] == ["redis EVALSHA"]
