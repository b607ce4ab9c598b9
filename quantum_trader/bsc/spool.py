"""Events that wait on disk until Redis takes them: one JSON object a line, oldest first (INC-104).

Several processes may add lines; one at a time delivers. Bounded: beyond ``LINES_MAX`` the oldest
health checks go first, then the oldest events of any kind, and how many is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson

from quantum_trader.bsc.records import exclusive, write_whole

LINES_MAX = 10_000
LINES_KEPT = 9_000
ROUTINE = "BSC_HEALTH_CHECK"
FILE = "events.jsonl"

Entry = Mapping[str, str]


class Spool:
    """``state_dir/bsc/events.jsonl``. Every method raises ``OSError`` when the disk does not do it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / FILE

    def add(self, entry: Entry) -> int:
        """Append one event; returns how many others were dropped to keep within the bound."""
        with exclusive(self._folder):
            with self._path.open("ab") as file:
                file.write(orjson.dumps(dict(entry)) + b"\n")
            return self._trim()

    def oldest(self, count: int) -> list[Entry]:
        """Return the ``count`` oldest events."""
        with exclusive(self._folder):
            return [entry for entry in map(_decoded, self._lines()[:count]) if entry is not None]

    def drop(self, delivered: Sequence[Entry]) -> None:
        """Forget events that were delivered, and lines that are none."""
        gone = {entry["event_id"] for entry in delivered}
        with exclusive(self._folder):
            kept = []
            for line in self._lines():
                entry = _decoded(line)
                if entry is not None and entry["event_id"] not in gone:
                    kept.append(line)
            self._write(kept)

    def _lines(self) -> list[bytes]:
        try:
            return self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return []

    def _trim(self) -> int:
        lines = self._lines() if self._path.stat().st_size > LINES_MAX * 100 else []
        if len(lines) <= LINES_MAX:
            return 0
        kept = within_bound(lines)
        self._write(kept)
        return len(lines) - len(kept)

    def _write(self, lines: Sequence[bytes]) -> None:
        write_whole(self._path, b"".join(line + b"\n" for line in lines))


def within_bound(lines: Sequence[bytes]) -> list[bytes]:
    """Return at most ``LINES_KEPT`` lines: the oldest health checks are left out first."""
    surplus = len(lines) - LINES_KEPT
    kept = []
    for line in lines:
        entry = _decoded(line)
        if surplus > 0 and (entry is None or entry["event"] == ROUTINE):
            surplus -= 1
        else:
            kept.append(line)
    return kept[-LINES_KEPT:]


def _decoded(line: bytes) -> Entry | None:
    """Return the event, or None for a line that a power cut left half written."""
    try:
        entry = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return entry if isinstance(entry, dict) and {"event", "event_id"} <= entry.keys() else None
