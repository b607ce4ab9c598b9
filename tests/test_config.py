"""config.toml and the environment: every key with its default, every mistake named with its cure."""

import os
import re
import tomllib
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from quantum_trader.config import (
    Config,
    ConfigError,
    TradingMode,
    config_leaves,
    environment_names,
    load_config,
    origin_of,
)
from quantum_trader.credentials import Credentials, load_credentials
from quantum_trader.essentials import load_essentials

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "config.toml"
SECRETS = (
    "BINANCE_API_KEY",
    "BINANCE_API_SECRET",
    "BINANCE_TESTNET_API_KEY",
    "BINANCE_TESTNET_API_SECRET",
)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Start each test without settings in the environment and without a config.toml beside it."""
    names = [name for name in os.environ if name.startswith("QT_")]
    for name in (*names, *SECRETS, *(f"{secret}_FILE" for secret in SECRETS)):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "given.toml"
    path.write_text(text, encoding="utf-8")
    return path


def problem_of(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigError) as refused:
        load_config(written(tmp_path, text))
    return str(refused.value)


def at(node: Any, location: tuple[str, ...]) -> Any:
    """Return the value at ``location`` of nested tables or records; KeyError if there is none."""
    for part in location:
        node = node[part] if isinstance(node, dict) else getattr(node, part)
    return node


# -- the file in the repository


@pytest.mark.parametrize("location", config_leaves(), ids=".".join)
def test_the_shipped_file_holds_every_key_with_its_default_and_a_comment(location: tuple[str, ...]) -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    default = at(Config.model_construct(), location)
    key = re.escape(location[-1])
    table = "" if len(location) == 1 else f"[{'.'.join(location[:-1])}]"
    section = text.partition(f"{table}\n")[2].partition("\n[")[0] if table else text.partition("\n[")[0]
    line = re.search(rf"^# .+\n(# )?{key} = .+$", section, re.MULTILINE)
    assert line, f"{'.'.join(location)} is not in config.toml with a comment above it"
    if default is None:
        assert line.group(1), "a key without default is shown, and commented out"
        return
    content = at(tomllib.loads(text, parse_float=Decimal), location)
    shown = tuple(content) if isinstance(content, list) else content
    assert type(default)(shown) == default


def test_the_shipped_file_loads_and_equals_the_defaults() -> None:
    assert load_config(SHIPPED) == Config()
    assert load_config(SHIPPED).hash == Config().hash


def test_without_a_file_the_defaults_are_a_paper_engine() -> None:
    config = load_config()
    assert (config.mode, config.confirm_live, config.redis.url) == (TradingMode.PAPER, False, "embedded")
    assert config.rest_url == ""


@pytest.mark.parametrize(
    ("location", "default"),
    [
        ("gates.rate_limit.per_symbol_s", 30),
        ("gates.rate_limit.global_per_min", 5),
        ("gates.rate_limit.per_symbol_5min_max", 2),
        ("gates.rate_limit.per_symbol_hour_max", 3),
        ("gates.rate_limit.global_cooldown_s", 300),
        ("gates.rate_limit.exits_per_min", 60),
        ("gates.margin_guard.buffer", Decimal("1.25")),
        ("gates.margin_guard.failures_max", 5),
        ("gates.margin_guard.failure_window_s", 300),
        ("gates.margin_guard.symbol_cooldown_s", 300),
        ("gates.margin_guard.global_cooldown_s", 300),
        ("gates.margin_guard.safe_mode_s", 900),
        ("gates.margin_guard.usage_max", Decimal("0.65")),
        ("gates.margin_guard.leverage_max", 10),
        ("gates.fund_caps.max_open_positions", 10),
        ("gates.fund_caps.max_notional_per_trade_usdt", 200),
        ("gates.fund_caps.max_total_notional_usdt", 2000),
        ("gates.fund_caps.symbol_cooldown_s", 60),
        ("gates.active_slots.base", 4),
        ("gates.active_slots.trend_strong", 6),
        ("gates.active_slots.chop", 3),
        ("gates.active_slots.max_correlation", Decimal("0.80")),
        ("gates.active_slots.correlation_mode", "shadow"),
        ("gates.position_sanity.stale_s", 10),
        ("gates.position_sanity.cooldown_s", 15),
        ("gates.position_sanity.qty_tolerance", Decimal("0.01")),
        ("gates.position_sanity.allow_add", False),
        ("gates.exchange_sizing.allow_upsize", False),
        ("gates.exchange_sizing.mark_price_max_age_s", 5),
        ("gates.kill_score.critical", Decimal("0.8")),
        ("gates.idempotency.terminal_ttl_s", 3600),
        ("intake.max_age_s", 60),
        ("intake.exit_max_age_s", 300),
        ("redis.allow_volatile", False),
    ],
)
def test_the_defaults_are_those_of_the_specification(location: str, default: object) -> None:
    assert at(Config(), tuple(location.split("."))) == default


# -- mistakes


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("colour = 1", ["colour", "unknown key", "config schema"]),
        ("[gates.fund_caps]\nmax_positions = 3", ["gates.fund_caps.max_positions", "unknown key"]),
        ("[gates.p42]\nmode = 'off'", ["gates.p42", "unknown key"]),
        (
            "[gates.fund_caps]\nmax_open_positions = 0",
            ["gates.fund_caps.max_open_positions", "0", "at least 1"],
        ),
        ("[gates.fund_caps]\nmax_open_positions = 2.5", ["max_open_positions", "2.5", "whole number"]),
        ("[gates.fund_caps]\nmax_open_positions = 'many'", ["max_open_positions", "'many'", "number"]),
        ("[gates.fund_caps]\nmax_open_positions = true", ["max_open_positions", "True"]),
        ("[gates.fund_caps]\nmax_open_positions = '5'", ["max_open_positions", "'5'"]),
        ("[gates.fund_caps]\nmax_total_notional_usdt = nan", ["max_total_notional_usdt", "finite"]),
        ("[gates.fund_caps]\nmax_total_notional_usdt = inf", ["max_total_notional_usdt", "finite"]),
        (
            "[gates.fund_caps]\nmax_total_notional_usdt = -1",
            ["max_total_notional_usdt", "-1", "greater than 0"],
        ),
        ("[gates.fund_caps]\nmode = 'warn'", ["gates.fund_caps.mode", "'warn'", "shadow"]),
        ("[gates.kill_switch]\nmode = 'off'", ["gates.kill_switch.mode", "'off'", "must be 'enforce'"]),
        ("[gates.position_sanity]\nallow_add = 'no'", ["allow_add", "'no'"]),
        ("[gates.position_sanity]\nallow_add = 1", ["allow_add", "1"]),
        ("confirm_live = 'yes'", ["confirm_live", "'yes'"]),
        ("mode = 'real'", ["mode", "'real'", "paper"]),
        ("mode = 3", ["mode", "3"]),
        ("state_dir = 3", ["state_dir", "3"]),
        ("symbols = []", ["symbols", "at least 1"]),
        ("symbols = ['btcusdt']", ["symbols", "'btcusdt'", "BTCUSDT"]),
        ("symbols = [1]", ["symbols", "1", "text"]),
        ("redis = 'embedded'", ["redis", "'embedded'"]),
        ("[redis]\nurl = 'localhost:6379'", ["redis.url", "redis://", "embedded"]),
        ("[redis]\nurl = 'redis://me:pa/ss@host'", ["redis.url", "[redacted]", "%2F"]),
        ("[redis]\nurl = 'redis://host/quantum'", ["redis.url", "'redis://host/quantum'", "by its number"]),
        ("[redis]\nurl = 'unix:///x.sock?db=one'", ["redis.url", "by its number"]),
        ("[redis]\nnamespace = 'a:b'", ["redis.namespace", "'a:b'"]),
        ("[exchange]\nrecv_window_ms = 60001", ["exchange.recv_window_ms", "60001", "60000"]),
    ],
)
def test_a_mistake_is_refused_with_file_key_value_and_what_is_right(
    tmp_path: Path, text: str, named: list[str]
) -> None:
    problem = problem_of(tmp_path, text)
    assert "given.toml" in problem
    for part in named:
        assert part in problem


def test_every_mistake_is_named_at_once_one_a_line(tmp_path: Path) -> None:
    problem = problem_of(tmp_path, "colour = 1\n[intake]\nmax_age_s = 0\n[log]\nlevel = 'loud'")
    assert len(problem.splitlines()) == 3


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("mode = 'live'", "confirm_live = true"),
        (
            "mode = 'live'\nconfirm_live = true\n[exchange]\nrest_url = 'https://demo-fapi.binance.com'",
            "remove it",
        ),
        ("mode = 'paper'\n[exchange]\nrest_url = 'https://fapi.binance.com'", "remove it"),
        ("mode = 'testnet'\n[exchange]\nrest_url = 'https://fapi.binance.com'", "remove it"),
        ("mode = 'testnet'\n[exchange]\nrest_url = 'https://FAPI.Binance.com/'", "remove it"),
        ("mode = 'paper'\n[exchange]\nstream_url = 'wss://fstream.binance.com'", "exchange.stream_url"),
        ("mode = 'testnet'\n[exchange]\nstream_url = 'wss://fstream.binance.com'", "remove it"),
        ("mode = 'testnet'\n[exchange]\nws_api_url = 'wss://ws-fapi.binance.com/x'", "remove it"),
        (
            "mode = 'live'\nconfirm_live = true\n[exchange]\nws_api_url = 'wss://proxy.test/ws-fapi/v1'",
            "exchange.ws_api_url",
        ),
    ],
)
def test_inc_84_a_contradiction_is_refused_with_its_cure(tmp_path: Path, text: str, cure: str) -> None:
    assert cure in problem_of(tmp_path, text)


@pytest.mark.parametrize(
    ("mode", "url"),
    [
        ("paper", ""),
        ("testnet", "https://demo-fapi.binance.com"),
        ("dry_run", "https://fapi.binance.com"),
        ("live", "https://fapi.binance.com"),
    ],
)
def test_inc_84_one_setting_decides_the_endpoint(mode: str, url: str) -> None:
    config = Config(mode=TradingMode(mode), confirm_live=True)
    assert config.rest_url == url
    assert config.sends_orders is (mode != "dry_run")
    assert config.bsc_required is (mode == "live")


@pytest.mark.parametrize("mode", ["testnet", "dry_run"])
def test_a_proxy_or_simulator_may_stand_in_where_no_real_money_is(tmp_path: Path, mode: str) -> None:
    path = written(tmp_path, f"mode = '{mode}'\n[exchange]\nrest_url = 'http://127.0.0.1:9000/'")
    assert load_config(path).rest_url == "http://127.0.0.1:9000"


@pytest.mark.parametrize(
    ("mode", "ws_api_url", "stream_url"),
    [
        ("paper", "", ""),
        ("testnet", "wss://testnet.binancefuture.com/ws-fapi/v1", "wss://demo-fstream.binance.com"),
        ("dry_run", "wss://ws-fapi.binance.com/ws-fapi/v1", "wss://fstream.binance.com"),
        ("live", "wss://ws-fapi.binance.com/ws-fapi/v1", "wss://fstream.binance.com"),
    ],
)
def test_inc_84_streams_and_websocket_api_follow_the_mode(
    mode: str, ws_api_url: str, stream_url: str
) -> None:
    endpoints = Config(mode=TradingMode(mode), confirm_live=True).endpoints
    assert (endpoints.ws_api_url, endpoints.stream_url) == (ws_api_url, stream_url)


def test_inc_84_where_rest_is_overridden_streams_of_another_venue_are_never_followed(tmp_path: Path) -> None:
    path = written(tmp_path, "mode = 'testnet'\n[exchange]\nrest_url = 'https://proxy.test:9/'")
    endpoints = load_config(path).endpoints
    assert endpoints.ws_api_url == "wss://proxy.test:9/ws-fapi/v1"
    assert endpoints.stream_url == "wss://proxy.test:9"


@pytest.mark.parametrize(
    ("key", "url", "cure"),
    [
        ("stream_url", "https://127.0.0.1:9000", "wss://host[:port]"),
        ("stream_url", "wss://", "wss://host[:port]"),
        ("ws_api_url", "proxy.test/ws-fapi/v1", "ws://host[:port]"),
        ("rest_url", "foo", "https://host[:port]"),
        ("rest_url", "wss://proxy.test", "https://host[:port]"),
        ("rest_url", "http://proxy.test:port", "https://host[:port]"),
        ("rest_url", "https://proxy.test/?a=1", "without user, password and query"),
    ],
)
def test_what_is_no_endpoint_is_refused(tmp_path: Path, key: str, url: str, cure: str) -> None:
    path = written(tmp_path, f"mode = 'testnet'\n[exchange]\n{key} = '{url}'")
    loaders: list[Callable[[Path], object]] = [load_config]
    if key == "rest_url":  # BSC reads no other
        loaders.append(load_essentials)
    for load in loaders:
        with pytest.raises(ConfigError) as refused:
            load(path)
        for part in (f"exchange.{key}", f"'{url}'", cure):
            assert part in str(refused.value)


@pytest.mark.parametrize("content", [b"mode = ", b"\xff\xfe", b"mode = 'paper'\nmode = 'live'"])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "given.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"given\.toml: is not valid TOML"):
        load_config(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--config PATH"):
        load_config(tmp_path / "nowhere.toml")


# -- the environment


@pytest.mark.parametrize(
    ("name", "text", "location", "value"),
    [
        ("QT_MODE", "testnet", ("mode",), "testnet"),
        ("QT_REDIS__URL", "redis://127.0.0.1:7000/0", ("redis", "url"), "redis://127.0.0.1:7000/0"),
        ("QT_GATES__FUND_CAPS__MAX_OPEN_POSITIONS", "7", ("gates", "fund_caps", "max_open_positions"), 7),
        ("QT_GATES__MARGIN_GUARD__BUFFER", "1.5", ("gates", "margin_guard", "buffer"), Decimal("1.5")),
        ("QT_GATES__POSITION_SANITY__ALLOW_ADD", "true", ("gates", "position_sanity", "allow_add"), True),
        ("QT_SYMBOLS", "BTCUSDT, ETHUSDT", ("symbols",), ("BTCUSDT", "ETHUSDT")),
        ("QT_SYMBOLS", '["BTCUSDT"]', ("symbols",), ("BTCUSDT",)),
        ("QT_STATE_DIR", "/var/lib/x", ("state_dir",), Path("/var/lib/x")),
        ("QT_PAPER__KLINES", "/data/a.csv", ("paper", "klines"), ("/data/a.csv",)),
        ("QT_PAPER__KLINES", "/my files/a.csv, b.json", ("paper", "klines"), ("/my files/a.csv", "b.json")),
        ("QT_PAPER__KLINES", '["a.csv"]', ("paper", "klines"), ("a.csv",)),
    ],
)
def test_the_environment_wins_over_the_file(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, location: tuple[str, ...], value: object
) -> None:
    monkeypatch.setenv(name, text)
    assert at(load_config(SHIPPED), location) == value
    assert origin_of(location, SHIPPED) == "environment"


def test_a_table_set_partly_by_the_environment_keeps_the_rest_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "[gates.fund_caps]\nmax_open_positions = 3\nsymbol_cooldown_s = 9")
    monkeypatch.setenv("QT_GATES__FUND_CAPS__SYMBOL_COOLDOWN_S", "1")
    caps = load_config(path).gates.fund_caps
    assert (caps.max_open_positions, caps.symbol_cooldown_s) == (3, 1)
    assert origin_of(("gates", "fund_caps", "max_open_positions"), path) == str(path)
    assert origin_of(("gates", "fund_caps", "mode"), path) == "default"


@pytest.mark.parametrize("name", ["QT_MODES", "QT_GATES__FUND_CAPS__MAX", "QT_REDIS_URL", "QT_GATES"])
def test_an_unknown_name_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(ConfigError, match=name):
        load_config()


def test_a_bad_value_in_the_environment_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QT_GATES__FUND_CAPS__MAX_OPEN_POSITIONS", "many")
    with pytest.raises(ConfigError, match="environment QT_GATES__FUND_CAPS__MAX_OPEN_POSITIONS") as refused:
        load_config(SHIPPED)
    assert "'many'" in str(refused.value)


def test_a_bad_entry_of_a_list_in_the_environment_is_named_by_its_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QT_ALERTS__EVENTS", "kill, nonsense")
    with pytest.raises(ConfigError, match=r"environment QT_ALERTS__EVENTS: alerts\.events = 'nonsense'"):
        load_config()


def test_the_path_of_the_file_may_come_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QT_CONFIG", str(written(tmp_path, "[intake]\nmax_age_s = 5")))
    assert load_config().intake.max_age_s == 5


def test_every_key_has_a_variable_of_its_own() -> None:
    assert len(environment_names()) == len(config_leaves())


# -- what it becomes


def test_inc_94_the_hash_follows_every_value() -> None:
    assert Config().hash == Config().hash
    assert len(Config().hash) == 12
    assert Config(intake={"max_age_s": 61}).hash != Config().hash  # type: ignore[arg-type]


def test_terms_of_the_gates_come_from_their_tables(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "symbols = ['ETHUSDT']\n[gates.position_sanity]\nstale_s = 4\n"
        "[gates.exchange_sizing]\nallow_upsize = true\nmark_price_max_age_s = 2.5\n"
        "[gates.margin_guard]\nleverage_max = 3",
    )
    terms = load_config(path).terms
    assert terms.allowed_symbols == {"ETHUSDT"}
    assert (terms.position_age_ms_max, terms.mark_age_ms_max, terms.leverage_max) == (4000, 2500, 3)
    assert terms.sizing.allow_upsize
    assert terms.sizing.notional_usdt_max == 200


@pytest.mark.parametrize("mode", ["shadow", "off"])
def test_a_cap_that_does_not_enforce_makes_nothing_infeasible(tmp_path: Path, mode: str) -> None:
    path = written(tmp_path, f"[gates.fund_caps]\nmode = '{mode}'")
    assert load_config(path).terms.sizing.notional_usdt_max is None


# -- keys of the exchange


def config_for(mode: str) -> Config:
    return Config(mode=TradingMode(mode), confirm_live=True)


@pytest.mark.parametrize(
    ("mode", "prefix"),
    [("live", "BINANCE_API"), ("dry_run", "BINANCE_API"), ("testnet", "BINANCE_TESTNET_API")],
)
def test_inc_84_each_mode_takes_the_keys_of_its_own_exchange(
    monkeypatch: pytest.MonkeyPatch, mode: str, prefix: str
) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, f"value of {name}")
    credentials = load_credentials(config_for(mode))
    assert credentials.api_key == f"value of {prefix}_KEY"
    assert credentials.api_secret == f"value of {prefix}_SECRET"


def test_secrets_may_come_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BINANCE_TESTNET_API_KEY", "BINANCE_TESTNET_API_SECRET"):
        (tmp_path / name).write_text(f"in {name}\n", encoding="utf-8")
        monkeypatch.setenv(f"{name}_FILE", str(tmp_path / name))
    credentials = load_credentials(config_for("testnet"))
    assert credentials == Credentials("in BINANCE_TESTNET_API_KEY", "in BINANCE_TESTNET_API_SECRET")


def test_a_secret_file_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINANCE_TESTNET_API_KEY_FILE", "/nowhere/key")
    with pytest.raises(ConfigError, match=r"BINANCE_TESTNET_API_KEY_FILE: /nowhere/key"):
        load_credentials(config_for("testnet"))


@pytest.mark.parametrize("given", [(), ("KEY",), ("SECRET",)])
def test_missing_keys_are_named(monkeypatch: pytest.MonkeyPatch, given: tuple[str, ...]) -> None:
    for part in given:
        monkeypatch.setenv(f"BINANCE_TESTNET_API_{part}", "x")
    missing = "SECRET" if given == ("KEY",) else "KEY"
    with pytest.raises(ConfigError, match=f"needs BINANCE_TESTNET_API_{missing}"):
        load_credentials(config_for("testnet"))


@pytest.mark.parametrize("mode", ["live", "testnet"])
def test_inc_84_the_same_key_for_both_exchanges_is_refused(
    monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, "same-key-everywhere")
    with pytest.raises(ConfigError, match="same key") as refused:
        load_credentials(config_for(mode))
    assert "same-key-everywhere" not in str(refused.value)


def test_no_text_of_credentials_or_config_shows_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, f"hidden-{name}")
    config = config_for("testnet")
    credentials = load_credentials(config)
    for text in (
        repr(credentials),
        str(credentials),
        f"{credentials}",
        repr(config),
        config.model_dump_json(),
    ):
        assert "hidden-" not in text


def test_paper_needs_no_keys() -> None:
    assert load_credentials(Config()).api_key == "paper"
