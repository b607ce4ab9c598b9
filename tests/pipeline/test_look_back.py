"""Looking back with clocks that disagree: a plan's own order is told from one of a former plan."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from support.cases import NOW_MS, evidence, judged, leg, number, plan
from support.values import replace

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


async def seen(
    one: Plan, created_ms: int, clock: ExchangeClock, heard_after_ms: tuple[int, ...] = ()
) -> Seen:
    """What is seen of an order that the exchange created at ``created_ms``, by its clock and by Redis'.

    The answers of Redis take ``heard_after_ms`` to be heard, one after another.
    """
    passed_ms, delays_ms = 0, list(heard_after_ms)
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
        told_ms = NOW_MS + passed_ms
        passed_ms += delays_ms.pop(0) if delays_ms else 0
        return told_ms

    sent: dict[str, int] = {}
    rooms: Any = SimpleNamespace(server_clock=clock, sent_orders_ms=sent)
    ours: Any = SimpleNamespace(
        now_ms=lambda: NOW_MS + clock.step_ms + passed_ms, monotonic_s=lambda: passed_ms / 1000
    )
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


@pytest.mark.parametrize("delays_ms", [(), (700,), (700, 40, 2), (700, 700, 4)])
async def test_an_order_is_told_from_one_right_before_the_entry_however_slow_an_answer_is(
    delays_ms: tuple[int, ...],
) -> None:
    one = plan()
    assert (await seen(one, one.stream_ms + 3, ExchangeClock(0), delays_ms)).orders
    assert not (await seen(one, one.stream_ms - 3, ExchangeClock(0), delays_ms)).orders
