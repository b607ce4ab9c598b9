"""The same client for programs without asyncio: an event loop of its own in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from quantum_trader.client.plans import PlanRequest, PlanResult
from quantum_trader.client.trader import WAIT_S, Trader, connect

T = TypeVar("T")


class SyncTrader:
    """One connection to an engine; every method waits for its answer."""

    def __init__(self, make: Callable[[], Trader]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="quantum-client", daemon=True)
        self._thread.start()
        self._trader = self._run(_made(make))

    def send(self, plan: PlanRequest) -> str:
        """Submit ``plan`` and return its id at once; raises as ``Trader.send``."""
        return self._run(self._trader.send(plan))

    def result(self, plan_id: str, wait_s: float = WAIT_S) -> PlanResult:
        """Wait up to ``wait_s`` seconds for a plan's result; raises as ``Trader.result``."""
        return self._run(self._trader.result(plan_id, wait_s))

    def submit(self, plan: PlanRequest, wait_s: float = WAIT_S) -> PlanResult:
        """Submit ``plan`` and wait for its result; raises as ``Trader.submit``."""
        return self._run(self._trader.submit(plan, wait_s))

    def close(self) -> None:
        """Close every connection and end the thread."""
        if self._thread.is_alive():
            self._run(self._trader.close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def __enter__(self) -> Self:
        """Return the trader itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every connection."""
        self.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


async def _made(make: Callable[[], Trader]) -> Trader:
    return make()


def connect_sync(url: str, *, token: str = "", namespace: str = "quantum") -> SyncTrader:
    """Return a trader for the URLs of ``connect``; raises ``ValueError`` for another one."""
    return SyncTrader(lambda: connect(url, token=token, namespace=namespace))
