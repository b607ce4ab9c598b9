"""``quantum-trader kill``."""

from __future__ import annotations

from pathlib import Path

import click

from quantum_trader.cli.common import config_option, read_reach, with_redis
from quantum_trader.domain.clock import SystemClock
from quantum_trader.stores.connection import Database
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.operator import StopStore


@click.command("kill")
@config_option
@click.option("--opens-only", is_flag=True, help="Halt opens; exits go on.")
@click.option("--reason", required=True, help="Why; published with the event.")
def command(config_path: Path | None, opens_only: bool, reason: str) -> None:
    """Halt trading from the next plan on: everything, exits included, or with --opens-only just opens."""

    async def work(database: Database, keys: Keys) -> None:
        stops = StopStore(database, keys)
        await stops.kill("opens" if opens_only else "1", reason, SystemClock().now_ms())

    with_redis(read_reach(config_path), work)
    click.echo("halted: no opens; exits go on" if opens_only else "halted: nothing trades, exits included")
