"""When opens were claimed: ascending times, of which the old ones are dropped as they are asked for."""

from __future__ import annotations

from bisect import bisect_right, insort

DROP_AT = 64  # dropping one by one would move the whole list each time


class ClaimTimes:
    """Wall times (ms) with the plan that each belongs to."""

    def __init__(self) -> None:
        self._times_ms: list[int] = []
        self._plans: dict[str, int] = {}

    def add(self, claimed_ms: int, plan_id: str) -> None:
        """Record a claim; clocks may step back, so it need not be the newest."""
        self._plans[plan_id] = claimed_ms
        insort(self._times_ms, claimed_ms)

    def remove(self, plan_id: str) -> None:
        """Forget the claim of ``plan_id``, if there is one."""
        claimed_ms = self._plans.pop(plan_id, None)
        if claimed_ms is not None and claimed_ms in self._times_ms:
            self._times_ms.remove(claimed_ms)

    def after(self, start_ms: int) -> tuple[int, ...]:
        """Return the times after ``start_ms``, which never goes back: older ones are let go of."""
        old = bisect_right(self._times_ms, start_ms)
        if old >= DROP_AT or old == len(self._times_ms):
            del self._times_ms[:old]
            self._plans = {plan_id: ms for plan_id, ms in self._plans.items() if ms > start_ms}
            old = 0
        return tuple(self._times_ms[old:])
