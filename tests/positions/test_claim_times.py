"""When opens were claimed: in order whatever the clock does, and old ones let go of."""

from quantum_trader.positions.claim_times import DROP_AT, ClaimTimes


def test_times_are_ascending_also_when_the_clock_stepped_back() -> None:
    times = ClaimTimes()
    for ms in (5, 9, 7):
        times.add(ms)
    assert times.after(0) == (5, 7, 9)
    assert times.after(5) == (7, 9)


def test_old_times_are_let_go_of_in_heaps() -> None:
    times = ClaimTimes()
    for ms in range(3 * DROP_AT):
        times.add(ms)
    assert len(times.after(2 * DROP_AT)) == DROP_AT - 1
    assert len(times._times_ms) == DROP_AT - 1
    times.remove(0)
    assert len(times.after(2 * DROP_AT)) == DROP_AT - 1


def test_one_claim_of_a_time_is_taken_back() -> None:
    times = ClaimTimes()
    times.add(5)
    times.add(5)
    times.remove(5)
    times.remove(4)
    times.remove(6)
    assert times.after(0) == (5,)
