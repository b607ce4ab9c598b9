"""``quantum-trader simulator``: the embedded exchange alone, for any client of Binance's protocol."""

from __future__ import annotations

import asyncio
import signal
from decimal import Decimal, InvalidOperation
from pathlib import Path

import click
import uvloop

from quantum_trader.cli.common import fail
from quantum_trader.domain.clock import SystemClock
from quantum_trader.exchange.simulator import AccountSettings, EmbeddedExchange, SimulatorSettings

ACCOUNT_PARTS = 3


@click.command("simulator")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="TCP port on loopback; 0: a free one.",
)
@click.option(
    "--account",
    "accounts",
    multiple=True,
    metavar="KEY:SECRET:BALANCE_USDT",
    help="An account; may be given more than once. [default: paper:paper:10000]",
)
@click.option("--seed", default=1, show_default=True, help="Seed of the synthetic market.")
@click.option("--speed", default=1, show_default=True, help="Market seconds in one real second.")
@click.option(
    "--klines",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Candle file in Binance's CSV or JSON form; may be given more than once.",
)
@click.option(
    "--state", "state_file", type=click.Path(path_type=Path), help="File that keeps accounts over restarts."
)
@click.option("--admin", is_flag=True, help="Open /sim/…: set prices, faults, the clock.")
def command(
    port: int,
    accounts: tuple[str, ...],
    seed: int,
    speed: int,
    klines: tuple[Path, ...],
    state_file: Path | None,
    admin: bool,
) -> None:
    """Run the embedded exchange alone, on loopback, until Ctrl-C."""
    settings = SimulatorSettings(
        port=port,
        seed=seed,
        speed=speed,
        accounts=tuple(_account(text) for text in accounts or ("paper:paper:10000",)),
        klines=klines,
        state_file=state_file,
        admin=admin,
    )
    try:
        uvloop.run(_serve(settings))
    except (OSError, ValueError) as refused:
        fail(str(refused))


async def _serve(settings: SimulatorSettings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    exchange = EmbeddedExchange(settings, SystemClock())
    url = await exchange.start()
    click.echo(f"exchange at {url}; docs/simulator.md says how to point programs at it; Ctrl-C ends it")
    try:
        await stop.wait()
    finally:
        await exchange.stop()


def _account(text: str) -> AccountSettings:
    parts = text.split(":")
    if len(parts) != ACCOUNT_PARTS or not all(parts):
        raise click.BadParameter(f"{text!r} is not KEY:SECRET:BALANCE_USDT", param_hint="--account")
    try:
        balance = Decimal(parts[2])
    except InvalidOperation:
        raise click.BadParameter(f"{parts[2]!r} is no amount of USDT", param_hint="--account") from None
    return AccountSettings(parts[0], parts[1], balance)
