import asyncio

import pytest
from exchange_stubs import NOW_MS, ManualClock

from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.exchange.server_clock import ServerClock


class _Exchange:
    """An exchange ``ahead_ms`` ahead, whose answers take ``way_s`` there and ``way_s`` back."""

    def __init__(self, clock: ManualClock, ahead_ms: int = 0) -> None:
        self.clock = clock
        self.ahead_ms = ahead_ms
        self.way_s: list[tuple[float, float]] = []
        self.asked = 0
        self.is_down = False

    async def time_ms(self) -> int:
        self.asked += 1
        there_s, back_s = self.way_s.pop(0) if self.way_s else (0.0, 0.0)
        self.clock.advance(there_s)
        if self.is_down:
            raise ExchangeError("GET /fapi/v1/time", "down")
        told_ms = self.clock.now_ms() + self.ahead_ms
        self.clock.advance(back_s)
        await asyncio.sleep(0)
        return told_ms


@pytest.fixture
def remote(clock: ManualClock) -> _Exchange:
    return _Exchange(clock)


@pytest.fixture
def server_clock(clock: ManualClock, remote: _Exchange) -> ServerClock:
    return ServerClock(clock, remote.time_ms)


async def test_the_offset_is_taken_from_the_fastest_of_three_round_trips(
    server_clock: ServerClock, remote: _Exchange
) -> None:
    remote.ahead_ms = 90_000
    remote.way_s = [(0.5, 0.1), (0.02, 0.02), (0.1, 0.9)]
    assert await server_clock.measure() == 90_000
    assert remote.asked == 3
    assert server_clock.signing_time_ms() == remote.clock.now_ms() + 90_000


def test_a_clock_that_was_never_measured_says_so_and_signs_with_our_time(server_clock: ServerClock) -> None:
    assert not server_clock.is_measured
    assert server_clock.offset_ms is None
    assert server_clock.age_s is None
    assert server_clock.signing_time_ms() == NOW_MS


async def test_a_measurement_that_fails_keeps_the_offset_and_its_age(
    server_clock: ServerClock, remote: _Exchange
) -> None:
    remote.ahead_ms = -4_000
    await server_clock.measure()
    remote.is_down = True
    remote.clock.advance(60)
    with pytest.raises(ExchangeError, match="down"):
        await server_clock.measure()
    assert (server_clock.offset_ms, server_clock.age_s) == (-4_000, pytest.approx(60))
    assert server_clock.is_measured


async def test_an_offset_that_could_not_be_measured_for_over_an_hour_counts_as_unmeasured(
    server_clock: ServerClock, remote: _Exchange
) -> None:
    await server_clock.measure()
    remote.clock.advance(3_601)
    assert not server_clock.is_measured


async def test_one_answer_of_three_is_enough(server_clock: ServerClock, remote: _Exchange) -> None:
    remote.is_down = True

    async def recover_late() -> int:
        remote.is_down = remote.asked < 2
        return await remote.time_ms()

    assert await ServerClock(remote.clock, recover_late).measure() == 0
    assert remote.asked == 3


async def test_many_requests_refused_at_once_share_one_resync(
    server_clock: ServerClock, remote: _Exchange
) -> None:
    remote.ahead_ms = 5_000
    assert await asyncio.gather(*(server_clock.resync() for _ in range(20))) == [True] * 20
    assert remote.asked == 3
    assert server_clock.offset_ms == 5_000


async def test_a_resync_that_failed_is_not_tried_again_at_once(
    server_clock: ServerClock, remote: _Exchange
) -> None:
    remote.is_down = True
    assert [await server_clock.resync(), await server_clock.resync()] == [False, False]
    assert remote.asked == 3
    remote.clock.advance(10)
    remote.is_down = False
    assert await server_clock.resync()


@pytest.mark.parametrize("step_ms", [-3_600_000, -400, 400, 3_600_000])
async def test_a_step_of_our_wall_clock_changes_nothing_of_what_is_signed(
    server_clock: ServerClock, remote: _Exchange, step_ms: int
) -> None:
    remote.ahead_ms = 90
    await server_clock.measure()
    right_ms = server_clock.signing_time_ms()
    remote.clock.step(step_ms)
    assert server_clock.signing_time_ms() == right_ms
    assert server_clock.offset_ms == 90 - step_ms
