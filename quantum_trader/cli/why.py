"""``quantum-trader why [PLAN_ID | SYMBOL]``."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from quantum_trader.cli.ask import ask, latch_times
from quantum_trader.cli.common import (
    FAILED,
    config_option,
    connected,
    engine_status,
    fail,
    json_option,
    print_json,
    read_reach,
    run_async,
    with_redis,
)
from quantum_trader.cli.explain import explain, meaning_of, time_left, verdict_lines
from quantum_trader.cli.reasons_lately import as_lines, reasons_lately
from quantum_trader.domain.clock import SystemClock
from quantum_trader.essentials import Reach
from quantum_trader.stores.archive import archived_plan, archived_since, archived_symbol
from quantum_trader.stores.connection import Database, RedisError
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.results import as_text, result_of

NEWEST = 10
RESULTS_READ = 10_000
LINE_WIDTH = 80

T = TypeVar("T")


@click.command("why")
@config_option
@json_option
@click.option("--side", type=click.Choice(["BUY", "SELL"]), default="BUY", show_default=True)
@click.option("--qty", help="Ask about an open of this quantity. [default: the smallest legal one]")
@click.option("--dead", is_flag=True, help="Show the newest entries that could not be read as a plan.")
@click.argument("name", metavar="[PLAN_ID|SYMBOL]", required=False)
def command(
    config_path: Path | None, as_json: bool, side: str, qty: str | None, dead: bool, name: str | None
) -> None:
    """Say why nothing trades, what became of a plan, or what would stop an open of a symbol now.

    Without a name: what stops the engine, the reasons of the last hour, the last decisions. Decisions come
    from the archive in state_dir, also while no engine runs.
    """
    reach = read_reach(config_path)
    if dead:
        _dead_letters(reach, as_json=as_json)
        return
    found = _find_plan(reach, name) if name else None
    if found is not None:
        print_json(found) if as_json else click.echo(explain(found, _latch_times(reach, found["symbol"])))
        return
    story = _symbol_story(reach, name, side, qty) if name else _story(reach)
    if as_json:
        print_json(story)
    else:
        click.echo("\n".join(_symbol_lines(story) if name else _story_lines(story)))


# -- nothing trades


def _story(reach: Reach) -> dict[str, Any]:
    now_ms = SystemClock().now_ms()
    try:
        stops = run_async(connected(reach, _stops))
    except (RedisError, OSError):
        stops = {"engine": "unreachable"}
    return {
        **stops,
        "reasons": _archived(lambda: reasons_lately(reach.state_dir, now_ms)),
        "decisions": _archived(lambda: archived_since(reach.state_dir, 0, NEWEST)),
    }


async def _stops(database: Database, keys: Keys) -> dict[str, Any]:
    status = await engine_status(database, keys)
    values: Any = await database.client.mget([keys.kill, keys.disarmed, keys.dry_run])
    kill, disarmed, dry_run = values
    return {
        "engine": "not running" if status is None else "ready" if status["ready"] else "not ready",
        "mode": status["mode"] if status is not None else "",
        "missing": status["not_ready_because"] if status is not None else [],
        "kill": (kill or b"0").decode(errors="replace"),
        "disarmed": (disarmed or b"").decode(errors="replace"),
        "dry_run_by_hand": dry_run is not None,
        "latches": await latch_times(database, keys, ""),
    }


def _story_lines(story: Mapping[str, Any]) -> list[str]:
    lines = stops_in_words(story) or ["Nothing stops the engine as a whole."]
    lines += ["", "Plans:", *as_lines(story["reasons"])]
    if not story["decisions"]:
        return [*lines, "", "No plan was ever decided here: does a producer write to the stream?"]
    return [*lines, "", "Last decisions (`quantum-trader why PLAN_ID` explains one):"] + [
        _line(fields) for fields in story["decisions"]
    ]


def stops_in_words(story: Mapping[str, Any]) -> list[str]:
    """Return what stops everything, one line each with its cure; empty if nothing does."""
    if story["engine"] == "unreachable":
        return ["✗ Redis does not answer, so no engine works: `quantum-trader doctor`"]
    latches = story["latches"]
    said = [
        (story["engine"] == "not running", "no engine runs: `quantum-trader run`"),
        (story["engine"] == "not ready", f"the engine waits for {', '.join(story['missing'])}"),
        (
            story["kill"] not in ("", "0"),
            f"kill switch = {story['kill']}: `quantum-trader resume --reason …`",
        ),
        (bool(story["disarmed"]), f"disarmed {story['disarmed']}: `quantum-trader arm --reason …`"),
        (story["mode"] == "dry_run", "mode dry_run sends no order: `quantum-trader mode` says why"),
        ("safe_mode" in latches, f"safe mode, {latches.get('safe_mode')} s left"),
        ("cooldown_global" in latches, f"all symbols cool down, {latches.get('cooldown_global')} s left"),
    ]
    return [f"✗ {text}" for applies, text in said if applies]


# -- a symbol


def _symbol_story(reach: Reach, name: str, side: str, qty: str | None) -> dict[str, Any]:
    symbol = name.upper()
    answer, latches = _asked(reach, symbol, side, qty)
    decisions = _archived(lambda: archived_symbol(reach.state_dir, symbol, NEWEST))
    if not decisions and not _is_listed(answer):
        asked = "" if answer is not None else ", and no engine runs that could be asked"
        fail(f"nothing is known of a plan or symbol {name!r}; plan ids are case-sensitive{asked}", FAILED)
    now_ms = SystemClock().now_ms()
    return {
        "symbol": symbol,
        "now": answer,
        "latches": latches,
        "reasons": _archived(lambda: reasons_lately(reach.state_dir, now_ms, symbol)),
        "decisions": decisions,
    }


def _is_listed(answer: Mapping[str, Any] | None) -> bool:
    """Whether the venue knows the symbol: without trading rules the sizing gate has no evidence."""
    if answer is None:
        return False
    sizing = next((v for v in answer["verdicts"] if v["gate"] == "exchange_sizing"), None)
    return sizing is not None and sizing["evidence"].get("fact") != "rules"


def _asked(
    reach: Reach, symbol: str, side: str, qty: str | None
) -> tuple[Mapping[str, Any] | None, dict[str, int]]:
    async def work(database: Database, keys: Keys) -> tuple[Mapping[str, Any] | None, dict[str, int]]:
        return await ask(database, keys, symbol, side, qty), await latch_times(database, keys, symbol)

    try:
        return run_async(connected(reach, work))
    except (RedisError, OSError):
        return None, {}


def _symbol_lines(story: Mapping[str, Any]) -> list[str]:
    lines = _now_lines(story["now"], story["latches"])
    lines += ["", f"Plans on {story['symbol']}:", *as_lines(story["reasons"])]
    if story["decisions"]:
        lines += ["", "Last decisions:", *(_line(fields) for fields in story["decisions"])]
    return lines


def _now_lines(answer: Mapping[str, Any] | None, latches: Mapping[str, int]) -> list[str]:
    if answer is None:
        return ["No engine answers, so nothing opens: `quantum-trader status`"]
    wish = f"{answer['side']} {answer['qty']} {answer['symbol']}"
    if answer["allowed"]:
        tail = "" if answer["sends_orders"] else ", but dry_run sends no order"
        head = [f"Nothing stops {wish} now{tail}."]
    elif answer["rotates"]:
        head = [f"{wish} would be opened by a rotation: {answer['rotates']} would go for it."]
    else:
        meaning, cure = meaning_of(answer["reason"])
        head = [f"{wish} would be BLOCKED by {answer['gate']}: {answer['reason']}", f"  {meaning}"]
        head += [f"  What to do: {cure}"] if cure else []
        head += time_left(answer["reason"], answer["verdicts"], latches)
    return [*head, "", "  Gates, in order:", *verdict_lines(answer["verdicts"])]


# -- a plan


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


def _latch_times(reach: Reach, symbol: str) -> dict[str, int]:
    try:
        return run_async(connected(reach, lambda database, keys: latch_times(database, keys, symbol)))
    except (RedisError, OSError):
        return {}


# -- dead letters


def _dead_letters(reach: Reach, *, as_json: bool) -> None:
    async def work(database: Database, keys: Keys) -> list[dict[str, str]]:
        entries: Any = await database.client.xrevrange(keys.dead_letters, count=NEWEST)
        return [as_text(fields) for _, fields in entries]

    letters = with_redis(reach, work)
    if as_json:
        print_json(letters)
    elif not letters:
        click.echo("no dead letters: everything on the stream could be read")
    for letter in letters if not as_json else ():
        rest = {name: text for name, text in letter.items() if name not in ("reason", "stream_id")}
        click.echo(f"{letter['stream_id']}  {letter['reason']}\n  {_short(str(rest))}")


def _line(fields: Mapping[str, str]) -> str:
    gate = f" by {fields['gate']}" if fields["gate"] else ""
    wish = f"{fields['side']} {fields['qty']} {fields['symbol']}"
    return _short(f"  {fields['plan_id']}  {wish}  {fields['decision']}{gate}: {fields['reason']}")


def _short(text: str) -> str:
    return text if len(text) <= LINE_WIDTH else text[: LINE_WIDTH - 1] + "…"


def _archived(read: Callable[[], T]) -> T:
    try:
        return read()
    except sqlite3.Error as broken:
        fail(f"the archive in state_dir cannot be read ({broken})", FAILED)
