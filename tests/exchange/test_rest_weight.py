import pytest
from exchange_stubs import NOW_MS, ManualClock

from quantum_trader.exchange.replies import Reply
from quantum_trader.exchange.weight import (
    Counter,
    Priority,
    RateLimit,
    Throttle,
    WeightBudget,
    counts_of,
    interval_ms,
    order_counts_in,
    throttle_of,
)

MINUTE_MS = 60_000


@pytest.fixture
def budget(clock: ManualClock) -> WeightBudget:
    return WeightBudget(clock, 0.25, clock.now_ms)


def _used(weight: int) -> Reply:
    return Reply(200, {"x-mbx-used-weight-1m": str(weight)}, b"{}")


def test_counts_are_read_from_headers_in_any_case() -> None:
    headers = {
        "X-MBX-USED-WEIGHT-1M": "17",
        "x-mbx-order-count-10s": "3",
        "X-Mbx-Order-Count-1m": "9",
        "X-MBX-USED-WEIGHT": "99",
        "x-mbx-used-weight-1d": "many",
    }
    assert counts_of(headers) == {
        (Counter.WEIGHT, 60_000): 17,
        (Counter.ORDERS, 10_000): 3,
        (Counter.ORDERS, 60_000): 9,
    }


def test_opens_and_reads_leave_the_reserve_and_exits_may_use_it(budget: WeightBudget) -> None:
    budget.observe(_used(1_800))
    assert [budget.may_send(1, priority) for priority in Priority] == [False, False, True]
    budget.observe(_used(1_799))
    assert [budget.may_send(1, priority) for priority in Priority] == [True, True, True]


def test_not_even_an_exit_goes_beyond_the_limit_itself(budget: WeightBudget) -> None:
    budget.observe(_used(2_396))
    assert not budget.may_send(5, Priority.EXIT)
    assert budget.may_send(4, Priority.EXIT)
    assert budget.may_send(0, Priority.EXIT, orders=1)


def test_the_count_is_forgotten_when_its_wall_clock_window_ends(
    budget: WeightBudget, clock: ManualClock
) -> None:
    budget.observe(_used(2_400))
    to_the_minute_s = (MINUTE_MS - NOW_MS % MINUTE_MS) / 1_000
    assert budget.wait_s(1, Priority.READ) == pytest.approx(to_the_minute_s)
    clock.advance(to_the_minute_s)
    assert budget.may_send(1, Priority.READ)
    assert budget.used(Counter.WEIGHT, MINUTE_MS) == 0


def test_requests_in_flight_count_until_they_are_answered(budget: WeightBudget) -> None:
    budget.observe(_used(1_790))
    budget.begin(10)
    assert not budget.may_send(1, Priority.READ)
    assert budget.used(Counter.WEIGHT, MINUTE_MS) == 1_800
    budget.end(10)
    assert budget.may_send(1, Priority.READ)


def test_a_share_of_the_order_rate_is_kept_for_exits(budget: WeightBudget) -> None:
    budget.observe(Reply(200, {"X-MBX-ORDER-COUNT-10S": "225"}, b""))
    assert not budget.may_send(0, Priority.ENTRY, orders=1)
    assert budget.may_send(0, Priority.EXIT, orders=1)
    assert budget.may_send(1, Priority.READ)


def test_limits_of_the_venue_replace_the_defaults_and_keep_the_counts(budget: WeightBudget) -> None:
    budget.observe(_used(2_000))
    assert not budget.may_send(1, Priority.READ)
    budget.set_limits([RateLimit(Counter.WEIGHT, MINUTE_MS, 6_000)])
    assert budget.used(Counter.WEIGHT, MINUTE_MS) == 2_000
    assert budget.may_send(1, Priority.READ)


def test_after_429_only_exits_go_until_its_time_is_over(budget: WeightBudget, clock: ManualClock) -> None:
    budget.observe(Reply(429, {"retry-after": "7"}, b""))
    assert [budget.may_send(0, priority) for priority in Priority] == [False, False, True]
    assert budget.wait_s(0, Priority.ENTRY) == pytest.approx(7)
    clock.advance(7)
    assert budget.may_send(0, Priority.ENTRY)


def test_after_418_nothing_goes_until_its_time_is_over(budget: WeightBudget, clock: ManualClock) -> None:
    budget.observe(Reply(418, {"Retry-After": "300"}, b""))
    assert budget.is_banned
    assert [budget.may_send(0, priority) for priority in Priority] == [False, False, False]
    clock.advance(299)
    assert not budget.may_send(0, Priority.EXIT)
    clock.advance(1)
    assert budget.may_send(0, Priority.EXIT)
    assert not budget.is_banned


def test_a_shorter_throttle_does_not_end_a_longer_one(budget: WeightBudget) -> None:
    budget.observe(Reply(418, {"Retry-After": "300"}, b""))
    budget.observe(Reply(429, {"Retry-After": "1"}, b""))
    assert budget.wait_s(0, Priority.EXIT) == pytest.approx(300)
    assert budget.wait_s(0, Priority.READ) == pytest.approx(300)


BANNED = b'{"code":-1003,"msg":"Way too many requests; IP banned until %d. Please use the websocket."}'


@pytest.mark.parametrize(
    ("reply", "throttle"),
    [
        (Reply(200, {"Retry-After": "5"}, b""), None),
        (Reply(503, {"Retry-After": "5"}, b""), None),
        (Reply(429, {}, b""), Throttle(60, banned=False)),
        (Reply(418, {}, b""), Throttle(120, banned=True)),
        (Reply(403, {}, b"<html>"), Throttle(60, banned=False)),
        (Reply(429, {"Retry-After": "soon"}, b""), Throttle(60, banned=False)),
        (Reply(429, {"Retry-After": "0"}, b""), Throttle(1, banned=False)),
        (Reply(418, {"Retry-After": "99999999"}, b""), Throttle(3 * 86_400, banned=True)),
        (Reply(418, {}, BANNED % (NOW_MS + 90_000)), Throttle(90, banned=True)),
        (Reply(429, {}, BANNED % (NOW_MS + 90_000)), Throttle(90, banned=True)),
        (Reply(418, {"Retry-After": "30"}, BANNED % (NOW_MS + 90_000)), Throttle(90, banned=True)),
        (Reply(418, {}, BANNED % (NOW_MS - 90_000)), Throttle(1, banned=True)),
    ],
)
def test_a_throttle_lasts_as_long_as_the_exchange_says(reply: Reply, throttle: Throttle | None) -> None:
    assert throttle_of(reply, NOW_MS) == throttle


def test_windows_of_exchange_info_are_understood() -> None:
    assert [interval_ms("MINUTE", 1), interval_ms("SECOND", 10), interval_ms("FORTNIGHT", 1)] == [
        60_000,
        10_000,
        None,
    ]


def test_counts_of_orders_are_read_from_the_rows_of_the_websocket_api() -> None:
    def row(kind: object, interval: object, number: object, count: object) -> dict[str, object]:
        return {
            "rateLimitType": kind,
            "interval": interval,
            "intervalNum": number,
            "limit": 1,
            "count": count,
        }

    rows = [
        row("ORDERS", "SECOND", 10, 3),
        row("ORDERS", "MINUTE", 1, 9),
        row("REQUEST_WEIGHT", "MINUTE", 1, 17),
        row("ORDERS", "FORTNIGHT", 1, 5),
        row("ORDERS", "DAY", "1", 5),
        row("ORDERS", "DAY", 1, -5),
        row("ORDERS", ["DAY"], 1, 5),
        "ORDERS",
    ]
    assert order_counts_in(rows) == {(Counter.ORDERS, 10_000): 3, (Counter.ORDERS, 60_000): 9}
    assert order_counts_in(None) == {}
