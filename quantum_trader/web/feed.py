"""What the engine decided of late, in memory: the newest decisions, and how often each reason was given."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from quantum_trader.domain.clock import Clock
from quantum_trader.domain.reasons import DECISION_PREFIX, INVALID_PREFIX, reason_of
from quantum_trader.domain.result import Ended, Result
from quantum_trader.stores.codec import decode

DECISIONS_KEPT = 500
BUCKET_MS = 10_000
BUCKETS_KEPT = 361  # an hour, and the bucket that is being filled
MINUTE_MS = 60_000
SPANS_MIN = (1, 5, 15, 60)
TOP = 5
REFUSALS = frozenset({Ended.BLOCKED, Ended.REJECTED, Ended.FAILED, Ended.EXPIRED})
SUMMARY = [
    "plan_id",
    "symbol",
    "side",
    "action",
    "effect",
    "decision",
    "executed",
    "reason",
    "gate",
    "error",
    "qty",
    "filled_qty",
    "avg_price",
    "order_status",
    "timestamp",
    "mode",
    "source",
]

Fields = Mapping[str, str]
Refusal = tuple[str, str]


@dataclass(slots=True)
class _Bucket:
    """What ended within ten seconds."""

    number: int
    plans: int = 0
    fills: int = 0
    refusals: Counter[Refusal] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Span:
    """What ended within the last minutes; ``refusals`` by gate and reason, most frequent first."""

    plans: int
    fills: int
    refusals: list[tuple[Refusal, int]]


class DecisionFeed:
    """The newest ``DECISIONS_KEPT`` results, and an hour of counts."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._decisions: deque[tuple[int, Fields]] = deque(maxlen=DECISIONS_KEPT)
        self._buckets: deque[_Bucket] = deque(maxlen=BUCKETS_KEPT)
        self.number = 0
        self.last_plan_ms: int | None = None
        self.last_fill_ms: int | None = None

    def keep(self, result: Result, fields: Fields) -> None:
        """Take in a result with its stream fields."""
        self.number += 1
        self._decisions.append((self.number, fields))
        self.last_plan_ms = result.timestamp_ms
        bucket = self._bucket(result.timestamp_ms)
        bucket.plans += 1
        if result.executed:
            bucket.fills += 1
            self.last_fill_ms = result.timestamp_ms
        elif result.decision in REFUSALS:
            bucket.refusals[result.gate, result.reason] += 1

    def newest(self, count: int) -> list[dict[str, Any]]:
        """Return summaries of the ``count`` newest, newest first."""
        return self.since(0, count)

    def since(self, number: int, count_max: int) -> list[dict[str, Any]]:
        """Return summaries of at most ``count_max`` that came after the ``number``-th, newest first."""
        newer: list[dict[str, Any]] = []
        for own, fields in islice(reversed(self._decisions), count_max):
            if own <= number:
                break
            newer.append({"number": own, **summary(fields)})
        return newer

    def find(self, plan_id: str) -> Fields | None:
        """Return the result of ``plan_id``, if it is among those kept."""
        found = (fields for _, fields in reversed(self._decisions) if fields["plan_id"] == plan_id)
        return next(found, None)

    def span(self, minutes: int) -> Span:
        """Return what ended within the last ``minutes``."""
        oldest = (self._clock.now_ms() - minutes * MINUTE_MS) // BUCKET_MS
        refusals: Counter[Refusal] = Counter()
        plans = fills = 0
        for bucket in self._buckets:
            if bucket.number > oldest:
                plans, fills = plans + bucket.plans, fills + bucket.fills
                refusals.update(bucket.refusals)
        return Span(plans, fills, refusals.most_common(TOP))

    def reasons(self) -> dict[str, Any]:
        """Return the top reasons of the last 1, 5, 15 and 60 minutes, each with its meaning and cure."""
        spans = {minutes: self.span(minutes) for minutes in SPANS_MIN}
        return {
            str(minutes): {
                "plans": span.plans,
                "fills": span.fills,
                "reasons": [
                    {"gate": gate, "reason": reason, "count": count, **words_of(reason)}
                    for (gate, reason), count in span.refusals
                ],
            }
            for minutes, span in spans.items()
        }

    def _bucket(self, now_ms: int) -> _Bucket:
        number = now_ms // BUCKET_MS
        if not self._buckets or self._buckets[-1].number < number:
            self._buckets.append(_Bucket(number))
        return self._buckets[-1]


def summary(fields: Fields) -> dict[str, Any]:
    """Return a result without its trace."""
    return {name: fields.get(name, "") for name in SUMMARY}


def whole(fields: Fields) -> dict[str, Any]:
    """Return a result with its trace decoded, and the words of its reason."""
    trace: Any = decode(fields["trace"]) if fields.get("trace") else {}
    return {
        **summary(fields),
        "order_id": fields.get("order_id", ""),
        "trace": trace,
        **words_of(fields["reason"]),
    }


def words_of(code: str) -> dict[str, str]:
    """Return what a reason means and its cure; "" where it has none."""
    if code.startswith(INVALID_PREFIX):
        name = code.removeprefix(INVALID_PREFIX)
        return {"meaning": f"The plan's field {name} cannot be accepted.", "cure": "Correct the field."}
    if code.startswith(DECISION_PREFIX):
        return {"meaning": "Only plans with decision=EXECUTE act.", "cure": "Nothing to do."}
    reason = reason_of(code)
    return {"meaning": reason.meaning if reason else "", "cure": reason.cure if reason else ""}
