"""``quantum-trader submit``."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

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
from quantum_trader.cli.explain import explain
from quantum_trader.domain.clock import SystemClock
from quantum_trader.domain.plan import Action
from quantum_trader.essentials import Reach
from quantum_trader.stores.archive import archived_plan
from quantum_trader.stores.connection import Database
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.results import as_text, entries_of

BLOCK_MS = 1000
LOOKED_BACK = 1000
CLOCK = SystemClock()


@click.command("submit")
@config_option
@json_option
@click.option("--symbol", required=True, help="Symbol as the exchange writes it, like BTCUSDT.")
@click.option(
    "--side", required=True, type=click.Choice(["BUY", "SELL", "CLOSE"]), help="CLOSE: whichever side closes."
)
@click.option("--qty", required=True, help="Quantity in base asset; 0 with a close action.")
@click.option("--reduce-only", is_flag=True, help="Only ever reduce the position.")
@click.option(
    "--action", type=click.Choice([action.value for action in Action]), help="What the plan proposes."
)
@click.option("--plan-id", help="Identity of the plan. [default: a new one]")
@click.option("--position-side", type=click.Choice(["LONG", "SHORT"]), help="Hedge mode: which leg.")
@click.option("--leverage", help="Whole number; set before the order while the symbol is flat.")
@click.option("--confidence", help="0 to 1; where known, a rotation needs it to be 1.15 times as high.")
@click.option("--kill-score", help="0 to 1; from gates.kill_score.critical on nothing opens.")
@click.option("--timestamp", help="When it was thought of: s, ms or ISO 8601; ages it. [default: now]")
@click.option("--wait", is_flag=True, help="Wait for the result and print it.")
@click.option("--timeout", "timeout_s", default=90, show_default=True, help="Seconds to wait with --wait.")
def command(
    config_path: Path | None,
    as_json: bool,
    plan_id: str | None,
    wait: bool,
    timeout_s: int,
    **given: Any,
) -> None:
    """Put a plan on the stream; with --wait, print what became of it."""
    reach = read_reach(config_path)
    plan = _plan_fields(plan_id or f"cli-{secrets.token_hex(6)}", given)

    async def work(database: Database, keys: Keys) -> tuple[bool, Mapping[str, str] | None]:
        await _refuse_known(database, keys, reach, plan["plan_id"])
        newest: Any = await database.client.xrevrange(keys.results, count=1)
        entry: Any = dict(plan)
        await database.client.xadd(keys.plans, entry)
        runs = await engine_status(database, keys) is not None
        after = newest[0][0].decode() if newest else "0"
        result = await _wait_for(database, keys, plan["plan_id"], after, timeout_s) if wait else None
        return runs, result

    runs, result = with_redis(reach, work)
    if not runs and not as_json:
        click.echo("No engine runs: the plan waits on the stream until it is too old.", err=True)
    if wait and result is None:
        fail(f"no result of plan {plan['plan_id']} within {timeout_s} s; see `quantum-trader status`", FAILED)
    if as_json:
        print_json(result if result is not None else {"plan_id": plan["plan_id"]})
    else:
        click.echo(explain(result) if result is not None else f"plan_id {plan['plan_id']}")


async def _refuse_known(database: Database, keys: Keys, reach: Reach, plan_id: str) -> None:
    """End with the story's command where the id has a state, waits on the stream, or is archived."""
    state: Any = await database.client.get(keys.processed(plan_id))
    waiting: Any = await database.client.xrevrange(keys.plans, count=LOOKED_BACK)
    waits = any(fields.get(b"plan_id") == plan_id.encode() for _, fields in waiting)
    if state is not None or waits or archived_plan(reach.state_dir, plan_id) is not None:
        how = state.decode() if state is not None else "waiting, or ended a while ago"
        fail(
            f"plan id {plan_id} was used before ({how}); see `quantum-trader why {plan_id}`, or use a new id"
        )


def _plan_fields(plan_id: str, given: Mapping[str, Any]) -> dict[str, str]:
    fields = {
        "plan_id": plan_id,
        "decision": "EXECUTE",
        "symbol": given["symbol"],
        "side": given["side"],
        "qty": given["qty"],
        "reduceOnly": "true" if given["reduce_only"] else "false",
        "timestamp": given["timestamp"] or str(CLOCK.now_ms()),
        "source": "cli",
    }
    optional = {
        "action": given["action"],
        "leverage": given["leverage"],
        "positionSide": given["position_side"],
        "confidence": given["confidence"],
        "kill_score": given["kill_score"],
    }
    return fields | {name: str(value) for name, value in optional.items() if value is not None}


async def _wait_for(
    database: Database, keys: Keys, plan_id: str, after: str, timeout_s: int
) -> Mapping[str, str] | None:
    deadline_s = CLOCK.monotonic_s() + timeout_s
    last = after
    while CLOCK.monotonic_s() < deadline_s:
        reply: Any = await database.client.xread({keys.results: last}, block=BLOCK_MS)
        for entry_id, raw in entries_of(reply):
            last = entry_id
            fields = as_text(raw)
            if fields["plan_id"] == plan_id:
                return fields
    return None
