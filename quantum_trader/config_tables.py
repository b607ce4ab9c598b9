"""The tables of config.toml but those of the gates: every key with its unit and default (SPEC 12)."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from quantum_trader.alerts.kinds import AlertKind
from quantum_trader.domain.venue_urls import REST_SCHEMES, SOCKET_SCHEMES, endpoint_problem
from quantum_trader.redis_url import redis_url_problem

TOKEN_LENGTH_MIN = 16
SPEED_MAX = 100_000


class Table(BaseModel):
    """A table of config.toml: frozen, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RedisTable(Table):
    """Where streams, latches and claims live."""

    url: str = Field(
        default="embedded",
        repr=False,  # it may hold a password
        description='"embedded", redis://, rediss://, unix://, or redis+sentinel://host:port,host:port/service',
    )
    namespace: str = Field(
        default="quantum",
        pattern=r"^[A-Za-z0-9_.-]{1,64}$",
        description="first part of every key and stream name",
    )
    allow_volatile: bool = Field(
        default=False,
        description="accept a server that evicts keys or keeps no AOF in testnet and live",
    )

    @field_validator("url")
    @classmethod
    def _usable(cls, url: str) -> str:
        if problem := redis_url_problem(url):
            raise ValueError(problem)
        return url


class ExchangeTable(Table):
    """The exchange's endpoint and the manners of talking to it."""

    rest_url: str = Field(
        default="",
        description="REST endpoint; empty: the mode's own. Overrides only in testnet and dry_run",
    )
    ws_api_url: str = Field(
        default="",
        description="WebSocket API (ws:// or wss://); empty: the mode's own, or the host of rest_url",
    )
    stream_url: str = Field(
        default="",
        description="streams, without /public, /market or /private; empty: likewise",
    )
    order_transport: Literal["rest", "ws"] = Field(
        default="rest",
        description='how orders are sent: "rest", or "ws" (the WebSocket API; REST while that is down)',
    )
    recv_window_ms: int = Field(
        default=3000,
        ge=500,
        le=60000,
        description="ms for which the exchange may still accept an order; short is safe",
    )
    request_timeout_s: Decimal = Field(
        default=Decimal(5), gt=0, le=60, description="seconds until a request counts as unanswered"
    )
    not_placed_lag_s: Decimal = Field(
        default=Decimal(10),
        ge=0,
        description='seconds over which "order does not exist" must hold before it counts as proof',
    )

    @field_validator("rest_url")
    @classmethod
    def _rest_endpoint(cls, url: str) -> str:
        return _endpoint(url, REST_SCHEMES)

    @field_validator("ws_api_url", "stream_url")
    @classmethod
    def _websocket_endpoint(cls, url: str) -> str:
        return _endpoint(url, SOCKET_SCHEMES)


class IntakeTable(Table):
    """How old a plan may be when it is first delivered."""

    max_age_s: int = Field(default=60, ge=1, description="seconds; older opens end as EXPIRED")
    exit_max_age_s: int = Field(
        default=300, ge=1, description="seconds; older exits end as EXPIRED and alert"
    )


class StreamsTable(Table):
    """How long streams and the archive are kept."""

    plans_kept: int = Field(default=10_000, ge=100, description="entries kept on the plan stream, about")
    results_kept: int = Field(default=10_000, ge=100, description="entries kept on the result stream, about")
    archive_days: int = Field(default=30, ge=1, description="days for which decisions stay in state_dir")


class AutoDisarmTable(Table):
    """When the engine stops opening by itself, until an operator arms it again."""

    enabled: bool = Field(default=True, description="whether the engine disarms itself at all")
    burst_denials: int = Field(
        default=10, ge=1, description="denials for burst_limit_exceeded in the window that disarm"
    )
    internal_errors: int = Field(
        default=5, ge=1, description="exceptions raised by gates in the window that disarm"
    )
    window_s: int = Field(default=300, ge=1, description="seconds over which both are counted")


class BscTable(Table):
    """The watchdog BSC: whether it runs inside the engine, and whether opens depend on it."""

    enabled: bool = Field(
        default=True, description="run BSC inside the engine; false where `quantum-trader bsc run` does"
    )
    required: bool | None = Field(
        default=None,
        description="block opens while BSC's health is missing or BLIND; unset: true in live, else false",
    )


class IntentBridgeTable(Table):
    """The intent bridge: signals on trade.intent become plans."""

    enabled: bool = Field(default=False, description="whether signals become plans; they then trade")
    sell_opens_short: bool = Field(
        default=False, description="whether SELL on a flat symbol opens a short; else it is skipped"
    )


class HarvestTable(Table):
    """Harvest: proposes exits of live positions, by profit and by kill score."""

    mode: Literal["off", "propose", "act"] = Field(
        default="propose",
        description="off; propose: writes proposals only; act: also puts the close on the plan stream",
    )
    interval_s: int = Field(
        default=10, ge=1, le=3600, description="seconds between two looks at the positions"
    )
    stop_pct: Decimal = Field(
        default=Decimal("0.02"), gt=0, lt=1, description="share of the entry price that is one R"
    )
    cost_bps: Decimal = Field(
        default=Decimal(10), ge=0, le=1000, description="basis points of the entry price that an exit costs"
    )
    kill_threshold: Decimal = Field(
        default=Decimal("0.60"), gt=0, lt=1, description="kill score from which the whole position should go"
    )
    weight_regime_flip: Decimal = Field(
        default=Decimal("1.0"), ge=0, le=10, description="weight of a lost trend in the kill score"
    )
    weight_sigma_spike: Decimal = Field(
        default=Decimal("0.5"), ge=0, le=10, description="weight of high volatility in the kill score"
    )
    weight_ts_drop: Decimal = Field(
        default=Decimal("0.5"), ge=0, le=10, description="weight of low trend strength in the kill score"
    )
    weight_age: Decimal = Field(
        default=Decimal("0.3"), ge=0, le=10, description="weight of the position's age in the kill score"
    )
    model_max_age_s: int = Field(
        default=300,
        ge=1,
        description="seconds for which an external model's inputs count; then computed ones do",
    )


class PaperTable(Table):
    """The embedded exchange of paper mode."""

    balance_usdt: Decimal = Field(default=Decimal(10_000), gt=0, description="USDT at the first start")
    seed: int = Field(default=1, description="seed of the synthetic market")
    speed: Decimal = Field(
        default=Decimal(1),
        gt=0,
        le=SPEED_MAX,
        description="seconds of market time in one second of real time; 0.5 is half as fast",
    )
    klines: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="candle files (Binance CSV or JSON) to trade instead of the synthetic market"
    )
    port: int = Field(default=0, ge=0, le=65535, description="TCP port on loopback; 0: a free one")

    @field_validator("klines", mode="before")
    @classmethod
    def _split(cls, klines: Any) -> Any:
        return listed(klines)  # a path may hold blanks


class HttpTable(Table):
    """The page, the API and the metrics, served by the engine."""

    enabled: bool = Field(default=True, description="serve them at all")
    host: str = Field(
        default="127.0.0.1", min_length=1, description="address to listen on; any but loopback needs a token"
    )
    port: int = Field(default=8080, ge=0, le=65535, description="TCP port; 0: a free one")
    token: SecretStr = Field(
        default=SecretStr(""),
        description="bearer token, 16 characters or more, for changes; beyond loopback for reading as well. "
        "Better in the environment: QT_HTTP__TOKEN, or QT_HTTP__TOKEN_FILE with a path",
    )
    alert_token: SecretStr = Field(
        default=SecretStr(""),
        description="secret in the body of TradingView alerts, which can carry no header; not the one above, "
        "as it may submit plans and nothing else. Empty: alerts are refused. QT_HTTP__ALERT_TOKEN[_FILE]",
    )
    plans_per_min: int = Field(
        default=120,
        ge=1,
        le=60_000,
        description="opens taken over HTTP in a minute; then 429. Exits are not counted",
    )
    hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="further host names by which the page is reached, as behind a reverse proxy"
    )

    @field_validator("hosts", mode="before")
    @classmethod
    def _split(cls, hosts: Any) -> Any:
        return listed(hosts, ", ")

    @field_validator("token", "alert_token")
    @classmethod
    def _long_enough(cls, token: SecretStr) -> SecretStr:
        text = token.get_secret_value().strip()
        if text and (len(text) < TOKEN_LENGTH_MIN or not text.isascii() or not text.isprintable()):
            raise ValueError(
                f"must have {TOKEN_LENGTH_MIN} plain characters or more, as `openssl rand -hex 32` gives"
            )
        return SecretStr(text)


class AlertsTable(Table):
    """Who is told when a person is needed; needs the extra: pip install 'quantum-trader[alerts]'."""

    urls: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        default=(),
        description="where to: Apprise URLs (tgram://, slack://, discord://, mailto://, json:// ...). "
        "Better in the environment: QT_ALERTS__URLS, separated by blanks, or QT_ALERTS__URLS_FILE",
    )
    events: Annotated[tuple[AlertKind, ...], NoDecode] = Field(
        default=tuple(AlertKind), description="what to tell of; docs/alerts.md has a section for each"
    )
    repeat_s: int = Field(
        default=300, ge=0, description="seconds for which an alert about the same thing is not repeated"
    )
    per_hour_max: int = Field(
        default=60, ge=1, description="alerts sent within an hour; the rest is summed up in one"
    )
    lag_plans: int = Field(default=100, ge=1, description="plans waiting from which on `lag` is told")
    free_margin_min: Decimal = Field(
        default=Decimal("0.2"),
        ge=0,
        le=1,
        description="available / margin balance below which `low_margin` is",
    )
    no_executions_h: Decimal = Field(
        default=Decimal(6), gt=0, description="hours of refused opens without a single fill until it is told"
    )

    @field_validator("urls", "events", mode="before")
    @classmethod
    def _split(cls, texts: Any) -> Any:
        return listed(texts, ", \n")


class LogTable(Table):
    """Log lines: JSON on stdout, and in a file where one is named."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="debug, info, warning or error"
    )
    format: Literal["json", "console"] = Field(default="json", description="json, or console for people")
    file: str = Field(
        default="",
        description="file to which each line is appended as well, once; opened anew on SIGHUP. Empty: none",
    )


def listed(given: Any, separators: str = ",") -> Any:
    """Return the entries of a list that came as text, as the environment has it; else what was given."""
    if not isinstance(given, str):
        return given
    text = given.strip("[] ").replace('"', "")
    for separator in separators:
        text = text.replace(separator, ",")
    return tuple(entry.strip() for entry in text.split(",") if entry.strip())


def _endpoint(url: str, schemes: tuple[str, str]) -> str:
    if url and (problem := endpoint_problem(url, schemes)):
        raise ValueError(problem)
    return url
