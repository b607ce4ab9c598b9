"""What BSC wrote after its last look (``state_dir/bsc/status.json``), read beside the loop."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

from quantum_trader.bsc.records import RecordUnreadable
from quantum_trader.bsc.status import OUTDATED_MS, StatusFile
from quantum_trader.domain.trading import Position

FOLDER = "bsc"


class BscReport:
    """The newest status of BSC; empty where it never ran with this ``state_dir``."""

    def __init__(self, state_dir: Path) -> None:
        self._file = StatusFile(state_dir / FOLDER)
        self.status: dict[str, Any] = {}

    async def read(self) -> None:
        """Read the file again; one that cannot be read counts as none."""
        try:
            found = await asyncio.to_thread(self._file.read)
        except (RecordUnreadable, OSError):
            found = None
        self.status = found or {}

    def row_of(self, held: Position, now_ms: int) -> dict[str, str]:
        """Return BSC's numbers of this very position, if it has looked at it of late."""
        last_good_ms = self.status.get("last_good_poll_ms") or 0
        if now_ms - last_good_ms > OUTDATED_MS:
            return {}
        rows = (row for row in self.status.get("positions", ()) if _is_same(row, held))
        return next(rows, {})


def _is_same(row: dict[str, str], held: Position) -> bool:
    return (row["symbol"], row["position_side"]) == held.leg and Decimal(
        row["entry_price"]
    ) == held.entry_price
