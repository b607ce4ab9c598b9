"""The running engine's promises, each looked up where it can be seen broken (`quantum-trader verify`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from quantum_trader.bsc.health import Authority, State
from quantum_trader.cli.ask import ask
from quantum_trader.cli.checks import Check
from quantum_trader.cli.lag import lag_of
from quantum_trader.config import Config, TradingMode
from quantum_trader.domain.clock import SystemClock
from quantum_trader.domain.plan import stream_ms
from quantum_trader.domain.trading import Leg
from quantum_trader.essentials import Reach
from quantum_trader.exchange.margin_reads import MarginPosition
from quantum_trader.gates.kill_switch import HALT_ALL
from quantum_trader.stores.archive import archived_plan
from quantum_trader.stores.codec import decode
from quantum_trader.stores.connection import Database
from quantum_trader.stores.keys import GROUP, Keys
from quantum_trader.stores.lease import TTL_MS
from quantum_trader.stores.persistence import volatility_of
from quantum_trader.stores.positions import PositionStore

SETTLED_WITHIN_S = 60
WAITING_MAX = 100
POLL_AGE_MS_MAX = 180_000
PLANS_COMPARED = 1_000
RESULTS_COMPARED = 10_000
SAME_ID_WITHIN_MS = 3_600_000
FOREIGN_WITHIN_MS = 86_400_000
PATIENCE_S = 10.0
PAUSE_S = 0.2
KILL_VALUES = ("", "0", "1", "opens")


@dataclass(frozen=True, slots=True)
class Scene:
    """What the checks look at."""

    database: Database
    keys: Keys
    reach: Reach
    status: Mapping[str, Any]
    config: Config | None
    positions: Callable[[], Awaitable[tuple[MarginPosition, ...]]]

    @property
    def client(self) -> Any:
        """The Redis client."""
        return self.database.client


async def works(scene: Scene) -> Check:
    """Ready means work gets done, not that a process is up (INC-83)."""
    missing = scene.status["not_ready_because"]
    cure = "`quantum-trader doctor` checks the source of each"
    found = f"pid {scene.status['pid']}, {scene.status['plans_seen']} plans seen"
    return Check("engine", not missing, f"waits for {', '.join(missing)}" if missing else found, cure)


async def one_holder(scene: Scene) -> Check:
    """The lease is held, is renewed, and is this engine's."""
    name = scene.keys.lease(scene.status["account"])
    raw, left_ms = await scene.client.get(name), await scene.client.pttl(name)
    if raw is None:
        return Check("lease", False, "held by no one", "is the engine stuck? `quantum-trader status`")
    holder = raw.decode()
    ours = holder.startswith(f"{scene.status['host']}-{scene.status['pid']}-")
    cure = "two engines trade this account: stop one of them"
    return Check("lease", ours and 0 < left_ms <= TTL_MS, f"held by {holder.rpartition(':')[0]}", cure)


async def kill_switch_obeyed(scene: Scene) -> Check:
    """The switch is readable, and the gate says what it says."""
    value = (await scene.client.get(scene.keys.kill) or b"").decode(errors="replace")
    if value not in KILL_VALUES:
        return Check("kill switch", False, f"{value!r} is no value it knows", "set it with kill or resume")
    answer = await ask(scene.database, scene.keys, _symbol(scene), "BUY", None)
    if answer is None:
        return Check("kill switch", False, "the engine does not answer", "`quantum-trader status`")
    stops = value in ("1", "opens")
    verdict = next(verdict for verdict in answer["verdicts"] if verdict["gate"] == "kill_switch")
    obeyed = (verdict["code"] == "kill_switch_active") == stops
    shown = f"{value or '0'}, and the gate {'denies' if verdict['ruling'] == 'deny' else 'passes'} opens"
    return Check("kill switch", obeyed, shown, "stop the engine: it does not obey; use `flatten` to close")


async def ledger_agrees(scene: Scene) -> Check:
    """Ledger and exchange hold the same; a fill under way may take a moment."""
    for _ in range(int(PATIENCE_S / PAUSE_S)):
        differences = await _differences(scene)
        if not differences:
            return Check("ledger", True, "the same as the exchange")
        await SystemClock().sleep(PAUSE_S)
    names = ", ".join(sorted(leg.key for leg in differences))
    return Check("ledger", False, f"differs on {names}", "`quantum-trader positions` shows by how much")


async def _differences(scene: Scene) -> set[Leg]:
    held = {position.leg: position.amount for position in await scene.positions()}
    stored = await PositionStore(scene.database, scene.keys).ledger()
    believed = {leg: Decimal(fields.get("position_amt", "0")) for leg, fields in stored.items()}
    return {leg for leg in held.keys() | believed.keys() if held.get(leg, 0) != believed.get(leg, 0)}


async def group_reads(scene: Scene) -> Check:
    """The group exists, one consumer reads it, and next to nothing waits (INC-80, INC-81)."""
    found = await lag_of(scene.database, scene.keys)
    if found is None:
        return Check(
            "plan stream", False, "has no consumer group", "restart the engine: it creates the group"
        )
    fine = found["waiting"] <= WAITING_MAX and found["consumers"] <= 1
    shown = f"{found['waiting']} wait, {found['consumers']} consumer"
    return Check("plan stream", fine, shown, "`quantum-trader lag`; other programs must not read this group")


async def all_settled(scene: Scene) -> Check:
    """No plan has been without a result for longer than a minute."""
    found = await lag_of(scene.database, scene.keys)
    oldest_s = (found or {}).get("oldest_s") or 0
    shown = f"oldest plan without a result: {oldest_s} s" if oldest_s else "every plan has its result"
    return Check(
        "unsettled", oldest_s <= SETTLED_WITHIN_S, shown, "`quantum-trader why PLAN_ID`, and the log"
    )


async def one_result_each(scene: Scene) -> Check:
    """Every plan that was read and acknowledged has exactly one result."""
    results = await scene.client.xrevrange(scene.keys.results, count=RESULTS_COMPARED)
    since_ms = stream_ms(results[-1][0].decode()) if results else 0
    last_ms: dict[str, int] = {}
    twice: Counter[str] = Counter()
    for name, fields in results:
        plan_id, at_ms = fields[b"plan_id"].decode(), stream_ms(name.decode())
        if plan_id in last_ms and last_ms[plan_id] - at_ms < SAME_ID_WITHIN_MS:
            twice[plan_id] += 1
        last_ms[plan_id] = at_ms
    missing = await _without_result(scene, set(last_ms), since_ms)
    if not missing and not twice:
        return Check("results", True, f"one for each of the last {len(last_ms)} plans")
    names = ", ".join(sorted([*missing, *twice])[:3])
    shown = f"{len(missing)} plans without, {len(twice)} with two: {names}"
    return Check("results", False, shown, "`quantum-trader why PLAN_ID`; keep the log and report it")


async def _without_result(scene: Scene, known: set[str], since_ms: int) -> set[str]:
    groups = await scene.client.xinfo_groups(scene.keys.plans)
    last = next((g["last-delivered-id"].decode() for g in groups if g["name"] == GROUP.encode()), "0")
    pending = await scene.client.xpending_range(scene.keys.plans, GROUP, "-", "+", PLANS_COMPARED)
    open_ids = {entry["message_id"] for entry in pending}
    entries = await scene.client.xrevrange(scene.keys.plans, max=last, count=PLANS_COMPARED)
    asked = {
        fields[b"plan_id"].decode(errors="replace")
        for name, fields in entries
        if name not in open_ids and b"plan_id" in fields and stream_ms(name.decode()) >= since_ms
    }
    dead = await scene.client.xrevrange(scene.keys.dead_letters, count=PLANS_COMPARED)
    buried = {fields[b"plan_id"].decode(errors="replace") for _, fields in dead if b"plan_id" in fields}
    return {
        plan_id for plan_id in asked - known - buried if archived_plan(scene.reach.state_dir, plan_id) is None
    }


async def redis_keeps(scene: Scene) -> Check:
    """Redis forgets nothing that it was told."""
    problem = await volatility_of(scene.database)
    return Check("redis", not problem, problem or "append-only file on, nothing is evicted", problem)


async def bsc_watches(scene: Scene) -> Check:
    """BSC sees the account and may close."""
    raw = await scene.client.get(scene.keys.bsc_health)
    health: Mapping[str, Any] = decode(raw) if raw is not None else {}
    cure = "`quantum-trader bsc status`; [bsc] enabled, or `quantum-trader bsc run`"
    if not health:
        return Check("bsc", False, "no sign of life for three minutes", cure)
    age_ms = SystemClock().now_ms() - int(health["last_good_poll_ms"] or 0)
    fine = health["state"] == State.OK and health["authority"] == Authority.CONTROLLER
    shown = f"{health['state']}, {health['authority']}, last good poll {age_ms // 1000} s ago"
    return Check("bsc", fine and age_ms <= POLL_AGE_MS_MAX, shown, cure)


async def clock_known(scene: Scene) -> Check:
    """The offset to the exchange's clock is measured."""
    offset_ms = scene.status["clock_offset_ms"]
    shown = (
        "not measured" if offset_ms is None else f"{offset_ms} ms off the exchange's, which is allowed for"
    )
    return Check(
        "clock", offset_ms is not None, shown, "the exchange does not answer: `quantum-trader doctor`"
    )


async def same_config(scene: Scene) -> Check:
    """The engine goes by the file as it stands (INC-94)."""
    running = scene.status["config_hash"]
    if scene.config is None:
        return Check("config", False, f"file not valid; the engine goes by {running}", "`config check`")
    if scene.config.hash == running:
        return Check("config", True, f"hash {running}, engine and file alike")
    shown = f"the engine goes by {running}, the file says {scene.config.hash}"
    return Check("config", False, shown, "`quantum-trader why` and the log say what was refused; or restart")


async def no_foreign_orders(scene: Scene) -> Check:
    """No order that no part of this engine sent, within a day."""
    since = SystemClock().now_ms() - FOREIGN_WITHIN_MS
    events = await scene.client.xrevrange(scene.keys.governor_events, min=since, count=RESULTS_COMPARED)
    foreign = [fields for _, fields in events if fields.get(b"event") == b"FOREIGN_ORDER"]
    symbols = ", ".join(sorted({fields[b"symbol"].decode() for fields in foreign}))
    shown = f"{len(foreign)} in the last 24 h: {symbols}" if foreign else "none in the last 24 h"
    cure = "someone else trades this account: give the engine an account of its own"
    return Check("foreign orders", not foreign, shown, cure)


async def archive_written(scene: Scene) -> Check:
    """The newest result is in the archive as well; it is written a moment later."""
    newest = await scene.client.xrevrange(scene.keys.results, count=1)
    if not newest:
        return Check("archive", True, "nothing to keep yet")
    plan_id = newest[0][1][b"plan_id"].decode()
    for _ in range(int(PATIENCE_S / PAUSE_S)):
        if archived_plan(scene.reach.state_dir, plan_id) is not None:
            return Check("archive", True, "holds the newest decision")
        await SystemClock().sleep(PAUSE_S)
    return Check("archive", False, f"lacks plan {plan_id}", "is the disk under state_dir full?")


async def may_send(scene: Scene) -> Check:
    """What the engine publishes about sending orders is what mode, readiness and kill switch say."""
    said = (await scene.client.get(scene.keys.execution) or b"").decode(errors="replace")
    sends = scene.status["mode"] != TradingMode.DRY_RUN and scene.status["ready"]
    sends = sends and scene.status["kill"] != HALT_ALL
    mode = (await scene.client.get(scene.keys.mode) or b"").decode(errors="replace")
    fine = said == ("ENABLED" if sends else "DISABLED") and mode == scene.status["mode"].upper()
    return Check("execution", fine, f"{said or 'not said'}, mode {mode or 'not said'}", "restart the engine")


PROMISES: tuple[Callable[[Scene], Awaitable[Check]], ...] = (
    works,
    one_holder,
    kill_switch_obeyed,
    ledger_agrees,
    all_settled,
    one_result_each,
    group_reads,
    redis_keeps,
    bsc_watches,
    clock_known,
    same_config,
    no_foreign_orders,
    archive_written,
    may_send,
)


def _symbol(scene: Scene) -> str:
    return scene.config.symbols[0] if scene.config is not None else "BTCUSDT"
