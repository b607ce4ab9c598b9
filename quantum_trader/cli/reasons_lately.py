"""The reasons why nothing was executed, over the last 1, 5, 15 and 60 minutes: from the archive (INC-95)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from quantum_trader.stores.archive import archived_since

WINDOWS_MIN = (1, 5, 15, 60)
TOP = 5
ROWS_MAX = 20_000


def reasons_lately(state_dir: Path, now_ms: int, symbol: str = "") -> dict[str, dict[str, Any]]:
    """Return, by window in minutes, how many plans ended, how many executed, and the top reasons.

    Raises ``sqlite3.Error`` when the archive cannot be read.
    """
    longest_ms = max(WINDOWS_MIN) * 60_000
    rows = [
        row
        for row in archived_since(state_dir, now_ms - longest_ms, ROWS_MAX)
        if not symbol or row["symbol"] == symbol
    ]
    return {
        str(minutes): _summary(row for row in rows if int(row["timestamp"]) >= now_ms - minutes * 60_000)
        for minutes in WINDOWS_MIN
    }


def as_lines(lately: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the windows as lines for people, at most 80 columns wide."""
    lines = []
    for minutes, found in lately.items():
        reasons = ", ".join(f"{name} {count}×" for name, count in found["top"][:3]) or "-"
        lines.append(f"  last {minutes:>2} min: {found['executed']} of {found['plans']} executed; {reasons}")
    return lines


def _summary(rows: Iterable[Mapping[str, str]]) -> dict[str, Any]:
    listed = list(rows)
    executed = sum(row["executed"] == "true" for row in listed)
    unexecuted = Counter(row["reason"] for row in listed if row["executed"] != "true")
    return {"plans": len(listed), "executed": executed, "top": unexecuted.most_common(TOP)}
