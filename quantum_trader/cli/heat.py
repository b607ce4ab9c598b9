"""``quantum-trader heat report``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import click

from quantum_trader.cli.common import config_option, json_option, print_json, read_reach, with_redis
from quantum_trader.config import ConfigError, load_config
from quantum_trader.credentials import load_credentials
from quantum_trader.domain.clock import SystemClock
from quantum_trader.domain.result import plain
from quantum_trader.exchange.binance import Exchange, connect
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.exchange.settings import ExchangeSettings
from quantum_trader.producers.heat_report import Change, HeatReport, report_of
from quantum_trader.stores.address import paper_exchange_url
from quantum_trader.stores.connection import Database
from quantum_trader.stores.harvest import calibrated_entries
from quantum_trader.stores.keys import Keys

SHOWN_MAX = 20
CENT = Decimal("0.01")


@click.group("heat")
def command() -> None:
    """What P2.6, the portfolio heat, makes of the closes that harvest proposes."""


@command.command("report")
@config_option
@json_option
def report(config_path: Path | None, as_json: bool) -> None:
    """Sum up: how often, what it would have changed, and the PnL difference since."""

    async def work(database: Database, keys: Keys) -> HeatReport:
        entries = await calibrated_entries(database, keys)
        return report_of(entries, await _marks(config_path) if entries else {})

    found = with_redis(read_reach(config_path), work)
    if as_json:
        print_json(found.as_record())
    else:
        click.echo("\n".join(_lines(found)))


async def _marks(config_path: Path | None) -> Mapping[str, Decimal]:
    """Return the mark prices of now; none where they cannot be had, and stderr says why."""
    try:
        config = load_config(config_path)
        url = config.rest_url or paper_exchange_url(config.state_dir)
        if not url:
            return {}
        keys = load_credentials(config)
        settings = ExchangeSettings(url, keys.api_key, keys.api_secret, config.exchange.recv_window_ms)
        return await _read_marks(connect(settings, SystemClock()))
    except (ConfigError, ExchangeError) as failed:
        click.echo(f"quantum-trader: no prices of now, so no PnL difference: {failed}", err=True)
        return {}


async def _read_marks(exchange: Exchange) -> Mapping[str, Decimal]:
    try:
        return await exchange.market.mark_prices()
    finally:
        await exchange.close()


def _lines(found: HeatReport) -> list[str]:
    if not found.proposals:
        return ["No proposal passed by the heat gate yet; harvest proposes for live positions only."]
    lines = [
        f"{found.proposals} proposals since {_moment(found.since_ms)}; mode: {_counts(found.modes)}",
        f"Heat: {_counts(found.buckets)}",
        f"Why: {_counts(found.reasons)}",
        f"Made smaller: {len(found.changes)}",
    ]
    lines += [f"  {_line(change)}" for change in found.changes[-SHOWN_MAX:]]
    if len(found.changes) > SHOWN_MAX:
        lines.append(f"  … and {len(found.changes) - SHOWN_MAX} before; --json lists all")
    if found.changes:
        lines.append(f"PnL difference since: {_usdt(found.pnl_difference)}")
        lines.append("(+: keeping was better than closing; mark prices of now, before fees and funding)")
    if found.unreadable:
        lines.append(f"{found.unreadable} entries cannot be read: somebody else writes to this stream")
    return lines


def _line(change: Change) -> str:
    done = "became" if change.mode == "enforce" else "would have become"
    what = f"{change.symbol} {change.proposal} {done} {change.calibrated_action}"
    return f"{_moment(change.timestamp_ms)}  {what} (heat {change.heat}): {_usdt(change.pnl_difference)}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name or '?'} {count}" for name, count in sorted(counts.items()))


def _moment(time_ms: int | None) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}" if time_ms is not None else "?"


def _usdt(amount: Decimal | None) -> str:
    if amount is None:
        return "unknown"
    return f"{'+' if amount > 0 else ''}{plain(amount.quantize(CENT))} USDT"
