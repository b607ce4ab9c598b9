"""Looking back with clocks that disagree: a plan's own order is told from one of a former plan."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
from support.cases import NOW_MS, evidence, judged, leg, number, plan

from quantum_trader.domain.order import OrderState, OrderStatus
from quantum_trader.domain.plan import Plan
from quantum_trader.domain.trading import Side
from quantum_trader.pipeline.follow import Patience
from quantum_trader.pipeline.look_back import LookBack, Seen


@dataclass
class ExchangeClock:
    """Measured before our clock stepped by ``step_ms``; ``answers`` says whether it can be measured now."""

    step_ms: int
    answers: bool = True
    offset_ms: int = 0

    async def resync(self) -> bool:
        if self.answers:
            self.offset_ms = -self.step_ms
        return self.answers


async def seen(one: Plan, created_ms: int, clock: ExchangeClock, heard_after_ms: int = 0) -> Seen:
    """What is seen of an order that the exchange created at ``created_ms``, by its clock and by Redis'.

    The answer of Redis is heard ``heard_after_ms`` late.
    """
    passed_ms = 0
    order = OrderState(
        leg(),
        Side.BUY,
        7,
        "qt-1-0",
        OrderStatus.FILLED,
        number(1),
        number(1),
        number(100),
        created_ms,
        created_ms,
    )

    async def found(_: Plan) -> list[OrderState]:
        return [order]

    async def redis_now_ms() -> int:
        nonlocal passed_ms
        passed_ms += heard_after_ms
        return NOW_MS

    sent: dict[str, int] = {}
    rooms: Any = SimpleNamespace(server_clock=clock, sent_orders_ms=sent)
    ours: Any = SimpleNamespace(now_ms=lambda: NOW_MS + clock.step_ms + passed_ms)
    look_back = LookBack(found, redis_now_ms, rooms, ours, Patience(500, 0.3))
    return await look_back.at_the_exchange(one, NOW_MS)


@pytest.mark.parametrize("step_ms", [-4000, -700, 0, 700, 4000])
async def test_an_order_of_the_plan_is_its_own_though_our_clock_stepped(step_ms: int) -> None:
    one = plan()
    assert (await seen(one, one.stream_ms + 300, ExchangeClock(step_ms))).orders
    assert not (await seen(one, one.stream_ms - 300, ExchangeClock(step_ms))).orders


@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.parametrize("step_ms", [-4000, -700, 0, 700, 4000])
@pytest.mark.parametrize("age_ms", [-300, 300])
async def test_a_plan_whose_order_is_taken_for_an_older_one_is_never_sent_again(
    age_ms: int, step_ms: int, answers: bool
) -> None:
    one = replace(plan(), plan_id="again")
    found = await seen(one, one.stream_ms + age_ms, ExchangeClock(step_ms, answers))
    if not found.orders:
        assert judged(one, evidence(plan_history=found.history)).reason == "plan_id_reused"


@pytest.mark.parametrize("off_ms", [-80, 0, 80])
async def test_an_order_right_behind_its_entry_is_its_own_though_answers_are_slow(off_ms: int) -> None:
    one = plan()
    assert (await seen(one, one.stream_ms + 3 + off_ms, ExchangeClock(0), heard_after_ms=700)).orders
