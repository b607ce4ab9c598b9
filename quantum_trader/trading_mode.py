"""The one setting that decides endpoint, keys and permission together (SPEC 11, INC-84).

Apart from config.py because BSC needs it alone: it must start whatever else is wrong there.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from quantum_trader.url_passwords import without_password

ENV_PREFIX = "QT_"
ENV_CONFIG_PATH = "QT_CONFIG"
DEFAULT_PATH = Path("config.toml")

WS_API_PATH = "/ws-fapi/v1"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where one venue listens: REST, WebSocket API, and streams without a route (BINANCE.md 1)."""

    rest_url: str
    ws_api_url: str
    stream_url: str


LIVE = Endpoints(
    "https://fapi.binance.com", f"wss://ws-fapi.binance.com{WS_API_PATH}", "wss://fstream.binance.com"
)
TESTNET = Endpoints(
    "https://demo-fapi.binance.com",
    f"wss://testnet.binancefuture.com{WS_API_PATH}",
    "wss://demo-fstream.binance.com",
)
NOWHERE = Endpoints("", "", "")


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
    return endpoints_of(mode, rest_url=override).rest_url


def endpoints_of(
    mode: TradingMode, *, rest_url: str = "", ws_api_url: str = "", stream_url: str = ""
) -> Endpoints:
    """Return the endpoints of ``mode`` with overrides; all "" for paper, whose exchange is embedded.

    Where only REST is overridden, the others are looked for on the same host: prices and fills of one
    venue must never be mixed with orders on another.
    """
    own = {TradingMode.PAPER: NOWHERE, TradingMode.TESTNET: TESTNET}.get(mode, LIVE)
    if rest_url:
        own = endpoints_on(rest_url)
    return Endpoints(
        own.rest_url, ws_api_url.rstrip("/") or own.ws_api_url, stream_url.rstrip("/") or own.stream_url
    )


def endpoints_on(rest_url: str) -> Endpoints:
    """Return the endpoints of an exchange that serves everything on one host, as the embedded one does."""
    base = rest_url.rstrip("/")
    sockets = base.replace("http", "ws", 1)
    return Endpoints(base, f"{sockets}{WS_API_PATH}", sockets)


def contradiction_in(mode: TradingMode, overrides: Mapping[str, str], *, confirm_live: bool) -> str:
    """Return what in mode, confirmation and endpoints cannot go together, with its cure; "" if nothing.

    ``overrides`` are URLs by the key of ``[exchange]`` that sets them; "" is none.
    """
    if mode is TradingMode.LIVE and not confirm_live:
        return 'mode = "live" trades real money: set confirm_live = true as well'
    problems = (_contradiction(mode, key, url) for key, url in overrides.items() if url)
    return next((problem for problem in problems if problem), "")


def _contradiction(mode: TradingMode, key: str, url: str) -> str:
    setting = f"exchange.{key} = {without_password(url)!r}"
    if mode in (TradingMode.PAPER, TradingMode.LIVE):
        return f"{setting} contradicts mode = {mode.value!r}: remove it, or use mode testnet or dry_run"
    host = urlsplit(url).hostname or ""
    if mode is TradingMode.TESTNET and host.endswith("binance.com") and not host.startswith("demo-"):
        return f"{setting} is the live exchange, but mode is 'testnet': remove it"
    return ""


def is_loopback(host: str) -> bool:
    """Whether ``host`` can be reached from this machine alone; a name other than localhost is not trusted."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
