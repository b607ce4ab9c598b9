"""What the HTTP side may know of the engine: its memory, read where it lies. Nothing here asks Redis."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from quantum_trader.config import Config
from quantum_trader.domain.clock import Clock
from quantum_trader.housekeeping import Housekeeping
from quantum_trader.joining import Joined


class EngineView:
    """One engine as seen from outside; ``joined`` is None until it has an account and the lease."""

    def __init__(self, config: Callable[[], Config], clock: Clock) -> None:
        self._config = config
        self.clock = clock
        self.started_s = clock.monotonic_s()
        self.joined: Joined | None = None
        self.housekeeping: Housekeeping | None = None

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._config()

    def attach(self, joined: Joined, housekeeping: Housekeeping) -> None:
        """Show this engine from now on."""
        self.joined, self.housekeeping = joined, housekeeping


VIEW: web.AppKey[EngineView] = web.AppKey("view", EngineView)
