"""Edits of config.toml while the engine works: taken over if valid, refused aloud if not (SPEC 11, 12)."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as redis
from support.commands import run
from support.house import EXCHANGE_QUICK, SYMBOLS, WIDE_GATES, House, exchange, until

from quantum_trader.app import App
from quantum_trader.config import load_config
from quantum_trader.stores.address import embedded_url
from quantum_trader.stores.codec import decode, encode
from quantum_trader.stores.keys import Keys


class Edited(House):
    """An engine that came from a file."""

    file: Path

    def edit(self, **gates: dict[str, Any]) -> None:
        """Replace the file, as editors do."""
        self.replace_file(written(self.app.config.state_dir, self.url, **gates))

    def replace_file(self, text: str) -> None:
        fresh = self.file.with_suffix(".new")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(self.file)

    async def told(self, event: str, count: int = 1) -> list[dict[str, str]]:
        async def enough() -> list[dict[str, str]] | None:
            events = await self.events(event)
            return events if len(events) >= count else None

        found: list[dict[str, str]] = await until(enough, 30, f"{count} × {event}")
        return found


def written(state_dir: Path, url: str, mode: str = "testnet", **gates: dict[str, Any]) -> str:
    lines = [f'mode = "{mode}"', f"symbols = {list(SYMBOLS)}".replace("'", '"'), f'state_dir = "{state_dir}"']
    lines += ["[exchange]", f'rest_url = "{url}"', *(f"{k} = {v}" for k, v in EXCHANGE_QUICK.items())]
    for name, limits in {**WIDE_GATES, **gates}.items():
        table = {**WIDE_GATES.get(name, {}), **limits}
        lines += [f"[gates.{name}]", *(f"{key} = {encode(value).decode()}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


@asynccontextmanager
async def edited(tmp_path: Path) -> AsyncIterator[Edited]:
    async with exchange() as (venue, url):
        file, state_dir = tmp_path / "config.toml", tmp_path / "state"
        file.write_text(written(state_dir, url), encoding="utf-8")
        app = App(load_config(file), source=file)
        await app.start()
        database = redis.Redis.from_url(embedded_url(state_dir))
        running = Edited(app, venue, url, database)
        running.file = file
        universe: Any = {"universe_symbols": encode(list(SYMBOLS)), "policy_version": "drill"}
        await database.hset(running.keys.policy, mapping=universe)
        try:
            yield running
        finally:
            await database.aclose()
            await app.stop()


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Edited]:
    async with edited(tmp_path) as running:
        yield running


async def test_a_lower_cap_holds_from_the_next_plan_on_and_the_event_says_what_changed(
    engine: Edited,
) -> None:
    before = await engine.open("XRPUSDT", qty=20)
    assert before["decision"] == "FILLED"
    engine.edit(fund_caps={"max_open_positions": 1})
    (event,) = await engine.told("CONFIG_RELOADED")
    assert decode(event["changes"]) == ["gates.fund_caps.max_open_positions: 100 → 1"]
    after = await engine.open("ADAUSDT", qty=100)
    assert (after["gate"], after["reason"]) == ("fund_caps", "max_positions_reached")
    assert decode(before["trace"])["config_hash"] == event["old_hash"]
    assert decode(after["trace"])["config_hash"] == event["new_hash"] == load_config(engine.file).hash


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[gates.fund_caps]\nmax_open_positions = -1", "must be at least 1"),
        ("colour = 'red'", "unknown key colour"),
        ("[[[", "not valid TOML"),
    ],
)
async def test_what_is_not_valid_changes_nothing_and_is_said(engine: Edited, text: str, says: str) -> None:
    engine.replace_file(text)
    (event,) = await engine.told("CONFIG_REFUSED")
    assert says in event["error"]
    assert event["in_force"] == engine.app.config.hash
    assert (await engine.open())["decision"] == "FILLED"
    assert await engine.events("CONFIG_RELOADED") == []


async def test_what_needs_a_restart_is_refused_as_a_whole_and_says_so(engine: Edited) -> None:
    text = written(engine.app.config.state_dir, engine.url, fund_caps={"max_open_positions": 1})
    engine.replace_file(text + '[redis]\nnamespace = "other"\n')
    (event,) = await engine.told("CONFIG_REFUSED")
    assert "redis.namespace" in event["error"]
    assert "restart" in event["error"]
    for symbol, qty in (("XRPUSDT", 20), ("ADAUSDT", 100)):
        assert (await engine.open(symbol, qty=qty))["decision"] == "FILLED"


async def test_dry_run_by_an_edit_sends_nothing_more_and_the_way_back_is_a_restart(
    engine: Edited, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = engine.watch()
    engine.replace_file(written(engine.app.config.state_dir, engine.url, mode="dry_run"))
    await engine.told("CONFIG_RELOADED")
    result = await engine.open()
    assert (result["decision"], result["would_execute"], result["mode"]) == ("DRY_RUN", "true", "dry_run")
    assert wire.orders == []
    engine.edit()
    (event,) = await engine.told("CONFIG_REFUSED")
    assert "needs a restart" in event["error"]
    assert (await engine.open("ADAUSDT", qty=100))["decision"] == "DRY_RUN"


async def test_the_mode_command_goes_to_dry_run_and_only_a_restart_comes_back(
    engine: Edited, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = engine.watch()
    monkeypatch.setenv("QT_CONFIG", str(engine.file))
    gone = await run("mode", "dry_run")
    assert gone.exit_code == 0, gone.output
    assert (await engine.open())["decision"] == "DRY_RUN"
    assert wire.orders == []

    async def shown() -> bool:
        return await engine.redis.get(engine.keys.mode) == b"DRY_RUN"

    await until(shown, 20, "quantum:mode")
    engine.edit(fund_caps={"max_open_positions": 7})
    await engine.told("CONFIG_RELOADED")
    assert (await engine.open())["decision"] == "DRY_RUN"
    (went,) = await engine.events("MODE_CHANGED")
    assert (went["mode"], went["reason"]) == ("dry_run", "not given")
    back = await run("mode", "testnet", "--reason", "understood")
    assert back.exit_code == 0, back.output
    assert "restart" in back.output
    assert (await engine.open())["decision"] == "DRY_RUN"
    assert (await run("mode", "live", "--reason", "no")).exit_code == 1


async def test_inc_52_a_dry_run_by_hand_outlives_a_restart(tmp_path: Path) -> None:
    async with edited(tmp_path) as engine:
        await engine.redis.set(Keys().dry_run, '{"reason": "drill"}')
        url, file, state_dir = engine.url, engine.file, engine.app.config.state_dir
        await engine.app.stop()
        again = App(load_config(file), source=file)
        await again.start()
        database = redis.Redis.from_url(embedded_url(state_dir))
        second = House(again, engine.venue, url, database)
        assert (await second.open())["decision"] == "DRY_RUN"
        await database.aclose()
        await again.stop()


async def test_sighup_reads_the_file_again_and_opens_the_log_anew(tmp_path: Path) -> None:
    file, state_dir, log_file = tmp_path / "config.toml", tmp_path / "state", tmp_path / "log.jsonl"
    file.write_text(f'state_dir = "{state_dir}"\n[log]\nfile = "{log_file}"\n', encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "quantum_trader", "run", "--config", str(file)),
        env={name: value for name, value in os.environ.items() if not name.startswith("QT_")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        await line_with(process.stdout, '"event":"ready"')
        rotated = log_file.rename(tmp_path / "log.jsonl.1")
        process.send_signal(signal.SIGHUP)
        unchanged = await line_with(process.stdout, '"event":"config_unchanged"')
    finally:
        process.terminate()
        await process.wait()
    assert process.returncode == 0
    assert rotated.read_text(encoding="utf-8").count('"event":"ready"') == 1
    assert log_file.read_text(encoding="utf-8").splitlines(keepends=True)[0] == unchanged
    assert unchanged not in rotated.read_text(encoding="utf-8")


async def line_with(stream: asyncio.StreamReader, text: str) -> str:
    async with asyncio.timeout(60):
        async for line in stream:
            if text in line.decode():
                return line.decode()
    raise AssertionError(f"the engine ended without saying {text}")
