"""The desk and its couriers: what is told once, what is held back, and what a dead address costs."""

import queue
import threading
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs
from support.clock import HandClock

from quantum_trader.alerts.courier import QUEUE_MAX
from quantum_trader.alerts.desk import Alert, AlertDesk, Limits
from quantum_trader.alerts.events import alert_of
from quantum_trader.alerts.kinds import AlertKind
from quantum_trader.alerts.sinks import AlertsUnusable, apprise_sinks

PATIENCE_S = 30.0
KILL = Alert(AlertKind.KILL, "the kill switch is set", "1")
LAG = Alert(AlertKind.LAG, "plans wait")


class Address:
    """Where messages arrive; it answers as it is told."""

    def __init__(self, answer: Callable[[], str] = str) -> None:
        self.arrived: queue.Queue[tuple[str, str, bool]] = queue.Queue()
        self._answer = answer

    def __call__(self, title: str, body: str, is_grave: bool) -> str:
        problem = self._answer()
        self.arrived.put((title, body, is_grave))
        return problem

    def next(self) -> tuple[str, str, bool]:
        return self.arrived.get(timeout=PATIENCE_S)


class Outcomes:
    """What was reported, one after the other."""

    def __init__(self) -> None:
        self._queue: queue.Queue[tuple[str, str]] = queue.Queue()

    def __call__(self, kind: str, outcome: str) -> None:
        self._queue.put((kind, outcome))

    def next(self) -> tuple[str, str]:
        return self._queue.get(timeout=PATIENCE_S)


def desk(*addresses: Address, clock: HandClock, report: Outcomes | None = None, **limits: float) -> AlertDesk:
    bounds = Limits(frozenset(AlertKind), limits.get("repeat_s", 300), int(limits.get("per_hour_max", 60)))
    started = AlertDesk(list(addresses), bounds, clock, origin="drill", report=report or Outcomes())
    started.start()
    return started


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def test_an_alert_says_what_happened_and_what_to_do(clock: HandClock) -> None:
    address = Address()
    desk(address, clock=clock).tell(KILL)
    title, body, is_grave = address.next()
    assert title == "drill: kill"
    assert "the kill switch is set" in body
    assert AlertKind.KILL.advice in body
    assert is_grave


def test_the_same_thing_is_told_once_and_another_at_once(clock: HandClock) -> None:
    address, outcomes = Address(), Outcomes()
    busy = desk(address, clock=clock, report=outcomes)
    busy.tell(KILL)
    assert outcomes.next() == ("kill", "sent")
    busy.tell(KILL)
    assert outcomes.next() == ("kill", "suppressed")
    busy.tell(Alert(AlertKind.KILL, "opens only", "opens"))
    assert outcomes.next() == ("kill", "sent")
    address.next()
    assert "Held back since the last message: 1 × kill." in address.next()[1]
    clock.time_s += 301
    busy.tell(KILL)
    assert outcomes.next() == ("kill", "sent")


def test_only_so_many_go_out_in_an_hour_and_the_rest_is_summed_up(clock: HandClock) -> None:
    address, outcomes = Address(), Outcomes()
    busy = desk(address, clock=clock, report=outcomes, per_hour_max=2)
    for number in range(5):
        busy.tell(Alert(AlertKind.UNKNOWN_OUTCOME, "unknown", str(number)))
    assert [outcomes.next()[1] for _ in range(5)] == [
        "sent",
        "sent",
        "suppressed",
        "suppressed",
        "suppressed",
    ]
    clock.time_s += 3601
    busy.tell(LAG)
    assert outcomes.next() == ("lag", "sent")
    bodies = [address.next()[1] for _ in range(3)]
    assert "3 × unknown_outcome" in bodies[-1]


def test_what_was_held_back_is_summed_up_when_it_has_been_quiet(clock: HandClock) -> None:
    address = Address()
    busy = desk(address, clock=clock, repeat_s=1)
    busy.tell(KILL)
    busy.tell(KILL)
    address.next()
    assert address.next()[1] == "Held back since the last message: 1 × kill."


def test_a_dead_address_holds_up_neither_the_caller_nor_the_others(clock: HandClock) -> None:
    released = threading.Event()
    dead = Address(lambda: "" if released.wait(PATIENCE_S) else "late")
    alive = Address()
    busy = desk(dead, alive, clock=clock)
    for number in range(QUEUE_MAX * 2):
        busy.tell(Alert(AlertKind.LAG, "plans wait", str(number)))
        if number == 0:
            assert alive.next()[0] == "drill: lag"
    assert dead.arrived.empty()
    released.set()


def test_no_room_is_reported_and_summed_up(clock: HandClock) -> None:
    released = threading.Event()
    slow, outcomes = Address(lambda: "" if released.wait(PATIENCE_S) else "late"), Outcomes()
    busy = desk(slow, clock=clock, report=outcomes, per_hour_max=QUEUE_MAX * 2)
    for number in range(QUEUE_MAX + 10):
        busy.tell(Alert(AlertKind.LAG, "plans wait", str(number)))
    assert outcomes.next() == ("lag", "dropped")
    released.set()
    assert any("for lack of room" in slow.next()[1] for _ in range(QUEUE_MAX))


def test_a_failure_is_tried_again_logged_and_stops_nothing(
    clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quantum_trader.alerts.courier.RETRY_S", 0.01)
    answers = iter(["refused", "refused", "refused", ""])
    address, outcomes = Address(lambda: next(answers)), Outcomes()
    with capture_logs() as lines:
        busy = desk(address, clock=clock, report=outcomes)
        busy.tell(KILL)
        assert outcomes.next() == ("kill", "failed")
        busy.tell(LAG)
        assert outcomes.next() == ("lag", "sent")
    failed = [line for line in lines if line["event"] == "alert_not_sent"]
    assert [(line["alert"], line["problem"]) for line in failed] == [("kill", "refused")]


def test_an_exception_of_a_library_is_a_failure_like_any_other(
    clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quantum_trader.alerts.courier.TRIES", 1)

    def explode() -> str:
        raise OSError("socket with https://secret")

    outcomes = Outcomes()
    with capture_logs() as lines:
        busy = desk(Address(explode), clock=clock, report=outcomes)
        busy.tell(KILL)
        assert outcomes.next() == ("kill", "failed")
        busy.stop()
    assert "secret" not in str(lines)
    assert any(line.get("problem") == "OSError" for line in lines)


def test_stopping_sends_what_waits(clock: HandClock) -> None:
    address = Address()
    busy = desk(address, clock=clock)
    busy.tell(KILL)
    busy.tell(LAG)
    busy.stop()
    assert address.arrived.qsize() == 2


def test_a_kind_that_was_not_chosen_is_not_told(clock: HandClock) -> None:
    address = Address()
    busy = AlertDesk([address], Limits({AlertKind.LAG}, 300, 60), clock, origin="drill")
    busy.start()
    busy.tell(KILL)
    busy.tell(LAG)
    busy.stop()
    assert [address.next()[0] for _ in range(address.arrived.qsize())] == ["drill: lag"]


def test_an_event_with_missing_fields_is_told_all_the_same() -> None:
    alert = alert_of({"event": "BSC_FORCE_CLOSE", "symbol": "SOLUSDT"})
    assert alert is not None
    assert "unknown reason" in alert.text
    assert alert_of({"event": "BSC_HEALTH_CHECK"}) is None
    assert alert_of({}) is None


def test_an_address_that_nobody_knows_is_named_by_its_number_and_not_shown() -> None:
    with pytest.raises(AlertsUnusable, match="number 2") as unusable:
        apprise_sinks(["json://127.0.0.1:9/", "nonsense-with-secret"])
    assert "secret" not in str(unusable.value)


def test_without_the_extra_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "apprise", None)
    assert apprise_sinks([]) == []
    with pytest.raises(AlertsUnusable, match=r"quantum-trader\[alerts\]"):
        apprise_sinks(["json://127.0.0.1:9/"])
