"""``quantum-trader status``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

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
from quantum_trader.stores.connection import Database
from quantum_trader.stores.keys import Keys

ROWS = (
    ("mode", "mode"),
    ("version", "version"),
    ("config", "config_hash"),
    ("exchange", "exchange"),
    ("account", "account"),
    ("kill switch", "kill"),
    ("disarmed", "disarmed"),
    ("plans seen", "plans_seen"),
    ("in flight", "plans_in_flight"),
    ("backlog", "backlog"),
    ("positions", "positions"),
    ("positions read, ms ago", "positions_age_ms"),
    ("clock offset, ms", "clock_offset_ms"),
    ("up, s", "uptime_s"),
)


@click.command("status")
@config_option
@json_option
def command(config_path: Path | None, as_json: bool) -> None:
    """Say whether the engine runs and works: 0 ready, 1 running but not ready, 3 not running."""
    status = with_redis(read_reach(config_path), _status_now)
    if status is None:
        fail("no engine runs on this Redis; start it with `quantum-trader run`", UNREACHABLE)
    if as_json:
        print_json(status)
    else:
        _print(status)
    if not status["ready"]:
        raise SystemExit(FAILED)


async def _status_now(database: Database, keys: Keys) -> dict[str, Any] | None:
    """What the engine last said of itself, with the kill switch as it stands at this moment."""
    status = await engine_status(database, keys)
    kill: Any = await database.client.get(keys.kill)
    return None if status is None else status | {"kill": (kill or b"").decode(errors="replace")}


def _print(status: dict[str, Any]) -> None:
    missing = ", ".join(status["not_ready_because"])
    click.echo(f"{'ready' if status['ready'] else 'NOT READY, waiting for: ' + missing}")
    if status["kill"] not in ("", "0"):
        what = "nothing trades" if status["kill"] == "1" else "nothing opens, exits go on"
        click.echo(f"HALTED by the kill switch ({status['kill']}): {what}")
    for title, name in ROWS:
        value = status[name]
        click.echo(f"  {title:<24} {'-' if value in (None, '') else value}")
    told = [f"{name} {'live' if link['live'] else 'DOWN'}" for name, link in status["streams"].items()]
    click.echo(f"  {'streams':<24} {', '.join(told) or '-'}")
    click.echo(f"  {'BSC':<24} {_bsc_line(status['bsc'], status['timestamp'])}")


def _bsc_line(bsc: dict[str, Any], now_ms: int) -> str:
    """Say whether the watchdog sees, may close, and how long ago it last saw the account."""
    if bsc["state"] is None:
        return "DOES NOT REPORT"
    last_good_ms = bsc["last_good_poll_ms"]
    seen = (
        "no good poll yet"
        if last_good_ms is None
        else f"last good poll {(now_ms - last_good_ms) // 1000} s ago"
    )
    days_left = "?" if bsc["days_left"] is None else bsc["days_left"]
    return f"{bsc['state']}, {bsc['authority'] or '?'}, {days_left} days left, {seen}"
