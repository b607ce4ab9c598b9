"""``quantum-trader why``."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import click

from quantum_trader.cli.common import (
    FAILED,
    config_option,
    fail,
    json_option,
    print_json,
    read_reach,
    run_async,
)
from quantum_trader.cli.explain import explain, meaning_of
from quantum_trader.essentials import Reach
from quantum_trader.stores.archive import archived_plan, archived_symbol
from quantum_trader.stores.connection import Database, RedisError
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.results import result_of

NEWEST = 10
RESULTS_READ = 10_000

T = TypeVar("T")


@click.command("why")
@config_option
@json_option
@click.argument("name", metavar="PLAN_ID|SYMBOL")
def command(config_path: Path | None, as_json: bool, name: str) -> None:
    """Explain what became of a plan, or list the last decisions on a symbol.

    Reads the result stream, and the archive in state_dir where the stream has no longer what is asked.
    """
    reach = read_reach(config_path)
    found = _find_plan(reach, name)
    if found is not None:
        print_json(found) if as_json else click.echo(explain(found))
        return
    recent = _archived(lambda: archived_symbol(reach.state_dir, name, NEWEST))
    if not recent:
        fail(f"nothing is known of a plan or symbol {name!r}; plan ids are case-sensitive", FAILED)
    if as_json:
        print_json(recent)
        return
    for fields in recent:
        click.echo(_line(fields))


def _line(fields: Mapping[str, str]) -> str:
    meaning, _ = meaning_of(fields["reason"])
    gate = f" by {fields['gate']}" if fields["gate"] else ""
    wish = f"{fields['side']} {fields['qty']}"
    return f"{fields['plan_id']}  {wish}  {fields['decision']}{gate}: {fields['reason']}. {meaning}"


def _find_plan(reach: Reach, plan_id: str) -> Mapping[str, str] | None:
    archived = _archived(lambda: archived_plan(reach.state_dir, plan_id))
    return archived if archived is not None else run_async(_search_stream(reach, plan_id))


async def _search_stream(reach: Reach, plan_id: str) -> Mapping[str, str] | None:
    """The stream has the newest decisions; an engine that is not running has none to add."""
    database = Database(reach.redis_url)
    try:
        return await result_of(database, Keys(reach.namespace), plan_id, RESULTS_READ)
    except (RedisError, OSError):
        return None
    finally:
        await database.close()


def _archived(read: Callable[[], T]) -> T:
    try:
        return read()
    except sqlite3.Error as broken:
        fail(f"the archive in state_dir cannot be read ({broken})", FAILED)
