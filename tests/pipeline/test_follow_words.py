"""Whoever tells first of an order is heard: its reply, the stream or a query; and nobody waits for long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace
from support.cases import NOW_MS

from quantum_trader.domain.clock import SystemClock
from quantum_trader.domain.order import Accepted, OrderState, OrderStatus, Outcome, Rejected, Unknown
from quantum_trader.domain.trading import Leg, Side
from quantum_trader.pipeline import follow
from quantum_trader.pipeline.follow import OrderFollower, Patience
from quantum_trader.positions.order_news import OrderNews
from quantum_trader.stores.claims import StoredOrder

SENT = StoredOrder(Leg("SOLUSDT"), Side.BUY, Decimal(5), "qt-sent-0", NOW_MS)
FILLED = OrderState(
    *(SENT.leg, SENT.side, 7, SENT.client_order_id, OrderStatus.FILLED, SENT.quantity, SENT.quantity),
    avg_price=Decimal(118),
    update_time_ms=NOW_MS,
)
NEW = replace(FILLED, status=OrderStatus.NEW, executed_quantity=Decimal(0), avg_price=None)
REPLIED = replace(FILLED, avg_price=None)  # a reply to an order has no price any more
REJECTED = Rejected(-2019, "Margin is insufficient.", 400)
GRACE_S = 0.05


class Scene:
    """A follower with its news, and what it did."""

    def __init__(self) -> None:
        self.news = OrderNews()
        self.found: OrderState | None = FILLED
        self.query_s = 0.0
        self.queries = 0
        self.sending_ended_as: str | None = None
        clock = SystemClock()
        self.follower = OrderFollower(self, clock, clock.now_ms, Patience(3000, 1.0), self.news)  # type: ignore[arg-type]

    async def order(self, symbol: str, client_order_id: str) -> OrderState | None:
        self.queries += 1
        await asyncio.sleep(self.query_s)
        return self.found

    async def sending(self, answer: Callable[[], Any], after_s: float = 0.0) -> Outcome:
        """Send, and have the answer after so long."""
        try:
            await asyncio.sleep(after_s)
            outcome: Outcome = answer()
        except BaseException as ended:
            self.sending_ended_as = type(ended).__name__
            raise
        self.sending_ended_as = "a reply"
        return outcome

    def tell(self, order: OrderState, after_s: float) -> None:
        """Let the stream tell of an order after so long."""
        asyncio.get_running_loop().call_later(after_s, self.news.tell, order)

    def first_word(self, answer: Callable[[], Any], after_s: float = 0.0) -> Awaitable[Outcome]:
        return self.follower.first_word(self.sending(answer, after_s), SENT)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "REPLY_GRACE_S", GRACE_S)
    monkeypatch.setattr(follow, "LANE_PATIENCE_S", 0.1)


@pytest.fixture
async def scene() -> Scene:
    return Scene()


def fail() -> Outcome:
    raise ZeroDivisionError


def time_out() -> Outcome:
    raise TimeoutError


@pytest.mark.parametrize("outcome", [Accepted(REPLIED), Accepted(NEW), REJECTED, Unknown("timed out")])
async def test_a_reply_that_comes_first_is_the_first_word(scene: Scene, outcome: Outcome) -> None:
    tasks = asyncio.all_tasks()
    assert await scene.first_word(lambda: outcome) is outcome
    assert asyncio.all_tasks() == tasks
    assert not scene.news._waiting


async def test_the_reply_counts_that_comes_soon_after_the_stream_told_the_end(scene: Scene) -> None:
    scene.tell(FILLED, 0.01)
    reply = Accepted(REPLIED)
    assert await scene.first_word(lambda: reply, 0.02) is reply


@pytest.mark.parametrize("told_after_s", [-1, 0.01], ids=["told before it was sent", "told meanwhile"])
async def test_a_reply_that_stays_away_is_not_waited_for_once_the_stream_told_the_end(
    scene: Scene, told_after_s: float
) -> None:
    if told_after_s < 0:
        scene.news.tell(FILLED)
    else:
        scene.tell(FILLED, told_after_s)
    assert await asyncio.wait_for(scene.first_word(time_out, 60), 10) == Accepted(FILLED)
    assert scene.sending_ended_as == "CancelledError"
    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0
    assert not scene.news._waiting


async def test_doubled_news_of_the_end_do_not_prolong_the_grace(scene: Scene) -> None:
    for number in range(200):
        scene.tell(FILLED, number * GRACE_S / 5)
    async with asyncio.timeout(GRACE_S * 20):
        assert await scene.first_word(time_out, 60) == Accepted(FILLED)


@pytest.mark.parametrize(
    "told",
    [
        pytest.param(NEW, id="not over"),
        pytest.param(replace(FILLED, avg_price=None), id="without its price"),
        pytest.param(replace(FILLED, side=Side.SELL), id="another side"),
        pytest.param(replace(FILLED, update_time_ms=NOW_MS - 60_000), id="an older order"),
        pytest.param(replace(FILLED, client_order_id="qt-other-0"), id="another order"),
    ],
)
async def test_no_other_news_cuts_the_reply_short(scene: Scene, told: OrderState) -> None:
    scene.tell(told, 0.01)
    reply = Accepted(REPLIED)
    assert await scene.first_word(lambda: reply, GRACE_S * 3) is reply


@pytest.mark.parametrize("outcome", [REJECTED, Unknown("timed out")])
async def test_what_the_stream_shows_was_accepted_whatever_the_reply_says(
    scene: Scene, outcome: Outcome
) -> None:
    scene.tell(NEW, 0.0)
    assert await scene.first_word(lambda: outcome, 0.02) == Accepted(NEW)


@pytest.mark.parametrize("error", [fail, time_out])
@pytest.mark.parametrize("told", [None, NEW, FILLED])
async def test_an_error_in_sending_is_raised_whatever_was_told(
    scene: Scene, error: Callable[[], Outcome], told: OrderState | None
) -> None:
    if told is not None:
        scene.news.tell(told)
    with pytest.raises((ZeroDivisionError, TimeoutError)):
        await scene.first_word(error)
    assert not scene.news._waiting


@pytest.mark.parametrize("told", [None, FILLED], ids=["nothing told", "during the grace"])
async def test_who_is_cancelled_from_outside_ends_the_sending_too(
    scene: Scene, told: OrderState | None
) -> None:
    if told is not None:
        scene.news.tell(told)
    waiting = asyncio.ensure_future(scene.first_word(time_out, 60))
    await asyncio.sleep(GRACE_S / 5)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert scene.sending_ended_as == "CancelledError"
    assert not scene.news._waiting


async def test_a_sending_that_cannot_be_given_up_ends_with_its_reply(scene: Scene) -> None:
    async def stubborn() -> Outcome:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return REJECTED
        raise AssertionError

    scene.news.tell(FILLED)
    assert await scene.follower.first_word(stubborn(), SENT) == Accepted(FILLED)


# -- until the order is final


async def given_up_never() -> None:
    raise AssertionError("the lane was given up")


async def test_an_order_that_the_stream_told_of_is_final_without_a_query(scene: Scene) -> None:
    scene.news.is_live = True
    scene.tell(FILLED, 0.01)
    assert await scene.follower.until_final(REPLIED, given_up_never) == FILLED
    assert await scene.follower.until_final(REPLIED, given_up_never) == FILLED
    assert scene.queries == 0


async def test_that_an_order_exists_is_not_the_word_that_is_waited_for(scene: Scene) -> None:
    scene.news.is_live = True
    scene.tell(NEW, 0.001)
    scene.tell(FILLED, 0.01)
    assert await scene.follower.until_final(REPLIED) == FILLED
    assert scene.queries == 0


@pytest.mark.parametrize("is_live", [False, True])
async def test_an_order_of_which_nothing_is_told_is_asked_for(scene: Scene, is_live: bool) -> None:
    scene.news.is_live = is_live
    assert await scene.follower.until_final(REPLIED, given_up_never) == FILLED
    assert scene.queries == 1
    assert bool(scene.news._expected) == is_live, "a live stream that stays silent is deaf"


async def test_the_lane_is_given_up_after_a_second_and_the_order_followed_on(scene: Scene) -> None:
    given_up = asyncio.Event()

    async def give_up() -> None:
        given_up.set()
        scene.tell(FILLED, 0.05)

    scene.query_s = 60
    assert await asyncio.wait_for(scene.follower.until_final(NEW, give_up), 10) == FILLED
    assert given_up.is_set()


async def test_an_error_in_giving_up_the_lane_ends_the_following(scene: Scene) -> None:
    async def give_up() -> None:
        raise ZeroDivisionError

    scene.query_s = 60
    tasks = asyncio.all_tasks()
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(scene.follower.until_final(NEW, give_up), 10)
    await asyncio.sleep(0.05)
    assert asyncio.all_tasks() == tasks


async def test_who_follows_and_is_cancelled_leaves_nothing_behind(scene: Scene) -> None:
    scene.query_s = 60
    tasks = asyncio.all_tasks()
    following = asyncio.ensure_future(scene.follower.until_final(NEW, given_up_never))
    await asyncio.sleep(0.02)
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
    await asyncio.sleep(0.05)
    assert asyncio.all_tasks() == tasks
    assert not scene.news._waiting
