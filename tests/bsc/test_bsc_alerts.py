"""A BSC that runs alone tells of its own events, and starts whatever is wrong with the addresses."""

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from support.alert_sink import alert_sink
from support.house import until

from quantum_trader.bsc.events import Event, EventSink
from quantum_trader.bsc.spool import Spool
from quantum_trader.cli.bsc_alerts import alerting
from quantum_trader.domain.clock import SystemClock
from quantum_trader.essentials import load_essentials


@pytest.fixture(autouse=True)
def own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


async def test_a_close_by_a_bsc_alone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with alert_sink() as address:
        monkeypatch.setenv("QT_ALERTS__URLS", address.url)
        essentials = load_essentials()
        assert "sink-secret" not in repr(essentials)
        sink = EventSink(Spool(tmp_path), None, SystemClock())
        async with alerting(essentials, sink):
            sink.event(Event.HEALTH_CHECK, cycle=1)
            sink.event(Event.FORCE_CLOSE, symbol="SOLUSDT", reason="MAX_LOSS_BREACH")

            async def told() -> bool:
                return bool(address.messages)

            await until(told, 30, "the alert")
        assert address.kinds() == ["bsc_close"]


async def test_an_address_that_cannot_be_used_is_logged_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QT_ALERTS__URLS", "nonsense-secret")
    sink = EventSink(Spool(tmp_path), None, SystemClock())
    with capture_logs() as lines:
        async with alerting(load_essentials(), sink):
            sink.event(Event.FORCE_CLOSE, symbol="SOLUSDT")
            await asyncio.sleep(0)
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["alerts_unusable"]
    assert "secret" not in str(lines)


def test_addresses_may_stand_in_the_file_and_a_broken_table_costs_only_the_alerts(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[alerts]\nurls = ["json://a/", "json://b/"]\n', encoding="utf-8")
    assert load_essentials(config).alert_urls == ("json://a/", "json://b/")
    config.write_text('[alerts]\nurls = ["json://a/"\n[gates]\nx = \n', encoding="utf-8")
    broken = load_essentials(config)
    assert broken.alert_urls == ()
    assert any("nobody is told" in warning for warning in broken.warnings)


def test_a_file_of_addresses_that_cannot_be_read_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QT_ALERTS__URLS_FILE", "/nowhere/urls")
    essentials = load_essentials()
    assert essentials.alert_urls == ()
    assert any("alerts.urls" in warning for warning in essentials.warnings)
