"""``quantum-trader demo``."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path

import click
import uvloop

from quantum_trader import log
from quantum_trader.app import App, StartRefused
from quantum_trader.cli.common import FAILED, fail, read_config
from quantum_trader.concurrency import end_tasks
from quantum_trader.config import ConfigError
from quantum_trader.demo import Demo, PacedClock, Seen, demo_config
from quantum_trader.stores.embedded import EmbeddedServerError
from quantum_trader.trading_mode import ENV_PREFIX

PAGE_PORT = 8080
INTRODUCTION = """\
A whole engine, on play money: an exchange, a Redis and a folder of its own, no keys, nothing kept.
In about two minutes you see opens, blocks by different gates, a rotation, a close by the watchdog,
a kill and a resume. Ctrl-C ends it at any time."""


@click.command("demo")
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="config.toml whose [http] port the page takes; all else is the demo's own. [default: none]",
)
@click.option(
    "--pace",
    type=click.FloatRange(0.01, 10),
    default=1.0,
    show_default=True,
    help="Smaller is faster: 0.1 plays it in seconds.",
)
@click.option(
    "--stay/--no-stay",
    default=None,
    help="Keep the engine running at the end. [default: on a terminal]",
)
@click.option(
    "--log-level", type=click.Choice(["info", "warning", "error"]), help="Show the engine's log too."
)
def command(config_path: Path | None, pace: float, stay: bool | None, log_level: str | None) -> None:
    """See all of it in two minutes, on play money; exit code 1 if it does not go as told.

    Runs a whole engine on an exchange of its own, sends it plans, moves the market, and explains in plain
    sentences what the engine makes of each.
    """
    log.set_up(log_level or "critical", "console")
    _forget_environment()
    port = read_config(config_path).http.port if config_path is not None else PAGE_PORT
    folder = Path(tempfile.mkdtemp(prefix="quantum-trader-demo-"))
    click.echo(INTRODUCTION)
    try:
        seen = uvloop.run(_play(folder, port, pace, stay=sys.stdout.isatty() if stay is None else stay))
    except (StartRefused, ConfigError, EmbeddedServerError) as refused:
        fail(str(refused))
    except TimeoutError:
        fail("the engine did not get on with it for 90 s; run it with --log-level warning to see why")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if seen is not None and seen.surprises:
        fail(f"not as told: {'; '.join(seen.surprises)}", FAILED)


async def _play(folder: Path, port: int, pace: float, *, stay: bool) -> Seen | None:
    """Play it; None where Ctrl-C or SIGTERM ended it early."""
    app = App(demo_config(folder, _free(port), secrets.token_hex(16)), PacedClock(pace))
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    playing = asyncio.create_task(_scenes(app, pace))
    ending = asyncio.create_task(ended.wait())
    try:
        await asyncio.wait({playing, ending}, return_when=asyncio.FIRST_COMPLETED)
        if not playing.done():
            return None
        seen = playing.result()
        _sum_up(seen, folder, stay=stay)
        if stay:
            await ending
        return seen
    finally:
        await end_tasks((playing, ending))
        await app.stop()


async def _scenes(app: App, pace: float) -> Seen:
    await app.start()
    if app.web.url:
        token = app.config.http.token.get_secret_value()
        click.echo(f"\nThe page: {app.web.url}  (for its kill button, this once: {token})")
    return await Demo(app, click.echo, pace).play()


def _sum_up(seen: Seen, folder: Path, *, stay: bool) -> None:
    gates = ", ".join(dict.fromkeys(seen.blocked_by))
    click.echo(f"\n── That was it {'─' * 40}")
    click.echo(f"{seen.opens} opens, {len(seen.blocked_by)} blocks (by {gates}),")
    click.echo(
        f"{seen.rotations} rotation, {seen.bsc_closes} BSC close, {seen.kills} kill, {seen.resumes} resume."
    )
    if not stay:
        return
    click.echo("\nThe engine goes on. From another terminal:")
    for words in (
        "why",
        "why better",
        "positions",
        "submit --symbol XRPUSDT --side CLOSE --qty 0 --reduce-only",
    ):
        click.echo(f"  QT_STATE_DIR={folder} quantum-trader {words}")
    click.echo("Ctrl-C ends it and throws its state away.")


def _forget_environment() -> None:
    """Drop the settings of a real engine from this process: the demo is paper, whatever is set."""
    for name in [name for name in os.environ if name.startswith(ENV_PREFIX)]:
        del os.environ[name]


def _free(port: int) -> int:
    """Return ``port`` where it is free, else 0: any."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port
