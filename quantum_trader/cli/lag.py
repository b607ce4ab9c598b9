"""``quantum-trader lag``: how far the engine is behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from redis.exceptions import ResponseError

from quantum_trader.cli.common import (
    FAILED,
    config_option,
    engine_status,
    fail,
    json_option,
    print_json,
    read_reach,
    with_redis,
)
from quantum_trader.domain.clock import SystemClock
from quantum_trader.domain.plan import stream_ms
from quantum_trader.stores.connection import Database
from quantum_trader.stores.keys import GROUP, Keys

OLDEST_S_MAX = 60
ROWS = (
    ("waiting to be read", "waiting"),
    ("read, without a result yet", "unsettled"),
    ("oldest of both, s", "oldest_s"),
    ("dead letters", "dead_letters"),
    ("results kept", "results"),
)


@click.command("lag")
@config_option
@json_option
def command(config_path: Path | None, as_json: bool) -> None:
    """Show the plans that wait; exit code 1 if one has waited for a minute, or no engine reads them."""
    found = with_redis(read_reach(config_path), lag_of)
    if found is None:
        fail("no engine has met this stream yet; start one with `quantum-trader run`")
    if as_json:
        print_json(found)
    else:
        for title, name in ROWS:
            click.echo(f"  {title:<28} {'-' if found[name] is None else found[name]}")
    if not found["engine_runs"]:
        fail("no engine runs: what waits expires; `quantum-trader run`")
    if (found["oldest_s"] or 0) > OLDEST_S_MAX:
        raise SystemExit(FAILED)


async def lag_of(database: Database, keys: Keys) -> dict[str, Any] | None:
    """Return the figures; None where the consumer group does not exist."""
    client: Any = database.client
    try:
        groups = await client.xinfo_groups(keys.plans)
    except ResponseError:
        return None
    ours = next((group for group in groups if group["name"] == GROUP.encode()), None)
    if ours is None:
        return None
    pending = await client.xpending_range(keys.plans, GROUP, "-", "+", 1)
    last = ours["last-delivered-id"].decode()
    unread = await client.xrange(keys.plans, min=f"({last}", count=1)
    oldest = [entry["message_id"].decode() for entry in pending] + [name.decode() for name, _ in unread]
    now_ms = SystemClock().now_ms()
    waiting = ours["lag"] if ours["lag"] is not None else len(await client.xrange(keys.plans, min=f"({last}"))
    return {
        "waiting": int(waiting),
        "unsettled": int(ours["pending"]),
        "oldest_s": max((now_ms - stream_ms(name)) // 1000 for name in oldest) if oldest else None,
        "dead_letters": int(await client.xlen(keys.dead_letters)),
        "results": int(await client.xlen(keys.results)),
        "consumers": int(ours["consumers"]),
        "engine_runs": await engine_status(database, keys) is not None,
    }
