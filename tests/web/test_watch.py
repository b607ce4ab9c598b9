"""What results are told of as alerts."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from support.clock import HandClock

from quantum_trader.alerts.desk import Alert
from quantum_trader.alerts.kinds import AlertKind
from quantum_trader.config import Config
from quantum_trader.domain.result import Ended, Result
from quantum_trader.web.view import EngineView
from quantum_trader.web.watch import Watch

HOURS_S = 7 * 3600


class Stand:
    """A watch over an engine that has only results."""

    def __init__(self, state_dir: Path) -> None:
        self.clock = HandClock()
        self.told: list[Alert] = []
        config = Config(mode="paper", state_dir=state_dir)
        self.watch = Watch(EngineView(lambda: config, self.clock), self.told.append)

    def ended(self, decision: Ended, *, reduces: bool = False, effect: str = "", **more: str) -> None:
        filled = Decimal(1) if decision in (Ended.FILLED, Ended.PARTIALLY_FILLED) else Decimal(0)
        self.watch.ended(
            Result(
                "plan-1",
                decision,
                more.get("reason", "some_reason"),
                self.clock.now_ms(),
                "PAPER",
                symbol="XRPUSDT",
                side=more.get("side", "SELL"),
                effect=effect,
                error=more.get("error", ""),
                reduce_only=reduces,
                quantity=Decimal(2),
                filled_quantity=filled,
            )
        )

    def kinds(self) -> list[AlertKind]:
        self.watch.look()
        return [alert.kind for alert in self.told if alert.kind is not AlertKind.NOT_READY]


@pytest.fixture
def stand(tmp_path: Path) -> Stand:
    return Stand(tmp_path)


@pytest.mark.parametrize("decision", [Ended.BLOCKED, Ended.REJECTED, Ended.FAILED, Ended.EXPIRED])
def test_inc_95_opens_that_do_not_get_through_are_told_though_exits_fill(
    stand: Stand, decision: Ended
) -> None:
    stand.ended(decision)
    stand.clock.time_s += HOURS_S
    stand.ended(Ended.FILLED, reduces=True)
    stand.ended(Ended.FILLED, effect="CLOSE")
    assert AlertKind.NO_EXECUTIONS in stand.kinds()


def test_inc_95_an_open_that_fills_and_exits_that_are_refused_are_no_reason(stand: Stand) -> None:
    stand.ended(Ended.BLOCKED)
    stand.clock.time_s += HOURS_S
    stand.ended(Ended.FILLED)
    stand.ended(Ended.BLOCKED, reduces=True)
    stand.ended(Ended.BLOCKED, effect="REDUCE")
    stand.clock.time_s += HOURS_S
    assert AlertKind.NO_EXECUTIONS not in stand.kinds()


def test_an_exit_that_closed_a_part_only_is_told(stand: Stand) -> None:
    stand.ended(Ended.PARTIALLY_FILLED, reduces=True, error="-1008 overloaded")
    (alert,) = stand.told
    assert alert.kind is AlertKind.EXIT_FAILED
    assert alert.text == "the exit plan-1 of XRPUSDT closed 1 of 2 and got no further: -1008 overloaded"


def test_an_open_that_filled_in_part_is_no_lost_exit(stand: Stand) -> None:
    stand.ended(Ended.PARTIALLY_FILLED)
    assert stand.told == []


@pytest.mark.parametrize("exit_by", [{"reduces": True}, {"side": "CLOSE"}, {"effect": "REDUCE"}])
@pytest.mark.parametrize("decision", [Ended.FAILED, Ended.REJECTED])
def test_an_exit_that_was_not_carried_out_is_told(
    stand: Stand, decision: Ended, exit_by: dict[str, str]
) -> None:
    stand.ended(decision, reason="exchange_rejected", error="-1008 overloaded", **exit_by)
    (alert,) = stand.told
    assert alert.kind is AlertKind.EXIT_FAILED
    assert alert.text == (
        "the exit plan-1 of XRPUSDT was not carried out (exchange_rejected): -1008 overloaded"
    )


@pytest.mark.parametrize("decision", [Ended.BLOCKED, Ended.SKIPPED, Ended.FILLED, Ended.DRY_RUN])
def test_an_exit_that_a_gate_stopped_or_that_is_done_is_no_alert(stand: Stand, decision: Ended) -> None:
    stand.ended(decision, reduces=True)
    assert stand.told == []
