"""Where log lines go: stdout, and a file beside it that programs like logrotate may move away (SPEC 13).

Logging must never stop what it tells of: a stdout that is closed, full or a broken pipe costs its
lines, and the next one that comes through says how many.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TextIO

Complaint = Callable[[str, dict[str, Any]], str]
"""Makes the warning line of an event and its fields, newline included."""


class LogSink:
    """Takes each finished line once. A sink's troubles cost its lines, never the engine's work."""

    def __init__(self, stdout: Callable[[], TextIO], path: Path | None, complaint: Complaint) -> None:
        """Open the file; ``complaint`` makes the lines that tell of the sink's own troubles.

        ``stdout`` returns whatever is stdout now, or what stands in for it.

        Raises:
            OSError: the file cannot be written.
            ValueError: stdout goes there already.
        """
        self._stdout = stdout
        self._path = path
        self._lines_lost = 0
        self._complaint = complaint
        self._has_complained = False
        self._turn = threading.Lock()  # the archive and the alerts write from threads of their own
        self._file = _opened(path) if path is not None else None
        if self._file is not None and _is_same_file(self._file, stdout()):
            self._file.close()
            raise ValueError("stdout goes there already")

    def write(self, text: str) -> None:
        """Write ``text`` to both."""
        self._write_to(self._stdout(), text)
        if self._file is not None:
            self._write_to_file(text.encode("utf-8", "backslashreplace"))

    def write_lines(self, text: str) -> None:
        """Write ``text`` to both, and hand stdout over."""
        stdout = self._stdout()
        self._write_to(stdout, text)
        _hand_over(stdout)
        if self._file is not None:
            self._write_to_file(text.encode("utf-8", "backslashreplace"))

    def flush(self) -> None:
        """Hand stdout over; the file has no buffer of its own."""
        _hand_over(self._stdout())

    def reopen(self) -> None:
        """Go on in a new file of the same name. Raises ``OSError``; then the old one stays."""
        if self._path is None:
            return
        fresh = _opened(self._path)
        with self._turn:
            old = self._file
            self._file = fresh
            self._has_complained = False
        if old is not None:
            old.close()

    def close(self) -> None:
        """Write to stdout alone from now on."""
        with self._turn:
            old = self._file
            self._file = None
        if old is not None:
            old.close()

    def _write_to_file(self, line: bytes) -> None:
        try:
            with self._turn:
                if self._file is not None:
                    self._file.write(line)
        except OSError as failed:
            if not self._has_complained:  # every line would say the same until somebody makes room
                self._has_complained = True
                told = {"file": str(self._path), "error": str(failed)}
                self._write_to(self._stdout(), self._complaint("log_file_unwritable", told))

    def _write_to(self, stdout: TextIO, text: str) -> None:
        """Write to whatever is stdout now; count the lines that it does not take."""
        try:
            if self._lines_lost:
                stdout.write(self._complaint("log_lines_lost", {"count": self._lines_lost}))
                stdout.flush()
                self._lines_lost = 0
            stdout.write(text)
        except (OSError, ValueError):  # ValueError: it was closed
            self._lines_lost += text.count("\n")


def _hand_over(stdout: TextIO) -> None:
    try:
        stdout.flush()
    except (OSError, ValueError):  # the next write finds out, and counts
        return


def _opened(path: Path) -> BinaryIO:
    return path.open("ab", buffering=0)


def _is_same_file(file: BinaryIO, stdout: TextIO) -> bool:
    with suppress(OSError, ValueError):  # a stdout without a descriptor is no file
        return os.path.sameopenfile(file.fileno(), stdout.fileno())
    return False
