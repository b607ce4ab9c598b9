"""config.toml and the environment, checked, as frozen records (SPEC 11, 12).

Precedence: environment ``QT_<TABLE>__<KEY>`` over config.toml over the defaults here. Unknown
keys, wrong types and impossible values refuse to load and name file, key, value and cure.
Secrets are never part of these records: see ``credentials.py``.
"""

from __future__ import annotations

import hashlib
import os
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from quantum_trader.config_secrets import SECRETS, file_variables, read_secret_files
from quantum_trader.config_tables import (
    AlertsTable,
    AutoDisarmTable,
    BscTable,
    ExchangeTable,
    HarvestTable,
    HttpTable,
    IntakeTable,
    IntentBridgeTable,
    LogTable,
    PaperTable,
    RedisTable,
    StreamsTable,
    listed,
)
from quantum_trader.config_words import given_in_words, problem_in_words
from quantum_trader.domain.case import Terms
from quantum_trader.domain.result import plain
from quantum_trader.domain.sizing import SizingPolicy
from quantum_trader.domain.verdict import Mode as GateMode
from quantum_trader.gates import GateTables
from quantum_trader.trading_mode import (
    ENV_CONFIG_PATH,
    ENV_PREFIX,
    ConfigError,
    Endpoints,
    TradingMode,
    config_path,
    contradiction_in,
    endpoints_of,
    is_loopback,
)

__all__ = [
    "Config",
    "ConfigError",
    "TradingMode",
    "config_leaves",
    "environment_names",
    "load_config",
    "origin_of",
]

ABSENT = object()


class Config(BaseSettings):
    """Everything that config.toml and the environment can say."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=ENV_PREFIX, env_nested_delimiter="__"
    )

    mode: TradingMode = Field(
        default=TradingMode.PAPER, description="paper, dry_run, testnet or live: endpoint, keys, permission"
    )
    confirm_live: bool = Field(default=False, description="mode live also needs this to be true")
    symbols: Annotated[tuple[str, ...], NoDecode] = Field(
        default=("BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "XRPUSDT"),
        min_length=1,
        description="symbols that may be opened",
    )
    state_dir: Path = Field(default=Path("state"), description="folder for what must outlive a restart")
    redis: RedisTable = RedisTable()
    exchange: ExchangeTable = ExchangeTable()
    intake: IntakeTable = IntakeTable()
    streams: StreamsTable = StreamsTable()
    gates: GateTables = GateTables()
    auto_disarm: AutoDisarmTable = AutoDisarmTable()
    bsc: BscTable = BscTable()
    http: HttpTable = HttpTable()
    alerts: AlertsTable = AlertsTable()
    intent_bridge: IntentBridgeTable = IntentBridgeTable()
    harvest: HarvestTable = HarvestTable()
    paper: PaperTable = PaperTable()
    log: LogTable = LogTable()

    @field_validator("symbols", mode="before")
    @classmethod
    def _split_symbols(cls, symbols: Any) -> Any:
        return listed(symbols)

    @field_validator("symbols")
    @classmethod
    def _upper_case(cls, symbols: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [
            symbol for symbol in symbols if symbol != symbol.upper() or not symbol.replace("_", "").isalnum()
        ]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is no symbol; write it as the exchange does, like BTCUSDT")
        return symbols

    @model_validator(mode="after")
    def _no_contradiction(self) -> Config:
        """One setting decides endpoint, keys and permission together (SPEC 11, INC-84)."""
        table = self.exchange
        overrides = {
            "rest_url": table.rest_url,
            "ws_api_url": table.ws_api_url,
            "stream_url": table.stream_url,
        }
        problem = contradiction_in(self.mode, overrides, confirm_live=self.confirm_live)
        if problem:
            raise ValueError(problem)
        if self.http.enabled and not is_loopback(self.http.host) and not self.http.token.get_secret_value():
            raise ValueError(
                f"http.host = {self.http.host!r} can be reached from elsewhere, so http.token is needed: "
                "set QT_HTTP__TOKEN (`openssl rand -hex 32` makes one), or use 127.0.0.1"
            )
        alert_token = self.http.alert_token.get_secret_value()
        if alert_token and alert_token == self.http.token.get_secret_value():
            raise ValueError(
                "http.alert_token equals http.token: make another one (`openssl rand -hex 32`), "
                "so that a leaked alert cannot do everything"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file, which arrives as init arguments."""
        del settings_cls, dotenv_settings, file_secret_settings
        if isinstance(env_settings, EnvSettingsSource):  # the files were read already
            files = {name.lower() for name in file_variables()}
            env_settings.env_vars = {n: v for n, v in env_settings.env_vars.items() if n.lower() not in files}
        return env_settings, init_settings

    @property
    def endpoints(self) -> Endpoints:
        """Endpoints of this mode; empty for paper, whose exchange is embedded."""
        table = self.exchange
        return endpoints_of(
            self.mode, rest_url=table.rest_url, ws_api_url=table.ws_api_url, stream_url=table.stream_url
        )

    @property
    def rest_url(self) -> str:
        """REST endpoint of this mode; empty for paper, whose exchange is embedded."""
        return self.endpoints.rest_url

    @property
    def bsc_required(self) -> bool:
        """Whether opens are blocked without a watching BSC (SPEC 10)."""
        return self.bsc.required if self.bsc.required is not None else self.mode is TradingMode.LIVE

    @property
    def sends_orders(self) -> bool:
        """Whether this mode sends orders at all."""
        return self.mode is not TradingMode.DRY_RUN

    @property
    def terms(self) -> Terms:
        """What more than one gate needs."""
        caps = self.gates.fund_caps
        cap = caps.max_notional_per_trade_usdt if caps.mode is GateMode.ENFORCE else None
        return Terms(
            allowed_symbols=frozenset(self.symbols),
            sizing=SizingPolicy(self.gates.exchange_sizing.allow_upsize, cap),
            position_age_ms_max=self.gates.position_sanity.stale_s * 1000,
            mark_age_ms_max=int(self.gates.exchange_sizing.mark_price_max_age_s * 1000),
            leverage_max=self.gates.margin_guard.leverage_max,
        )

    @property
    def hash(self) -> str:
        """Twelve hex digits that name this configuration in results and logs (INC-94)."""
        text = orjson.dumps(self.model_dump(), default=_canonical, option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(text).hexdigest()[:12]


def _canonical(value: Any) -> str:
    """Return a value that JSON has no form for as text; equal numbers as equal text."""
    return plain(value) if isinstance(value, Decimal) else str(value)


def load_config(path: Path | None = None) -> Config:
    """Read config.toml and the environment.

    ``path`` None means ``QT_CONFIG``, else ./config.toml where there is one, else defaults.

    Raises:
        ConfigError: the file cannot be read, or a key or value is not acceptable.
    """
    source = config_path(path)
    content = read_secret_files(_read_toml(source) if source is not None else {})
    _refuse_quoted(content, source)
    _refuse_unknown_environment()
    try:
        return Config(**content)
    except ValidationError as invalid:
        raise ConfigError(_explain(invalid, source)) from None
    except ValueError as unreadable:
        raise ConfigError(f"environment: {unreadable}") from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    except OSError as missing:
        raise ConfigError(
            f"{path}: cannot be read ({missing.strerror}); give the right --config PATH"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as broken:
        raise ConfigError(f"{path}: is not valid TOML: {broken}") from None


def environment_names() -> dict[str, tuple[str, ...]]:
    """Return every environment variable that sets a key, with the key's path."""
    return {
        ENV_PREFIX + "__".join(part.upper() for part in location): location for location in config_leaves()
    }


def _leaves(model: type[BaseModel], at: tuple[str, ...]) -> list[tuple[tuple[str, ...], Any]]:
    """Return path and type of every key below ``model``."""
    leaves: list[tuple[tuple[str, ...], Any]] = []
    for key, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            leaves += _leaves(inner, (*at, key))
        else:
            leaves.append(((*at, key), inner))
    return leaves


def _refuse_quoted(content: Mapping[str, Any], source: Path | None) -> None:
    """Refuse text and booleans where the file must say a number, and anything but a boolean for one.

    The environment has only text, so the types themselves are lenient.
    """
    wrong = []
    for location, kind in _leaves(Config, ()):
        value = _at(content, location)
        name = f"{source}: {'.'.join(location)} = {value!r}"
        if kind in (int, Decimal) and isinstance(value, (str, bool)):
            wrong.append(f"{name}: must be a number, without quotes")
        if kind in (bool, bool | None) and value is not ABSENT and not isinstance(value, bool):
            wrong.append(f"{name}: must be true or false, without quotes")
    if wrong:
        raise ConfigError("\n".join(wrong))


def _at(content: Any, location: tuple[str, ...]) -> Any:
    for part in location:
        if not isinstance(content, Mapping) or part not in content:
            return ABSENT
        content = content[part]
    return content


def _refuse_unknown_environment() -> None:
    known = {*environment_names(), *file_variables()}
    unknown = [n for n in os.environ if n.startswith(ENV_PREFIX) and n != ENV_CONFIG_PATH and n not in known]
    if unknown:
        raise ConfigError(f"environment: {unknown[0]} sets no known key; see `quantum-trader config show`")


def _explain(invalid: ValidationError, source: Path | None) -> str:
    return "\n".join(_explain_one(error, source) for error in invalid.errors())


def _explain_one(error: Any, source: Path | None) -> str:
    location = [
        str(part) for part in error["loc"] if not isinstance(part, int)
    ]  # entries of a list have no name
    if not location:
        return f"{source or 'configuration'}: {error['msg'].removeprefix('Value error, ')}"
    name = ENV_PREFIX + "__".join(part.upper() for part in location)
    where = f"environment {name}" if name in os.environ else str(source or "configuration")
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key {'.'.join(location)}; remove it, or see `quantum-trader config schema`"
    key = ".".join(location)
    return f"{where}: {key} = {given_in_words(error.get('input'), key)}: {problem_in_words(error, key)}"


def origin_of(location: tuple[str, ...], path: Path | None) -> str:
    """Return where the value at ``location`` comes from: environment, the file, or the default."""
    name = ENV_PREFIX + "__".join(part.upper() for part in location)
    if name in os.environ or (location in SECRETS and name + "_FILE" in os.environ):
        return "environment"
    source = config_path(path)
    content = _read_toml(source) if source is not None else {}
    return "default" if _at(content, location) is ABSENT else str(source)


def config_leaves() -> list[tuple[str, ...]]:
    """Return the path of every key, in the order of config.toml."""
    return [location for location, _ in _leaves(Config, ())]
