"""Beside the plans: readings kept fresh, the lease renewed, streams trimmed, status written."""

from __future__ import annotations

import os
import socket
from typing import Any

import structlog

from quantum_trader import __version__
from quantum_trader.config import Config
from quantum_trader.domain.clock import Clock
from quantum_trader.domain.evidence import Reading
from quantum_trader.domain.facts import BscHealth
from quantum_trader.garbage import collect_when_idle
from quantum_trader.gates.kill_switch import HALT_ALL
from quantum_trader.joining import Joined
from quantum_trader.loop_lag import LoopLag
from quantum_trader.pipeline.order_probing import OrderProbing
from quantum_trader.pipeline.upkeep import Chore
from quantum_trader.questions import LOOK_EVERY_S, Questions
from quantum_trader.stores.codec import encode
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.lease import RENEWAL_S
from quantum_trader.stores.operator import StopStore

STATUS_TTL_MS = 5000
STREAMS_EVERY_S = 1.0
POSITIONS_EVERY_S = 3.0
POSITIONS_BLIND_EVERY_S = 1.0
ACCOUNT_EVERY_S = 5.0
ACCOUNT_BLIND_EVERY_S = 2.0
MARKS_EVERY_S = 2.0
POSITION_MODE_EVERY_S = 10.0
LEVERAGES_EVERY_S = 60.0
LEVERAGES_LOOK_S = 1.0
RULES_EVERY_S = 3600.0
KLINES_EVERY_S = 300.0
CLOCK_EVERY_S = 600.0
TRIM_EVERY_S = 30.0
KILL_EVERY_S = 1.0
GARBAGE_EVERY_S = 60.0
IDLE_LOOK_S = 0.02
ORDER_PROBE_EVERY_S = 60.0
RESTING_ORDERS_EVERY_S = 60.0

logger = structlog.get_logger()


class Housekeeping:
    """The chores of one joined engine, and what it says of itself."""

    def __init__(self, config: Config, joined: Joined, clock: Clock) -> None:
        self._joined = joined
        self._clock = clock
        self._keys = Keys(config.redis.namespace)
        self._started_s = clock.monotonic_s()
        self._loop_lag = LoopLag(clock)
        self._stops = StopStore(joined.database, self._keys)
        self._kill_told: str | None = None
        self._leverages_due_s = 0.0
        self.latest: dict[str, Any] | None = None
        """The newest status, at most a second old while Redis answers."""

    @property
    def _config(self) -> Config:
        """The configuration in force."""
        return self._joined.rules.config

    def chores(self) -> list[Chore]:
        """Return everything that is done again and again beside the plans."""
        joined, rooms = self._joined, self._joined.rooms
        return [
            Chore("loop lag", 0.0, self._loop_lag.measure),
            Chore("lease", RENEWAL_S, self._renew),
            Chore("status", RENEWAL_S, self.write_status),
            Chore("kill switch", KILL_EVERY_S, self._tell_kill),
            Chore("streams", STREAMS_EVERY_S, joined.streams.look_after),
            Chore("positions", POSITIONS_BLIND_EVERY_S, self._refresh_positions),
            Chore("account", ACCOUNT_BLIND_EVERY_S, self._refresh_account),
            Chore("marks", MARKS_EVERY_S, self._refresh_marks),
            Chore("position mode", POSITION_MODE_EVERY_S, self._check_position_mode),
            Chore("leverages", LEVERAGES_LOOK_S, self._refresh_leverages),
            Chore("rules", RULES_EVERY_S, rooms.market.refresh_rules),
            Chore("klines", KLINES_EVERY_S, self.refresh_klines),
            Chore("clock", CLOCK_EVERY_S, self._measure_clock),
            Chore("resting orders", RESTING_ORDERS_EVERY_S, joined.streams.look_for_resting_orders),
            Chore("order probe", ORDER_PROBE_EVERY_S, self._order_probing().ask),
            Chore("questions", LOOK_EVERY_S, Questions(joined, self._keys, self._clock).answer_all),
            Chore("garbage", GARBAGE_EVERY_S, self._collect_garbage),
            Chore("trim", TRIM_EVERY_S, lambda: joined.stream.trim(self._config.streams.plans_kept)),
        ]

    def _order_probing(self) -> OrderProbing:
        joined = self._joined
        return OrderProbing(joined.exchange.probe, joined.rooms, lambda: self._config.symbols)

    async def _collect_garbage(self) -> None:
        """Collect in the first moment without a plan under way: the next minute might have none either."""
        while not collect_when_idle(lambda: self._joined.consumer.in_flight):
            await self._clock.sleep(IDLE_LOOK_S)

    async def _renew(self) -> None:
        joined = self._joined
        was_held = joined.lease.is_held
        holder = await joined.lease.renew()
        if holder and was_held:
            logger.critical("lease_lost", holder=holder, cure="stop one of the two engines")

    async def _tell_kill(self) -> None:
        """Publish a change of the kill switch that came from no command of ours."""
        operator = self._joined.consumer.operator
        if operator is None or operator.kill == self._kill_told:
            return
        if await self._stops.tell_kill(self._clock.now_ms()):
            logger.warning("kill_switch_changed", kill=operator.kill or "0", by="a client of Redis")
        self._kill_told = operator.kill

    def _may_wait(self, reading: Reading[Any] | None, every_s: float) -> bool:
        """Whether a reading of the account is not due: the stream tells of changes, and it is young."""
        if reading is None or not self._joined.streams.account_is_live:
            return False
        return reading.age_ms(self._clock.now_ms()) < every_s * 1000

    async def _refresh_positions(self) -> None:
        joined = self._joined
        if self._may_wait(joined.rooms.account.trusted_positions, POSITIONS_EVERY_S):
            return
        await joined.rooms.account.refresh_positions()
        joined.rooms.keys.read_accepted()
        await joined.reconciler.reconcile()

    async def _refresh_account(self) -> None:
        account = self._joined.rooms.account
        if not self._may_wait(account.account, ACCOUNT_EVERY_S):
            await account.refresh_account()

    async def _refresh_leverages(self) -> None:
        account = self._joined.rooms.account
        if account.leverages_are_in_doubt or self._clock.monotonic_s() >= self._leverages_due_s:
            await account.refresh_leverages()
            self._leverages_due_s = self._clock.monotonic_s() + LEVERAGES_EVERY_S

    async def _refresh_marks(self) -> None:
        if not self._joined.streams.market_is_live:
            await self._joined.rooms.market.refresh_marks()

    async def _check_position_mode(self) -> None:
        """Notice a change of the position mode, of which the exchange tells nothing (INC-32)."""
        account, reads = self._joined.rooms.account, self._joined.exchange.reserved_account
        known = account.positions
        hedge_mode = (await reads.account_config()).hedge_mode
        if known is not None and known.value.hedge_mode != hedge_mode:
            logger.warning("position_mode_changed", hedge_mode=hedge_mode)
            reads.doubt_mode()
            account.doubt()
            await self._refresh_positions()

    async def refresh_klines(self) -> None:
        """Read the candles of every symbol that may be opened or is held; raises ``ExchangeError``."""
        joined = self._joined
        universe = joined.consumer.operator.policy.universe if joined.consumer.operator else frozenset()
        held = joined.rooms.account.positions.value.symbols if joined.rooms.account.positions else frozenset()
        for symbol in sorted(universe | held | set(self._config.symbols)):
            if joined.rooms.market.rules_of(symbol) is not None or joined.rooms.market.rules is None:
                await joined.rooms.market.refresh_klines(symbol)
        joined.rooms.market.recompute_correlations()

    async def _measure_clock(self) -> None:
        await self._joined.exchange.clock.measure()

    async def write_status(self) -> None:
        """Write what ``status`` says, and whether orders may be sent now, for others to read."""
        self.latest = status = await self.status()
        may_send = status["ready"] and self._config.sends_orders and status["kill"] != HALT_ALL
        pipeline = self._joined.database.client.pipeline(transaction=False)
        pipeline.set(self._keys.engine_status, encode(status), px=STATUS_TTL_MS)
        pipeline.set(self._keys.execution, "ENABLED" if may_send else "DISABLED")
        pipeline.set(self._keys.mode, self._config.mode.value.upper())
        await pipeline.execute()

    async def status(self) -> dict[str, Any]:
        """Return what the engine says of itself; times in ms."""
        joined, now_ms = self._joined, self._clock.now_ms()
        rooms, operator = joined.rooms, joined.consumer.operator
        if operator is not None:
            joined.rules.obey(operator)
        missing = _missing_facts(joined)
        return {
            "version": __version__,
            "mode": self._config.mode.value,
            "config_hash": self._config.hash,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "account": joined.account,
            "exchange": joined.exchange_url,
            "ready": not missing,
            "not_ready_because": missing,
            "kill": operator.kill if operator is not None else "",
            "disarmed": operator.latches.disarmed if operator is not None else "",
            "bsc": _bsc_status(operator.bsc if operator is not None else BscHealth(required=False)),
            "plans_seen": joined.consumer.plans_seen,
            "plans_in_flight": joined.consumer.in_flight,
            "backlog": await joined.stream.backlog(),
            "producers": joined.crew.counts(),
            "positions": len(rooms.account.positions.value) if rooms.account.positions else None,
            "positions_age_ms": now_ms - rooms.account.positions.read_at_ms
            if rooms.account.positions
            else None,
            "loop_lag_ms": round(self._loop_lag.worst_ms()),
            "streams": joined.streams.status(),
            "clock_offset_ms": joined.exchange.clock.offset_ms,
            "uptime_s": round(self._clock.monotonic_s() - self._started_s),
            "timestamp": now_ms,
        }


def _bsc_status(health: BscHealth) -> dict[str, Any]:
    """Return what BSC last wrote of itself, None where nothing is known (SPEC 10)."""
    return {
        "state": health.state or None,
        "authority": health.authority or None,
        "days_left": health.days_left,
        "last_good_poll_ms": health.last_good_poll_ms,
    }


def _missing_facts(joined: Joined) -> list[str]:
    rooms = joined.rooms
    facts = {
        "lease": rooms.lease.is_held,
        "api key": rooms.keys.is_complete,
        "clock offset": rooms.server_clock.is_measured,
        "positions": rooms.account.positions is not None,
        "account": rooms.account.account is not None,
        "trading rules": rooms.market.rules is not None,
        "mark prices": rooms.market.newest_marks is not None,
    }
    return [name for name, known in facts.items() if not known]
