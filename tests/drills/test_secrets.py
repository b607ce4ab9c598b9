"""No key and no secret in anything that is printed, logged or stored for people (SPEC 12, 13)."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from pathlib import Path

import pytest
import structlog
from support.commands import run
from support.house import KEY, SECRET, House, exchange

from quantum_trader import log
from quantum_trader.app import App, RedisUnreachable
from quantum_trader.config import Config

PASSWORD = "redis-hunter22"
TOKEN = "token-hunter22-hunter22"
ALERT = "json://user:alert-hunter22@127.0.0.1:1/"
HIDDEN = (KEY, SECRET, PASSWORD, TOKEN, "alert-hunter22")

READING = (
    ["status"],
    ["status", "--json"],
    ["why"],
    ["why", "--json"],
    ["why", "XRPUSDT"],
    ["why", "told"],
    ["why", "told", "--json"],
    ["why", "--dead"],
    ["positions"],
    ["positions", "--json"],
    ["latches", "--json"],
    ["lag"],
    ["verify"],
    ["verify", "--json"],
    ["mode", "--json"],
    ["doctor"],
    ["doctor", "--json"],
    ["config", "check"],
    ["config", "check", "--json"],
    ["config", "show"],
    ["config", "show", "--json"],
    ["config", "schema"],
    ["bsc", "status", "--json"],
    ["close", "XRPUSDT"],
    ["flatten", "--yes", "--json"],
)


@pytest.fixture
def on_the_house(running: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setenv("QT_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("QT_MODE", "testnet")
    monkeypatch.setenv("QT_EXCHANGE__REST_URL", running.url)
    monkeypatch.setenv("QT_HTTP__TOKEN", TOKEN)
    monkeypatch.setenv("QT_ALERTS__URLS", ALERT)
    return running


def secrets_in(text: str) -> list[str]:
    return [secret for secret in HIDDEN if secret in text]


@pytest.mark.parametrize("words", READING, ids=" ".join)
async def test_no_command_prints_a_secret(on_the_house: House, words: list[str]) -> None:
    await on_the_house.open("XRPUSDT", plan_id="told")
    told = await run(*words)
    assert told.exit_code in (0, 1), told.output
    assert told.output
    assert secrets_in(told.output) == []


@pytest.mark.parametrize("words", READING, ids=" ".join)
async def test_no_refusal_prints_one_either(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is wrong at once: the exchange refuses the key, Redis does not answer, the file is bad."""
    async with exchange() as (_, url):
        file = tmp_path / "config.toml"
        file.write_text(f'[http]\ntoken = "{TOKEN}"\nport = "eighty"\n', encoding="utf-8")
        monkeypatch.setenv("QT_CONFIG", str(file))
        monkeypatch.setenv("QT_STATE_DIR", str(tmp_path))
        monkeypatch.setenv("QT_MODE", "testnet")
        monkeypatch.setenv("QT_EXCHANGE__REST_URL", url)
        monkeypatch.setenv("BINANCE_TESTNET_API_KEY", "wrong-" + KEY)
        monkeypatch.setenv("QT_REDIS__URL", f"redis://user:{PASSWORD}@127.0.0.1:9")
        monkeypatch.setenv("QT_ALERTS__URLS", ALERT)
        told = await run(*words)
        assert not isinstance(told.exception, Exception), told.exception
        assert secrets_in(told.output) == [], told.output


async def test_no_log_line_and_no_file_of_a_running_engine_holds_one(tmp_path: Path) -> None:
    async with exchange() as (_, url):
        environment = {
            "QT_STATE_DIR": str(tmp_path / "state"),
            "QT_MODE": "testnet",
            "QT_EXCHANGE__REST_URL": url,
            "QT_HTTP__TOKEN": TOKEN,
            "QT_HTTP__PORT": "0",
            "QT_ALERTS__URLS": ALERT,
            "QT_LOG__LEVEL": "debug",
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "quantum_trader", "run"),
            env={**os.environ, **environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert process.stdout is not None
        lines: list[str] = []
        async with asyncio.timeout(90):
            async for line in process.stdout:
                lines.append(line.decode())
                if '"event":"ready"' in lines[-1]:
                    break
        process.terminate()
        rest, _ = await asyncio.wait_for(process.communicate(), 60)
    said = "".join(lines) + rest.decode()
    assert '"event":"engine_started"' in said
    assert secrets_in(said) == []
    assert [name for name, held in contents(tmp_path).items() if secrets_in(held)] == []


async def test_a_password_in_the_query_of_the_redis_url_is_hidden_like_any_other(
    valkey_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    query = f"?username=default&password={PASSWORD}"
    monkeypatch.setenv("QT_REDIS__URL", f"{valkey_url}{query}")
    shown = await run("config", "show", "--json")
    assert f"{valkey_url}?username=default&password=[redacted]" in shown.output
    log.set_up("info", "json")
    monkeypatch.setattr(
        "quantum_trader.app.logger", structlog.get_logger()
    )  # it writes where this test reads
    app = App(Config(state_dir=tmp_path, http={"port": 0}))
    await app.start()
    structlog.get_logger().info("told", by=f"a library that quotes {PASSWORD}")
    await app.stop()
    monkeypatch.setenv("QT_REDIS__URL", f"unix://{tmp_path}/gone.sock{query}")
    lost = App(Config(state_dir=tmp_path, http={"port": 0}))
    with pytest.raises(RedisUnreachable, match="does not answer") as refused:
        await lost.start()
    await lost.stop()
    said = capsys.readouterr().out
    assert '"event":"engine_started"' in said
    assert secrets_in(said + shown.output + str(refused.value) + repr(lost.config)) == []


async def test_inc_93_every_log_line_stands_there_once(capsys: pytest.CaptureFixture[str]) -> None:
    log.set_up("info", "json")
    structlog.get_logger().info("once", number=1)
    logging.getLogger("other.library").warning("once too")
    lines = [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()]
    assert lines == ["once", "once too"]


def contents(folder: Path) -> dict[str, str]:
    """Every file below ``folder`` as text."""
    return {
        str(path): path.read_bytes().decode(errors="replace") for path in folder.rglob("*") if path.is_file()
    }
