"""``quantum-trader verify``: the running engine's promises, one by one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from quantum_trader.cli.checks import Check, show, verdict_of
from quantum_trader.cli.common import (
    FAILED,
    UNREACHABLE,
    config_option,
    engine_status,
    fail,
    json_option,
    print_json,
    read_reach,
    with_redis,
)
from quantum_trader.cli.operator_exits import credentials_of, essentials_of, own_line
from quantum_trader.cli.promises import PROMISES, Scene
from quantum_trader.config import Config, ConfigError, load_config
from quantum_trader.essentials import Reach
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.exchange.margin_reads import MarginPosition
from quantum_trader.stores.connection import Database
from quantum_trader.stores.keys import Keys


@click.command("verify")
@config_option
@json_option
def command(config_path: Path | None, as_json: bool) -> None:
    """Check the running engine's promises one by one: 0 all kept, 1 one is broken, 3 no engine."""
    reach = read_reach(config_path)
    tell: Callable[[Check], None] = (lambda _: None) if as_json else show
    checks = with_redis(reach, lambda database, keys: _check(config_path, reach, database, keys, tell))
    if checks is None:
        fail("no engine runs on this Redis; start it with `quantum-trader run`", UNREACHABLE)
    if as_json:
        print_json([check.as_record() for check in checks])
    else:
        click.echo(verdict_of(checks))
    if not all(check.fine for check in checks):
        raise SystemExit(FAILED)


async def _check(
    config_path: Path | None, reach: Reach, database: Database, keys: Keys, tell: Callable[[Check], None]
) -> list[Check] | None:
    status = await engine_status(database, keys)
    if status is None:
        return None
    essentials = essentials_of(config_path)
    async with own_line(essentials, credentials_of(essentials)) as line:

        async def positions() -> tuple[MarginPosition, ...]:
            return await line.reads.positions()

        scene = Scene(database, keys, reach, status, _config(config_path), positions)
        checks = []
        for promise in PROMISES:
            try:
                check = await promise(scene)
            except ExchangeError as failed:
                name = promise.__name__.replace("_", " ")
                check = Check(
                    name, None, f"the exchange does not answer: {failed}", "`quantum-trader doctor`"
                )
            tell(check)
            checks.append(check)
    return checks


def _config(config_path: Path | None) -> Config | None:
    try:
        return load_config(config_path)
    except ConfigError:
        return None
