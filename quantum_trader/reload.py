"""Edits of config.toml are taken over while the engine works, if they are valid (SPEC 12).

Theory of operation. The file is read a few times a second: it is small, and being told of changes would mean
to watch its folder, as editors and mounted volumes replace it, and to be woken by whatever else is written
there, be it the log. It counts as edited when its bytes have changed and stay as they are for one more look;
SIGHUP reads it anyway. A configuration that is not valid, or changes what only a restart can change, is
refused as a whole: the old one stays in force, with an error line and ``CONFIG_REFUSED``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from quantum_trader.concurrency import end_tasks
from quantum_trader.config import Config, ConfigError, TradingMode, config_leaves
from quantum_trader.config_words import shown_value
from quantum_trader.domain.clock import Clock
from quantum_trader.pipeline.rules import RulesInForce
from quantum_trader.stores.codec import encode_text
from quantum_trader.stores.connection import RedisError

NEEDS_RESTART = (
    "state_dir",
    "redis.",
    "exchange.",
    "paper.",
    "http.",
    "alerts.urls",
    "alerts.events",
    "alerts.repeat_s",
    "alerts.per_hour_max",
    "bsc.enabled",
    "log.format",
    "log.file",
)
LOOK_EVERY_S = 0.25  # an editor's several writes within it count as one

log = structlog.get_logger()

Publish = Callable[[Mapping[str, str]], Awaitable[None]]


class Reloader:
    """Watches one file and puts what it says into force."""

    def __init__(
        self,
        path: Path | None,
        load: Callable[[], Config],
        rules: RulesInForce,
        publish: Publish,
        clock: Clock,
    ) -> None:
        self._path = path
        self._load = load
        self._rules = rules
        self._publish = publish
        self._clock = clock
        self._accepted = rules.config
        self._bytes = self._read()
        self._asked = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to watch."""
        self._tasks = [asyncio.create_task(self._obey_requests(), name="config requests")]
        if self._path is not None:
            self._tasks.append(asyncio.create_task(self._watch(), name="config watch"))

    async def stop(self) -> None:
        """Watch no longer."""
        await end_tasks(self._tasks)

    def request(self) -> None:
        """Have the file read again, as SIGHUP asks for."""
        self._asked.set()

    async def reload(self) -> bool:
        """Read the file and put it into force; false where it was refused or says nothing new."""
        self._bytes = self._read()
        try:
            wanted = self._load()
        except ConfigError as invalid:
            await self._refuse(str(invalid))
            return False
        problem = restart_needed(self._accepted, wanted)
        if problem:
            await self._refuse(problem)
            return False
        changes = changes_between(self._accepted, wanted)
        if not changes:
            log.info("config_unchanged", config_hash=self._rules.config_hash)
            return False
        await self._put_into_force(wanted, changes)
        return True

    async def _put_into_force(self, wanted: Config, changes: list[str]) -> None:
        was = self._rules.config_hash
        if self._was_stopped_by_hand:  # quantum:safety:dry_run goes on until a restart
            self._rules.replace(wanted.model_copy(update={"mode": TradingMode.DRY_RUN}))
        else:
            self._rules.replace(wanted)
        self._accepted = wanted
        now = self._rules.config_hash
        log.warning("config_reloaded", old_hash=was, new_hash=now, changes=changes)
        await self._tell("CONFIG_RELOADED", old_hash=was, new_hash=now, changes=encode_text(changes))

    @property
    def _was_stopped_by_hand(self) -> bool:
        return not self._rules.sends_orders and self._accepted.sends_orders

    async def _refuse(self, problem: str) -> None:
        log.error("config_refused", error=problem, in_force=self._rules.config_hash)
        await self._tell("CONFIG_REFUSED", error=problem, in_force=self._rules.config_hash)

    async def _tell(self, event: str, **fields: str) -> None:
        try:
            await self._publish({"event": event, **fields, "timestamp": str(self._clock.now_ms())})
        except RedisError as unheard:
            log.warning("event_unpublished", subject=event, error=str(unheard))

    async def _obey_requests(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self.reload()

    async def _watch(self) -> None:
        seen = self._bytes
        while True:
            await self._clock.sleep(LOOK_EVERY_S)
            before, seen = seen, await asyncio.to_thread(self._read)  # a mounted folder may be slow
            if seen is not None and seen == before and seen != self._bytes:
                await self.reload()

    def _read(self) -> bytes | None:
        """Return the file's bytes; None where it cannot be read, as in the middle of a replacement."""
        if self._path is None:
            return None
        with suppress(OSError):
            return self._path.read_bytes()
        return None


def restart_needed(old: Config, new: Config) -> str:
    """Return which change only a restart can make, in words; "" if there is none (SPEC 11, 12)."""
    if new.mode is not old.mode and new.mode is not TradingMode.DRY_RUN:
        return (
            f"mode = {new.mode.value!r} instead of {old.mode.value!r} needs a restart: only dry_run does not"
        )
    keys = [key for key in changed_keys(old, new) if key.startswith(NEEDS_RESTART)]
    if not keys:
        return ""
    return f"{', '.join(keys)}: a change needs a restart; until then the configuration stays as it was"


def changes_between(old: Config, new: Config) -> list[str]:
    """Return what changed, one text a key, without secrets."""
    return [f"{key}: {shown_value(old, key)} → {shown_value(new, key)}" for key in changed_keys(old, new)]


def changed_keys(old: Config, new: Config) -> list[str]:
    """Return the dotted names of the keys whose values differ."""
    return [".".join(leaf) for leaf in config_leaves() if _value(old, leaf) != _value(new, leaf)]


def _value(config: Config, leaf: tuple[str, ...]) -> Any:
    value: Any = config
    for part in leaf:
        value = getattr(value, part)
    return value
