"""A file of lines that one process appends to: the only way of the mirror to the disk.

``append`` is one write(2) without fsync: what it wrote survives the death of the process, however
it dies, and does not hold up the event loop. The end of power can take the newest lines.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol


class LineFile(Protocol):
    """Lines in order; every method raises ``OSError`` when the disk does not do it."""

    def read(self) -> bytes:
        """Return the whole content; empty where there is no file yet."""
        ...

    def append(self, line: bytes) -> None:
        """Add one line (without its end) so that it survives this process."""
        ...

    def replace(self, content: bytes) -> None:
        """Put ``content`` in the place of everything, or leave everything as it was."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class DiskLines:
    """``LineFile`` on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._torn = False

    def read(self) -> bytes:
        """Return the whole content; empty where there is no file yet. Raises ``OSError``."""
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return b""

    def append(self, line: bytes) -> None:
        """Add one line by one write, never in the line of one that was cut off. Raises ``OSError``."""
        if self._descriptor is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            self._torn = self._ends_torn()
        whole = (b"\n" if self._torn else b"") + line + b"\n"
        self._torn = True
        written = os.write(self._descriptor, whole)
        if written < len(whole):
            raise OSError(
                f"{self._path}: only {written} of {len(whole)} bytes were written; is the disk full?"
            )
        self._torn = False

    def replace(self, content: bytes) -> None:
        """Write a new file beside the old one and put it in its place. Raises ``OSError``."""
        beside = self._path.with_suffix(".new")
        beside.write_bytes(content)
        beside.replace(self._path)
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _ends_torn(self) -> bool:
        content = self.read()
        return bool(content) and not content.endswith(b"\n")
