"""When opens were claimed: in order whatever the clock does, and old ones let go of."""

from quantum_trader.positions.claim_times import DROP_AT, ClaimTimes


def test_times_are_ascending_also_when_the_clock_stepped_back() -> None:
    times = ClaimTimes()
    for number, ms in enumerate((5, 9, 7)):
        times.add(ms, f"p{number}")
    assert times.after(0) == (5, 7, 9)
    assert times.after(5) == (7, 9)


def test_old_times_are_let_go_of_in_heaps() -> None:
    times = ClaimTimes()
    for ms in range(3 * DROP_AT):
        times.add(ms, f"p{ms}")
    assert len(times.after(2 * DROP_AT)) == DROP_AT - 1
    assert (len(times._times_ms), len(times._plans)) == (DROP_AT - 1, DROP_AT - 1)
    times.remove("p0")
    assert len(times.after(2 * DROP_AT)) == DROP_AT - 1


def test_a_plan_takes_back_its_own_time_once() -> None:
    times = ClaimTimes()
    times.add(5, "a")
    times.add(5, "b")
    times.remove("a")
    times.remove("a")
    assert times.after(0) == (5,)
