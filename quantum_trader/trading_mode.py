"""The one setting that decides endpoint, keys and permission together (SPEC 11, INC-84).

Apart from config.py because BSC needs it alone: it must start whatever else is wrong there.
"""

from __future__ import annotations

import ipaddress
import os
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

ENV_PREFIX = "QT_"
ENV_CONFIG_PATH = "QT_CONFIG"
DEFAULT_PATH = Path("config.toml")

LIVE_REST_URL = "https://fapi.binance.com"
TESTNET_REST_URL = "https://demo-fapi.binance.com"


class ConfigError(Exception):
    """The configuration cannot be used; the text is one line a problem, each with its cure."""


class TradingMode(StrEnum):
    """What the engine may do, and where (SPEC 11)."""

    PAPER = "paper"
    DRY_RUN = "dry_run"
    TESTNET = "testnet"
    LIVE = "live"


def config_path(given: Path | None) -> Path | None:
    """Return the file to read: ``given``, else ``QT_CONFIG``, else ./config.toml where there is one."""
    if given is not None:
        return given
    if os.environ.get(ENV_CONFIG_PATH):
        return Path(os.environ[ENV_CONFIG_PATH])
    return DEFAULT_PATH if DEFAULT_PATH.exists() else None


def endpoint_of(mode: TradingMode, override: str) -> str:
    """Return the REST endpoint of ``mode``; "" for paper, whose exchange is embedded."""
    if override or mode is TradingMode.PAPER:
        return override.rstrip("/")
    return TESTNET_REST_URL if mode is TradingMode.TESTNET else LIVE_REST_URL


def contradiction_in(mode: TradingMode, override: str, *, confirm_live: bool) -> str:
    """Return what in mode, confirmation and endpoint cannot go together, with its cure; "" if nothing."""
    if mode is TradingMode.LIVE and not confirm_live:
        return 'mode = "live" trades real money: set confirm_live = true as well'
    if not override:
        return ""
    if mode in (TradingMode.PAPER, TradingMode.LIVE):
        return (
            f"exchange.rest_url = {override!r} contradicts mode = {mode.value!r}: "
            "remove it, or use mode testnet or dry_run"
        )
    host = urlsplit(override).hostname or ""
    if mode is TradingMode.TESTNET and host.endswith("binance.com") and not host.startswith("demo-"):
        return f"exchange.rest_url = {override!r} is the live exchange, but mode is 'testnet': remove it"
    return ""


def is_loopback(host: str) -> bool:
    """Whether ``host`` can be reached from this machine alone; a name other than localhost is not trusted."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
