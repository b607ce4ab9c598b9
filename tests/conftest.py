"""A Valkey of the tests' own: never a port that others use, and nothing left from test to test."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from quantum_trader import log
from quantum_trader.domain.clock import SystemClock
from quantum_trader.stores.connection import Database
from quantum_trader.stores.embedded import EmbeddedServer
from quantum_trader.stores.keys import Keys

os.environ.setdefault("QT_HTTP__PORT", "0")  # engines that tests start never meet on one port


@pytest.fixture(autouse=True)
def _usual_log() -> None:
    """A command that a test before ran in this process may have sent lines elsewhere, or fewer of them."""
    log.set_up("info", "json")


class _Loop:
    """An event loop in a thread, which owns the server's process while tests come and go."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: object) -> object:
        """Run a coroutine there and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)  # type: ignore[arg-type]

    def close(self) -> None:
        """End the loop."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One embedded server for the session, in a temporary folder, on a Unix socket."""
    loop = _Loop()
    server = EmbeddedServer(Path(tmp_path_factory.mktemp("valkey")), SystemClock())
    yield str(loop.run(server.start()))
    loop.run(server.stop())
    loop.close()


@pytest.fixture
async def database(valkey_url: str) -> AsyncIterator[Database]:
    """An empty database."""
    connected = Database(valkey_url)
    await connected.client.flushall()
    yield connected
    await connected.close()


@pytest.fixture
def keys() -> Keys:
    """Names below the default namespace."""
    return Keys()
