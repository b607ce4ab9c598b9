"""The keys of config.toml that hold secrets: each may stand in a file, and none is ever shown (SPEC 12)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quantum_trader.trading_mode import ENV_PREFIX, ConfigError

SECRETS = frozenset({("http", "token"), ("http", "alert_token"), ("alerts", "urls")})


def file_variables() -> dict[str, tuple[str, str]]:
    """Return every ``QT_…_FILE`` that names a file with a secret, with the key's path."""
    return {f"{ENV_PREFIX}{table.upper()}__{key.upper()}_FILE": (table, key) for table, key in SECRETS}


def read_secret_files(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``content`` with the secrets of the files that the environment names.

    Raises:
        ConfigError: a file cannot be read, or the same secret stands in the environment as well.
    """
    whole = dict(content)
    for variable, (table, key) in file_variables().items():
        path = os.environ.get(variable)
        if path is None:
            continue
        if variable.removesuffix("_FILE") in os.environ:
            raise ConfigError(f"environment: set {variable} or {variable.removesuffix('_FILE')}, not both")
        inner = whole.get(table, {})
        if isinstance(inner, Mapping):
            whole[table] = {**inner, key: _read(variable, Path(path))}
    return whole


def _read(variable: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as unreadable:
        raise ConfigError(
            f"environment {variable}: {path} cannot be read ({type(unreadable).__name__})"
        ) from None
