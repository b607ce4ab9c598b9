"""One seed from its first plan to its last check."""

from __future__ import annotations

import asyncio
import gc
import random
import secrets
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson
import structlog
from simulation.world.chaos import Chaos
from simulation.world.checks import Checks
from simulation.world.exchange import KEY, SECRET, ExchangeNetwork, SimulatedTransport, build_exchange
from simulation.world.loop import Process, Stalled, VirtualClock, VirtualLoop, process_of_context
from simulation.world.redis_client import RedisNetwork, simulated_database
from simulation.world.redis_server import RedisServer
from simulation.world.scenario import SYMBOLS, Scenario
from simulation.world.workload import Workload, entry_of

from quantum_trader import app as app_module
from quantum_trader.app import App, StartRefused
from quantum_trader.credentials import Credentials
from quantum_trader.domain.result import Result
from quantum_trader.exchange import binance
from quantum_trader.exchange.errors import ExchangeError
from quantum_trader.exchange.settings import ExchangeSettings
from quantum_trader.stores.connection import Database, RedisError
from quantum_trader.stores.keys import Keys

SETTLED_WITHIN_S = 700.0  # an exit's deadline is 300 s, and it may be the second one of its plan
LOOK_EVERY_S = 2.0
RECONCILED_AFTER_S = 12.0
WEIGHT_BACK_AFTER_S = 75.0  # request weight comes back with the minute, and reads go on after it
STEPS_A_PLAN_MAX = 60_000
BUGS = frozenset(
    {
        "plan_failed",
        "upkeep_broken",
        "consumer_broken",
        "GATE_ERROR",
        "claimed_plan_interrupted",
        "key_unreadable",
        "claim_unreadable",
        "plan_record_unreadable",
        "rotation_lock_unreadable",
    }
)


@dataclass
class Outcome:
    """What became of a seed."""

    seed: int
    asked: int  # plans that were to be made
    plans: int  # plan ids that stood on the stream, a rotation's own closes among them
    digest: str
    violations: list[tuple[str, str]]  # checker, and what it saw
    counts: Counter[str] = field(default_factory=Counter)
    virtual_s: float = 0.0


class KeptOrders:
    """The archive's place: what it needs to know of a former life, and what it forgets in a crash."""

    def __init__(self, kept: dict[str, int], loop: VirtualLoop, process: Process) -> None:
        self._kept, self._loop, self._process = kept, loop, process
        self.dropped = 0

    def start(self) -> dict[str, int]:
        return dict(self._kept)

    def keep(self, result: Result, fields: Mapping[str, str]) -> None:
        self._loop.later(0.02, self._write, result)

    def close(self) -> None:
        """Nothing waits to be written."""

    def _write(self, result: Result) -> None:
        if self._process.is_dead:
            return
        for attempt in result.trace.get("orders", ()):
            self._kept.setdefault(attempt["client_order_id"], result.timestamp_ms)


class NoWeb:
    """The place of the HTTP server: nobody looks."""

    async def start(self) -> None:
        """Listen to nobody."""

    def attach(self, *_: object) -> None:
        """Show nothing."""

    async def stop(self) -> None:
        """There is nothing to stop."""


class SimulatedApp(App):
    """The engine, with Redis, exchange and archive of the world."""

    def __init__(self, world: World, process: Process) -> None:
        super().__init__(world.config, VirtualClock(world.loop, process))
        self._archive = KeptOrders(world.orders_kept, world.loop, process)  # type: ignore[assignment]
        self.web = NoWeb()  # type: ignore[assignment]
        self._world, self._process = world, process

    async def _open_database(self) -> Database:
        return simulated_database(self._world.redis, self._process)

    async def _exchange_settings(self, credentials: Credentials) -> ExchangeSettings:
        self._exchange_url = "http://simulated"
        config = self.config.exchange
        return ExchangeSettings(
            rest_url=self._exchange_url,
            api_key=credentials.api_key,
            api_secret=credentials.api_secret,
            recv_window_ms=config.recv_window_ms,
            request_timeout_s=float(config.request_timeout_s),
        )


class World:
    """Everything of one seed; a hasty one ends with the first broken promise."""

    def __init__(
        self, scenario: Scenario, loop: VirtualLoop, state_dir: Path, *, hasty: bool = False
    ) -> None:
        self.scenario, self.loop, self._is_hasty = scenario, loop, hasty
        self.keys = Keys()
        self.config = scenario.config(state_dir)
        self.chaos = chaos = Chaos(scenario)
        chaos.on_long_pause = lambda: loop.later(1.0, self.start_engine)
        self.venue, self.account, gateway = build_exchange(
            scenario.seed,
            loop,
            SYMBOLS,
            regimes=scenario.regimes,
            depth_usdt=scenario.depth_usdt,
            lateness=chaos.lateness,
            clamps_reduce_only=scenario.clamps_reduce_only,
            balance_usdt=scenario.balance_usdt,
        )
        self.account.hedge_mode = scenario.hedge_mode
        self.server = RedisServer(lambda: loop.now_ms)
        self.redis = RedisNetwork(
            self.server, loop, latency_s=chaos.redis_latency_s, fault_of=chaos.redis_fault
        )
        self.exchange = ExchangeNetwork(
            gateway, loop, latency_s=chaos.exchange_latency_s, trouble_of=chaos.exchange_trouble
        )
        self.checks = Checks(scenario, self.server, self.venue, self.account, lambda: loop.now_ms)
        self.orders_kept: dict[str, int] = {}
        self.engines: list[Process] = []
        self._is_over = False
        self._restarts = random.Random(f"{scenario.seed}:restarts")

    def price_of(self, symbol: str) -> Decimal:
        """The mark price now, in USDT."""
        return self.venue.quote(symbol, self.loop.now_ms).mark

    def set_policy(self, symbols: Iterable[str]) -> None:
        """Say which symbols may be opened."""
        universe = orjson.dumps(sorted(symbols))
        self.server.execute([b"HSET", self.keys.policy.encode(), b"universe_symbols", universe])

    # -- engines

    @property
    def newest(self) -> Process:
        """The engine that was started last."""
        return self.engines[-1]

    @property
    def _alive(self) -> list[Process]:
        return [process for process in self.engines if not process.is_dead]

    def start_engine(self) -> None:
        """Start one more engine, unless two are up already."""
        if self._is_over or len(self._alive) > 1:
            return
        process = Process(f"engine-{len(self.engines) + 1}", self.loop)
        if self.engines:
            process.skew_ms = self.engines[-1].skew_ms
        self.engines.append(process)
        process.spawn(self._live(process))

    async def _live(self, process: Process) -> None:
        app = SimulatedApp(self, process)
        try:
            await app.start()
        except (StartRefused, RedisError, ExchangeError):
            self.chaos.counts["start_refused"] += 1
            process.kill()
        except Exception as bug:  # noqa: BLE001  # whatever it is, it is a finding
            self.checks.fail("internal_error", f"start failed: {type(bug).__name__}: {bug}")
            process.kill()

    async def _supervise(self) -> None:
        """Start an engine again when none is left, as a service manager would."""
        while not self._is_over:
            await asyncio.sleep(0.5)
            if not self._alive:
                self.chaos.counts["restarts"] += 1
                await asyncio.sleep(self._restarts.choice((0.1, 1.0, 6.0)))
                self.start_engine()

    # -- the seed

    async def run(self) -> None:
        """Submit every plan while things go wrong, then let everything come to its end."""
        self.set_policy(SYMBOLS)
        self.start_engine()
        supervisor = asyncio.create_task(self._supervise())
        events = asyncio.create_task(self.chaos.run(self))
        await asyncio.sleep(1.0)
        workload = Workload(self.scenario, self.account, self.price_of)
        for _ in range(self.scenario.plans):
            await asyncio.sleep(workload.pause_s())
            await self._submit(workload.next())
            if self._has_seen_enough:
                return
        self._end_faults()
        await self._until_settled()
        await self._until_reconciled()
        self._is_over = True
        events.cancel()
        supervisor.cancel()
        self.checks.check_end()

    @property
    def _has_seen_enough(self) -> bool:
        return self._is_hasty and bool(self.checks.violations)

    async def _until_reconciled(self) -> None:
        """Wait for the next reads of positions: for a minute more where request weight is used up."""
        deadline_s = self.loop.time() + WEIGHT_BACK_AFTER_S
        await asyncio.sleep(RECONCILED_AFTER_S)
        while self.checks.ledger_differences() and self.loop.time() < deadline_s:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_EVERY_S)

    async def _submit(self, plan: dict[str, str]) -> None:
        while self.redis.is_down:  # noqa: ASYNC110 -- virtual time: nothing is polled in vain
            await asyncio.sleep(0.1)
        self.server.execute([b"XADD", self.keys.plans.encode(), b"*", *entry_of(plan)])

    def _end_faults(self) -> None:
        self.chaos.is_on = False
        self.redis.is_down = self.exchange.is_down = False
        for key in (self.keys.kill, self.keys.disarmed):
            self.server.execute([b"DEL", key.encode()])
        for process in self._alive:
            process.steps_left = None

    async def _until_settled(self) -> None:
        deadline_s = self.loop.time() + SETTLED_WITHIN_S
        while open_ends := self.checks.unsettled():
            if self.loop.time() > deadline_s:
                more = f" and {len(open_ends) - 3} more" if len(open_ends) > 3 else ""
                text = f"{SETTLED_WITHIN_S:.0f} s after the faults ended: {', '.join(open_ends[:3])}{more}"
                self.checks.fail("liveness", text)
                return
            if self._has_seen_enough:
                return
            await asyncio.sleep(LOOK_EVERY_S)


def run_seed(
    scenario: Scenario, state_dir: Path | None = None, *, trace: bool = False, hasty: bool = False
) -> Outcome:
    """Run one seed to its end and return what became of it.

    ``trace`` prints the engine's log in virtual time; ``hasty`` ends with the first broken promise.
    """
    folder = Path(tempfile.mkdtemp(prefix="simulation-")) if state_dir is None else state_dir
    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    gc.freeze()  # what stands already need not be looked through after each seed
    gc.disable()
    try:
        return _run_in(scenario, loop, folder, trace=trace, hasty=hasty)
    finally:
        gc.enable()
        gc.unfreeze()
        asyncio.set_event_loop(None)
        loop.close()
        if state_dir is None:
            shutil.rmtree(folder, ignore_errors=True)


def _run_in(scenario: Scenario, loop: VirtualLoop, folder: Path, *, trace: bool, hasty: bool) -> Outcome:
    world = World(scenario, loop, folder, hasty=hasty)
    loop.steps_max = scenario.plans * STEPS_A_PLAN_MAX + 1_000_000
    loop.set_exception_handler(lambda _, context: _on_lost_exception(world, context))
    with _installed(world, trace=trace):
        try:
            loop.run_until_complete(world.run())
        except Stalled as stalled:
            world.checks.fail("liveness", str(stalled))
        outcome = _outcome_of(world)
        world.checks.violations = []  # what is torn down from here on says nothing
        _bury(world)
    return outcome


def _outcome_of(world: World) -> Outcome:
    checks, counts = world.checks, Counter(world.chaos.counts)
    counts.update(
        orders=checks.orders,
        fills=checks.fills,
        claims=checks.claims,
        engines=len(world.engines),
        events=world.loop.steps,
    )
    for results in checks.results().values():
        counts.update(f"result {result['decision']}" for result in results)
        counts.update(f"reason {result['reason']}" for result in results)
    return Outcome(
        world.scenario.seed,
        world.scenario.plans,
        len(checks.plans),
        checks.digest,
        [(one.checker, str(one)) for one in checks.violations],
        counts,
        world.loop.time() - 1_000.0,
    )


def _bury(world: World) -> None:
    """Let the tasks of all engines go; what they still want to do in dying is nobody's any more."""
    for task in [task for process in world.engines for task in process.tasks] + list(
        asyncio.all_tasks(world.loop)
    ):
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    del task
    for process in world.engines:
        process.kill()
        process.tasks.clear()
    del process
    world.engines.clear()
    world.loop.forget()
    world.redis.forget()
    with warnings.catch_warnings(), patch.object(sys, "unraisablehook", lambda _: None):
        warnings.simplefilter("ignore")
        gc.collect()


def _on_lost_exception(world: World, context: dict[str, Any]) -> None:
    error = context.get("exception")
    task = context.get("future") or context.get("task")
    world.checks.fail("internal_error", f"{context['message']}: {error!r} in {task}")


@contextmanager
def _installed(world: World, *, trace: bool) -> Iterator[None]:
    """Put the world in the place of everything that is not the engine's own, and of chance itself."""
    rng = random.Random(f"{world.scenario.seed}:secrets")

    def transport(settings: ExchangeSettings, weight: Any) -> SimulatedTransport:
        return SimulatedTransport(world.exchange, settings, weight)

    with ExitStack() as stack:
        for place, name, stand_in in (
            (binance, "RestTransport", transport),
            (app_module, "load_credentials", lambda _: Credentials(KEY, SECRET)),
            (secrets, "randbelow", rng.randrange),
            (secrets, "token_hex", lambda size=16: f"{rng.getrandbits(8 * size):0{2 * size}x}"),
        ):
            stack.enter_context(patch.object(place, name, stand_in))
        stack.enter_context(_logging(world, trace=trace))
        yield


@contextmanager
def _logging(world: World, *, trace: bool) -> Iterator[None]:
    def listen(_: Any, level: str, event: dict[str, Any]) -> str:
        name = event["event"]
        if name in BUGS and level in ("error", "critical"):
            world.checks.fail("internal_error", f"{name}: {_shown(event)}")
        if trace:
            process = process_of_context.get()
            whose = process.name if process is not None else "world"
            print(f"{world.loop.time() - 1_000:10.3f} {whose} {level} {name} {_shown(event)}")  # noqa: T201
        raise structlog.DropEvent

    before = structlog.get_config()
    level = 10 if trace else 40
    structlog.configure(
        processors=[structlog.processors.format_exc_info, listen],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.configure(**before)


def _shown(event: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in event.items() if name not in ("event", "verdicts"))
