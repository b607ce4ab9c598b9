"""BSC as processes that hang, are killed, and are started again by a supervisor (SPEC 10)."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from support.house import exchange, until
from test_bsc_in_engine import Owner, environment, good_polls, holds

from quantum_trader.bsc.guard import EXIT_CODE
from quantum_trader.bsc.status import StatusFile

PATIENCE_S = 40

# The commands as they are; only the time between two looks, which no setting reaches, is shorter.
QUICK = """
import sys
from quantum_trader.bsc.watchdog import Watchdog
from quantum_trader.cli import main

Watchdog.__init__.__kwdefaults__["interval_s"] = 0.3
main(sys.argv[1:])
"""

# An engine whose loop hangs once its watch has seen the account; the guard's 30 s are 5 s here.
HANGING = """
import asyncio, sys, time
from pathlib import Path
from quantum_trader.bsc import service
from quantum_trader.bsc.guard import LoopGuard
from quantum_trader.bsc.status import StatusFile
from quantum_trader.cli import main

async def hang(state_dir):  # the status is what a poll writes last
    while not (StatusFile(state_dir / "bsc").read() or {}).get("last_good_poll_ms"):
        await asyncio.sleep(0.05)
    print("hangs", flush=True)
    time.sleep(600)

class Watched(service.BscService):
    def start(self):
        super().start()
        self._tasks.append(asyncio.create_task(hang(Path(sys.argv[1]))))

service.LoopGuard = lambda: LoopGuard(blocked_s_max=5, tick_s=0.1)
import quantum_trader.app, quantum_trader.cli.bsc
quantum_trader.app.BscService = quantum_trader.cli.bsc.BscService = Watched
main(sys.argv[2:])
"""


@asynccontextmanager
async def process(
    env: dict[str, str], program: str, *words: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run ``program``; what is left of it at the end gets SIGTERM and ends cleanly."""
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, *words),
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.send_signal(signal.SIGTERM)
        _, complaints = await asyncio.wait_for(running.communicate(), PATIENCE_S)
        if running.returncode not in (-signal.SIGKILL, EXIT_CODE):
            assert (running.returncode, complaints) == (0, b"")


async def watching(state_dir: Path) -> None:
    await until(lambda: good_polls(state_dir, 1), PATIENCE_S, "a poll")


async def test_the_engine_is_killed_and_the_one_that_stands_alone_closes(tmp_path: Path) -> None:
    async with exchange() as (venue, url):
        owner, env = Owner(venue), environment(tmp_path / "state", url, "embedded")
        async with process(env, QUICK, "run") as engine, process(env, QUICK, "bsc", "run") as alone:
            await watching(tmp_path / "state")
            await until(lambda: is_watched_by(tmp_path / "state", alone.pid), PATIENCE_S, "the second watch")
            engine.send_signal(signal.SIGKILL)
            await engine.wait()
            owner.loses()
            await until(lambda: holds(lambda: owner.amount() == 0), PATIENCE_S, "the close")
        assert [order.reduce_only for order in owner.bsc_orders] == [True]


async def is_watched_by(state_dir: Path, pid: int) -> bool:
    status = StatusFile(state_dir / "bsc").read()
    return status is not None and status["pid"] == pid


async def test_inc106_two_watches_of_one_account_close_a_position_once(tmp_path: Path) -> None:
    async with exchange() as (venue, url):
        owner, env = Owner(venue), environment(tmp_path / "state", url, "redis://127.0.0.1:1")
        async with process(env, QUICK, "bsc", "run") as one, process(env, QUICK, "bsc", "run") as other:
            for watch in (one, other):
                await until(
                    lambda pid=watch.pid: is_watched_by(tmp_path / "state", pid), PATIENCE_S, "a watch"
                )
            for symbol in ("XRPUSDT", "ADAUSDT", "DOGEUSDT"):
                owner.loses(symbol)
            flat = [
                lambda symbol=symbol: owner.amount(symbol) == 0
                for symbol in ("XRPUSDT", "ADAUSDT", "DOGEUSDT")
            ]
            await until(lambda: holds(lambda: all(is_flat() for is_flat in flat)), PATIENCE_S, "the closes")
        assert len([order for order in owner.bsc_orders if order.executed]) == 3


async def test_a_hanging_loop_ends_the_process_and_its_next_start_closes(tmp_path: Path) -> None:
    for words in (("run",), ("bsc", "run")):
        state_dir = tmp_path / words[0]
        async with exchange() as (venue, url):
            owner, env = Owner(venue), environment(state_dir, url, "embedded")
            async with process(env, HANGING, str(state_dir), *words) as hanging:
                await watching(state_dir)
                owner.loses()
                assert await asyncio.wait_for(hanging.wait(), PATIENCE_S) == EXIT_CODE
            assert owner.amount() != 0
            async with process(env, QUICK, *words):
                await until(lambda: holds(lambda: owner.amount() == 0), PATIENCE_S, "the close")  # noqa: B023


async def test_started_in_dry_run_alone_it_reports_and_sends_nothing(tmp_path: Path) -> None:
    async with exchange() as (venue, url):
        owner, state_dir = Owner(venue), tmp_path / "state"
        owner.loses()
        env = {**environment(state_dir, url, "redis://127.0.0.1:1"), "QT_MODE": "dry_run"}
        for name in ("KEY", "SECRET"):
            env[f"BINANCE_API_{name}"] = env.pop(f"BINANCE_TESTNET_API_{name}")
        async with process(env, QUICK, "bsc", "run"):
            await until(lambda: good_polls(state_dir, 3), PATIENCE_S, "three polls")
        status = StatusFile(state_dir / "bsc").read()
        assert status is not None
        assert [row["breach"] for row in status["positions"]] == ["MAX_LOSS_BREACH"]
        assert status["closes"] is False
        assert owner.amount() == 100
        assert owner.bsc_orders == []
        spooled = [
            json.loads(line) for line in (state_dir / "bsc" / "events.jsonl").read_bytes().splitlines()
        ]
        assert {event["event"] for event in spooled} == {"BSC_ACTIVATED", "BSC_HEALTH_CHECK", "BSC_STOPPED"}
