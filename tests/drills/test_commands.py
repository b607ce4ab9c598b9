"""What people type: exit codes, one-line errors that say what to do, explanations (SPEC 13, 15)."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import structlog
from click.testing import CliRunner, Result
from structlog.testing import capture_logs
from support.commands import run
from support.house import KEY, SECRET, House, exchange, house, until

from quantum_trader.cli import main
from quantum_trader.gates import GateTables
from quantum_trader.stores.archive import archived_plan
from quantum_trader.stores.codec import decode
from quantum_trader.stores.embedded import embedded_url


@pytest.fixture
def on_the_house(running: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """The running engine, with an environment that points commands at it."""
    monkeypatch.setenv("QT_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("QT_MODE", "testnet")
    monkeypatch.setenv("QT_EXCHANGE__REST_URL", running.url)
    monkeypatch.setenv("QT_SYMBOLS", "XRPUSDT,ADAUSDT")
    return running


async def start(state_dir: Path, **environment: str) -> tuple[int, str]:
    """Start an engine that is expected to refuse; return its exit code and what it says."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "quantum_trader", "run"),
        env={**os.environ, "QT_STATE_DIR": str(state_dir), **environment},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_submit_and_wait_prints_the_whole_story(on_the_house: House) -> None:
    told = await run("submit", "--symbol", "XRPUSDT", "--side", "BUY", "--qty", "20", "--wait")
    assert told.exit_code == 0
    assert "FILLED: filled" in told.output
    assert "✓ fund_caps" in told.output
    refused = await run("submit", "--symbol", "XRPUSDT", "--side", "BUY", "--qty", "20", "--wait", "--json")
    assert decode(refused.stdout)["reason"] == "position_exists_add_denied"


async def test_why_explains_a_plan_and_a_symbol_after_the_streams_are_gone(on_the_house: House) -> None:
    await on_the_house.open("XRPUSDT", plan_id="asked-about")
    await on_the_house.redis.delete(on_the_house.keys.results)

    async def explained() -> Result:
        return await run("why", "asked-about")

    told = await explained()
    while told.exit_code != 0:  # the archive is written beside the loop, a moment later
        told = await explained()
    assert "asked-about: BUY 20 XRPUSDT" in told.output
    by_symbol = await run("why", "XRPUSDT", "--json")
    assert [row["plan_id"] for row in decode(by_symbol.stdout)["decisions"]] == ["asked-about"]
    unknown = await run("why", "nobody")
    assert unknown.exit_code == 1
    assert "nothing is known" in unknown.output


async def test_status_tells_a_working_engine_from_none(
    on_the_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    works = await run("status", "--json")
    assert works.exit_code == 0
    assert decode(works.stdout)["ready"] is True
    monkeypatch.setenv("QT_STATE_DIR", "/nonexistent/state")
    for words in (["status"], ["submit", "--symbol", "XRPUSDT", "--side", "BUY", "--qty", "1"]):
        gone = await run(*words)
        assert gone.exit_code == 3
        assert "quantum-trader run" in gone.output


async def test_status_says_whether_the_watchdog_sees_and_since_when(on_the_house: House) -> None:
    async def reported() -> Any:
        told = decode((await run("status", "--json")).stdout)
        return told["bsc"] if told["bsc"]["last_good_poll_ms"] else None

    bsc = await until(reported, 20, "BSC in the status")
    assert (bsc["state"], bsc["authority"]) == ("OK", "CONTROLLER")
    assert 29 < bsc["days_left"] <= 30
    assert re.search(
        r"BSC +OK, CONTROLLER, [0-9.]+ days left, last good poll \d+ s ago", (await run("status")).output
    )


async def test_status_says_when_the_watchdog_does_not_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QT_STATE_DIR", str(tmp_path))
    async with house(tmp_path, bsc={"enabled": False}):
        told = decode((await run("status", "--json")).stdout)
        nothing = {"state": None, "authority": None, "days_left": None, "last_good_poll_ms": None}
        assert told["bsc"] == nothing
        assert re.search(r"BSC +DOES NOT REPORT", (await run("status")).output)


async def test_arm_clears_a_disarm_with_a_reason(on_the_house: House) -> None:
    await on_the_house.redis.set("quantum:safety:disarmed", '{"reason": "drill"}')
    assert (await on_the_house.open())["reason"] == "disarmed"
    assert (await run("arm")).exit_code == 2
    assert (await run("arm", "--reason", "looked at it")).output.strip() == "armed"
    assert (await on_the_house.open())["decision"] == "FILLED"
    assert (await on_the_house.events("ARMED"))[0]["reason"] == "looked at it"


async def test_kill_and_resume_with_a_reason(on_the_house: House) -> None:
    await on_the_house.open()
    assert (await run("kill", "--opens-only", "--reason", "looks odd")).exit_code == 0
    assert (await on_the_house.open("ADAUSDT", qty=100))["reason"] == "kill_switch_active"
    assert "HALTED" in (await run("status")).output
    assert (await run("kill", "--reason", "all of it")).exit_code == 0
    assert (await on_the_house.close())["reason"] == "kill_switch_active"
    assert (await run("resume")).exit_code == 2
    assert (await run("resume", "--reason", "understood")).exit_code == 0
    assert (await on_the_house.close())["decision"] == "FILLED"
    changes = [(event["kill"], event["reason"]) for event in await on_the_house.events("KILL_SWITCH_CHANGED")]
    assert changes == [("opens", "looks odd"), ("1", "all of it"), ("0", "understood")]


async def test_submit_says_that_an_id_was_used(on_the_house: House) -> None:
    await on_the_house.open(plan_id="used")
    again = await run("submit", "--symbol", "XRPUSDT", "--side", "BUY", "--qty", "1", "--plan-id", "used")
    assert again.exit_code == 1
    assert "quantum-trader why used" in again.output


async def test_doctor_is_content_with_a_good_house(on_the_house: House) -> None:
    told = await run("doctor")
    assert told.exit_code == 0, told.output
    assert "✗" not in told.output


@pytest.mark.parametrize(
    ("name", "value", "cure"),
    [
        ("BINANCE_TESTNET_API_KEY", "wrong-key", "allowlist"),
        ("BINANCE_TESTNET_API_SECRET", "wrong-secret", "does not belong to this key"),
    ],
)
async def test_doctor_explains_wrong_keys(
    on_the_house: House, monkeypatch: pytest.MonkeyPatch, name: str, value: str, cure: str
) -> None:
    monkeypatch.setenv(name, value)
    told = await run("doctor")
    assert told.exit_code == 1
    assert cure in told.output
    assert value not in told.output
    assert SECRET not in told.output


async def test_doctor_explains_an_exchange_that_does_not_answer_and_unknown_symbols(
    on_the_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QT_SYMBOLS", "XRPUSDT,NOSUCHUSDT")
    assert "remove NOSUCHUSDT" in (await run("doctor")).output
    monkeypatch.setenv("QT_EXCHANGE__REST_URL", "http://127.0.0.1:9")
    told = await run("doctor")
    assert told.exit_code == 1
    assert "check network" in told.output


async def test_config_show_hides_secrets_and_names_origins(
    on_the_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QT_REDIS__URL", "redis://user:hunter22@127.0.0.1:1/0")
    told = (await run("config", "show")).output
    assert "hunter22" not in told
    assert SECRET not in told
    assert KEY not in told
    rows = {line.split()[0]: line.split()[-1] for line in told.splitlines() if line.strip()}
    assert rows["mode"] == "environment"
    assert rows["intake.max_age_s"] in ("default", "config.toml")


async def test_start_with_a_wrong_key_is_refused_in_one_line_with_the_cure(tmp_path: Path) -> None:
    async with exchange() as (_, url):
        code, said = await start(
            tmp_path, QT_MODE="testnet", QT_EXCHANGE__REST_URL=url, BINANCE_TESTNET_API_KEY="wrong-key"
        )
    assert code == 1
    assert "futures permission" in said
    assert len(said.strip().splitlines()) == 1
    assert "wrong-key" not in said


@pytest.mark.parametrize(
    ("environment", "says", "ends_with"),
    [
        ({"QT_MODE": "live"}, "confirm_live", 1),
        ({"QT_NO_SUCH_KEY": "1"}, "QT_NO_SUCH_KEY sets no known key", 1),
        ({"QT_GATES__FUND_CAPS__MAX_OPEN_POSITIONS": "-1"}, "at least 1", 1),
        ({"QT_MODE": "paper", "QT_EXCHANGE__REST_URL": "https://fapi.binance.com"}, "contradicts mode", 1),
        ({"QT_REDIS__URL": "redis://127.0.0.1:9"}, "does not answer", 3),
        ({"QT_LOG__FILE": "/nowhere/log.jsonl"}, "log.file = '/nowhere/log.jsonl'", 1),
        ({"QT_LOG__FILE": os.devnull}, "stdout goes there already", 1),
        ({"QT_PAPER__KLINES": "/nowhere/BTCUSDT-1m.csv"}, "/nowhere/BTCUSDT-1m.csv", 1),
    ],
)
async def test_inc_84_a_bad_configuration_refuses_to_start_in_one_clear_line(
    tmp_path: Path, environment: dict[str, str], says: str, ends_with: int
) -> None:
    code, said = await start(tmp_path, **environment)
    assert code == ends_with
    assert says in said
    assert len(said.strip().splitlines()) == 1


async def test_the_start_up_line_states_every_limit_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quantum_trader.app.logger", structlog.get_logger())
    with capture_logs() as lines:
        async with house(
            tmp_path, intake={"max_age_s": 7}, auto_disarm={"window_s": 60}, bsc={"required": True}
        ):
            pass
    (limits,) = [line["limits"] for line in lines if line["event"] == "engine_started"]
    assert set(limits) == {*GateTables.model_fields, "intake", "auto_disarm", "bsc"}
    assert limits["fund_caps"]["max_notional_per_trade_usdt"]
    assert limits["intake"] == {"max_age_s": 7, "exit_max_age_s": 300}
    assert (limits["auto_disarm"]["window_s"], limits["auto_disarm"]["burst_denials"]) == (60, 10)
    assert limits["bsc"] == {
        "enabled": True,
        "required": True,
        "max_loss_pct": "-3.0",
        "max_duration_h": "72",
        "max_margin": "0.85",
    }


async def test_a_second_engine_on_the_same_state_refuses(on_the_house: House, tmp_path: Path) -> None:
    code, said = await start(tmp_path)
    assert code == 1
    assert f"pid {os.getpid()}" in said


async def test_inc_16_a_second_engine_on_the_same_account_refuses(
    on_the_house: House, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    code, said = await start(other, QT_REDIS__URL=embedded_url(tmp_path), QT_REDIS__ALLOW_VOLATILE="true")
    assert code == 1
    assert "trades this account" in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            "submit --side BUY --qty 1",
            "submit: missing option '--symbol'; see `quantum-trader submit --help`",
        ),
        ("submit --symbol X --side UP --qty 1", "submit: invalid value for '--side': 'UP' is not one of"),
        ("why a b", "why: got unexpected extra argument (b); see `quantum-trader why --help`"),
        ("status --jsn", "status: no such option '--jsn'"),
        ("latches clear", "latches clear: missing argument"),
        ("config chek", "config: no such command 'chek'"),
        ("nonsense", "no such command 'nonsense'; see `quantum-trader --help`"),
        ("--nonsense", "no such option '--nonsense'"),
        ("flatten", "flatten: it closes every position of the account: say so with --yes; see"),
        (
            "simulator --account x",
            "simulator: invalid value for --account: 'x' is not KEY:SECRET:BALANCE_USDT",
        ),
        ("kill", "kill: missing option '--reason'"),
    ],
)
def test_a_mistyped_command_is_told_in_one_line(words: str, says: str) -> None:
    told = CliRunner().invoke(main, words.split())
    assert (told.exit_code, told.stdout) == (2, "")
    assert told.stderr.startswith(f"quantum-trader: {says}")
    assert len(told.stderr.splitlines()) == 1


def leaves(command: click.Command, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, with the words that call it."""
    yield words, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from leaves(found, (*words, name))


DOING = {"run", "demo", "simulator", "kill", "resume", "arm", "latches clear", "bsc run", "bsc extend"}
SPEAKING = {  # groups that do nothing by themselves are left out
    " ".join(words): command
    for words, command in leaves(main, ())
    if not isinstance(command, click.Group) or command.invoke_without_command
}


@pytest.mark.parametrize("words", SPEAKING)
def test_every_command_takes_config_and_every_reading_one_json(words: str) -> None:
    options = {option for parameter in SPEAKING[words].params for option in parameter.opts}
    assert "--config" in options
    assert "--json" in options or words in DOING


@pytest.mark.parametrize("words", [[], ["config"], ["bsc"]])
def test_a_group_without_a_command_shows_what_it_has(words: list[str]) -> None:
    assert "Usage:" in CliRunner().invoke(main, words).output


async def test_submit_carries_every_field_that_a_plan_may_have(on_the_house: House) -> None:
    words = "submit --symbol XRPUSDT --side BUY --qty 20 --plan-id full --confidence 0.7 --kill-score 0.2"
    more = "--leverage 5 --timestamp 1 --wait --json"
    told = await run(*words.split(), *more.split())
    assert decode(told.stdout)["decision"] == "EXPIRED"  # it was thought of in 1970
    (_, fields), *_ = await on_the_house.redis.xrevrange(on_the_house.keys.plans, count=1)
    assert {name.decode(): value.decode() for name, value in fields.items()}.items() >= {
        "confidence": "0.7",
        "kill_score": "0.2",
        "leverage": "5",
        "timestamp": "1",
    }.items()


async def test_submit_knows_an_id_that_redis_has_forgotten(on_the_house: House) -> None:
    await on_the_house.open(plan_id="long-ago")

    async def is_archived() -> bool:  # written beside the loop, a moment after the result
        return archived_plan(on_the_house.app.config.state_dir, "long-ago") is not None

    await until(is_archived, 20, "the archive's entry")
    await on_the_house.redis.delete("quantum:exec:processed:long-ago", on_the_house.keys.plans)
    again = await run("submit", "--symbol", "XRPUSDT", "--side", "BUY", "--qty", "1", "--plan-id", "long-ago")
    assert again.exit_code == 1
    assert "was used before" in again.output


async def test_doctor_with_a_stopped_engine_does_not_say_that_all_is_fine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QT_STATE_DIR", str(tmp_path / "none"))
    told = await run("doctor")
    assert "? engine" in told.output
    assert "could not be checked" in told.output.splitlines()[-1]
    checks = {check["name"]: check for check in decode((await run("doctor", "--json")).stdout)}
    assert checks["engine"]["fine"] is None
    assert "quantum-trader run" in checks["engine"]["cure"]


async def test_doctor_sees_a_second_engine_and_high_leverage(on_the_house: House) -> None:
    account = on_the_house.app._joined.account  # type: ignore[union-attr]
    checks = {check["name"]: check for check in decode((await run("doctor", "--json")).stdout)}
    assert checks["second engine"]["fine"] is True
    assert checks["leverage"]["fine"] in (True, None)
    assert checks["policy"]["fine"] is True
    await on_the_house.app._upkeep.stop()  # type: ignore[union-attr]
    await on_the_house.redis.set(f"quantum:engine:lease:{account}", "elsewhere-1-ff:9", px=60_000)
    found = await run("doctor")
    assert found.exit_code == 1
    assert "elsewhere-1-ff holds the lease" in found.output


async def test_a_broken_file_blinds_nobody(
    on_the_house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text('[intake]\nmax_age_s = "sixty"\n', encoding="utf-8")
    for words in (
        ["status"],
        ["why"],
        ["lag"],
        ["latches"],
        ["kill", "--reason", "x"],
        ["resume", "--reason", "y"],
    ):
        told = await run(*words, "--config", str(broken))
        assert told.exit_code == 0, told.output
        assert "must be a number" in told.output
        assert "keeps its last valid configuration" in told.output


async def test_a_refused_start_says_why_and_nothing_else(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "quantum_trader", "run"),
        env={
            **os.environ,
            "QT_STATE_DIR": str(tmp_path),
            "QT_REDIS__URL": "redis://127.0.0.1:9",
            "QT_HTTP__PORT": "0",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    assert b'"stopped"' not in said
