"""Beside the plans: readings kept fresh, the lease renewed, streams trimmed, status written."""

from __future__ import annotations

import os
import socket
from typing import Any

import structlog

from quantum_trader import __version__
from quantum_trader.config import Config
from quantum_trader.domain.clock import Clock
from quantum_trader.garbage import collect_when_idle
from quantum_trader.joining import Joined
from quantum_trader.loop_lag import LoopLag
from quantum_trader.pipeline.upkeep import Chore
from quantum_trader.stores.codec import encode
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.lease import RENEWAL_S

STATUS_TTL_MS = 5000
POSITIONS_EVERY_S = 3.0
ACCOUNT_EVERY_S = 5.0
MARKS_EVERY_S = 2.0
LEVERAGES_EVERY_S = 60.0
RULES_EVERY_S = 3600.0
KLINES_EVERY_S = 300.0
CLOCK_EVERY_S = 600.0
TRIM_EVERY_S = 30.0
GARBAGE_EVERY_S = 60.0

logger = structlog.get_logger()


class Housekeeping:
    """The chores of one joined engine, and what it says of itself."""

    def __init__(self, config: Config, joined: Joined, clock: Clock) -> None:
        self._joined = joined
        self._clock = clock
        self._keys = Keys(config.redis.namespace)
        self._started_s = clock.monotonic_s()
        self._loop_lag = LoopLag(clock)
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
            Chore("positions", POSITIONS_EVERY_S, self._refresh_positions),
            Chore("account", ACCOUNT_EVERY_S, rooms.account.refresh_account),
            Chore("marks", MARKS_EVERY_S, rooms.market.refresh_marks),
            Chore("leverages", LEVERAGES_EVERY_S, rooms.account.refresh_leverages),
            Chore("rules", RULES_EVERY_S, rooms.market.refresh_rules),
            Chore("klines", KLINES_EVERY_S, self.refresh_klines),
            Chore("clock", CLOCK_EVERY_S, self._measure_clock),
            Chore("garbage", GARBAGE_EVERY_S, self._collect_garbage),
            Chore("trim", TRIM_EVERY_S, lambda: joined.stream.trim(self._config.streams.plans_kept)),
        ]

    async def _collect_garbage(self) -> None:
        collect_when_idle(lambda: self._joined.consumer.in_flight)

    async def _renew(self) -> None:
        joined = self._joined
        was_held = joined.lease.is_held
        holder = await joined.lease.renew()
        if holder and was_held:
            logger.critical("lease_lost", holder=holder, cure="stop one of the two engines")

    async def _refresh_positions(self) -> None:
        joined = self._joined
        await joined.rooms.account.refresh_positions()
        if not joined.rooms.keys_accepted:
            joined.rooms.keys_accepted = True
            logger.info("keys_accepted_again")
        await joined.reconciler.reconcile()

    async def refresh_klines(self) -> None:
        """Read the candles of every symbol that may be opened; raises ``ExchangeError``."""
        joined = self._joined
        universe = joined.consumer.operator.policy.universe if joined.consumer.operator else frozenset()
        for symbol in sorted(universe | set(self._config.symbols)):
            if joined.rooms.market.rules_of(symbol) is not None or joined.rooms.market.rules is None:
                await joined.rooms.market.refresh_klines(symbol)
        joined.rooms.market.recompute_correlations()

    async def _measure_clock(self) -> None:
        await self._joined.exchange.clock.measure()

    async def write_status(self) -> None:
        """Write what ``status`` says, and whether orders may be sent now, for others to read."""
        self.latest = status = await self.status()
        may_send = status["ready"] and self._config.sends_orders
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
            "plans_seen": joined.consumer.plans_seen,
            "plans_in_flight": joined.consumer.in_flight,
            "backlog": await joined.stream.backlog(),
            "positions": len(rooms.account.positions.value) if rooms.account.positions else None,
            "positions_age_ms": now_ms - rooms.account.positions.read_at_ms
            if rooms.account.positions
            else None,
            "loop_lag_ms": round(self._loop_lag.worst_ms()),
            "clock_offset_ms": joined.exchange.clock.offset_ms,
            "uptime_s": round(self._clock.monotonic_s() - self._started_s),
            "timestamp": now_ms,
        }


def _missing_facts(joined: Joined) -> list[str]:
    rooms = joined.rooms
    facts = {
        "lease": rooms.lease.is_held,
        "api key": rooms.keys_accepted,
        "clock offset": rooms.server_clock.is_measured,
        "positions": rooms.account.positions is not None,
        "account": rooms.account.account is not None,
        "trading rules": rooms.market.rules is not None,
        "mark prices": rooms.market.marks is not None,
    }
    return [name for name, known in facts.items() if not known]
