"""BSC starts on the few settings that it needs, whatever is wrong with the others (SPEC 10)."""

from __future__ import annotations

from pathlib import Path

import pytest

from quantum_trader.config import Config
from quantum_trader.essentials import load_essentials, load_reach
from quantum_trader.trading_mode import ConfigError, TradingMode


def write(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text)
    return path


def test_it_agrees_with_the_whole_configuration(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        'mode = "testnet"\nstate_dir = "here"\n[redis]\nurl = "redis://r:1"\nnamespace = "q"\n'
        '[exchange]\nrest_url = "http://127.0.0.1:9/"\nrecv_window_ms = 900\nrequest_timeout_s = 2\n',
    )
    mine = load_essentials(path)
    whole = Config(
        mode="testnet",
        state_dir="here",
        redis={"url": "redis://r:1", "namespace": "q"},
        exchange={"rest_url": "http://127.0.0.1:9/", "recv_window_ms": 900, "request_timeout_s": 2},
    )
    assert (mine.mode, mine.state_dir, mine.rest_url) == (whole.mode, whole.state_dir, whole.rest_url)
    assert (mine.redis_url, mine.namespace) == (whole.redis.url, whole.redis.namespace)
    assert (mine.recv_window_ms, mine.request_timeout_s) == (900, 2)
    assert mine.warnings == ()


def test_defaults_agree_with_the_whole_configuration(tmp_path: Path) -> None:
    mine, whole = load_essentials(write(tmp_path, "")), Config()
    assert (mine.mode, mine.state_dir, mine.namespace) == (whole.mode, whole.state_dir, whole.redis.namespace)
    assert mine.recv_window_ms == whole.exchange.recv_window_ms
    assert mine.request_timeout_s == float(whole.exchange.request_timeout_s)


@pytest.mark.parametrize(
    "trouble",
    [
        "unknown_key = 1\n",
        '[gates.fund_caps]\nmax_open_positions = "many"\n',
        "[gates.fund_caps\nmax_open_positions = = 1\n",
        "[intake]\nmax_age_s = \n[log]\nlevel = [\n",
        '[redis]\nurl = "sentinel://x"\nnamespace = "a b"\n',
        "[exchange]\nrecv_window_ms = -5\n",
    ],
)
def test_errors_elsewhere_do_not_keep_it_from_starting(tmp_path: Path, trouble: str) -> None:
    head = 'state_dir = "s"\n' if trouble.startswith("[") else ""
    mine = load_essentials(write(tmp_path, f'mode = "testnet"\n{head}{trouble}'))
    assert mine.mode is TradingMode.TESTNET


@pytest.mark.parametrize(
    "trouble",
    [
        "[redis]\nurl = 5\n",
        '[redis]\nurl = "redis://r:1"\nnamespace = 5\n',
        '[redis]\nurl = = "redis://r:1"\n',
        '[redis\nurl = "redis://r:1\n',
        "redis = 5\n",
    ],
)
def test_what_only_concerns_redis_costs_redis_and_not_the_watch(
    tmp_path: Path, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, f'mode = "testnet"\n{trouble}')
    mine = load_essentials(path)
    assert (mine.mode, mine.redis_url, mine.namespace) == (TradingMode.TESTNET, "", "quantum")
    assert "redis" in mine.warnings[-1]
    assert "spool" in mine.warnings[-1]
    with pytest.raises(ConfigError, match="redis"):
        load_reach(path)
    monkeypatch.setenv("QT_REDIS__URL", "redis://elsewhere")
    monkeypatch.setenv("QT_REDIS__NAMESPACE", "other")
    assert load_essentials(path).redis_url == load_reach(path).redis_url == "redis://elsewhere"


def test_alerts_that_cannot_be_read_cost_the_alerts_alone(tmp_path: Path) -> None:
    mine = load_essentials(write(tmp_path, "[alerts]\nurls = = 1\n"))
    assert mine.alert_urls == ()
    assert "nobody is told" in mine.warnings[-1]


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QT_MODE", "dry_run")
    monkeypatch.setenv("QT_REDIS__URL", "redis://elsewhere")
    mine = load_essentials(write(tmp_path, 'mode = "testnet"\n'))
    assert (mine.mode, mine.redis_url, mine.closes) == (TradingMode.DRY_RUN, "redis://elsewhere", False)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('mode = "live"\n', "confirm_live"),
        ('mode = "demo"\n', "must be one of"),
        ('mode = "testnet"\n[exchange]\nrest_url = "https://fapi.binance.com"\n', "is the live exchange"),
        ('mode = "paper"\n[exchange]\nrest_url = "http://x"\n', "contradicts"),
        ("mode = \n", "above all tables"),
    ],
)
def test_it_refuses_what_leaves_open_which_account_to_watch(
    tmp_path: Path, text: str, complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        load_essentials(write(tmp_path, text))
