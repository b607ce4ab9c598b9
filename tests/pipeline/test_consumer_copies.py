"""What the consumer does with entries that end without a result of their own: copies of a plan under way,
parked plans whose rotation is gone, and what it may not settle because another engine leads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from support.cases import NOW_MS, plan

from quantum_trader.domain.plan import Plan
from quantum_trader.domain.result import Ended
from quantum_trader.pipeline.consumer import Consumer
from quantum_trader.pipeline.intake import Refused
from quantum_trader.pipeline.results import Ending
from quantum_trader.stores.connection import RedisError
from quantum_trader.stores.plan_stream import GroupFound
from quantum_trader.stores.settlement import PARKED, NotSettled

PLAN = plan(plan_id="p-1")
COPY = "1800000000009-0"
REFUSED = Refused("p-1", Ended.BLOCKED, "invalid_qty", "", "hash", {})


class Stand:
    """The consumer's rooms, as far as these tests come."""

    def __init__(self) -> None:
        self.state = "claimed"
        self.shown: list[Mapping[str, str]] = []
        self.acknowledged: list[str] = []
        self.decided: list[tuple[Plan, Ending | None]] = []
        self.current = None
        self.refusal = NotSettled("duplicate", "terminal")
        no_rooms: Any = SimpleNamespace()
        self.consumer = Consumer(
            self,  # type: ignore[arg-type]
            self,  # type: ignore[arg-type]
            self,  # type: ignore[arg-type]
            no_rooms,
            rotation=self,  # type: ignore[arg-type]
            settler=self,  # type: ignore[arg-type]
            mirror=no_rooms,
            lease=no_rooms,
            ledger=no_rooms,
            reload=no_rooms,
            clock=SimpleNamespace(now_ms=lambda: NOW_MS),  # type: ignore[arg-type]
            group=GroupFound("0-0", was_created=False),
        )
        self.consumer._active[PLAN.plan_id] = PLAN.content_hash

    async def refuse(self, _: Refused, stream_id: str) -> NotSettled:
        return self.refusal

    async def dismiss(self, stream_id: str, event: Mapping[str, str]) -> None:
        self.shown.append(event)
        self.acknowledged.append(stream_id)

    async def publish(self, event: Mapping[str, str]) -> None:
        self.shown.append(event)

    async def acknowledge(self, stream_ids: Sequence[str]) -> None:
        self.acknowledged += stream_ids

    async def history(self, _: str) -> tuple[str, str]:
        return self.state, PLAN.content_hash

    async def resume(self) -> None:
        return None

    def belongs_to(self, _: Plan) -> bool:
        return False

    async def decide_parked(self, parked: Plan, ending: Ending | None) -> str:
        self.decided.append((parked, ending))
        return ""

    async def let_go(self) -> None:
        self.consumer._let_go(PLAN.plan_id, PLAN.stream_id)
        await asyncio.gather(*self.consumer._tasks)


async def test_inc_82_a_copy_is_shown_at_once_and_acknowledged_after_the_result() -> None:
    stand = Stand()
    await stand.consumer._dismiss(PLAN, COPY)
    assert [event["event"] for event in stand.shown] == ["DUPLICATE_PLAN"]
    assert stand.acknowledged == []
    stand.state = "terminal"
    await stand.let_go()
    assert stand.acknowledged == [COPY]


@pytest.mark.parametrize("state", ["", "claimed"])
async def test_inc_82_a_copy_of_a_plan_that_ended_without_a_result_is_left_to_be_swept_up(state: str) -> None:
    stand = Stand()
    await stand.consumer._dismiss(PLAN, COPY)
    stand.state = state
    await stand.let_go()
    assert stand.acknowledged == []
    assert COPY not in stand.consumer._in_hand


async def test_a_copy_whose_plan_ended_while_it_was_shown_is_acknowledged_all_the_same() -> None:
    stand = Stand()
    stand.state = "terminal"

    async def publish(_: Mapping[str, str]) -> None:
        await stand.let_go()

    stand.publish = publish  # type: ignore[method-assign]
    await stand.consumer._dismiss(PLAN, COPY)
    await asyncio.gather(*stand.consumer._tasks)
    assert stand.acknowledged == [COPY]


async def test_inc_18_a_plan_that_redis_took_back_to_parked_is_asked_for_at_the_exchange() -> None:
    stand = Stand()
    await stand.consumer._duplicate(PLAN, NotSettled("duplicate", PARKED))
    [(parked, ending)] = stand.decided  # which looks for its order before it believes the ending
    assert parked == PLAN
    assert ending is not None
    assert ending.reason == "active_slots_rotation_timeout"


async def test_inc_82_what_an_engine_without_the_lease_cannot_settle_it_does_not_acknowledge() -> None:
    stand = Stand()
    stand.refusal = NotSettled("not_leader", "")
    await stand.consumer._refuse(REFUSED, COPY)
    assert (stand.acknowledged, stand.shown) == ([], [])


async def test_a_malformed_copy_of_a_plan_with_a_result_is_shown_and_acknowledged() -> None:
    stand = Stand()
    await stand.consumer._refuse(REFUSED, COPY)
    assert stand.acknowledged == [COPY]
    assert [event["event"] for event in stand.shown] == ["DUPLICATE_PLAN"]


@pytest.mark.parametrize("full", [RedisError("OOM command not allowed"), RedisError("connection lost")])
async def test_a_copy_that_redis_cannot_show_holds_up_no_other_entry(full: RedisError) -> None:
    stand = Stand()

    async def publish(_: Mapping[str, str]) -> None:
        raise full

    stand.publish = publish  # type: ignore[method-assign]
    await stand.consumer._dismiss(PLAN, COPY)
    assert COPY in stand.consumer._in_hand
    stand.state = "terminal"
    await stand.let_go()
    assert stand.acknowledged == [COPY]


@pytest.mark.parametrize("trouble", [RedisError("connection lost"), TimeoutError(), KeyError("a bug")])
async def test_whatever_meets_the_consumer_it_goes_on_reading(trouble: Exception) -> None:
    stand = Stand()
    consumer, slept = stand.consumer, []

    async def sleep(duration_s: float) -> None:
        slept.append(duration_s)

    async def take_over() -> None:
        if len(slept) < 2:
            raise trouble
        consumer.stop()

    async def reconnect() -> None:
        assert not consumer.connected

    nothing: Any = SimpleNamespace(sleep=sleep, doubt_stored=int, is_held=True, another_led=False)
    consumer._clock = consumer._ledger = consumer._lease = nothing
    stand.reconnect = reconnect  # type: ignore[attr-defined]
    consumer._take_over = take_over  # type: ignore[method-assign]
    consumer._clock.monotonic_s = float
    await consumer.run()
    assert slept == [0.2, 0.4]
    assert consumer.connected
