"""``--json`` of every reading command is JSON, and nothing else stands on stdout (SPEC 13)."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.house import House, until

from quantum_trader.stores.codec import decode

ANSWERING = (
    ["status"],
    ["why"],
    ["why", "told"],
    ["why", "XRPUSDT"],
    ["why", "--dead"],
    ["positions"],
    ["latches"],
    ["lag"],
    ["verify"],
    ["mode"],
    ["doctor"],
    ["config", "check"],
    ["config", "show"],
    ["config", "schema"],
    ["bsc", "status"],
    ["bsc", "audit"],
    ["heat", "report"],
    ["close", "ADAUSDT"],
    ["submit", "--symbol", "ADAUSDT", "--side", "BUY", "--qty", "100", "--wait"],
)


async def answer(words: list[str], environment: dict[str, str]) -> tuple[str, str]:
    """Run a command as its own process; return its stdout and its stderr."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "quantum_trader", *words, "--json"),
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    said, complained = await asyncio.wait_for(process.communicate(), 60)
    return said.decode(), complained.decode()


@pytest.mark.timeout(900)  # every command is a process of its own
async def test_every_answer_is_json_alone(running: House, tmp_path: Path) -> None:
    await running.open("XRPUSDT", plan_id="told")
    environment = {
        "QT_STATE_DIR": str(tmp_path),
        "QT_MODE": "testnet",
        "QT_EXCHANGE__REST_URL": running.url,
        "QT_SYMBOLS": ",".join(running.app.config.symbols),
    }

    async def archived() -> bool:  # written beside the loop, a moment later
        return bool((await answer(["why", "told"], environment))[0])

    await until(archived, 30, "the plan in the archive")
    for words in ANSWERING:
        said, complained = await answer(words, environment)
        assert decode(said) is not None, words
        assert "Traceback" not in complained, words  # what is logged beside the answer stands there


@pytest.mark.parametrize("words", [["bsc", "status"], ["bsc", "audit"]], ids=" ".join)
async def test_what_is_logged_beside_an_answer_goes_to_stderr(words: list[str], tmp_path: Path) -> None:
    """A redis.url that cannot be used is warned of; an audit that is no PASS is an error line."""
    environment = {"QT_STATE_DIR": str(tmp_path), "QT_REDIS__URL": "nowhere"}
    said, _ = await answer(words, environment)
    assert decode(said)
