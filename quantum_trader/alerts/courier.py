"""Sends alerts to one address, in a thread of its own: a dead address delays neither engine nor the others.

Within an hour at most ``per_hour_max`` messages go out. What was held back (repeats, too many, no room)
is summed up in the next message, or in one of its own when it has been quiet for ``summary_s``.
"""

from __future__ import annotations

import queue
import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from quantum_trader.alerts.kinds import AlertKind
from quantum_trader.domain.clock import Clock

Send = Callable[[str, str, bool], str]
"""Sends title and body, gravely or not; returns what went wrong, "" if nothing."""

QUEUE_MAX = 200
HOUR_S = 3_600.0
TRIES = 3
RETRY_S = 2.0
STOP_S = 5.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Parcel:
    """One message; a repeat is counted and not sent."""

    kind: AlertKind
    title: str
    body: str
    is_repeat: bool = False


class Courier:
    """One address."""

    def __init__(
        self,
        send: Send,
        number: int,
        *,
        per_hour_max: int,
        summary_s: float,
        clock: Clock,
        report: Callable[[str, str], None],
    ) -> None:
        """``number`` names the address in the log: the address itself is a secret."""
        self._send = send
        self._number = number
        self._per_hour_max = per_hour_max
        self._summary_s = summary_s
        self._clock = clock
        self._report = report
        self._queue: queue.Queue[Parcel | None] = queue.Queue(QUEUE_MAX)
        self._stopping = threading.Event()
        self._sent_s: deque[float] = deque()
        self._held_back: Counter[str] = Counter()
        self._dropped = 0
        self._title = ""
        self._thread = threading.Thread(target=self._run, name=f"alerts-{number}", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Send what waits, each once, for at most ``STOP_S`` seconds."""
        if not self._thread.is_alive():
            return
        self._stopping.set()
        try:
            self._queue.put_nowait(None)
        except queue.Full:
            log.warning("alerts_unsent", address=self._number, count=self._queue.qsize())
            return
        self._thread.join(STOP_S)

    def take(self, parcel: Parcel) -> None:
        """Take a message in; returns at once."""
        try:
            self._queue.put_nowait(parcel)
        except queue.Full:
            self._dropped += 1
            self._report(parcel.kind.value, "dropped")

    # -- in the thread

    def _run(self) -> None:
        while True:
            try:
                parcel = self._queue.get(timeout=self._summary_s if self._held_back else None)
            except queue.Empty:
                self._send_summary()
                continue
            if parcel is None:
                return
            self._handle(parcel)

    def _handle(self, parcel: Parcel) -> None:
        self._title = parcel.title
        if parcel.is_repeat or self._is_too_many():
            self._held_back[parcel.kind.value] += 1
            self._report(parcel.kind.value, "suppressed")
            return
        problem = self._deliver(parcel.title, parcel.body + self._summary(), is_grave=parcel.kind.is_grave)
        self._report(parcel.kind.value, "failed" if problem else "sent")
        if problem:
            cure = "check alerts.urls with `quantum-trader alerts test`"
            log.error(
                "alert_not_sent", alert=parcel.kind.value, address=self._number, problem=problem, cure=cure
            )

    def _send_summary(self) -> None:
        if not self._is_too_many():
            self._deliver(self._title, self._summary().strip(), is_grave=False)

    def _is_too_many(self) -> bool:
        now_s = self._clock.monotonic_s()
        while self._sent_s and now_s - self._sent_s[0] >= HOUR_S:
            self._sent_s.popleft()
        return len(self._sent_s) >= self._per_hour_max

    def _deliver(self, title: str, body: str, *, is_grave: bool) -> str:
        """Try some times; return what went wrong at last, "" if nothing."""
        self._sent_s.append(self._clock.monotonic_s())
        problem = ""
        for _ in range(TRIES):
            problem = self._try(title, body, is_grave=is_grave)
            if not problem or self._stopping.wait(RETRY_S):
                break
        return problem

    def _try(self, title: str, body: str, *, is_grave: bool) -> str:
        try:
            return self._send(title, body, is_grave)
        except Exception as broken:  # noqa: BLE001  # whatever a sink's library raises is told in the log
            return type(broken).__name__

    def _summary(self) -> str:
        if not self._held_back and not self._dropped:
            return ""
        told = [f"{count} × {kind}" for kind, count in self._held_back.most_common()]
        if self._dropped:
            told.append(f"{self._dropped} for lack of room")
        self._held_back, self._dropped = Counter(), 0
        return f"\nHeld back since the last message: {', '.join(told)}."
