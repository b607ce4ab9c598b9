"""``quantum-trader mode [dry_run | MODE]``."""

from __future__ import annotations

from pathlib import Path

import click

from quantum_trader.cli.common import (
    config_option,
    engine_status,
    fail,
    json_option,
    print_json,
    read_config,
    read_reach,
    with_redis,
)
from quantum_trader.config import TradingMode
from quantum_trader.domain.clock import SystemClock
from quantum_trader.stores.connection import Database
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.operator import StopStore

UNSAID = "not given"  # going to dry_run only takes away, so it waits for no words


@click.command("mode")
@config_option
@json_option
@click.option("--reason", default=UNSAID, show_default=True, help="Why; published with the event.")
@click.argument(
    "wanted", metavar="[MODE]", required=False, type=click.Choice([mode.value for mode in TradingMode])
)
def command(config_path: Path | None, as_json: bool, reason: str, wanted: str | None) -> None:
    """Show the mode, or go to dry_run: no further order is sent from the next plan on, BSC goes on closing.

    The stop outlives restarts. `mode testnet` (or live, whatever config.toml says) clears it; the engine
    then sends orders again after its next restart. Every other change of mode is an edit of config.toml and
    a restart.
    """
    if wanted is None:
        _show(config_path, as_json=as_json)
        return
    if wanted == TradingMode.DRY_RUN:
        with_redis(
            read_reach(config_path), lambda db, keys: StopStore(db, keys).stop_sending(reason, _now_ms())
        )
        said = "dry_run from the next plan on: no order is sent; BSC goes on closing"
    else:
        said = _way_back(config_path, wanted, reason)
    print_json({"mode": wanted, "said": said}) if as_json else click.echo(said)


def _way_back(config_path: Path | None, wanted: str, reason: str) -> str:
    configured = read_config(config_path).mode
    if wanted != configured:
        fail(f"config.toml says mode = {configured.value!r}: edit it to {wanted!r} and restart the engine")

    async def work(database: Database, keys: Keys) -> bool:
        return await StopStore(database, keys).allow_sending(reason, _now_ms())

    if not with_redis(read_reach(config_path), work):
        return f"dry_run was not set by hand; mode {wanted} is in force, or will be after a restart"
    return f"cleared: restart the engine, and it is in mode {wanted} again"


def _show(config_path: Path | None, *, as_json: bool) -> None:
    async def work(database: Database, keys: Keys) -> dict[str, object]:
        status = await engine_status(database, keys)
        held = await database.client.exists(keys.dry_run)
        return {"running": status["mode"] if status is not None else None, "dry_run_by_hand": bool(held)}

    shown = with_redis(read_reach(config_path), work)
    if as_json:
        print_json(shown)
        return
    click.echo(f"mode {shown['running']}" if shown["running"] else "no engine runs")
    if shown["dry_run_by_hand"]:
        click.echo("an operator set dry_run: `quantum-trader mode MODE` and a restart undo it")


def _now_ms() -> int:
    return SystemClock().now_ms()
