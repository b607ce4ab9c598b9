"""What several commands share: options, the way to Redis, one-line errors with exit codes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click

from quantum_trader.cli.options import FAILED, UNREACHABLE, config_option, fail, json_option
from quantum_trader.config import Config, ConfigError, load_config
from quantum_trader.essentials import Reach, load_reach
from quantum_trader.stores.codec import decode, encode_text
from quantum_trader.stores.connection import Database, RedisError
from quantum_trader.stores.keys import Keys

__all__ = [
    "FAILED",
    "UNREACHABLE",
    "config_option",
    "connected",
    "engine_status",
    "fail",
    "json_option",
    "print_json",
    "read_config",
    "read_reach",
    "run_async",
    "with_redis",
]

T = TypeVar("T")


def read_config(path: Path | None) -> Config:
    """Return the configuration, or end with its problems."""
    try:
        return load_config(path)
    except ConfigError as problem:
        fail(str(problem))


def read_reach(path: Path | None) -> Reach:
    """Return where the engine is to be found; a configuration that is broken elsewhere only warns.

    Whoever broke the file must still be able to look at the running engine and to stop it.
    """
    try:
        reach = load_reach(path)
    except ConfigError as problem:
        fail(f"{problem}; or say where the engine is with QT_STATE_DIR, QT_REDIS__URL, QT_REDIS__NAMESPACE")
    try:
        load_config(path)
    except ConfigError as problem:
        first, *others = str(problem).splitlines()
        more = f" (and {len(others)} more)" if others else ""
        click.echo(f"warning: {first}{more}; a running engine keeps its last valid configuration", err=True)
    return reach


async def connected(reach: Reach, work: Callable[[Database, Keys], Awaitable[T]]) -> T:
    """Run ``work`` on the engine's Redis; raises ``RedisError`` or ``OSError`` when it does not answer."""
    database = Database(reach.redis_url)
    try:
        await database.ping()
        return await work(database, Keys(reach.namespace))
    finally:
        await database.close()


def with_redis(reach: Reach, work: Callable[[Database, Keys], Awaitable[T]]) -> T:
    """Run ``work`` on the engine's Redis, or end with exit code 3 when it does not answer."""
    try:
        return run_async(connected(reach, work))
    except (RedisError, OSError) as unreachable:
        fail(unreachable_words(reach, unreachable), UNREACHABLE)


def unreachable_words(reach: Reach, unreachable: Exception) -> str:
    """Return why Redis cannot be had, and what to do."""
    if reach.is_embedded:
        return (
            f"no engine runs with state_dir {reach.state_dir.resolve()}; start it with `quantum-trader run`"
        )
    return f"Redis does not answer ({unreachable}); start it, or set redis.url"


async def engine_status(database: Database, keys: Keys) -> dict[str, Any] | None:
    """Return what the running engine last said of itself; None when none runs."""
    raw: Any = await database.client.get(keys.engine_status)
    status: dict[str, Any] | None = decode(raw) if raw is not None else None
    return status


def print_json(value: Any) -> None:
    """Print ``value`` as one line of JSON."""
    click.echo(encode_text(value))


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` to its end."""
    return asyncio.run(work)
