"""Counters of request weight (by peer) and of orders (by account), in wall-clock windows.

BINANCE.md 3: 2400 weight a minute, 1200 orders a minute, 300 orders in ten seconds.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

from quantum_trader.exchange.simulator.errors import BANNED, RefusedError

MINUTE_MS: Final = 60_000
TEN_SECONDS_MS: Final = 10_000
_COUNTERS_MAX: Final = 1000
_BAN_MS: Final = 2 * MINUTE_MS
_BAN_MAX_MS: Final = 3 * 24 * 60 * MINUTE_MS


@dataclass(frozen=True, slots=True)
class RateLimits:
    """How much is allowed; 0 switches a limit off (the counting goes on).

    A peer that goes on after ``refusals_until_ban`` refusals (429) within a minute is banned (418):
    for two minutes at first, each further time for twice as long, three days at most.
    """

    weight_per_min: int = 2400
    orders_per_min: int = 1200
    orders_per_10s: int = 300
    refusals_until_ban: int = 100

    def rows(self) -> list[dict[str, Any]]:
        """``rateLimits`` of exchangeInfo."""
        return [_row("REQUEST_WEIGHT", "MINUTE", 1, self.weight_per_min), *self.order_rows()]

    def order_rows(self) -> list[dict[str, Any]]:
        """``GET /fapi/v1/rateLimit/order``: the limits on orders."""
        return [
            _row("ORDERS", "MINUTE", 1, self.orders_per_min),
            _row("ORDERS", "SECOND", 10, self.orders_per_10s),
        ]


def _row(kind: str, interval: str, count: int, limit: int) -> dict[str, Any]:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": count, "limit": limit}


class WindowCounter:
    """Counts by key within the current window of ``width_ms``; forgets older windows."""

    def __init__(self, width_ms: int) -> None:
        self._width_ms = width_ms
        self._counts: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def used(self, key: str, now_ms: int) -> int:
        """What ``key`` has used in the window that holds ``now_ms``."""
        window, count = self._counts.get(key, (0, 0))
        return count if window == now_ms // self._width_ms else 0

    def add(self, key: str, amount: int, now_ms: int) -> int:
        """Add ``amount`` and return the new count."""
        count = self.used(key, now_ms) + amount
        self._counts[key] = (now_ms // self._width_ms, count)
        self._counts.move_to_end(key)
        if len(self._counts) > _COUNTERS_MAX:
            self._counts.popitem(last=False)
        return count

    def rest_s(self, now_ms: int) -> int:
        """Whole seconds until the window ends, at least 1 (Retry-After)."""
        return max(1, -(-(self._width_ms - now_ms % self._width_ms) // 1000))


class Bans:
    """Peers that went on after too many refusals, and until when (ms) nothing is answered."""

    def __init__(self, refusals_max: int) -> None:
        self._refusals_max = refusals_max
        self._refusals = WindowCounter(MINUTE_MS)
        self._until_ms: OrderedDict[str, int] = OrderedDict()
        self._times: dict[str, int] = {}

    def check(self, peer: str, now_ms: int) -> None:
        """-1003 with HTTP 418 while ``peer`` is banned."""
        if self.rest_ms(peer, now_ms):
            raise RefusedError(-1003, BANNED.format(until_ms=self._until_ms[peer]), http_status=418)

    def rest_ms(self, peer: str, now_ms: int) -> int:
        """How long the ban of ``peer`` still lasts; 0 without one."""
        return max(0, self._until_ms.get(peer, 0) - now_ms)

    def note_refusal(self, peer: str, now_ms: int) -> None:
        """Count a refusal; the one beyond the limit bans the peer."""
        if not 0 < self._refusals_max <= self._refusals.add(peer, 1, now_ms):
            return
        times = self._times[peer] = self._times.get(peer, 0) + 1
        self._until_ms[peer] = now_ms + min(_BAN_MAX_MS, _BAN_MS << times - 1)
        if len(self._until_ms) > _COUNTERS_MAX:
            forgotten, _ = self._until_ms.popitem(last=False)
            self._times.pop(forgotten, None)


class Usage:
    """What peers and accounts have used, and the refusals that follow."""

    def __init__(self, limits: RateLimits) -> None:
        self.limits = limits
        self._weight = WindowCounter(MINUTE_MS)
        self._orders_1m = WindowCounter(MINUTE_MS)
        self._orders_10s = WindowCounter(TEN_SECONDS_MS)
        self._bans = Bans(limits.refusals_until_ban)

    def weigh(self, peer: str, weight: int, now_ms: int) -> None:
        """Count a request; -1003 beyond the limit (HTTP 429), or while the peer is banned (418)."""
        self._bans.check(peer, now_ms)
        used = self._weight.add(peer, weight, now_ms)
        if 0 < self.limits.weight_per_min < used:
            self._bans.note_refusal(peer, now_ms)
            raise RefusedError(-1003, limit=self.limits.weight_per_min)

    def count_orders(self, api_key: str, cost: tuple[int, int], now_ms: int) -> None:
        """Count ``cost`` orders (in ten seconds, in a minute); -1015 beyond either limit."""
        in_10s = self._orders_10s.add(api_key, cost[0], now_ms)
        in_1m = self._orders_1m.add(api_key, cost[1], now_ms)
        if 0 < self.limits.orders_per_10s < in_10s:
            raise RefusedError(-1015, limit=self.limits.orders_per_10s, interval="TEN_SECONDS")
        if 0 < self.limits.orders_per_min < in_1m:
            raise RefusedError(-1015, limit=self.limits.orders_per_min, interval="MINUTE")

    def rows(self, peer: str, api_key: str | None, now_ms: int) -> list[dict[str, Any]]:
        """``rateLimits`` of a WebSocket API reply: the limits with what was used of them."""
        weight = {**self.limits.rows()[0], "count": self._weight.used(peer, now_ms)}
        if api_key is None:
            return [weight]
        used = self._orders_1m.used(api_key, now_ms), self._orders_10s.used(api_key, now_ms)
        orders = zip(self.limits.order_rows(), used, strict=True)
        return [weight, *({**row, "count": count} for row, count in orders)]

    def headers(self, peer: str, api_key: str | None, now_ms: int) -> dict[str, str]:
        """Used-weight header, and the order counts where ``api_key`` is given."""
        headers = {"X-MBX-USED-WEIGHT-1M": str(self._weight.used(peer, now_ms))}
        if api_key is not None:
            headers["X-MBX-ORDER-COUNT-10S"] = str(self._orders_10s.used(api_key, now_ms))
            headers["X-MBX-ORDER-COUNT-1M"] = str(self._orders_1m.used(api_key, now_ms))
        return headers

    def retry_after_s(self, peer: str, code: int, now_ms: int) -> int:
        """Seconds for Retry-After of a -1003 or -1015 refusal."""
        if rest_ms := self._bans.rest_ms(peer, now_ms):
            return max(1, rest_ms // 1000)
        window = self._weight if code == -1003 else self._orders_10s  # noqa: PLR2004 -- Binance's code
        return window.rest_s(now_ms)
