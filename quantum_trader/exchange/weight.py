"""Request weight and order counts: how much is used, what may still be sent (BINANCE.md 3).

The exchange tells cumulative counts of the current wall-clock window in every reply. What has
been sent and not answered yet is added to the last count. A share of each limit is kept for
exits: opens and plain reads are held back before it is touched. A 429 (or a 403 of the firewall)
holds back opens and plain reads until its time is over; a 418 holds back everything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Any

from quantum_trader.domain.clock import Clock
from quantum_trader.exchange.replies import Reply, complaint_of

_COUNT_HEADER = re.compile(r"x-mbx-(used-weight|order-count)-(\d{1,4})([smhd])", re.IGNORECASE)
_BANNED_UNTIL = re.compile(r"banned until (\d{10,16})", re.IGNORECASE)
_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_INTERVAL_MS = {"SECOND": 1_000, "MINUTE": 60_000, "HOUR": 3_600_000, "DAY": 86_400_000}
_RATE_LIMITED, _BANNED, _FIREWALL = 429, 418, 403
_THROTTLE_DEFAULT_S = {_RATE_LIMITED: 60.0, _BANNED: 120.0, _FIREWALL: 60.0}
_THROTTLE_MAX_S = 3 * 86_400.0
_THROTTLE_MIN_S = 1.0


class Priority(Enum):
    """Who asks: opens and plain reads leave the reserve alone, exits and the watchdog may use it."""

    ENTRY = auto()
    READ = auto()
    EXIT = auto()


_EXIT = Priority.EXIT  # what an enum is asked for costs more than a name


class Counter(StrEnum):
    """What a limit counts."""

    WEIGHT = "REQUEST_WEIGHT"
    ORDERS = "ORDERS"


_WEIGHT, _ORDERS = Counter.WEIGHT, Counter.ORDERS


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most ``limit`` in each wall-clock window of ``window_ms``."""

    counter: Counter
    window_ms: int
    limit: int


@dataclass(frozen=True, slots=True)
class Throttle:
    """A refusal for sending too much: nothing more for ``duration_s``, exits too if ``banned``."""

    duration_s: float
    banned: bool


PRODUCTION_LIMITS = (
    RateLimit(Counter.WEIGHT, 60_000, 2_400),
    RateLimit(Counter.ORDERS, 60_000, 1_200),
    RateLimit(Counter.ORDERS, 10_000, 300),
)
"""Limits of the production exchange, in force until exchangeInfo was read."""


class _Window:
    """Count of one limit in its current window."""

    __slots__ = ("_counted", "_number", "limit")

    def __init__(self, limit: RateLimit) -> None:
        self.limit = limit
        self._counted = 0
        self._number = -1

    def counted(self, now_ms: int) -> int:
        return self._counted if self._number == now_ms // self.limit.window_ms else 0

    def note(self, count: int, now_ms: int) -> None:
        self._counted, self._number = count, now_ms // self.limit.window_ms

    def ends_in_s(self, now_ms: int) -> float:
        return (self.limit.window_ms - now_ms % self.limit.window_ms) / 1_000


class WeightBudget:
    """The account's and the address's budgets at the exchange, shared by all who send.

    ``reserve_share`` (0 to 1) of each limit is kept for ``Priority.EXIT``. Windows and the end of a
    ban are told in the exchange's wall time, so ``exchange_now_ms`` is asked for it.
    """

    def __init__(self, clock: Clock, reserve_share: float, exchange_now_ms: Callable[[], int]) -> None:
        self._clock = clock
        self._now_ms = exchange_now_ms
        self._reserve_share = reserve_share
        self._windows = [_Window(limit) for limit in PRODUCTION_LIMITS]
        self._in_flight = {Counter.WEIGHT: 0, Counter.ORDERS: 0}
        self._held_until_s = float("-inf")
        self._banned_until_s = float("-inf")

    def set_limits(self, limits: Sequence[RateLimit]) -> None:
        """Take over the limits that exchangeInfo states; counts of unchanged windows are kept."""
        known = {(window.limit.counter, window.limit.window_ms): window for window in self._windows}
        self._windows = []
        for limit in limits:
            window = known.get((limit.counter, limit.window_ms)) or _Window(limit)
            window.limit = limit
            self._windows.append(window)

    def wait_s(self, weight: int, priority: Priority, orders: int = 0) -> float:
        """Seconds until a request of this ``weight`` and number of ``orders`` may go; 0 if now."""
        now_s, now_ms = self._clock.monotonic_s(), self._now_ms()
        is_exit = priority is _EXIT
        share = 1.0 if is_exit else 1.0 - self._reserve_share
        wait_s = max(0.0, (self._banned_until_s if is_exit else self._held_until_s) - now_s)
        for window in self._windows:
            limit = window.limit
            wanted = orders if limit.counter is _ORDERS else weight
            if not wanted:
                continue
            used = window.counted(now_ms) + self._in_flight[limit.counter]
            if used + wanted > limit.limit * share:
                wait_s = max(wait_s, window.ends_in_s(now_ms))
        return wait_s

    def may_send(self, weight: int, priority: Priority, orders: int = 0) -> bool:
        """Whether a request of this ``weight`` and number of ``orders`` may go now."""
        return self.wait_s(weight, priority, orders) == 0

    def begin(self, weight: int, orders: int = 0) -> None:
        """Count a request as used, from when it is sent until ``end``: its answer tells the new count."""
        self._in_flight[_WEIGHT] += weight
        self._in_flight[_ORDERS] += orders

    def end(self, weight: int, orders: int = 0) -> None:
        """Count it no longer; to be called once for every ``begin``, with the same numbers."""
        self._in_flight[_WEIGHT] -= weight
        self._in_flight[_ORDERS] -= orders

    def observe(self, reply: Reply) -> Throttle | None:
        """Take the counts that ``reply`` tells; return the throttle it imposes, if any."""
        counts = reply.counts or counts_of(reply.headers)
        if reply.is_success and not counts:
            return None
        now_ms = self._now_ms()
        for window in self._windows:
            count = counts.get((window.limit.counter, window.limit.window_ms))
            if count is not None:
                window.note(count, now_ms)
        throttle = throttle_of(reply, now_ms)
        if throttle is not None:
            self._hold(throttle)
        return throttle

    def used(self, counter: Counter, window_ms: int) -> int:
        """Count used in the current window of ``window_ms``, requests in flight included."""
        now_ms = self._now_ms()
        counted = (
            window.counted(now_ms)
            for window in self._windows
            if (window.limit.counter, window.limit.window_ms) == (counter, window_ms)
        )
        return max(counted, default=0) + self._in_flight[counter]

    @property
    def is_banned(self) -> bool:
        """Whether a ban (HTTP 418) is running: not even exits are sent."""
        return self._banned_until_s > self._clock.monotonic_s()

    def _hold(self, throttle: Throttle) -> None:
        until_s = self._clock.monotonic_s() + throttle.duration_s
        self._held_until_s = max(self._held_until_s, until_s)
        if throttle.banned:
            self._banned_until_s = max(self._banned_until_s, until_s)


def counts_of(headers: Mapping[str, str]) -> dict[tuple[str, int], int]:
    """Return the counts that ``headers`` tell, by counter and window (ms). Names in any case."""
    counts: dict[tuple[str, int], int] = {}
    for name, text in headers.items():
        match = _COUNT_HEADER.fullmatch(name)
        if match is not None and text.isascii() and text.isdigit():
            counter = Counter.WEIGHT if match[1].lower() == "used-weight" else Counter.ORDERS
            counts[counter, int(match[2]) * _UNIT_MS[match[3].lower()]] = int(text)
    return counts


def order_counts_in(rows: Any) -> dict[tuple[str, int], int]:
    """Return the counts of orders in the ``rateLimits`` of a reply of the WebSocket API.

    The weight that is told there is a count of its own and none of REST's (BINANCE.md 3).
    """
    counts: dict[tuple[str, int], int] = {}
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict) and row.get("rateLimitType") == _ORDERS:
            unit_ms = _INTERVAL_MS.get(str(row.get("interval")))
            number, count = row.get("intervalNum"), row.get("count")
            if unit_ms is not None and type(number) is int and type(count) is int and count >= 0:
                counts[_ORDERS, unit_ms * number] = count
    return counts


def throttle_of(reply: Reply, now_ms: int) -> Throttle | None:
    """Return the throttle that a 429, 418 or 403 imposes, at most 3 days; None for other replies.

    Its length: ``Retry-After`` (s) or the text ``banned until <ms>``, whichever is longer; else
    60 s, and 120 s for a ban.
    """
    default_s = _THROTTLE_DEFAULT_S.get(reply.status)
    if default_s is None:
        return None
    message = complaint_of(reply.body).message
    told_s = [
        wait_s for wait_s in (_retry_after_s(reply.headers), _ban_s(message, now_ms)) if wait_s is not None
    ]
    duration_s = max(told_s, default=default_s)
    banned = reply.status == _BANNED or _BANNED_UNTIL.search(message) is not None
    return Throttle(min(max(duration_s, _THROTTLE_MIN_S), _THROTTLE_MAX_S), banned)


def interval_ms(unit: str, number: int) -> int | None:
    """Return the window of an exchangeInfo rate limit in ms; None for a unit that is not known."""
    unit_ms = _INTERVAL_MS.get(unit)
    return None if unit_ms is None else unit_ms * number


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    texts = (text for name, text in headers.items() if name.lower() == "retry-after")
    text = next(texts, "").strip()
    return float(text) if re.fullmatch(r"[0-9]{1,9}", text) else None


def _ban_s(message: str, now_ms: int) -> float | None:
    match = _BANNED_UNTIL.search(message)
    return (int(match[1]) - now_ms) / 1_000 if match else None
