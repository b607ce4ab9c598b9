"""The archive of decisions in ``state_dir``: SQLite, written beside the loop, read by ``why`` (SPEC 4).

The engine hands results over and goes on; a thread of its own writes them in batches. The queue is
bounded: what does not fit is counted and logged, never waited for, since the result stream has it.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import structlog

from quantum_trader.domain.result import Result
from quantum_trader.stores.codec import decode, encode_text

FILE_NAME = "archive.sqlite3"
QUEUE_MAX = 20_000
BATCH_MAX = 500
GATHER_S = 0.2  # a thread that wakes for every single result costs the event loop more than the writing
DAY_MS = 86_400_000
SWEEP_EVERY_MS = 3_600_000  # what is old is looked for in all that is kept
SENT_ORDERS_READ = 100_000

SCHEMA = """
CREATE TABLE IF NOT EXISTS decisions (
    plan_id TEXT NOT NULL, symbol TEXT NOT NULL, timestamp_ms INTEGER NOT NULL, fields TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS decisions_by_plan ON decisions (plan_id);
CREATE INDEX IF NOT EXISTS decisions_by_symbol ON decisions (symbol, timestamp_ms);
CREATE INDEX IF NOT EXISTS decisions_by_time ON decisions (timestamp_ms);
CREATE TABLE IF NOT EXISTS orders (client_order_id TEXT PRIMARY KEY, sent_ms INTEGER NOT NULL);
"""

log = structlog.get_logger()

Row = tuple[str, str, int, str, list[str]]


class Archive:
    """Writes decisions; one writer a ``state_dir``."""

    def __init__(self, state_dir: Path, days_kept: int) -> None:
        self._path = state_dir / FILE_NAME
        self.days_kept = days_kept
        self._rows: queue.SimpleQueue[Row | None] = queue.SimpleQueue()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._write_on, name="archive", daemon=True)
        self.dropped = 0
        self._swept_ms = 0
        self.newest: deque[tuple[Result, Mapping[str, str]]] = deque(maxlen=QUEUE_MAX)
        """For whoever shows and counts results to take away; nothing here knows of them."""

    def start(self) -> dict[str, int]:
        """Open the file and begin to write; return the client order ids used so far with their ms."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with closing(_open(self._path)) as connection:
            connection.executescript(SCHEMA)
            newest = connection.execute(
                "SELECT client_order_id, sent_ms FROM orders ORDER BY sent_ms DESC LIMIT ?",
                (SENT_ORDERS_READ,),
            ).fetchall()
        self._thread.start()
        return dict(reversed(newest))

    def keep(self, result: Result, fields: Mapping[str, str]) -> None:
        """Hand a result over; returns at once."""
        sent = [attempt["client_order_id"] for attempt in result.trace.get("orders", ())]
        row: Row = (result.plan_id, result.symbol, result.timestamp_ms, encode_text(fields), sent)
        if self._rows.qsize() < QUEUE_MAX:
            self._rows.put(row)
        else:
            self.dropped += 1
            log.critical("archive_full", dropped=self.dropped, cure="check the disk under state_dir")
        self.newest.append((result, fields))

    def close(self) -> None:
        """Write what is queued and stop."""
        if self._thread.is_alive():
            self._ending.set()
            self._rows.put(None)
            self._thread.join()

    def _write_on(self) -> None:
        with closing(_open(self._path)) as connection:
            while (batch := self._next_batch()) is not None:
                try:
                    self._write(connection, batch)
                except sqlite3.Error as failed:
                    log.exception("archive_write_failed", lost=len(batch), error=str(failed))

    def _next_batch(self) -> list[Row] | None:
        """Return the rows that wait, at least one; None when the archive is to end."""
        first = self._rows.get()
        if first is None:
            return None
        self._ending.wait(GATHER_S)
        batch = [first]
        while len(batch) < BATCH_MAX and not self._rows.empty():
            row = self._rows.get()
            if row is None:
                self._rows.put(None)
                break
            batch.append(row)
        return batch

    def _write(self, connection: sqlite3.Connection, batch: list[Row]) -> None:
        oldest_ms = max(row[2] for row in batch) - self.days_kept * DAY_MS
        with connection:
            connection.executemany("INSERT INTO decisions VALUES (?, ?, ?, ?)", [row[:4] for row in batch])
            connection.executemany(
                "INSERT OR IGNORE INTO orders VALUES (?, ?)",
                [(name, row[2]) for row in batch for name in row[4]],
            )
            if oldest_ms - self._swept_ms >= SWEEP_EVERY_MS:
                connection.execute("DELETE FROM decisions WHERE timestamp_ms < ?", (oldest_ms,))
                connection.execute("DELETE FROM orders WHERE sent_ms < ?", (oldest_ms,))
                self._swept_ms = oldest_ms


def archived_plan(state_dir: Path, plan_id: str) -> Mapping[str, str] | None:
    """Return the newest archived result of ``plan_id``; None when there is none."""
    return next(iter(_select(state_dir, "plan_id = ?", (plan_id,), 1)), None)


def archived_symbol(state_dir: Path, symbol: str, newest: int) -> list[Mapping[str, str]]:
    """Return the ``newest`` archived results of ``symbol``, newest first."""
    return _select(state_dir, "symbol = ?", (symbol,), newest)


def archived_since(state_dir: Path, since_ms: int, newest: int) -> list[Mapping[str, str]]:
    """Return the archived results written at ``since_ms`` or later, newest first, at most ``newest``."""
    return _select(state_dir, "timestamp_ms >= ?", (since_ms,), newest)


def _select(
    state_dir: Path, where: str, values: tuple[str | int, ...], newest: int
) -> list[Mapping[str, str]]:
    path = state_dir / FILE_NAME
    if not path.exists():
        return []
    query = f"SELECT fields FROM decisions WHERE {where} ORDER BY timestamp_ms DESC LIMIT ?"  # noqa: S608  # fixed texts
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return [decode(fields) for (fields,) in connection.execute(query, (*values, newest))]


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection
