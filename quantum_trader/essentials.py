"""The few settings that BSC alone needs, read so that errors elsewhere do not matter (SPEC 10, 12).

Mode, exchange, state folder and Redis, from the same file and the same environment as everything
else, with the same precedence. A file that is no valid TOML is read table by table: the tables that
count must be readable, the others need not be. What only concerns Redis never refuses BSC's start: its
events then stay in the spool.
"""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quantum_trader.domain.venue_urls import REST_SCHEMES, endpoint_problem
from quantum_trader.redis_url import EMBEDDED, redis_url_problem
from quantum_trader.stores.address import embedded_url
from quantum_trader.trading_mode import (
    ENV_PREFIX,
    ConfigError,
    TradingMode,
    config_path,
    contradiction_in,
    endpoint_of,
)
from quantum_trader.url_passwords import without_password

RECV_WINDOW_MS = 3_000
REQUEST_TIMEOUT_S = 5.0
NAMESPACE = "quantum"
EXCHANGE = "exchange"
REDIS = "redis"
ALERTS = "alerts"
UNREADABLE = None  # in the place of a table: its keys are not absent, they are unknown
_HEADER = re.compile(r"^\s*\[\[?([A-Za-z0-9_.-]+)\]{0,2}\s*(?:#.*)?$")  # a bracket may be missing
_NAMESPACE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off", "")


@dataclass(frozen=True, slots=True)
class Essentials:
    """What ``bsc run`` reads. ``rest_url`` is "" in paper mode; ``warnings`` say what was passed over."""

    mode: TradingMode
    state_dir: Path
    rest_url: str
    redis_url: str = field(repr=False)
    namespace: str
    recv_window_ms: int
    request_timeout_s: float
    warnings: tuple[str, ...]
    alert_urls: tuple[str, ...] = field(default=(), repr=False)

    @property
    def closes(self) -> bool:
        """Whether this mode sends orders at all; dry_run only reports."""
        return self.mode is not TradingMode.DRY_RUN


@dataclass(frozen=True, slots=True)
class Reach:
    """Where an engine is to be found: what ``status``, ``kill`` or ``why`` need, whatever else is broken."""

    state_dir: Path
    is_embedded: bool
    redis_url: str = field(repr=False)
    namespace: str


def load_reach(path: Path | None = None) -> Reach:
    """Read where Redis and state folder are, and nothing else. Raises ``ConfigError``."""
    warnings: list[str] = []
    return _reach(_Settings(_read(config_path(path), warnings), warnings), warnings)


def load_essentials(path: Path | None = None) -> Essentials:
    """Read them.

    Raises:
        ConfigError: mode, endpoint or state folder cannot be known or contradict each other.
    """
    warnings: list[str] = []
    settings = _Settings(_read(config_path(path), warnings), warnings)
    mode = _mode(settings.text("mode", TradingMode.PAPER.value))
    rest_url = settings.text("exchange.rest_url", "")
    confirmed = _truth(settings.get("confirm_live", "false"))
    problem = contradiction_in(mode, {"rest_url": rest_url}, confirm_live=confirmed)
    if problem:
        raise ConfigError(problem)
    if rest_url and (problem := endpoint_problem(rest_url, REST_SCHEMES)):
        raise ConfigError(f"exchange.rest_url = {without_password(rest_url)!r}: {problem}")
    state_dir = _state_dir(settings)
    redis_url, namespace = _outlet(settings, warnings)
    return Essentials(
        mode=mode,
        state_dir=state_dir,
        rest_url=endpoint_of(mode, rest_url),
        redis_url=redis_url,
        namespace=namespace,
        recv_window_ms=int(settings.number("exchange.recv_window_ms", RECV_WINDOW_MS, 500, 60_000)),
        request_timeout_s=settings.number("exchange.request_timeout_s", REQUEST_TIMEOUT_S, 0.05, 60),
        alert_urls=settings.alert_urls(),
        warnings=tuple(warnings),
    )


def _outlet(settings: _Settings, warnings: list[str]) -> tuple[str, str]:
    """Return URL and namespace of the Redis that hears of BSC; "" as URL where they cannot be known."""
    try:
        reach = _reach(settings, warnings)
    except ConfigError as unknown:
        warnings.append(f"{unknown}; until then BSC's events stay in the spool")
        return "", NAMESPACE
    return reach.redis_url, reach.namespace


def _state_dir(settings: _Settings) -> Path:
    return Path(settings.text("state_dir", "state"))


def _reach(settings: _Settings, warnings: list[str]) -> Reach:
    state_dir = _state_dir(settings)
    redis_url = settings.text("redis.url", EMBEDDED)
    if problem := redis_url_problem(redis_url):
        raise ConfigError(f"redis.url = {without_password(redis_url)!r}: {problem}")
    namespace = settings.text("redis.namespace", NAMESPACE)
    if not _NAMESPACE.fullmatch(namespace):
        warnings.append(f"redis.namespace = {namespace!r} cannot be used: {NAMESPACE!r} is")
        namespace = NAMESPACE
    is_embedded = redis_url == EMBEDDED
    return Reach(state_dir, is_embedded, embedded_url(state_dir) if is_embedded else redis_url, namespace)


class _Settings:
    """Values by dotted name: the environment first, then the file."""

    def __init__(self, content: dict[str, Any], warnings: list[str]) -> None:
        self._content = content
        self._warnings = warnings

    def get(self, name: str, default: Any) -> Any:
        variable = ENV_PREFIX + name.upper().replace(".", "__")
        if variable in os.environ:
            return os.environ[variable]
        table, _, key = name.rpartition(".")
        keys = self._content.get(table, {}) if table else self._content
        if not isinstance(keys, dict):
            raise ConfigError(f"[{table}] must be a readable table of keys")
        return keys.get(key, default)

    def text(self, name: str, default: str) -> str:
        value = self.get(name, default)
        if not isinstance(value, str):
            raise ConfigError(f"{name} = {value!r} must be a text")
        return value

    def number(self, name: str, default: float, lowest: float, highest: float) -> float:
        value = self.get(name, default)
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = float("nan")
        if not lowest <= number <= highest:
            self._warnings.append(f"{name} = {value!r} must lie in {lowest}..{highest}: {default} is used")
            return default
        return number

    def alert_urls(self) -> tuple[str, ...]:
        """Return where alerts go; what cannot be read costs the alerts, never the watch."""
        try:
            path = os.environ.get(f"{ENV_PREFIX}ALERTS__URLS_FILE")
            given = Path(path).read_text(encoding="utf-8") if path else self.get("alerts.urls", "")
        except (OSError, UnicodeDecodeError) as unreadable:
            self._warnings.append(f"alerts.urls: its file cannot be read ({type(unreadable).__name__})")
            return ()
        except ConfigError as unreadable:
            self._warnings.append(f"{unreadable}; until then nobody is told")
            return ()
        parts = (
            given
            if isinstance(given, list)
            else str(given).strip("[] ").replace('"', "").replace(",", " ").split()
        )
        return tuple(str(part) for part in parts)


def _mode(text: str) -> TradingMode:
    try:
        return TradingMode(text)
    except ValueError:
        raise ConfigError(f"mode = {text!r} must be one of {', '.join(TradingMode)}") from None


def _truth(value: object) -> bool:
    word = str(value).lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ConfigError(f"confirm_live = {value!r} must be true or false")


def _read(path: Path | None, warnings: list[str]) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as unreadable:
        problem = f"{path}: cannot be read ({type(unreadable).__name__}); give the right --config PATH"
        raise ConfigError(problem) from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as broken:
        warnings.append(f"{path}: is not valid TOML ({broken}); only what BSC needs was read")
        return _readable_tables(path, text)


def _readable_tables(path: Path, text: str) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for name, lines in _tables(text).items():
        if name not in ("", EXCHANGE, REDIS, ALERTS):
            continue
        try:
            table = tomllib.loads("\n".join(lines))
        except tomllib.TOMLDecodeError as broken:
            if name in (ALERTS, REDIS):
                content[name] = UNREADABLE
                continue
            where = f"[{name}]" if name else "the keys above all tables"
            raise ConfigError(f"{path}: {where}: is not valid TOML: {broken}") from None
        content |= {name: table} if name else table
    return content


def _tables(text: str) -> dict[str, list[str]]:
    tables: dict[str, list[str]] = {"": []}
    current = tables[""]
    for line in text.splitlines():
        header = _HEADER.match(line)
        if header:
            current = tables.setdefault(header[1], [])
        else:
            current.append(line)
    return tables
