"""What several commands share: options, the way to Redis, one-line errors with exit codes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click

from quantum_trader.cli.options import FAILED, UNREACHABLE, config_option, fail, json_option
from quantum_trader.config import Config, ConfigError, load_config
from quantum_trader.stores.address import embedded_url
from quantum_trader.stores.codec import decode, encode_text
from quantum_trader.stores.connection import Database, RedisError
from quantum_trader.stores.keys import Keys

__all__ = [
    "FAILED",
    "UNREACHABLE",
    "config_option",
    "engine_status",
    "fail",
    "json_option",
    "print_json",
    "read_config",
    "redis_url",
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


def redis_url(config: Config) -> str:
    """Return the URL of the Redis that the engine of this configuration uses."""
    return embedded_url(config.state_dir) if config.redis.url == "embedded" else config.redis.url


def with_redis(config: Config, work: Callable[[Database, Keys], Awaitable[T]]) -> T:
    """Run ``work`` on the engine's Redis, or end with exit code 3 when it does not answer."""

    async def connected() -> T:
        database = Database(redis_url(config))
        try:
            await database.ping()
            return await work(database, Keys(config.redis.namespace))
        finally:
            await database.close()

    try:
        return run_async(connected())
    except (RedisError, OSError) as unreachable:
        if config.redis.url == "embedded":
            fail(
                f"no engine runs with state_dir {config.state_dir.resolve()}; "
                "start it with `quantum-trader run`",
                UNREACHABLE,
            )
        fail(f"Redis does not answer ({unreachable}); start it, or set redis.url", UNREACHABLE)


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
