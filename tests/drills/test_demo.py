"""The demo, recorded: a newcomer's two minutes, played fast (SPEC 13)."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for temporary files whose path is short enough for a socket's address."""
    made = Path(tempfile.mkdtemp(dir="/tmp", prefix="qt-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


def is_empty(folder: Path) -> bool:
    return not any(folder.iterdir())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def play(*words: str, **environment: str) -> tuple[int, str]:
    process = await started(*words, **environment)
    said, _ = await asyncio.wait_for(process.communicate(), 180)
    assert process.returncode is not None
    return process.returncode, said.decode()


async def started(*words: str, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "quantum_trader", "demo", *words),
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def test_the_demo_shows_all_it_promises(folder: Path, tmp_path: Path) -> None:
    config, port = tmp_path / "config.toml", free_port()
    config.write_text(f"mode = 'testnet'\n[http]\nport = {port}\n", encoding="utf-8")
    words = ("--pace", "0.02", "--no-stay", "--config", str(config))
    code, said = await play(*words, TMPDIR=str(folder))
    assert f"The page: http://127.0.0.1:{port}" in said
    assert code == 0, said
    assert len(re.findall(r"✓ .*FILLED at", said)) == 5
    for gate in ("fund_caps", "rate_limit", "intake", "kill_score", "kill_switch"):
        assert f"BLOCKED by {gate}" in said
    assert "DUPLICATE_PLAN" in said
    assert "a rotation: the weakest position, ETHUSDT, was closed" in said
    assert "BSC closed SOLUSDT: MAX_LOSS_BREACH" in said
    assert "cooldown_symbol" in said
    assert "kill --reason" in said
    assert "resume --reason" in said
    assert "1 rotation, 1 BSC close, 1 kill, 1 resume" in said
    assert max(map(len, said.splitlines())) <= 110
    assert is_empty(folder)  # nothing is kept


async def test_the_demo_is_play_money_whatever_the_environment_says(folder: Path) -> None:
    code, said = await play(
        *("--pace", "0.02", "--no-stay"),
        TMPDIR=str(folder),
        QT_MODE="live",
        QT_CONFIRM_LIVE="true",
        QT_REDIS__URL="redis://127.0.0.1:9",
        QT_STATE_DIR="/nonexistent",
    )
    assert code == 0, said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_demo_can_be_ended_at_any_time_and_leaves_nothing(folder: Path, number: int) -> None:
    process = await started("--pace", "1", "--stay", TMPDIR=str(folder))
    assert process.stdout is not None
    async with asyncio.timeout(90):
        async for line in process.stdout:
            if b"FILLED" in line:
                break
    process.send_signal(number)
    await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode == 0
    assert is_empty(folder)
