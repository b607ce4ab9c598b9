"""``quantum-trader flatten --yes``."""

from __future__ import annotations

from pathlib import Path

import click

from quantum_trader.cli.operator_exits import close_wanted
from quantum_trader.cli.options import config_option, json_option


@click.command("flatten")
@config_option
@json_option
@click.option("--yes", is_flag=True, help="Really close everything.")
def command(config_path: Path | None, as_json: bool, yes: bool) -> None:
    """Close every position of the account, now; also those opened elsewhere.

    Goes straight to the exchange: it ignores the kill switch and needs neither Redis nor a running engine.
    It does not stop the engine from opening again: `quantum-trader kill --opens-only` does.
    """
    if not yes:
        raise click.UsageError("it closes every position of the account: say so with --yes")
    close_wanted(config_path, lambda _: True, nothing="flat: there is no position", as_json=as_json)
