"""What is watched for alerts: states that begin, events, and results; each is told when it begins.

States are compared once a second with what they were, so that a kill switch set with any Redis client
is noticed like one set with the command. At the start the state counts as "nothing set": what an
engine finds set when it starts is told as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from quantum_trader.alerts.desk import Alert
from quantum_trader.alerts.events import alert_of
from quantum_trader.alerts.kinds import AlertKind
from quantum_trader.bsc.health import Authority, State
from quantum_trader.domain.result import Ended, Result, plain
from quantum_trader.joining import Joined
from quantum_trader.stores.operator_state import OperatorState
from quantum_trader.web.feed import REFUSALS, words_of
from quantum_trader.web.readiness import checks, first_problem
from quantum_trader.web.view import EngineView

UNKNOWN_AFTER_MS = 60_000
NOT_READY_AFTER_MS = 60_000
LAG_AFTER_MS = 5_000
LOOP_LAG_S = 1.0
HOUR_MS = 3_600_000
BSC_SILENT_AFTER_MS = 180_000

Tell = Callable[[Alert], None]

SEEN_AS_STATES = frozenset({AlertKind.BSC_BLIND, AlertKind.BSC_DEMOTED})


class Watch:
    """Looks once a second, listens to events and results, and tells what begins."""

    def __init__(self, view: EngineView, tell: Tell) -> None:
        self._view = view
        self._tell = tell
        self._set: set[str] = set()
        self._since_ms: dict[str, int] = {}
        self._refused_since_ms: int | None = None

    def heard(self, event: Mapping[str, str]) -> None:
        """Take an event of the streams in; those of a BSC in this process were heard before."""
        name = event.get("event", "")
        if not (name.startswith("BSC_") and self._view.config.bsc.enabled):
            self._told(event)

    def _told(self, event: Mapping[str, str]) -> None:
        alert = alert_of(event)
        if alert is not None and alert.kind not in SEEN_AS_STATES:
            self._tell(alert)

    def ended(self, result: Result) -> None:
        """Take a result in."""
        if result.is_exit:
            if (alert := _lost_exit(result)) is not None:
                self._tell(alert)
        elif result.executed:
            self._refused_since_ms = None
        elif result.decision in REFUSALS and self._refused_since_ms is None:
            self._refused_since_ms = result.timestamp_ms

    def look(self) -> None:
        """Compare with the last look and tell what has begun since."""
        sink = self._view.bsc_sink
        while sink is not None and sink.newest:  # taken away here, for Redis may be gone
            self._told(sink.newest.popleft())
        begun = dict(self._conditions(self._view.joined))
        for name, alert in begun.items():
            if name not in self._set:
                self._tell(alert)
        self._set = set(begun)

    def _conditions(self, joined: Joined | None) -> Iterator[tuple[str, Alert]]:
        """Yield what holds now, each with a name that stays the same while it lasts."""
        yield from self._not_ready()
        yield from self._lag()
        yield from self._no_executions()
        operator = joined.consumer.operator if joined is not None else None
        yield from self._bsc()
        if operator is not None:
            yield from _stops(operator)
        if joined is not None:
            yield from self._unknown_outcomes(joined)
            yield from self._margin(joined)

    def _bsc(self) -> Iterator[tuple[str, Alert]]:
        """How BSC is; also one that died without a word."""
        state, authority = self._view.bsc.state, self._view.bsc.authority
        is_watched = self._view.config.bsc_required or self._view.config.bsc.enabled
        if state == State.BLIND.value:
            yield "bsc_blind", Alert(AlertKind.BSC_BLIND, "BSC does not see the account")
        elif self._lasts("bsc_silent", BSC_SILENT_AFTER_MS, is_watched and not state):
            yield "bsc_silent", Alert(AlertKind.BSC_BLIND, "BSC has not reported for 3 minutes", "silent")
        if authority == Authority.OBSERVER.value:
            yield "bsc_demoted", Alert(AlertKind.BSC_DEMOTED, "BSC may close nothing any more: it is demoted")

    def _unknown_outcomes(self, joined: Joined) -> Iterator[tuple[str, Alert]]:
        now_ms = self._view.clock.now_ms()
        for name, since_ms in joined.rooms.unresolved_since_ms.items():
            if now_ms - since_ms > UNKNOWN_AFTER_MS:
                text = f"the outcome of order {name} has been unknown for {(now_ms - since_ms) // 1000} s"
                yield f"unknown {name}", Alert(AlertKind.UNKNOWN_OUTCOME, text, name)

    def _margin(self, joined: Joined) -> Iterator[tuple[str, Alert]]:
        reading, least = joined.rooms.account.account, self._view.config.alerts.free_margin_min
        if reading is None or reading.value.margin_balance <= 0:
            return
        free = reading.value.available_balance / reading.value.margin_balance
        if free < least:
            text = f"{free:.0%} of the margin balance is free, less than {least:.0%}"
            yield "margin", Alert(AlertKind.LOW_MARGIN, text)

    def _lag(self) -> Iterator[tuple[str, Alert]]:
        view = self._view
        too_many = view.waiting >= view.config.alerts.lag_plans
        if self._lasts("lag", LAG_AFTER_MS, too_many):
            yield "lag", Alert(AlertKind.LAG, f"{view.waiting} plans wait on the stream", "plans")
        if view.loop_lag.longest_s >= LOOP_LAG_S:
            text = f"the engine's event loop was blocked for {view.loop_lag.longest_s:.1f} s"
            yield "loop_lag", Alert(AlertKind.LAG, text, "loop")

    def _no_executions(self) -> Iterator[tuple[str, Alert]]:
        """Opens do not get through, and have not for hours; exits that fill change nothing (INC-95)."""
        hours = self._view.config.alerts.no_executions_h
        since_ms = self._refused_since_ms
        if since_ms is None or self._view.clock.now_ms() - since_ms < hours * HOUR_MS:
            return
        top = self._view.feed.span(60).refusals
        told = "; ".join(
            f"{count} × {gate}: {reason} ({words_of(reason)['meaning']})" for (gate, reason), count in top
        )
        text = f"no open has got through for {hours} h. Last hour: {told or 'no plan came'}"
        yield "no_executions", Alert(AlertKind.NO_EXECUTIONS, text)

    def _not_ready(self) -> Iterator[tuple[str, Alert]]:
        problem = first_problem(checks(self._view))
        if self._lasts("not_ready", NOT_READY_AFTER_MS, problem is not None) and problem is not None:
            text = f"not ready for a minute: {problem.name}: {problem.problem}; {problem.cure}"
            yield "not_ready", Alert(AlertKind.NOT_READY, text, problem.name)

    def _lasts(self, name: str, at_least_ms: int, holds: bool) -> bool:  # noqa: FBT001  # a fact, not an option
        """Whether ``holds`` has held for so long."""
        if not holds:
            self._since_ms.pop(name, None)
            return False
        now_ms = self._view.clock.now_ms()
        return now_ms - self._since_ms.setdefault(name, now_ms) >= at_least_ms


def _stops(operator: OperatorState) -> Iterator[tuple[str, Alert]]:
    if operator.kill not in ("", "0"):
        what = "nothing trades, exits included" if operator.kill == "1" else "nothing opens, exits go on"
        text = f"the kill switch is set to {operator.kill}: {what}"
        yield f"kill {operator.kill}", Alert(AlertKind.KILL, text, operator.kill)
    if operator.latches.safe_mode:
        yield "safe_mode", Alert(AlertKind.SAFE_MODE, "margin was short too often: nothing opens for a while")
    if operator.latches.disarmed:
        text = f"the engine disarmed itself and opens nothing: {operator.latches.disarmed}"
        yield "disarmed", Alert(AlertKind.DISARMED, text)


def _lost_exit(result: Result) -> Alert | None:
    """Return what to tell of an exit that left its position, or a part of it, standing; no gate did it."""
    exit_of = f"the exit {result.plan_id} of {result.symbol}"
    if result.decision is Ended.EXPIRED:
        if result.trace.get("plan", {}).get("rotation_trigger") == "true":  # its rotation is over: no loss
            return None
        text = f"{exit_of} came too late and was not sent: {result.error}"
        return Alert(AlertKind.EXPIRED_EXIT, text, result.plan_id)
    if result.decision in (Ended.FAILED, Ended.REJECTED):
        trouble = result.error or words_of(result.reason)["meaning"]
        text = f"{exit_of} was not carried out ({result.reason}): {trouble}"
        return Alert(AlertKind.EXIT_FAILED, text, result.plan_id)
    if result.decision is Ended.PARTIALLY_FILLED:
        filled, asked = plain(result.filled_quantity), plain(result.quantity)
        text = (
            f"{exit_of} closed {filled} of {asked} and got no further: {result.error or 'the rest is open'}"
        )
        return Alert(AlertKind.EXIT_FAILED, text, result.plan_id)
    return None
