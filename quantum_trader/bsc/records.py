"""Small JSON files that outlive a restart: whole or not at all, changed by one writer at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson


class RecordUnreadable(Exception):
    """A record exists and cannot be read; the text names the file."""


def read_record(path: Path) -> dict[str, Any] | None:
    """Return the record, or None where there is none. Raises ``RecordUnreadable``."""
    try:
        content = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, orjson.JSONDecodeError) as broken:
        raise RecordUnreadable(f"{path}: {type(broken).__name__}") from None
    if not isinstance(content, dict):
        raise RecordUnreadable(f"{path}: is no object")
    return content


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Replace the record at once and durably. Raises ``OSError``."""
    write_whole(path, orjson.dumps(dict(record), option=orjson.OPT_INDENT_2))


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file so that readers, and a power cut, see the old one or the new one. Raises ``OSError``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Keep other processes out of the records of ``folder``; held for moments only. Raises ``OSError``."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sync_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
