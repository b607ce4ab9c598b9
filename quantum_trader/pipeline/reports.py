"""Reports of results: one archived record and one line of the log for each plan (SPEC 4, 13).

They are made a moment after the settlement, several together: the plan behind is judged, and its order
sent, before they are. The result stream has every result by then; what a crash takes is its line alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct
from orjson import Fragment

from quantum_trader.domain.decision import Decision
from quantum_trader.domain.intention import Effect
from quantum_trader.domain.reasons import Reason
from quantum_trader.domain.result import Result
from quantum_trader.log import tell

AFTER_S = 0.005
MADE_TOGETHER = 16  # some 0.5 ms, which no plan has to wait for more than once
BACKLOG_SHARE = 4  # of a flood a quarter is made at once, so that what waits stays in proportion to it

_INSUFFICIENT_MARGIN, _SYMBOL_IN_FLIGHT = Reason.INSUFFICIENT_MARGIN.value, Reason.SYMBOL_IN_FLIGHT.value
_OPEN, _ADD = Effect.OPEN.value, Effect.ADD.value  # .value takes two calls each time


class Report(Struct, frozen=True, gc=False):
    """A result that was written to the stream: as ``fields`` there, with its verdicts as JSON."""

    result: Result
    fields: Mapping[str, str]
    decision: Decision | None
    verdicts: bytes


class Reports:
    """Results that are settled and not told of yet, oldest first."""

    def __init__(self, archive: Callable[[Result, Mapping[str, str]], None]) -> None:
        self._archive = archive
        self._waiting: deque[Report] = deque()
        self._due: asyncio.TimerHandle | None = None

    def add(self, report: Report) -> None:
        """Take ``report``; it is made within some milliseconds."""
        self._waiting.append(report)
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(AFTER_S, self._make_some)

    def make_all(self) -> None:
        """Make what waits: the engine is about to end."""
        while self._waiting:
            self._make_some()

    def _make_some(self) -> None:
        """Make a few, and the others once the loop has seen to what came meanwhile."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        count = max(MADE_TOGETHER, len(self._waiting) // BACKLOG_SHARE)
        made = [self._waiting.popleft() for _ in range(min(count, len(self._waiting)))]
        if self._waiting:
            self._due = asyncio.get_running_loop().call_later(0, self._make_some)
        tell("decision", [(report.result.timestamp_ms, decision_line(report)) for report in made])
        for report in made:
            self._archive(report.result, report.fields)


def decision_line(report: Report) -> dict[str, Any]:
    """Return the one log line of a plan: its end, every verdict (JSON), the events that it stands for."""
    fields = report.fields
    executed = fields["executed"] == "true"
    return {
        "plan_id": fields["plan_id"],
        "symbol": fields["symbol"],
        "side": fields["side"],
        "effect": fields["effect"],
        "decision": fields["decision"],
        "executed": executed,
        "gate": fields["gate"],
        "reason": fields["reason"],
        "error": fields["error"],
        "qty": fields["qty"],
        "filled_qty": fields["filled_qty"],
        "avg_price": fields["avg_price"],
        "order_id": fields["order_id"],
        "client_order_id": fields["client_order_id"],
        "mode": fields["mode"],
        "events": _events(report, executed=executed),
        "verdicts": Fragment(report.verdicts),
    }


def _events(report: Report, *, executed: bool) -> list[str]:
    """Name the documented events that this line stands for (SPEC 13)."""
    result, names = report.result, []
    effect, gate = result.effect, result.gate
    if report.decision is not None:
        if effect in (_OPEN, _ADD):
            names.append("margin_check")
        if _INSUFFICIENT_MARGIN in [verdict.code for verdict in report.decision.spoken]:
            names.append("insufficient_margin")
    if effect == _OPEN:
        names.append("regime")
    if gate == "idempotency":
        names.append("idempotency_skip")
    if result.reason == _SYMBOL_IN_FLIGHT:
        names.append("lock_skip")
    if gate == "rate_limit":
        names.append("rate_limit_skip")
    if executed:
        names.append("order_filled")
    names.append("result_written")
    return names
