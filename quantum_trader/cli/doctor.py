"""``quantum-trader doctor``: what the engine needs, checked one by one, each with its cure."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from quantum_trader.cli.common import (
    FAILED,
    config_option,
    engine_status,
    json_option,
    print_json,
    read_config,
    run_async,
)
from quantum_trader.config import Config, ConfigError, TradingMode
from quantum_trader.credentials import Credentials, load_credentials
from quantum_trader.domain.clock import SystemClock
from quantum_trader.exchange.binance import Exchange, connect
from quantum_trader.exchange.errors import ExchangeError, KeyRefused
from quantum_trader.exchange.settings import ExchangeSettings
from quantum_trader.stores.address import embedded_url, paper_exchange_url
from quantum_trader.stores.connection import Database, RedisError
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.persistence import volatility_of

SKEW_MS_NOTABLE = 1000
BAD_KEY_FORMAT = -2014
BAD_SIGNATURE = -1022


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at; ``cure`` says what to do when it is not fine."""

    name: str
    fine: bool
    found: str
    cure: str = ""


@click.command("doctor")
@config_option
@json_option
def command(config_path: Path | None, as_json: bool) -> None:
    """Check configuration, keys, Redis and exchange; exit code 1 if something is wrong."""
    config = read_config(config_path)
    checks = run_async(_examine(config))
    if as_json:
        print_json([{"name": c.name, "fine": c.fine, "found": c.found, "cure": c.cure} for c in checks])
    else:
        for check in checks:
            click.echo(f"{'✓' if check.fine else '✗'} {check.name:<16} {check.found}")
            if not check.fine:
                click.echo(f"  {'':<16} → {check.cure}")
    if not all(check.fine for check in checks):
        raise SystemExit(FAILED)


async def _examine(config: Config) -> list[Check]:
    checks = [
        Check("configuration", True, f"mode {config.mode}, hash {config.hash}"),
        _check_state_dir(config),
    ]
    status, redis_checks = await _examine_redis(config)
    checks += redis_checks
    try:
        credentials = load_credentials(config)
    except ConfigError as missing:
        return [*checks, Check("keys", False, "none to use", str(missing))]
    url = config.rest_url or _paper_url(config, running=status is not None)
    if not url:
        return [*checks, Check("exchange", True, "embedded; it starts with the engine")]
    return checks + await _examine_exchange(config, credentials, url)


def _check_state_dir(config: Config) -> Check:
    folder = config.state_dir.resolve()
    standing = next(path for path in (folder, *folder.parents) if path.exists())
    if not standing.is_dir() or not os.access(standing, os.W_OK):
        cure = "make the folder writable for this user, or set another state_dir"
        return Check("state_dir", False, f"{folder}: {standing} is not writable", cure)
    return Check("state_dir", True, f"{folder}{'' if standing == folder else ', made at the first start'}")


async def _examine_redis(config: Config) -> tuple[dict[str, Any] | None, list[Check]]:
    database = Database(
        embedded_url(config.state_dir) if config.redis.url == "embedded" else config.redis.url
    )
    try:
        await database.ping()
        facts: Any = await database.client.info("server")
        status = await engine_status(database, Keys(config.redis.namespace))
        volatile = await volatility_of(database)
    except (RedisError, OSError) as failed:
        if config.redis.url == "embedded":
            return None, [Check("redis", True, "embedded; it starts with the engine")]
        return None, [Check("redis", False, f"does not answer: {failed}", "start it, or set redis.url")]
    finally:
        await database.close()
    version = facts.get("valkey_version") or facts.get("redis_version")
    checks = [
        Check("redis", True, f"version {version} answers"),
        Check("persistence", not volatile, volatile or "append-only file on, no eviction", volatile),
        Check("engine", True, f"running, pid {status['pid']}" if status else "not running"),
    ]
    return status, checks


def _paper_url(config: Config, *, running: bool) -> str:
    if config.mode is not TradingMode.PAPER or not running:
        return ""
    return paper_exchange_url(config.state_dir) or ""


async def _examine_exchange(config: Config, credentials: Credentials, url: str) -> list[Check]:
    settings = ExchangeSettings(
        url, credentials.api_key, credentials.api_secret, config.exchange.recv_window_ms
    )
    exchange = connect(settings, SystemClock())
    try:
        reached = await _check_reachable(exchange, url)
        if not reached.fine:
            return [reached]
        return [
            reached,
            await _ask("api key", lambda: _check_key(exchange, config)),
            await _ask("symbols", lambda: _check_symbols(exchange, config)),
        ]
    finally:
        await exchange.close()


async def _check_reachable(exchange: Exchange, url: str) -> Check:
    try:
        offset_ms = await exchange.clock.measure()
    except ExchangeError as failed:
        return Check("exchange", False, f"{url}: {failed}", "check network, proxy and exchange.rest_url")
    note = ""
    if abs(offset_ms) > SKEW_MS_NOTABLE:
        note = "; it is measured and used, but set this machine's clock (NTP) all the same"
    return Check("exchange", True, f"{url} answers, its clock is {offset_ms} ms ahead of ours{note}")


async def _ask(name: str, check: Callable[[], Awaitable[Check]]) -> Check:
    try:
        return await check()
    except KeyRefused as refused:
        return Check(name, False, f"refused: {refused}", _key_cure(refused))
    except ExchangeError as failed:
        return Check(name, False, str(failed), "try again; the exchange answered something unexpected")


def _key_cure(refused: KeyRefused) -> str:
    """-2015 does not say which of three it is; -2014 and -1022 do (BINANCE.md 5)."""
    if refused.code == BAD_KEY_FORMAT:
        return "the key is malformed: copy it again, without quotes or blanks"
    if refused.code == BAD_SIGNATURE:
        return "the secret does not belong to this key: copy both again, from the same page"
    return (
        "one of three: the key has no futures permission; this machine's IP is not on its allowlist; "
        "or it is a testnet key used on the live exchange, or the other way round"
    )


async def _check_key(exchange: Exchange, config: Config) -> Check:
    setup = await exchange.account.account_config()
    if not setup.can_trade:
        return Check("api key", False, "accepted, but may not trade", "give the key the futures permission")
    mode = "hedge mode" if setup.hedge_mode else "one-way mode"
    if setup.multi_assets_margin:
        cure = "switch multi-assets mode off: margins are computed in USDT alone"
        return Check("api key", False, f"accepted; {mode}, multi-assets mode", cure)
    account = await exchange.account.account()
    purpose = "reads only" if not config.sends_orders else "may trade"
    return Check("api key", True, f"accepted, {purpose}; {mode}; {account.available_balance} USDT available")


async def _check_symbols(exchange: Exchange, config: Config) -> Check:
    rules = await exchange.market.symbol_rules()
    unknown = [symbol for symbol in config.symbols if symbol not in rules]
    if unknown:
        cure = f"remove {', '.join(unknown)} from `symbols`, or correct the spelling"
        return Check("symbols", False, f"{', '.join(unknown)} unknown to this venue", cure)
    idle = [symbol for symbol in config.symbols if not rules[symbol].is_trading]
    note = f"; not trading now: {', '.join(idle)}" if idle else ""
    return Check("symbols", True, f"{len(config.symbols)} known{note}")
