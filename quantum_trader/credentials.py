"""API keys: from the environment or from files, bound to the mode, never shown (SPEC 11, 12)."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from quantum_trader.trading_mode import ConfigError, TradingMode

LIVE_NAMES = ("BINANCE_API_KEY", "BINANCE_API_SECRET")
TESTNET_NAMES = ("BINANCE_TESTNET_API_KEY", "BINANCE_TESTNET_API_SECRET")
PAPER_KEY = "paper"


@dataclass(frozen=True, slots=True)
class Credentials:
    """An API key and its HMAC secret or PEM private key; its repr shows neither."""

    api_key: str = field(repr=False)
    api_secret: str = field(repr=False)


class HasMode(Protocol):
    """A configuration, as far as keys go."""

    @property
    def mode(self) -> TradingMode:
        """What the engine may do, and where."""
        ...


def load_credentials(config: HasMode) -> Credentials:
    """Return the keys that ``config.mode`` trades with.

    Raises:
        ConfigError: they are missing, unreadable, or the same for live and testnet.
    """
    if config.mode is TradingMode.PAPER:
        return Credentials(PAPER_KEY, PAPER_KEY)
    names = TESTNET_NAMES if config.mode is TradingMode.TESTNET else LIVE_NAMES
    key, secret = (_read(name) for name in names)
    if not key or not secret:
        missing = names[0] if not key else names[1]
        raise ConfigError(
            f"mode = {config.mode.value!r} needs {missing} (or {missing}_FILE with a path) in the environment"
        )
    if _read(LIVE_NAMES[0]) and _read(LIVE_NAMES[0]) == _read(TESTNET_NAMES[0]):
        raise ConfigError(
            f"{LIVE_NAMES[0]} and {TESTNET_NAMES[0]} hold the same key, so one is on the wrong exchange: "
            "create separate keys for live and testnet"
        )
    return Credentials(key, secret)


def _read(name: str) -> str:
    path = os.environ.get(name + "_FILE")
    if path is None:
        return os.environ.get(name, "").strip()
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as unreadable:
        raise ConfigError(
            f"environment {name}_FILE: {path} cannot be read ({type(unreadable).__name__})"
        ) from None
