"""``quantum-trader latches [clear NAME --reason …]``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from quantum_trader.cli.common import (
    config_option,
    fail,
    json_option,
    print_json,
    read_reach,
    with_redis,
)
from quantum_trader.domain.clock import SystemClock
from quantum_trader.stores.connection import Database
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.operator import StopStore

OTHER_COMMANDS = {
    "kill": "`quantum-trader resume --reason …` clears the kill switch",
    "disarmed": "`quantum-trader arm --reason …` clears the disarm",
    "dry_run": "`quantum-trader mode MODE` and a restart end dry_run",
    "rotation": "a rotation ends by itself",
    "idempotency": "plan ids are never forgotten by hand: a second order could follow. Use a new plan_id",
}
COOLDOWN_SYMBOL = "cooldown_symbol:"
CLEARABLE = f"safe_mode, cooldown_global or {COOLDOWN_SYMBOL}SYMBOL"
NO_END = -1


@click.group("latches", invoke_without_command=True)
@config_option
@json_option
@click.pass_context
def command(ctx: click.Context, config_path: Path | None, as_json: bool) -> None:
    """Show the stops that are set, each with the time it still holds and what ends it."""
    if ctx.invoked_subcommand is not None:
        return
    found = with_redis(read_reach(config_path), _set_ones)
    if as_json:
        print_json(found)
        return
    if not found:
        click.echo("no stop is set")
    for row in found:
        left = "until it is cleared" if row["left_s"] is None else f"{row['left_s']} s left"
        click.echo(f"{row['name']:<28} {left}")
        if row["value"] not in ("", "1") or row["name"] == "kill":
            click.echo(f"  {row['value'][:76]}")
        click.echo(f"  → {row['cure']}")


@command.command("clear")
@config_option
@click.option("--reason", required=True, help="Why; published with the event.")
@click.argument("name")
def clear(config_path: Path | None, reason: str, name: str) -> None:
    """Clear safe_mode, cooldown_global or cooldown_symbol:SYMBOL, from the next plan on."""
    kind = name.partition(":")[0]
    if kind in OTHER_COMMANDS or kind in ("processed", "exec"):
        fail(OTHER_COMMANDS.get(kind, OTHER_COMMANDS["idempotency"]))

    async def work(database: Database, keys: Keys) -> bool:
        key = _key(keys, name)
        if key is None:
            fail(f"{name!r} is no latch that can be cleared: {CLEARABLE}", 2)
        return await StopStore(database, keys).clear_latch(key, reason, SystemClock().now_ms())

    click.echo(f"cleared {name}" if with_redis(read_reach(config_path), work) else f"{name} was not set")


def _key(keys: Keys, name: str) -> str | None:
    if name.startswith(COOLDOWN_SYMBOL) and len(name) > len(COOLDOWN_SYMBOL):
        return keys.cooldown_symbol(name.removeprefix(COOLDOWN_SYMBOL).upper())
    return {"safe_mode": keys.safe_mode, "cooldown_global": keys.cooldown_global}.get(name)


async def _set_ones(database: Database, keys: Keys) -> list[dict[str, Any]]:
    names = {
        "kill": keys.kill,
        "disarmed": keys.disarmed,
        "dry_run": keys.dry_run,
        "safe_mode": keys.safe_mode,
        "cooldown_global": keys.cooldown_global,
    }
    prefix = keys.cooldown_symbol("")
    async for raw in database.client.scan_iter(match=prefix + "*", count=500):
        name = raw.decode(errors="replace")
        names[COOLDOWN_SYMBOL + name.removeprefix(prefix)] = name
    names["rotation"] = keys.rotation_lock
    rows = [await _row(database, name, key) for name, key in names.items()]
    return [row for row in rows if row is not None]


async def _row(database: Database, name: str, key: str) -> dict[str, Any] | None:
    value: Any = await database.client.get(key)
    if value is None or (name == "kill" and value == b"0"):
        return None
    left_ms: int = await database.client.pttl(key)
    cure = OTHER_COMMANDS.get(name, f"`quantum-trader latches clear {name} --reason …`")
    return {
        "name": name,
        "value": value.decode(errors="replace"),
        "left_s": None if left_ms <= NO_END else -(-left_ms // 1000),
        "cure": cure,
    }
