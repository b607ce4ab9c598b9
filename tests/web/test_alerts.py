"""Every alert, fired on a real engine and received by a real address."""

import contextlib
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.alert_sink import alert_sink
from support.house import WIDE_GATES, House, house, until

from quantum_trader.alerts.kinds import AlertKind
from quantum_trader.bsc.events import Event
from quantum_trader.bsc.health import Authority, Health, State
from quantum_trader.domain.clock import SystemClock
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.exchange.simulator import FaultKind
from quantum_trader.web.view import EngineView

pytestmark = [pytest.mark.drill, pytest.mark.usefixtures("account")]

Fire = Callable[[House, pytest.MonkeyPatch], Awaitable[Any]]
HOUR_MS = 3_600_000


async def _kill(running: House, _: pytest.MonkeyPatch) -> None:
    await running.redis.set(running.keys.kill, "1")


async def _safe_mode(running: House, _: pytest.MonkeyPatch) -> None:
    await running.redis.set(running.keys.safe_mode, "1", ex=60)


async def _disarm(running: House, _: pytest.MonkeyPatch) -> None:
    await running.redis.set(running.keys.disarmed, '{"reason": "too many bursts", "time": 1}')


def _bsc(running: House) -> Any:
    bsc = running.app._bsc
    assert bsc is not None
    return bsc._offices.sink


async def _bsc_close(running: House, _: pytest.MonkeyPatch) -> None:
    _bsc(running).event(
        Event.FORCE_CLOSE, symbol="SOLUSDT", reason="MAX_LOSS_BREACH", pnl_pct=Decimal("-3.1")
    )


async def _bsc_close_failed(running: House, _: pytest.MonkeyPatch) -> None:
    _bsc(running).event(Event.CLOSE_FAILED, symbol="SOLUSDT", reason="MAX_LOSS_BREACH", error="no answer")


async def _bsc_blind(running: House, _: pytest.MonkeyPatch) -> None:
    await running.until_watched()
    _bsc(running).health(Health(State.BLIND, Authority.CONTROLLER, 10.0, None, 3))


async def _bsc_demoted(running: House, _: pytest.MonkeyPatch) -> None:
    await running.until_watched()
    _bsc(running).health(Health(State.OK, Authority.OBSERVER, 0.0, SystemClock().now_ms(), 3))


async def _unknown_outcome(running: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quantum_trader.web.watch.UNKNOWN_AFTER_MS", 200)
    await running.open("BNBUSDT", 1)  # from now on plans are first deliveries, not asked for beforehand
    running.fault(FaultKind.STREAM_SILENCE, path="/private", ms=60_000, count=100)
    running.spoil_order(FaultKind.RESET_AFTER)
    running.fault(
        FaultKind.STATUS_BEFORE, preset="503_unknown", count=10_000, method="GET", path="/fapi/v1/order"
    )
    await running.submit(symbol="XRPUSDT", side="BUY", qty=20, reduceOnly="false")


async def _expired_exit(running: House, _: pytest.MonkeyPatch) -> None:
    await running.open("XRPUSDT", 20)
    late_ms = SystemClock().now_ms() - HOUR_MS
    await running.submit(symbol="XRPUSDT", side="SELL", qty=20, reduceOnly="true", timestamp=late_ms)


async def _exit_failed(running: House, _: pytest.MonkeyPatch) -> None:
    await running.open("XRPUSDT", 20)
    unanswered: dict[str, Any] = {"preset": "503_unknown", "count": 10_000}
    running.fault(FaultKind.STATUS_BEFORE, **unanswered, method="GET", path="/fapi/v3/positionRisk")
    account = running.app.joined.rooms.account  # type: ignore[union-attr]
    with contextlib.suppress(ExchangeError):
        await account.refresh_positions()  # a read that began before the fault is over then

    async def stale() -> bool:
        return SystemClock().now_ms() - account.positions.read_at_ms > 1_000  # type: ignore[union-attr]

    await until(stale, 10, "the positions to be stale")
    assert (await running.close("XRPUSDT"))["reason"] == "exit_unsized"


async def _foreign_order(running: House, _: pytest.MonkeyPatch) -> None:
    await running.trade("ETHUSDT", "BUY", Decimal("0.05"), "somebody-else-1")


async def _low_margin(running: House, _: pytest.MonkeyPatch) -> None:
    await running.open("XRPUSDT", 20)


async def _lag(_: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quantum_trader.web.watch.LAG_AFTER_MS", 500)
    monkeypatch.setattr(EngineView, "waiting", 500)


async def _no_executions(running: House, _: pytest.MonkeyPatch) -> None:
    await running.open("XRPUSDT", 20, kill_score="0.95")


async def _config_error(running: House, _: pytest.MonkeyPatch) -> None:
    await _publish(running, event="CONFIG_REFUSED", error="gates.fund_caps.x: unknown key")


async def _plans_lost(running: House, _: pytest.MonkeyPatch) -> None:
    await _publish(running, event="PLANS_LOST", count="3")


async def _not_ready(running: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quantum_trader.web.watch.NOT_READY_AFTER_MS", 500)
    running.venue.faults.clear()
    running.fault(FaultKind.STATUS_BEFORE, preset="503_unknown", count=10_000)
    monkeypatch.setattr("quantum_trader.web.readiness.POSITIONS_AGE_MS_MAX", 8_000)


async def _publish(running: House, **fields: Any) -> None:
    await running.redis.xadd(running.keys.governor_events, fields)


FIRES: dict[AlertKind, tuple[Fire, str]] = {
    AlertKind.KILL: (_kill, "nothing trades"),
    AlertKind.SAFE_MODE: (_safe_mode, "margin was short"),
    AlertKind.DISARMED: (_disarm, "too many bursts"),
    AlertKind.BSC_CLOSE: (_bsc_close, "SOLUSDT (MAX_LOSS_BREACH), pnl -3.1 %"),
    AlertKind.BSC_CLOSE_FAILED: (_bsc_close_failed, "no answer"),
    AlertKind.BSC_BLIND: (_bsc_blind, "does not see"),
    AlertKind.BSC_DEMOTED: (_bsc_demoted, "demoted"),
    AlertKind.UNKNOWN_OUTCOME: (_unknown_outcome, "has been unknown"),
    AlertKind.EXPIRED_EXIT: (_expired_exit, "XRPUSDT came too late"),
    AlertKind.EXIT_FAILED: (_exit_failed, "XRPUSDT was not carried out (exit_unsized): No position read"),
    AlertKind.FOREIGN_ORDER: (_foreign_order, "ETHUSDT"),
    AlertKind.LOW_MARGIN: (_low_margin, "is free"),
    AlertKind.LAG: (_lag, "500 plans wait"),
    AlertKind.NO_EXECUTIONS: (_no_executions, "kill_score_critical_open"),
    AlertKind.CONFIG_ERROR: (_config_error, "unknown key"),
    AlertKind.PLANS_LOST: (_plans_lost, "trimmed"),
    AlertKind.NOT_READY: (_not_ready, "positions"),
}
SETTINGS: dict[AlertKind, dict[str, Any]] = {
    AlertKind.LOW_MARGIN: {"free_margin_min": "1"},
    AlertKind.NO_EXECUTIONS: {"no_executions_h": "0.0001"},
}

ENGINES: dict[AlertKind, dict[str, Any]] = {
    AlertKind.EXIT_FAILED: {
        "intake": {"exit_max_age_s": 2},
        "gates": WIDE_GATES | {"position_sanity": {"stale_s": 1}},
    },
}


def test_every_alert_has_its_drill() -> None:
    assert set(FIRES) == set(AlertKind)


@pytest.mark.parametrize("kind", list(FIRES), ids=str)
async def test_the_alert_arrives(tmp_path: Path, kind: AlertKind, monkeypatch: pytest.MonkeyPatch) -> None:
    fire, words = FIRES[kind]
    async with alert_sink() as sink:
        alerts = {"urls": (sink.url,), "events": (kind,), **SETTINGS.get(kind, {})}
        async with house(tmp_path, alerts=alerts, **ENGINES.get(kind, {})) as running:
            await fire(running, monkeypatch)
            await until(lambda: _told(sink, words), 30, kind.value)
            running.venue.faults.clear()
    assert set(sink.kinds()) == {kind.value}
    assert kind.advice in sink.text_of(kind)


async def _told(sink: Any, words: str) -> bool:
    return any(words in str(message["message"]) for message in sink.messages)


async def _counted(running: House, results: int) -> bool:
    return running.app.web.view.feed.number == results


async def test_inc_95_days_without_executions_are_told_with_the_top_reasons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with alert_sink() as sink:
        alerts = {"urls": (sink.url,), "events": ("no_executions",)}
        async with house(tmp_path, alerts=alerts) as running:
            assert (await running.open("XRPUSDT", 20))["decision"] == "FILLED"
            for _ in range(3):
                await running.open("BTCUSDT", 20, kill_score="0.95")
            await until(lambda: _counted(running, 4), 30, "the results to be counted")
            monkeypatch.setattr("quantum_trader.web.watch.HOUR_MS", 1)  # all of them are hours old now
            await until(lambda: _told(sink, "3 × kill_score: kill_score_critical_open"), 30, "the alert")


async def test_a_dead_address_disturbs_neither_the_engine_nor_the_other_address(tmp_path: Path) -> None:
    async with alert_sink() as dead, alert_sink() as alive:
        dead.broken = True
        async with house(tmp_path, alerts={"urls": (dead.url, alive.url)}) as running:
            await running.redis.set(running.keys.kill, "opens")
            await until(lambda: _knows_of_the_kill(alive), 30, "the alert at the address that works")
            await running.redis.delete(running.keys.kill)
            assert (await running.open())["decision"] == "FILLED"
    assert dead.messages == []


async def _knows_of_the_kill(sink: Any) -> bool:
    return "kill" in sink.kinds()


async def test_an_order_of_unknown_outcome_is_listed_until_it_is_known(running: House) -> None:
    joined = running.app._joined
    assert joined is not None
    await running.open("BNBUSDT", 1)  # from now on plans are first deliveries, not asked for beforehand
    running.fault(FaultKind.STREAM_SILENCE, path="/private", ms=60_000, count=100)
    running.spoil_order(FaultKind.RESET_AFTER)
    running.fault(
        FaultKind.STATUS_BEFORE, preset="503_unknown", count=10_000, method="GET", path="/fapi/v1/order"
    )
    plan_id = await running.submit(symbol="XRPUSDT", side="BUY", qty=20, reduceOnly="false")

    async def listed() -> bool:
        return len(joined.rooms.unresolved_since_ms) == 1

    await until(listed, 20, "the order to be listed")
    running.venue.faults.clear()
    assert (await running.result(plan_id))["decision"] == "FILLED"
    assert joined.rooms.unresolved_since_ms == {}
