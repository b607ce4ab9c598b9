"""Which entry of a plan id has its one result where Redis has lost what an earlier one came to."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from support import cases

from quantum_trader.pipeline.consumer import Consumer

PLAN = cases.plan()
EARLIER, LATER = "1-0", "9999999999999-0"


def consumer(*, has_sent: bool = True) -> Consumer:
    nothing: Any = SimpleNamespace()
    stream: Any = SimpleNamespace(connections_lost=0)
    runner: Any = SimpleNamespace(has_sent=lambda _: has_sent)
    made = Consumer(
        stream,
        nothing,
        runner,
        nothing,
        rotation=nothing,
        settler=nothing,
        mirror=nothing,
        lease=nothing,
        ledger=nothing,
        reload=nothing,
        clock=nothing,
        group=nothing,
    )
    made._accepted_after[PLAN.plan_id] = made._take_overs = 1
    return made


def test_while_nothing_is_lost_an_entry_has_the_result() -> None:
    assert not consumer()._is_preceded(PLAN)


@pytest.mark.parametrize(("copy", "precedes"), [(EARLIER, True), (LATER, False)])
@pytest.mark.parametrize("has_sent", [True, False])
def test_an_earlier_entry_that_came_again_goes_before_a_later_one_does_not(
    copy: str, has_sent: bool, precedes: bool
) -> None:
    one = consumer(has_sent=has_sent)
    one._copies[PLAN.plan_id] = [copy]
    assert one._is_preceded(PLAN) is precedes


def lose_a_connection(one: Consumer) -> None:
    one._stream.connections_lost += 1  # type: ignore[misc]


def meet_a_loss(one: Consumer) -> None:
    one._was_lost = True


def begin_to_take_over(one: Consumer) -> None:
    one._take_overs, one._is_taking_over = 2, True


@pytest.mark.parametrize("loss", [lose_a_connection, meet_a_loss, begin_to_take_over])
@pytest.mark.parametrize("has_sent", [True, False])
def test_after_a_loss_an_entry_waits_where_an_order_of_its_id_is_known_of(loss: Any, has_sent: bool) -> None:
    one = consumer(has_sent=has_sent)
    loss(one)
    assert one._is_preceded(PLAN) is has_sent


def test_what_was_accepted_in_the_newest_take_over_waits_for_nothing() -> None:
    one = consumer()
    begin_to_take_over(one)
    one._accepted_after[PLAN.plan_id] = 2
    assert not one._is_preceded(PLAN)
