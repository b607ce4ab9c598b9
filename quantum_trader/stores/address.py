"""Where the embedded server and the paper exchange of a state folder listen, known without loading them."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import orjson

PAPER_EXCHANGE_FILE = "paper-exchange.json"
SOCKET_PATH_LENGTH_MAX = 100  # sun_path holds 108 bytes on Linux, 104 on macOS


def socket_path(state_dir: Path) -> Path:
    """Return where the server of ``state_dir`` listens.

    A path too long for a socket address moves to a private folder under the temporary directory,
    named by the state folder, so that every command finds it.
    """
    direct = state_dir.resolve() / "valkey.sock"
    if len(str(direct).encode()) <= SOCKET_PATH_LENGTH_MAX:
        return direct
    name = hashlib.sha256(str(state_dir.resolve()).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"quantum-trader-{os.getuid()}-{name}" / "valkey.sock"


def embedded_url(state_dir: Path) -> str:
    """Return the URL of the embedded server of ``state_dir``."""
    return f"unix://{socket_path(state_dir)}"


def note_paper_exchange(state_dir: Path, url: str) -> None:
    """Leave word where the paper exchange listens; raises ``OSError``."""
    (state_dir / PAPER_EXCHANGE_FILE).write_bytes(orjson.dumps({"rest_url": url}))


def paper_exchange_url(state_dir: Path) -> str | None:
    """Return where the last paper exchange of ``state_dir`` listened; None where no word of it is."""
    try:
        return str(orjson.loads((state_dir / PAPER_EXCHANGE_FILE).read_bytes())["rest_url"])
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        return None
