"""Takes alerts in at once and hands them to the couriers: whoever raises one waits for nothing (SPEC 13).

The same thing is told once in ``repeat_s``; what is held back is summed up by the couriers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import structlog

from quantum_trader.alerts.courier import Courier, Parcel, Send
from quantum_trader.alerts.kinds import AlertKind
from quantum_trader.domain.clock import Clock

SUBJECTS_MAX = 1_000

log = structlog.get_logger()

Report = Callable[[str, str], None]
"""Told the kind and what became of it: sent, failed, suppressed or dropped."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing to tell; ``subject`` says what it is about, so that repeats are known as such."""

    kind: AlertKind
    text: str
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """Which kinds are told, for how long (s) the same is not repeated, and how many go out in an hour."""

    kinds: Collection[AlertKind]
    repeat_s: float
    per_hour_max: int


class AlertDesk:
    """One desk a process; without sinks it only logs."""

    def __init__(
        self,
        sinks: Sequence[Send],
        limits: Limits,
        clock: Clock,
        *,
        origin: str,
        report: Report = lambda _kind, _outcome: None,
    ) -> None:
        """``origin`` begins every title, so that two engines can be told apart."""
        self._limits = limits
        self._clock = clock
        self._origin = origin
        self._told_s: dict[tuple[AlertKind, str], float] = {}
        self._couriers = [
            Courier(
                send,
                number,
                per_hour_max=limits.per_hour_max,
                summary_s=max(1.0, limits.repeat_s),
                clock=clock,
                report=report,
            )
            for number, send in enumerate(sinks, 1)
        ]

    def start(self) -> None:
        """Begin to send."""
        for courier in self._couriers:
            courier.start()

    def stop(self) -> None:
        """Send what waits, for at most some seconds; blocks meanwhile."""
        for courier in self._couriers:
            courier.stop()

    def tell(self, alert: Alert) -> None:
        """Take an alert in; returns at once, whatever the sinks do."""
        if alert.kind not in self._limits.kinds:
            return
        is_repeat = self._is_repeat(alert)
        if not is_repeat:
            log.warning("alert", alert=alert.kind.value, text=alert.text, subject=alert.subject)
        title = f"{self._origin}: {alert.kind.value}"
        body = f"{alert.text}\nWhat to do: {alert.kind.advice}."
        for courier in self._couriers:
            courier.take(Parcel(alert.kind, title, body, is_repeat))

    def _is_repeat(self, alert: Alert) -> bool:
        now_s, about = self._clock.monotonic_s(), (alert.kind, alert.subject)
        told_s = self._told_s.pop(about, None)
        is_repeat = told_s is not None and now_s - told_s < self._limits.repeat_s
        if len(self._told_s) >= SUBJECTS_MAX:
            self._told_s.pop(next(iter(self._told_s)))
        self._told_s[about] = told_s if told_s is not None and is_repeat else now_s
        return is_repeat
