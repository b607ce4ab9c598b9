"""``/metrics`` for Prometheus, from a registry of our own (SPEC 13).

Counters and histograms are counted soon after a result was written, beside the plans: no round trip.
Everything else is read from memory when Prometheus asks (metric_readings.py). Labels are bounded: codes
of the closed list of reasons, names of gates, symbols with a position.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

from quantum_trader.alerts.kinds import AlertKind
from quantum_trader.domain.reasons import DECISION_PREFIX, INVALID_PREFIX, Reason, reason_of
from quantum_trader.domain.result import Ended, Result
from quantum_trader.web.metric_readings import Readings
from quantum_trader.web.view import EngineView

PREFIX = "quantum_trader"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
DECISION_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30)
ORDER_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)
OTHER = "other"
ALERT_OUTCOMES = ("sent", "failed", "suppressed", "dropped")
INTAKE_REASON = "invalid_field"


class Metrics:
    """The registry of one engine, and the counters that its parts turn."""

    def __init__(self, view: EngineView) -> None:
        self.registry = CollectorRegistry()
        GCCollector(self.registry)
        ProcessCollector(registry=self.registry)
        self.registry.register(Readings(view))
        self._plans = Counter(
            f"{PREFIX}_plans",
            "Results written, by outcome (the result's decision), gate and reason.",
            ("outcome", "gate", "reason"),
            registry=self.registry,
        )
        self._exits = Counter(
            f"{PREFIX}_exits",
            "Results of exits, by outcome.",
            ("outcome",),
            registry=self.registry,
        )
        self._opens = Counter(
            f"{PREFIX}_opens",
            "Results of all other plans, by outcome.",
            ("outcome",),
            registry=self.registry,
        )
        self._decision_s = Histogram(
            f"{PREFIX}_decision_seconds",
            "From the plan's entry on the stream to the decision.",
            buckets=DECISION_BUCKETS_S,
            registry=self.registry,
        )
        self._order_s = Histogram(
            f"{PREFIX}_order_seconds",
            "From the claim to the settled result: sending, following and settling.",
            buckets=ORDER_BUCKETS_S,
            registry=self.registry,
        )
        self._events = Counter(
            f"{PREFIX}_events",
            "Events on the streams of the engine and of BSC, by name.",
            ("event",),
            registry=self.registry,
        )
        self.alerts = Counter(
            f"{PREFIX}_alerts",
            "Alerts by kind and what became of them: sent, failed, suppressed or dropped.",
            ("alert", "outcome"),
            registry=self.registry,
        )
        self._children: dict[tuple[Counter, tuple[str, ...]], Any] = {}
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """Show what alert rules watch before it happens: a counter that appears at 1 shows no increase."""
        self._plans.labels(Ended.EXPIRED.value, "intake", Reason.EXPIRED.value)
        for ended in Ended:
            self._exits.labels(ended.value)
            self._opens.labels(ended.value)
        for event in KNOWN_EVENTS:
            self._events.labels(event)
        for kind in AlertKind:
            for outcome in ALERT_OUTCOMES:
                self.alerts.labels(kind.value, outcome)

    def count(self, result: Result) -> None:
        """Count a result."""
        for counter, labels in (
            (self._plans, (result.decision._value_, result.gate, reason_label(result.reason))),
            (self._exits if result.is_exit else self._opens, (result.decision._value_,)),
        ):
            child = self._children.get((counter, labels))
            if child is None:
                child = self._children[counter, labels] = counter.labels(*labels)
            child.inc()
        timings, decided_ms = result.trace.get("timings_ms", {}), result.trace.get("decided_at")
        if decided_ms is not None and "stream" in timings:
            self._decision_s.observe(max(0, decided_ms - timings["stream"]) / 1000)
        if "claimed" in timings:
            self._order_s.observe(max(0, timings["settled"] - timings["claimed"]) / 1000)

    def count_event(self, event: Mapping[str, str]) -> None:
        """Count an event; names that nobody documented, which others may publish, count as one."""
        name = event.get("event", "")
        self._events.labels(name if name in KNOWN_EVENTS else OTHER).inc()

    def add_routes(self, app: web.Application) -> None:
        """Add ``/metrics``."""
        app.router.add_get("/metrics", self._respond)

    async def _respond(self, request: web.Request) -> web.Response:
        del request
        return web.Response(body=generate_latest(self.registry), headers={"Content-Type": CONTENT_TYPE})


KNOWN_EVENTS = frozenset(
    [
        "ROTATION_LOCK_CREATED",
        "ROTATION_COMPLETE",
        "ROTATION_TIMEOUT",
        "SAFE_MODE_ON",
        "COOLDOWN_SET",
        "KILL_SWITCH_CHANGED",
        "DISARMED",
        "ARMED",
        "DUPLICATE_PLAN",
        "FOREIGN_ORDER",
        "PLANS_LOST",
        "CONFIG_RELOADED",
        "CONFIG_REFUSED",
        "RECONCILED",
        "BSC_ACTIVATED",
        "BSC_HEALTH_CHECK",
        "BSC_FORCE_CLOSE",
        "BSC_CLOSE_FAILED",
        "BSC_BLIND",
        "BSC_DEMOTED",
        "BSC_AUDIT",
        "BSC_STOPPED",
    ]
)


def reason_label(code: str) -> str:
    """Return the label of a reason: its code if it is of the closed list, a family's name if not."""
    if reason_of(code) is not None:
        return code
    if code.startswith(INVALID_PREFIX):
        return INTAKE_REASON
    return "decision_other" if code.startswith(DECISION_PREFIX) else OTHER
