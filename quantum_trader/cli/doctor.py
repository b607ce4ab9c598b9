"""``quantum-trader doctor``: what the engine needs, checked one by one, each with its cure."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import click

from quantum_trader.cli.checks import Check, show, verdict_of
from quantum_trader.cli.common import (
    FAILED,
    config_option,
    engine_status,
    json_option,
    print_json,
    read_config,
    run_async,
)
from quantum_trader.cli.doctor_exchange import examine_exchange
from quantum_trader.config import Config, ConfigError, TradingMode
from quantum_trader.credentials import load_credentials
from quantum_trader.domain.clock import SystemClock
from quantum_trader.domain.facts import Policy
from quantum_trader.stores.address import embedded_url, paper_exchange_url
from quantum_trader.stores.connection import Database, RedisError
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.operator_state import parse_policy
from quantum_trader.stores.persistence import volatility_of

MEGABYTE = 1_000_000
DISK_FREE_MIN = 500 * MEGABYTE
REDIS_VERSION_MIN = 7
START_IT = "start it with `quantum-trader run`, then look again"


@click.command("doctor")
@config_option
@json_option
def command(config_path: Path | None, as_json: bool) -> None:
    """Check configuration, keys, Redis, exchange and engine; exit code 1 if something is wrong.

    ✓ is fine, ✗ is wrong, ? could not be checked; each of the last two says what to do.
    """
    config = read_config(config_path)
    checks = run_async(_examine(config))
    if as_json:
        print_json([check.as_record() for check in checks])
    else:
        for check in checks:
            show(check)
        click.echo(verdict_of(checks))
    if any(check.fine is False for check in checks):
        raise SystemExit(FAILED)


async def _examine(config: Config) -> list[Check]:
    checks = [
        Check("configuration", True, f"mode {config.mode}, hash {config.hash}"),
        _check_state_dir(config),
        _check_disk(config),
    ]
    status, policy, redis_checks = await _examine_redis(config)
    checks += redis_checks
    try:
        credentials = load_credentials(config)
    except ConfigError as missing:
        return [*checks, Check("keys", False, "none to use", str(missing))]
    url = config.rest_url or _paper_url(config, running=status is not None)
    if not url:
        return [*checks, Check("exchange", None, "embedded, not running", START_IT)]
    found, account = await examine_exchange(config, credentials, url, policy)
    return checks + found + ([await _check_second_engine(config, status, account)] if account else [])


def _check_state_dir(config: Config) -> Check:
    folder = config.state_dir.resolve()
    standing = _standing(folder)
    if not standing.is_dir() or not os.access(standing, os.W_OK):
        cure = "make the folder writable for this user, or set another state_dir"
        return Check("state_dir", False, f"{folder}: {standing} is not writable", cure)
    return Check("state_dir", True, f"{folder}{'' if standing == folder else ', made at the first start'}")


def _standing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _check_disk(config: Config) -> Check:
    free = shutil.disk_usage(_standing(config.state_dir.resolve())).free
    cure = f"make room: journal, archive and append-only file need {DISK_FREE_MIN // MEGABYTE} MB at least"
    return Check("disk", free >= DISK_FREE_MIN, f"{free // MEGABYTE} MB free under state_dir", cure)


async def _examine_redis(config: Config) -> tuple[dict[str, Any] | None, Policy | None, list[Check]]:
    """Return the running engine's status, the policy, and what was found."""
    reach = _reach(config)
    database, keys = Database(reach), Keys(config.redis.namespace)
    try:
        await database.ping()
        facts: Any = await database.client.info("server")
        status = await engine_status(database, keys)
        volatile = await volatility_of(database)
        policy = await _policy(database, keys)
    except (RedisError, OSError) as failed:
        if config.redis.url == "embedded":
            embedded = Check("redis", None, "embedded, not running", START_IT)
            return None, None, [embedded, Check("engine", None, "not running", START_IT)]
        return None, None, [Check("redis", False, f"does not answer: {failed}", "start it, or set redis.url")]
    finally:
        await database.close()
    version = facts.get("valkey_version") or facts.get("redis_version")
    checks = [
        _check_version(str(version)),
        Check("persistence", not volatile, volatile or "append-only file on, no eviction", volatile),
        _check_engine(status, config),
        _check_policy(policy, config),
    ]
    return status, policy, checks


def _check_version(version: str) -> Check:
    fine = int(version.partition(".")[0]) >= REDIS_VERSION_MIN
    cure = f"install Redis {REDIS_VERSION_MIN} or Valkey: the scripts and the stream's lag need it"
    return Check("redis", fine, f"version {version} answers", cure)


def _check_engine(status: dict[str, Any] | None, config: Config) -> Check:
    if status is None:
        return Check("engine", None, "not running", START_IT)
    if not status["ready"]:
        return Check(
            "engine", False, f"waits for {', '.join(status['not_ready_because'])}", "see the lines below"
        )
    if status["config_hash"] != config.hash:
        cure = "the log and governor.events say why an edit was refused; else restart the engine"
        return Check("engine", None, f"runs with another configuration, {status['config_hash']}", cure)
    return Check("engine", True, f"running, pid {status['pid']}, ready")


async def _policy(database: Database, keys: Keys) -> Policy:
    raw: Any = await database.client.hgetall(keys.policy)
    return parse_policy(raw, SystemClock().now_ms())


def _check_policy(policy: Policy, config: Config) -> Check:
    if policy.problem:
        cure = "HSET quantum:policy:current universe_symbols '[\"BTCUSDT\"]' policy_version 1"
        fine = None if config.mode is TradingMode.PAPER else False
        return Check("policy", fine, f"{policy.problem}: opens are blocked", cure)
    outside = sorted(set(config.symbols) - policy.universe)
    if outside:
        return Check("policy", None, f"{', '.join(outside)} not in it", "opens of these symbols are blocked")
    return Check("policy", True, f"{len(policy.universe)} symbols, version {policy.version or '-'}")


async def _check_second_engine(config: Config, status: dict[str, Any] | None, account: str) -> Check:
    """Whether the account's lease is held by somebody else than the engine of this configuration."""
    database, keys = Database(_reach(config)), Keys(config.redis.namespace)
    try:
        raw: Any = await database.client.get(keys.lease(account))
    except (RedisError, OSError):
        return Check("second engine", None, "cannot be seen without Redis", START_IT)
    finally:
        await database.close()
    holder = raw.decode().rpartition(":")[0] if raw is not None else ""
    if not holder:
        return Check("second engine", True, "no engine holds this account's lease")
    ours = status is not None and holder.startswith(f"{status['host']}-{status['pid']}-")
    cure = "stop it, or wait 5 s after a crash: two engines never trade one account"
    return Check("second engine", ours, f"{holder} holds the lease", cure)


def _reach(config: Config) -> str:
    return embedded_url(config.state_dir) if config.redis.url == "embedded" else config.redis.url


def _paper_url(config: Config, *, running: bool) -> str:
    if config.mode is not TradingMode.PAPER or not running:
        return ""
    return paper_exchange_url(config.state_dir) or ""
