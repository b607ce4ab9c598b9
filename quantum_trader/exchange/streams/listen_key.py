"""The key that opens the user data stream: made, and kept alive (BINANCE.md 8.5).

POST returns the account's one active key, or makes one; both POST and PUT keep it for another hour.
It is never deleted: another program of the same account listens with the same key.
"""

from __future__ import annotations

import structlog

from quantum_trader.domain.clock import Clock
from quantum_trader.exchange.endpoints import KEEP_LISTEN_KEY, LISTEN_KEY
from quantum_trader.exchange.errors import ExchangeError, ExchangeRefused
from quantum_trader.exchange.fields import Row
from quantum_trader.exchange.reads import Reader

KEEP_EVERY_S = 30 * 60.0
KEEP_RETRY_S = 60.0
NO_SUCH_KEY = -1125

log = structlog.get_logger()


class ListenKey:
    """One account's key; in no repr and no log, as whoever has it may listen."""

    def __init__(self, reader: Reader, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock

    async def ask(self) -> str:
        """Return the active key, made if there is none. Raises ``ExchangeError``."""
        content = await self._reader.read_once(LISTEN_KEY)
        return Row(str(LISTEN_KEY), content).text("listenKey")

    async def keep(self) -> None:
        """Keep the key alive; return when the exchange says that it is gone (-1125)."""
        pause_s = KEEP_EVERY_S
        while True:
            await self._clock.sleep(pause_s)
            pause_s = KEEP_EVERY_S
            try:
                await self._reader.read_once(KEEP_LISTEN_KEY)
            except ExchangeError as failed:
                if isinstance(failed, ExchangeRefused) and failed.code == NO_SUCH_KEY:
                    return
                log.warning("listen_key_not_kept", error=str(failed))
                pause_s = KEEP_RETRY_S
