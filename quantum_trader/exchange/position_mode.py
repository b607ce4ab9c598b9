"""Whether the account is in one-way or in hedge mode: read once, and again when doubted."""

from __future__ import annotations

from quantum_trader.exchange.endpoints import POSITION_MODE
from quantum_trader.exchange.fields import Row
from quantum_trader.exchange.reads import Reader


class PositionMode:
    """The account-wide mode (BINANCE.md 12.1), kept because reading it weighs 30."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._is_hedge: bool | None = None

    async def is_hedge(self) -> bool:
        """Whether LONG and SHORT are held apart; asks only while not known. Raises ``ExchangeError``."""
        if self._is_hedge is None:
            content = await self._reader.read(POSITION_MODE)
            self._is_hedge = Row(str(POSITION_MODE), content).truth("dualSidePosition")
        return self._is_hedge

    def doubt(self) -> None:
        """Forget the mode: the next who needs it reads it again."""
        self._is_hedge = None
