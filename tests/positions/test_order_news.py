"""What a stream told of orders is remembered within bounds, and its silence is noticed."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest
from msgspec.structs import replace

from quantum_trader.domain.order import OrderState, OrderStatus
from quantum_trader.domain.trading import Leg, Side
from quantum_trader.positions.order_news import REMEMBERED_MAX, TOLD_WITHIN_S, OrderNews

FILLED = OrderState(
    Leg("XRPUSDT"), Side.BUY, 7, "qt-1", OrderStatus.FILLED, Decimal(20), Decimal(20), Decimal("0.5"), 100
)


async def test_whoever_watches_an_order_hears_of_it_and_of_no_other() -> None:
    news = OrderNews()
    with news.watch("qt-1") as mine, news.watch("qt-2") as other:
        news.tell(FILLED)
        never = asyncio.get_running_loop().create_future()
        await mine.told_or(never)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await other.told_or(never)
    assert news.of("qt-1") == FILLED
    assert not news._waiting


async def test_a_wait_for_news_ends_with_the_work_that_it_stands_beside() -> None:
    with OrderNews().watch("qt-1") as watch:
        work = asyncio.get_running_loop().create_future()
        waiting = asyncio.create_task(watch.told_or(work))
        await asyncio.sleep(0)
        assert not waiting.done()
        work.set_result(None)
        await waiting
        await watch.told_or(work)


async def test_what_was_told_once_wakes_until_it_is_cleared() -> None:
    news = OrderNews()
    with news.watch("qt-1") as watch:
        news.tell(FILLED)
        never = asyncio.get_running_loop().create_future()
        for _ in range(2):
            await watch.told_or(never)
        watch.clear()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await watch.told_or(never)


async def test_a_wait_of_so_long_ends_by_itself_and_earlier_with_news() -> None:
    news, loop = OrderNews(), asyncio.get_running_loop()
    with news.watch("qt-1") as watch:
        await watch.told_within(0.02)
        begun_s = loop.time()
        loop.call_soon(news.tell, FILLED)
        await watch.told_within(30)
        assert loop.time() < begun_s + 30


def test_what_was_told_before_anyone_asks_is_remembered_within_bounds() -> None:
    news = OrderNews()
    for number in range(REMEMBERED_MAX + 5):
        news.tell(replace(FILLED, client_order_id=f"qt-{number}"))
    assert news.of("qt-4") is None
    assert news.of("qt-5") is not None


def test_inc_88_a_fill_that_a_live_stream_keeps_to_itself_is_missed_once() -> None:
    news = OrderNews()
    news.is_live = True
    news.expect("qt-1", 100)
    assert not news.has_missed(100 + TOLD_WITHIN_S - 1)
    assert news.has_missed(100 + TOLD_WITHIN_S)
    assert not news.has_missed(100 + TOLD_WITHIN_S)


def test_a_fill_that_is_told_late_or_before_the_stream_lived_is_not_missed() -> None:
    news = OrderNews()
    news.expect("qt-0", 100)
    news.is_live = True
    news.expect("qt-1", 100)
    news.tell(FILLED)
    news.expect("qt-2", 100)
    news.restart()
    assert not news.has_missed(1_000)
