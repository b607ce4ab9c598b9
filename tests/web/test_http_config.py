"""[http] and [alerts]: what is refused, where the secrets may stand, and that none is ever shown."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from quantum_trader.cli.config import command as config_command
from quantum_trader.config import Config, ConfigError, load_config
from quantum_trader.trading_mode import is_loopback

TOKEN = "0123456789abcdef-token"
ALERT_URL = "tgram://123456789:abcdefg_bot_secret/987654321"


@pytest.fixture(autouse=True)
def own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("QT_HTTP__PORT", raising=False)
    monkeypatch.chdir(tmp_path)


def refused(text: str) -> str:
    Path("config.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as problem:
        load_config()
    return str(problem.value)


def test_the_page_is_on_loopback_by_default() -> None:
    http = load_config().http
    assert (http.host, http.port, http.token.get_secret_value()) == ("127.0.0.1", 8080, "")


@pytest.mark.parametrize("host", ["192.168.1.5", "::", "trader.example"])
def test_another_address_than_loopback_needs_a_token(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = refused(f'[http]\nhost = "{host}"\n')
    assert "QT_HTTP__TOKEN" in problem
    assert "\n" not in problem
    monkeypatch.setenv("QT_HTTP__TOKEN", TOKEN)
    assert load_config().http.host == host


def test_loopback_is_an_address_and_not_a_name_that_anybody_can_point_elsewhere() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"))
    assert not any(is_loopback(host) for host in ("::", "10.0.0.1", "localhost.evil.example", ""))


@pytest.mark.parametrize("token", ["short", "with\ttab-0123456789abcdef", "ⓧ0123456789abcdef"])
def test_a_token_that_can_be_guessed_or_sent_wrongly_is_refused_and_not_shown(token: str) -> None:
    problem = refused(f"[http]\ntoken = {json.dumps(token)}\n")
    assert "openssl rand" in problem
    assert token not in problem


def test_a_secret_of_the_wrong_type_is_not_shown_either() -> None:
    assert "1234567890123456789" not in refused("[http]\ntoken = 1234567890123456789\n")
    assert "bot_secret" not in refused(f'[alerts]\nurls = {{ chat = "{ALERT_URL}" }}\n')


def test_secrets_may_stand_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n", encoding="utf-8")
    (tmp_path / "urls").write_text(f"{ALERT_URL}\njson://127.0.0.1:9/x\n", encoding="utf-8")
    monkeypatch.setenv("QT_HTTP__TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("QT_ALERTS__URLS_FILE", str(tmp_path / "urls"))
    config = load_config()
    assert config.http.token.get_secret_value() == TOKEN
    assert [url.get_secret_value() for url in config.alerts.urls] == [ALERT_URL, "json://127.0.0.1:9/x"]
    monkeypatch.setenv("QT_HTTP__TOKEN", TOKEN)
    with pytest.raises(ConfigError, match="not both"):
        load_config()


def test_a_secret_file_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QT_HTTP__TOKEN_FILE", "/nowhere/token")
    with pytest.raises(ConfigError, match="QT_HTTP__TOKEN_FILE: /nowhere/token cannot be read"):
        load_config()


def test_lists_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QT_ALERTS__URLS", f"{ALERT_URL} json://127.0.0.1:9/x")
    monkeypatch.setenv("QT_ALERTS__EVENTS", "kill, lag")
    monkeypatch.setenv("QT_HTTP__HOSTS", "trader.example")
    config = load_config()
    assert len(config.alerts.urls) == 2
    assert [kind.value for kind in config.alerts.events] == ["kill", "lag"]
    assert config.http.hosts == ("trader.example",)


def test_no_command_shows_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QT_HTTP__TOKEN", TOKEN)
    monkeypatch.setenv("QT_ALERTS__URLS", ALERT_URL)
    for words in (["show"], ["show", "--json"], ["schema"], ["check", "--json"]):
        shown = CliRunner().invoke(config_command, words)
        assert shown.exit_code == 0
        assert TOKEN not in shown.output
        assert "bot_secret" not in shown.output
    rows = {
        row["key"]: row for row in json.loads(CliRunner().invoke(config_command, ["show", "--json"]).output)
    }
    assert rows["http.token"]["origin"] == "environment"
    config = load_config()
    assert TOKEN not in repr(config)
    assert TOKEN not in config.model_dump_json()


def test_the_hash_of_a_configuration_does_not_depend_on_its_secrets() -> None:
    assert Config(http={"token": TOKEN}).hash == Config(http={"token": TOKEN[::-1]}).hash
