"""``quantum-trader simulator``: the embedded exchange alone, for any client of Binance's protocol."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from decimal import Decimal, InvalidOperation
from pathlib import Path

import click
import uvloop

from quantum_trader.cli.common import config_option, fail, read_config
from quantum_trader.config_tables import SPEED_MAX
from quantum_trader.domain.clock import SystemClock
from quantum_trader.exchange.simulator import AccountSettings, EmbeddedExchange, SimulatorSettings
from quantum_trader.exchange.simulator.signing import is_public_key

ACCOUNT_PARTS = 3


def _speed(_: click.Context, __: click.Parameter, text: str | None) -> Decimal | None:
    if text is None:
        return None
    speed = _number(text)
    if not 0 < speed <= SPEED_MAX:
        raise click.BadParameter(f"{text!r} is no number above 0 and up to {SPEED_MAX}")
    return speed


@click.command("simulator")
@config_option
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
    help="An account; may be given more than once. [default: paper:paper:10000, or paper.balance_usdt]",
)
@click.option(
    "--public-key",
    "public_keys",
    multiple=True,
    metavar="KEY:PEM_FILE:BALANCE_USDT",
    help="An account that signs with Ed25519 or RSA; may be given more than once.",
)
@click.option("--seed", type=int, help="Seed of the synthetic market. [default: paper.seed, 1]")
@click.option(
    "--speed",
    callback=_speed,
    help="Market seconds in one real second; 0.5 is half as fast. [default: paper.speed, 1]",
)
@click.option(
    "--klines",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Candle file in Binance's CSV or JSON form; may be given more than once. [default: paper.klines]",
)
@click.option(
    "--state", "state_file", type=click.Path(path_type=Path), help="File that keeps accounts over restarts."
)
@click.option(
    "--faults",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="JSON file of faults, each with the seconds after the start at which it comes into force.",
)
@click.option("--admin", is_flag=True, help="Open /sim/…: set prices, faults, the clock.")
def command(
    config_path: Path | None,
    port: int,
    accounts: tuple[str, ...],
    public_keys: tuple[str, ...],
    seed: int | None,
    speed: Decimal | None,
    klines: tuple[Path, ...],
    state_file: Path | None,
    faults: Path | None,
    admin: bool,
) -> None:
    """Run the embedded exchange alone, on loopback, until Ctrl-C.

    What no option says comes from [paper] of config.toml; its port stays with the engine.
    """
    paper = read_config(config_path).paper
    settings = SimulatorSettings(
        port=port,
        seed=paper.seed if seed is None else seed,
        speed=paper.speed if speed is None else speed,
        accounts=_accounts(accounts, public_keys)
        or (AccountSettings("paper", "paper", balance_usdt=paper.balance_usdt),),
        klines=klines or tuple(map(Path, paper.klines)),
        state_file=state_file,
        fault_schedule=faults,
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


def _accounts(secrets: tuple[str, ...], public_keys: tuple[str, ...]) -> tuple[AccountSettings, ...]:
    accounts = [_account(text) for text in secrets] + [_keyed_account(text) for text in public_keys]
    repeated = [key for key, count in Counter(account.api_key for account in accounts).items() if count > 1]
    if repeated:
        raise click.BadParameter(f"{repeated[0]!r} is given twice", param_hint="--account")
    return tuple(accounts)


def _account(text: str) -> AccountSettings:
    parts = text.split(":")
    if len(parts) != ACCOUNT_PARTS or not all(parts):
        raise click.BadParameter(f"{text!r} is not KEY:SECRET:BALANCE_USDT", param_hint="--account")
    return AccountSettings(parts[0], parts[1], _balance(parts[2], "--account"))


def _keyed_account(text: str) -> AccountSettings:
    option = "--public-key"
    key, _, rest = text.partition(":")
    path, _, balance = rest.rpartition(":")  # the path may have colons of its own
    if not (key and path and balance):
        raise click.BadParameter(f"{text!r} is not KEY:PEM_FILE:BALANCE_USDT", param_hint=option)
    try:
        pem = Path(path).read_text("ascii")
    except (OSError, UnicodeDecodeError) as unreadable:
        raise click.BadParameter(f"{path}: {unreadable}", param_hint=option) from None
    if not is_public_key(pem):
        raise click.BadParameter(
            f"{path} is no Ed25519 or RSA public key in PEM form; make one with `openssl pkey -pubout`",
            param_hint=option,
        )
    return AccountSettings(key, balance_usdt=_balance(balance, option), public_key_pem=pem)


def _balance(text: str, option: str) -> Decimal:
    balance = _number(text)
    if balance < 0:
        raise click.BadParameter(f"{text!r} is no amount of USDT", param_hint=option)
    return balance


def _number(text: str) -> Decimal:
    """Return the finite number that ``text`` is; -1 where it is none, which nothing here accepts."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return Decimal(-1)
    return number if number.is_finite() else Decimal(-1)
