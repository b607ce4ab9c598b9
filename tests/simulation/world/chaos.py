"""What goes wrong, when: request by request, and as events of the world; all by seed."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING

from simulation.world.exchange import ORDER_PATH, ExchangeFault, LateFill, Trouble
from simulation.world.loop import Process
from simulation.world.redis_client import Commands, RedisFault
from simulation.world.scenario import SYMBOLS, Scenario

from quantum_trader.exchange.simulator.errors import RefusedError

if TYPE_CHECKING:
    from simulation.world.world import World

ORDER_STATUSES_BEFORE = (
    "503_unknown",
    "503_unavailable",
    "503_internal",
    "503_throttled",
    "429_orders",
    "408_timeout",
    "400_timestamp",
    "500_unknown",
    "502_gateway",
    "504_gateway",
)
ORDER_STATUSES_AFTER = ("503_unknown", "408_timeout", "500_unknown", "502_gateway", "504_gateway")
READ_STATUSES = ("503_unknown", "503_unavailable", "500_unknown", "502_gateway", "429_weight")
READ_FAULTS = (
    ExchangeFault.NO_CONNECTION,
    ExchangeFault.RESET_BEFORE,
    ExchangeFault.SILENT_AFTER,
    ExchangeFault.STATUS_BEFORE,
    ExchangeFault.LATE_ARRIVAL,
    ExchangeFault.STALE,
    ExchangeFault.CRASH_AFTER,
)
REDIS_FAULTS = (*(fault for fault in RedisFault if not fault.ends_or_stops_engine), RedisFault.LOST_AFTER)
CRASHES_MAX = 12
LONG_PAUSES_MAX = 3


class Chaos:
    """Draws faults while it is on; counts what it did."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._rng = random.Random(f"{scenario.seed}:chaos")
        self._latency = random.Random(f"{scenario.seed}:latency")
        self.is_on = scenario.faults
        self.counts: Counter[str] = Counter()
        self._halted: set[str] = set()
        self.on_long_pause: Callable[[], object] = object  # has a second engine take over

    # -- request by request

    def redis_latency_s(self) -> float:
        return self._scenario.redis_latency_s * (0.5 + self._latency.random())

    def exchange_latency_s(self) -> float:
        return self._scenario.exchange_latency_s * (0.5 + self._latency.random())

    def redis_fault(self, _process: Process, commands: Commands) -> RedisFault | None:
        """Return what happens to one request to Redis; scripts are hit more often than reads."""
        share = self._scenario.redis_fault_share
        if not self.is_on or not share:
            return None
        if commands[0][0] == b"EVALSHA":
            share *= 4
        if self._rng.random() >= share:
            return None
        fault = self._rng.choice(REDIS_FAULTS)
        if self._may_crash() and self._rng.random() < 0.2:
            fault = self._rng.choice((RedisFault.CRASH_BEFORE, RedisFault.CRASH_AFTER))
        elif self._may_pause_long(commands) and self._rng.random() < 0.5:
            fault = RedisFault.PAUSE_AFTER
            self.on_long_pause()
        self.counts[fault] += 1
        return fault

    def _may_pause_long(self, commands: Commands) -> bool:
        """Whether a long pause may begin now: between the claim of an open and its order (INC-15)."""
        is_open_claim = commands[0][0] == b"EVALSHA" and b"open" in commands[0]
        pauses = self.counts[RedisFault.PAUSE_AFTER]
        return is_open_claim and "pause" in self._scenario.events and pauses < LONG_PAUSES_MAX

    def exchange_trouble(self, _process: Process, method: str, path: str) -> Trouble | None:
        """Return what happens to one request to the exchange."""
        if not self.is_on:
            return None
        is_order = method == "POST" and path == ORDER_PATH
        share = self._scenario.order_fault_share if is_order else self._scenario.read_fault_share
        if not share or self._rng.random() >= share:
            return None
        trouble = self._order_trouble() if is_order else self._read_trouble()
        if trouble is not None:
            self.counts[trouble.kind] += 1
        return trouble

    def lateness(self) -> LateFill | None:
        """Return whether an order fills late."""
        if not self.is_on or self._rng.random() >= self._scenario.late_fill_share:
            return None
        self.counts["late_fill"] += 1
        return LateFill(self._rng.choice((0.05, 0.4, 1.5, 6.0)), self._rng.random() < 0.4)

    def _order_trouble(self) -> Trouble:
        rng = self._rng
        kinds = [kind for kind in ExchangeFault if kind is not ExchangeFault.STALE]
        if not self._may_crash():
            kinds = [kind for kind in kinds if not kind.startswith("crash")]
        kind = rng.choice(kinds)
        match kind:
            case ExchangeFault.STATUS_BEFORE:
                return Trouble(kind, rng.choice(ORDER_STATUSES_BEFORE))
            case ExchangeFault.STATUS_AFTER:
                return Trouble(kind, rng.choice(ORDER_STATUSES_AFTER))
            case ExchangeFault.RESET_LATE:
                return Trouble(kind, ms=rng.choice((1_500, 2_500, 2_900)))
            case ExchangeFault.HIDDEN:
                return Trouble(kind, ms=rng.choice((300, 2_000, 15_000, 40_000)))
            case _:
                return Trouble(kind, ms=rng.choice((200, 2_500, 2_990, 3_600, 7_000)))

    def _read_trouble(self) -> Trouble | None:
        rng = self._rng
        kind = rng.choice(READ_FAULTS)
        if kind is ExchangeFault.STALE and not self._scenario.stale_reads:
            return None
        if kind is ExchangeFault.CRASH_AFTER and not (self._may_crash() and rng.random() < 0.1):
            return None
        if kind is ExchangeFault.STALE:
            return Trouble(kind, ms=rng.choice((50, 300, 900)))
        preset = rng.choice(READ_STATUSES) if kind is ExchangeFault.STATUS_BEFORE else ""
        return Trouble(kind, preset, ms=rng.choice((200, 2_500, 7_000)))

    def _may_crash(self) -> bool:
        crashes = sum(count for name, count in self.counts.items() if name.startswith("crash"))
        return "crash" in self._scenario.events and crashes < CRASHES_MAX

    # -- events

    async def run(self, world: World) -> None:
        """Let events happen for as long as it is on."""
        scenario = self._scenario
        while self.is_on and scenario.events:
            await asyncio.sleep(self._rng.expovariate(1 / scenario.event_gap_s))
            if not self.is_on:
                return
            name = self._rng.choice(scenario.events)
            if name == "crash" and not self._may_crash():
                continue
            self.counts[name] += 1
            getattr(self, f"_{name}")(world)

    def _crash(self, world: World) -> None:
        world.newest.steps_left = self._rng.choice((1, 50, 400, 3_000))

    def _pause(self, world: World) -> None:
        process, duration_s = world.newest, self._rng.choice((0.3, 2.0, 4.0, 6.0, 9.0))
        if process.is_paused:
            return
        process.pause()
        world.loop.later(duration_s, process.resume)
        if duration_s > 3 and self._rng.random() < 0.6:
            world.loop.later(1.0, world.start_engine)

    def _second_engine(self, world: World) -> None:
        world.start_engine()

    def _redis_restart(self, world: World) -> None:
        world.redis.is_down = True
        world.redis.cut()
        world.loop.later(self._rng.choice((0.3, 2.0, 7.0)), self._redis_up, world)

    def _redis_failover(self, world: World) -> None:
        kept = world.server.snapshot()
        lost_s = self._rng.choice((0.05, 0.3, 1.0))
        world.loop.later(lost_s, self._fail_over, world, kept, world.loop.now_ms)

    def _fail_over(self, world: World, kept: object, since_ms: int) -> None:
        world.checks.forget_rates_since(since_ms - world.checks.skew_ms_max - 1_000)
        world.server.restore(kept)  # type: ignore[arg-type]
        world.redis.is_down = True
        world.redis.cut()
        world.loop.later(self._rng.choice((0.05, 1.0)), self._redis_up, world)

    @staticmethod
    def _redis_up(world: World) -> None:
        world.redis.is_down = False

    def _exchange_down(self, world: World) -> None:
        world.exchange.is_down = True
        world.loop.later(self._rng.choice((0.5, 3.0, 8.0)), self._exchange_up, world)

    @staticmethod
    def _exchange_up(world: World) -> None:
        world.exchange.is_down = False

    def _kill_opens(self, world: World) -> None:
        self._kill(world, b"opens")

    def _kill_all(self, world: World) -> None:
        self._kill(world, b"1")

    def _kill_garbage(self, world: World) -> None:
        self._kill(world, self._rng.choice((b"", b"stop", b"true", b"\xff")))

    def _kill(self, world: World, value: bytes) -> None:
        key = world.keys.kill.encode()
        if "kill" in self._halted:
            return
        self._halted.add("kill")
        world.server.execute([b"SET", key, value])
        world.loop.later(self._rng.choice((1.0, 4.0, 12.0)), self._lift, world, "kill", key, value)

    def _lift(self, world: World, name: str, key: bytes, value: bytes) -> None:
        self._halted.discard(name)
        if not self.is_on:
            return
        if world.server.peek(key) != value and "redis_failover" not in self._scenario.events:
            world.checks.fail("operator_stops_stay", f"{key.decode()} = {value!r} was cleared by nobody")
        world.server.execute([b"DEL", key])

    def _latch(self, world: World) -> None:
        keys, symbol = world.keys, self._rng.choice(SYMBOLS)
        key = self._rng.choice((keys.safe_mode, keys.cooldown_global, keys.cooldown_symbol(symbol)))
        world.server.execute([b"SET", key.encode(), b"1", b"EX", self._rng.choice((b"1", b"3", b"8"))])

    def _disarm(self, world: World) -> None:
        key, value = world.keys.disarmed.encode(), b'{"reason":"drill"}'
        if "disarm" in self._halted:
            return
        self._halted.add("disarm")
        world.server.execute([b"SET", key, value])
        world.loop.later(self._rng.choice((2.0, 6.0)), self._lift, world, "disarm", key, value)

    def _foreign_order(self, world: World) -> None:
        rng, symbol = self._rng, self._rng.choice(SYMBOLS)
        spec, price = world.venue.specs[symbol], world.price_of(symbol)
        quantity = Decimal(rng.choice((10, 40, 90))) / price // spec.step * spec.step
        side = rng.choice(("BUY", "SELL"))
        position_side = "BOTH"
        if world.account.hedge_mode:
            position_side = rng.choice(("LONG", "SHORT"))
        params = {
            "symbol": symbol,
            "side": side,
            "type": "MARKET",
            "quantity": f"{quantity:f}",
            "positionSide": position_side,
            "newClientOrderId": f"{rng.choice(('web', 'bsc', 'op'))}-{rng.randrange(10**9)}",
        }
        try:
            world.venue.place(world.account, params, world.loop.now_ms)
        except RefusedError:
            self.counts["foreign_order_refused"] += 1

    def _leverage_by_hand(self, world: World) -> None:
        try:
            world.venue.set_leverage(
                world.account, self._rng.choice(SYMBOLS), self._rng.choice((5, 10, 20)), world.loop.now_ms
            )
        except RefusedError:
            self.counts["leverage_refused"] += 1

    def _clock_skew(self, world: World) -> None:
        process = world.newest
        process.skew_ms += self._rng.choice((-4_000, -700, -50, 50, 700, 4_000))
        world.checks.skew_ms_max = max(world.checks.skew_ms_max, 2 * abs(process.skew_ms))

    def _policy(self, world: World) -> None:
        world.set_policy(self._rng.sample(SYMBOLS, 4))
        world.loop.later(3.0, world.set_policy, SYMBOLS)

    def _price_shock(self, world: World) -> None:
        factor = Decimal(self._rng.choice(("0.97", "0.99", "1.01", "1.03")))
        world.venue.market.shock(self._rng.choice(SYMBOLS), factor, world.loop.now_ms)
        world.checks.disturb()
