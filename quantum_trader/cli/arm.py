"""``quantum-trader arm``."""

from __future__ import annotations

from pathlib import Path

import click

from quantum_trader.cli.common import config_option, read_reach, with_redis
from quantum_trader.domain.clock import SystemClock
from quantum_trader.stores.connection import Database
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.operator import StopStore


@click.command("arm")
@config_option
@click.option("--reason", required=True, help="Why it is safe to open again; published with the event.")
def command(config_path: Path | None, reason: str) -> None:
    """Let the engine open positions again after it disarmed itself."""

    async def work(database: Database, keys: Keys) -> bool:
        return await StopStore(database, keys).arm(reason, SystemClock().now_ms())

    was_disarmed = with_redis(read_reach(config_path), work)
    click.echo("armed" if was_disarmed else "it was not disarmed")
