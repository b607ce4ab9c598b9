"""``quantum-trader positions``: exchange, ledger, difference, and the distance to BSC's limits."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import click

from quantum_trader.bsc import limits
from quantum_trader.bsc.exits import Reading, Watched, all_breaches, measure
from quantum_trader.bsc.opened import Openings
from quantum_trader.bsc.reading import Look, look, still_stands
from quantum_trader.cli.common import (
    FAILED,
    UNREACHABLE,
    config_option,
    connected,
    fail,
    json_option,
    print_json,
    read_reach,
    run_async,
)
from quantum_trader.cli.operator_exits import credentials_of, essentials_of, own_line
from quantum_trader.domain.result import plain
from quantum_trader.domain.trading import Leg
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.stores.connection import Database, RedisError
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.positions import PositionStore

UNKNOWN = "?"
HEADS = ("position", "exchange", "ledger", "difference", "pnl %", "age h", "margin")
WIDTHS = (16, 11, 11, 11, 8, 7, 7)


@click.command("positions")
@config_option
@json_option
def command(config_path: Path | None, as_json: bool) -> None:
    """Show what the exchange holds, what the ledger believes, and how far BSC's limits are.

    Asks the exchange itself. Exit code 1 if the two differ; without Redis the ledger is not known.
    """
    seen = _look(config_path)
    ledger = _ledger(config_path)
    rows = _rows(seen.reading, ledger)
    if as_json:
        print_json({"positions": rows, "ledger_known": ledger is not None, "problems": list(seen.problems)})
    else:
        _print(rows, seen, ledger_known=ledger is not None)
    if any(row["difference"] not in ("0", UNKNOWN) for row in rows):
        raise SystemExit(FAILED)


def _look(config_path: Path | None) -> Look:
    essentials = essentials_of(config_path)
    credentials = credentials_of(essentials)

    async def work() -> Look:
        async with own_line(essentials, credentials) as line:
            await line.clock.measure()
            return await look(line, Openings(line.reads.trades, partial(still_stands, line.reads)))

    try:
        return asyncio.run(work())
    except ExchangeError as unreachable:
        fail(f"the exchange does not answer: {unreachable}; `quantum-trader doctor` says why", UNREACHABLE)


def _ledger(config_path: Path | None) -> dict[Leg, Decimal] | None:
    async def work(database: Database, keys: Keys) -> Mapping[Leg, Mapping[str, str]]:
        return await PositionStore(database, keys).ledger()

    try:
        entries = run_async(connected(read_reach(config_path), work))
    except (RedisError, OSError):
        return None
    return {leg: Decimal(fields.get("position_amt", "0")) for leg, fields in entries.items()}


def _rows(reading: Reading, ledger: Mapping[Leg, Decimal] | None) -> list[dict[str, Any]]:
    held = {each.position.leg: each for each in reading.watched}
    believed = {leg for leg, amount in (ledger or {}).items() if amount != 0}
    breaches = {breach.leg: breach.trigger.value for breach in all_breaches(reading)}
    legs = sorted(held.keys() | believed, key=lambda leg: leg.key)
    return [_row(leg, held.get(leg), reading, ledger) | {"breach": breaches.get(leg, "")} for leg in legs]


def _row(
    leg: Leg, watched: Watched | None, reading: Reading, ledger: Mapping[Leg, Decimal] | None
) -> dict[str, Any]:
    amount = watched.position.amount if watched is not None else Decimal(0)
    believed = ledger.get(leg, Decimal(0)) if ledger is not None else None
    measures = measure(watched, reading) if watched is not None else None
    return {
        "symbol": leg.symbol,
        "position_side": leg.side.value,
        "exchange_amt": plain(amount),
        "ledger_amt": plain(believed) if believed is not None else UNKNOWN,
        "difference": plain(amount - believed) if believed is not None else UNKNOWN,
        "entry_price": plain(watched.position.entry_price) if watched is not None else "",
        "pnl_pct": _places(measures.pnl_pct if measures else None, "0.01"),
        "age_h": _places(measures.age_h if measures else None, "0.1"),
        "margin_ratio": _places(measures.margin_ratio if measures else None, "0.001"),
    }


def _places(number: Decimal | None, step: str) -> str:
    if number is None:
        return UNKNOWN
    return f"{number.quantize(Decimal(step)):f}" if number.is_finite() else "inf"


def _print(rows: list[dict[str, Any]], seen: Look, *, ledger_known: bool) -> None:
    if not rows:
        click.echo("no position")
    else:
        click.echo(_table(HEADS))
        bounds = (limits.MAX_LOSS_PCT, limits.MAX_DURATION_H, limits.MAX_MARGIN)
        click.echo(_table(("BSC closes at", "", "", "", *(f"{bound:f}" for bound in bounds))))
    for row in rows:
        side = "" if row["position_side"] == "BOTH" else f" {row['position_side']}"
        names = ("exchange_amt", "ledger_amt", "difference", "pnl_pct", "age_h", "margin_ratio")
        breach = f"  {row['breach']}" if row["breach"] else ""
        click.echo(_table((row["symbol"] + side, *(row[name] for name in names))) + breach)
    if not ledger_known:
        click.echo("Redis does not answer, so the ledger is not known")
    for problem in seen.problems:
        click.echo(f"trouble: {problem}")


def _table(cells: tuple[str, ...]) -> str:
    name, *numbers = cells
    widths = WIDTHS[1:]
    return f"{name:<{WIDTHS[0]}}" + " ".join(f"{cell:>{w}}" for cell, w in zip(numbers, widths, strict=True))
