"""``quantum-trader close SYMBOL``."""

from __future__ import annotations

from pathlib import Path

import click

from quantum_trader.cli.operator_exits import close_wanted
from quantum_trader.cli.options import config_option, json_option


@click.command("close")
@config_option
@json_option
@click.option(
    "--position-side",
    type=click.Choice(["LONG", "SHORT"]),
    help="In hedge mode: only this leg. [default: both]",
)
@click.argument("symbol")
def command(config_path: Path | None, as_json: bool, position_side: str | None, symbol: str) -> None:
    """Close a symbol's position, all of it, now.

    Goes straight to the exchange: it ignores the kill switch and needs neither Redis nor a running engine.
    Resting orders of the symbol that stand in the way are cancelled. Exit code 1 if something is left.
    """
    wanted = symbol.upper()
    close_wanted(
        config_path,
        lambda held: held.leg.symbol == wanted and position_side in (None, held.leg.side.value),
        nothing=f"no position in {wanted}{f' {position_side}' if position_side else ''}: nothing to close",
        as_json=as_json,
    )
