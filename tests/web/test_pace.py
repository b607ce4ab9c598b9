"""How many requests a minute are taken, and how long the others are told to wait."""

from hypothesis import given
from hypothesis import strategies as st
from support.clock import HandClock

from quantum_trader.web.pace import Pace


def test_the_sixth_of_five_waits_until_the_first_is_a_minute_old() -> None:
    clock = HandClock()
    pace = Pace(clock)
    for _ in range(5):
        assert pace.wait_s(5) == 0
        clock.time_s += 2
    assert pace.wait_s(5) == 50
    clock.time_s += 49
    assert pace.wait_s(5) == 1
    clock.time_s += 1
    assert pace.wait_s(5) == 0
    assert pace.wait_s(5) == 2


def test_an_edit_that_allows_fewer_counts_what_was_taken_already() -> None:
    clock = HandClock()
    pace = Pace(clock)
    for _ in range(10):
        assert pace.wait_s(10) == 0
        clock.time_s += 1
    assert pace.wait_s(3) == 57
    clock.time_s += 57
    assert pace.wait_s(3) == 0


@given(st.integers(1, 8), st.lists(st.floats(0, 30), max_size=60))
def test_no_minute_takes_more_than_it_may(per_min: int, pauses_s: list[float]) -> None:
    clock = HandClock()
    pace, taken_s = Pace(clock), list[float]()
    for pause_s in pauses_s:
        clock.time_s += pause_s
        wait_s = pace.wait_s(per_min)
        assert 0 <= wait_s <= 60
        if wait_s == 0:
            taken_s.append(clock.time_s)
        assert sum(1 for at_s in taken_s if at_s > clock.time_s - 60) <= per_min
