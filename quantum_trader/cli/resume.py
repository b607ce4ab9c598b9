"""``quantum-trader resume``."""

from __future__ import annotations

from pathlib import Path

import click

from quantum_trader.cli.common import config_option, read_reach, with_redis
from quantum_trader.domain.clock import SystemClock
from quantum_trader.stores.connection import Database
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.operator import StopStore


@click.command("resume")
@config_option
@click.option("--reason", required=True, help="Why it is safe to go on; published with the event.")
def command(config_path: Path | None, reason: str) -> None:
    """Clear the kill switch. Cooldowns, safe mode and a disarm stay as they are."""

    async def work(database: Database, keys: Keys) -> None:
        await StopStore(database, keys).kill("", reason, SystemClock().now_ms())

    with_redis(read_reach(config_path), work)
    click.echo("the kill switch is off")
