"""The tables of config.toml but those of the gates: every key with its unit and default (SPEC 12)."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Table(BaseModel):
    """A table of config.toml: frozen, and strict about unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RedisTable(Table):
    """Where streams, latches and claims live."""

    url: str = Field(
        default="embedded",
        description='"embedded", or redis://, rediss://, unix:// of a server that you run',
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
    def _known_scheme(cls, url: str) -> str:
        if url != "embedded" and not url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError('must be "embedded" or start with redis://, rediss:// or unix://')
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

    @field_validator("ws_api_url", "stream_url")
    @classmethod
    def _websocket_scheme(cls, url: str) -> str:
        if url and not url.startswith(("ws://", "wss://")):
            raise ValueError("must start with ws:// or wss://")
        return url


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


class PaperTable(Table):
    """The embedded exchange of paper mode."""

    balance_usdt: Decimal = Field(default=Decimal(10_000), gt=0, description="USDT at the first start")
    seed: int = Field(default=1, description="seed of the synthetic market")
    speed: int = Field(
        default=1, ge=1, le=100_000, description="seconds of market time in one second of real time"
    )
    klines: tuple[str, ...] = Field(
        default=(), description="candle files (Binance CSV or JSON) to trade instead of the synthetic market"
    )
    port: int = Field(default=0, ge=0, le=65535, description="TCP port on loopback; 0: a free one")


class LogTable(Table):
    """Log lines: JSON on stdout."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="debug, info, warning or error"
    )
    format: Literal["json", "console"] = Field(default="json", description="json, or console for people")
