"""A whole engine on real parts: its own Valkey on a Unix socket, the exchange over loopback sockets."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import redis.asyncio as redis

from quantum_trader.app import App
from quantum_trader.config import Config
from quantum_trader.domain.clock import SystemClock
from quantum_trader.domain.trading import Leg
from quantum_trader.exchange.simulator import (
    AccountSettings,
    EmbeddedExchange,
    FaultKind,
    FaultRule,
    SimulatorSettings,
)
from quantum_trader.exchange.simulator.gateway import ROUTES, Gateway, Request
from quantum_trader.stores.address import embedded_url
from quantum_trader.stores.codec import decode, encode
from quantum_trader.stores.keys import Keys
from quantum_trader.stores.results import as_text

KEY = "drill-key"
SECRET = "drill-secret"
SYMBOLS = ("BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "XRPUSDT", "ADAUSDT", "DOGEUSDT", "LTCUSDT")
WIDE_GATES: dict[str, Any] = {
    "rate_limit": {
        "per_symbol_s": 0,
        "global_per_min": 1000,
        "per_symbol_5min_max": 1000,
        "per_symbol_hour_max": 1000,
    },
    "fund_caps": {"symbol_cooldown_s": 0, "max_total_notional_usdt": 100_000, "max_open_positions": 100},
    "active_slots": {"base": 100, "trend_strong": 100, "chop": 100},
    "position_sanity": {"cooldown_s": 0},
}
EXCHANGE_QUICK: dict[str, Any] = {
    "recv_window_ms": 500,
    "request_timeout_s": "0.5",
    "not_placed_lag_s": "0.3",
}

NO_STREAMS = {"stream_url": "ws://127.0.0.1:9"}  # nobody listens there: an engine on reads alone

_numbers = itertools.count(1)


@dataclass
class Wire:
    """Every order request that arrived at the exchange, as sent, and how many over the WebSocket API."""

    orders: list[dict[str, str]] = field(default_factory=list)
    over_ws: int = 0

    def watch(self, gateway: Gateway) -> None:
        """Record the orders that ``gateway`` is handed, by REST and by the WebSocket API."""
        handle, counted = gateway.handle, gateway.counted

        def recording(request: Request, *args: Any, **kwargs: Any) -> Any:
            if request.method == "POST" and request.path == "/fapi/v1/order":
                self.orders.append(request.params())
            return handle(request, *args, **kwargs)

        def recording_ws(route: Any, call: Any, peer: str) -> Any:
            if route is ROUTES["POST", "/fapi/v1/order"] and peer.startswith("ws:"):
                self.orders.append(dict(call.params))
                self.over_ws += 1
            return counted(route, call, peer)

        gateway.handle = recording  # type: ignore[method-assign]
        gateway.counted = recording_ws  # type: ignore[method-assign]


@asynccontextmanager
async def exchange(**settings: Any) -> AsyncIterator[tuple[EmbeddedExchange, str]]:
    """Run an exchange with one account; yields it and its URL."""
    account = AccountSettings(KEY, SECRET, Decimal(settings.pop("balance_usdt", 10_000)))
    venue = EmbeddedExchange(SimulatorSettings(accounts=(account,), admin=True, **settings), SystemClock())
    url = await venue.start()
    try:
        yield venue, url
    finally:
        await venue.stop()


class House:
    """One running engine and what a user of it has: Redis, and the exchange's own view."""

    def __init__(self, app: App, venue: EmbeddedExchange, url: str, database: redis.Redis) -> None:
        self.app = app
        self.venue = venue
        self.url = url
        self.redis = database
        self.keys = Keys(app.config.redis.namespace)

    async def submit(self, **fields: Any) -> str:
        """Put a plan on the stream as any program would; returns its id."""
        plan_id = str(fields.pop("plan_id", f"plan-{next(_numbers)}"))
        entry = {"plan_id": plan_id, "decision": "EXECUTE", **fields}
        await self.redis.xadd(self.keys.plans, {name: str(value) for name, value in entry.items()})
        return plan_id

    async def open(self, symbol: str = "XRPUSDT", qty: Any = 20, **fields: Any) -> Mapping[str, str]:
        """Submit an open (a BUY unless told otherwise) and return its result."""
        wish = {"side": "BUY", "reduceOnly": "false", **fields}
        return await self.result(await self.submit(symbol=symbol, qty=qty, **wish))

    async def close(self, symbol: str = "XRPUSDT", **fields: Any) -> Mapping[str, str]:
        """Submit a full close and return its result."""
        wish = {"side": "CLOSE", "qty": 0, "action": "FULL_CLOSE_PROPOSED", **fields}
        return await self.result(await self.submit(symbol=symbol, **wish))

    async def result(self, plan_id: str, timeout_s: float = 60) -> dict[str, str]:
        """Wait for the plan's result."""

        async def found() -> dict[str, str] | None:
            return next((r for r in await self.results() if r["plan_id"] == plan_id), None)

        return await until(found, timeout_s, f"result of {plan_id}")

    async def results(self) -> list[dict[str, str]]:
        """Every result on the stream, oldest first."""
        return [as_text(fields) for _, fields in await self.redis.xrange(self.keys.results)]

    async def events(self, name: str | None = None) -> list[dict[str, str]]:
        """Events on the governor's stream, oldest first; all of them or those called ``name``."""
        entries = [as_text(fields) for _, fields in await self.redis.xrange(self.keys.governor_events)]
        return [event for event in entries if name is None or event["event"] == name]

    def fault(self, kind: FaultKind, **rule: Any) -> None:
        """Let the exchange go wrong."""
        self.venue.faults.add(FaultRule(kind, **rule))

    def spoil_order(self, kind: FaultKind, **rule: Any) -> None:
        """Let the next order request go wrong, on the way that orders take."""
        over_ws = self.app.config.exchange.order_transport == "ws"
        method, path = ("WS", "order.place") if over_ws else ("POST", "/fapi/v1/order")
        self.fault(kind, method=method, path=path, **rule)

    async def until_live(self) -> None:
        """Wait until every stream that the engine keeps is live."""

        async def all_live() -> bool:
            status = self.streams
            return bool(status) and all(link["live"] for link in status.values())

        await until(all_live, 30, "live streams")

    async def until_watched(self) -> None:
        """Wait until BSC has told its first poll, to Redis too: the next one is a minute away."""
        sink = self.app.web.view.bsc_sink
        assert sink is not None

        async def told() -> bool:
            return sink.last_health is not None and bool(await self.redis.exists(self.keys.bsc_health))

        await until(told, 60, "BSC's first poll")

    @property
    def streams(self) -> dict[str, Any]:
        """What the engine says of its streams."""
        joined = self.app._joined
        return joined.streams.status() if joined is not None else {}

    def watch(self) -> Wire:
        """Record every order request from now on."""
        wire = Wire()
        wire.watch(self.venue.gateway)
        return wire

    async def ask(self, path: str, **params: Any) -> Any:
        """Ask the exchange itself, as the account's owner would."""
        return await signed("GET", self.url, path, params)

    async def send(self, path: str, **params: Any) -> Any:
        """Change something on the exchange itself, as the account's owner would."""
        return await signed("POST", self.url, path, params)

    async def trade(self, symbol: str, side: str, quantity: Decimal, client_order_id: str) -> Any:
        """Send a MARKET order from outside the engine."""
        return await self.send(
            "/fapi/v1/order",
            symbol=symbol,
            side=side,
            type="MARKET",
            quantity=f"{quantity:f}",
            newClientOrderId=client_order_id,
            newOrderRespType="RESULT",
        )


@asynccontextmanager
async def house(
    state_dir: Path, *, settings: Mapping[str, Any] | None = None, **config: Any
) -> AsyncIterator[House]:
    """Run an exchange and an engine on it, with a policy for every symbol."""
    async with (
        exchange(**(settings or {})) as (venue, url),
        engine(state_dir, venue, url, **config) as running,
    ):
        yield running


@asynccontextmanager
async def engine(state_dir: Path, venue: EmbeddedExchange, url: str, **config: Any) -> AsyncIterator[House]:
    """Run an engine on an exchange that stands already."""
    app = App(engine_config(state_dir, url, **config))
    await app.start()
    database = redis.Redis.from_url(embedded_url(state_dir))
    running = House(app, venue, url, database)
    universe: Any = {"universe_symbols": encode(list(app.config.symbols)), "policy_version": "drill"}
    await database.delete(running.keys.policy)
    await database.hset(running.keys.policy, mapping=universe)
    try:
        yield running
    finally:
        await database.aclose()
        await app.stop()


def engine_config(state_dir: Path, url: str, **config: Any) -> Config:
    """Return a testnet configuration that trades on the exchange at ``url``, with wide limits."""
    gates = {name: {**limits, **config.get("gates", {}).get(name, {})} for name, limits in WIDE_GATES.items()}
    gates |= {name: limits for name, limits in config.pop("gates", {}).items() if name not in WIDE_GATES}
    exchange_table = {**EXCHANGE_QUICK, "rest_url": url, **config.pop("exchange", {})}
    return Config(
        mode=config.pop("mode", "testnet"),
        symbols=config.pop("symbols", SYMBOLS),
        state_dir=state_dir,
        exchange=exchange_table,
        gates=gates,
        http={"port": 0, **config.pop("http", {})},
        **config,
    )


async def until(found: Any, timeout_s: float, what: str) -> Any:
    """Return the first value of ``await found()`` but None and False; fail after ``timeout_s``."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + timeout_s
    while True:
        value = await found()
        if value is not None and value is not False:
            return value
        if loop.time() > deadline_s:
            show_tasks()
            raise AssertionError(f"waited {timeout_s} s in vain for {what}")
        await asyncio.sleep(0.01)


def show_tasks() -> None:
    """Print where every task of the loop stands: what a drill waited for in vain waits there."""
    for task in asyncio.all_tasks():
        innermost = task.get_coro()
        while getattr(innermost, "cr_await", None) is not None:
            innermost = innermost.cr_await
        frame = getattr(innermost, "cr_frame", None)
        where = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else repr(innermost)
        sys.stdout.write(f"{task.get_name()} {task.get_coro()} at {where}\n")


async def signed(method: str, url: str, path: str, params: Mapping[str, Any]) -> Any:
    """Send one signed request as any client of Binance would, and return the decoded reply."""
    query = urlencode({**params, "timestamp": SystemClock().now_ms(), "recvWindow": 5000})
    signature = hmac.new(SECRET.encode(), query.encode(), hashlib.sha256).hexdigest()
    async with (
        aiohttp.ClientSession(headers={"X-MBX-APIKEY": KEY}) as session,
        session.request(method, f"{url}{path}?{query}&signature={signature}") as reply,
    ):
        return await reply.json()


async def settled(running: House) -> None:
    """Wait until no plan is under way: a result stands on the stream a moment before its fill in memory."""
    consumer = running.app._joined.consumer  # type: ignore[union-attr]

    async def idle() -> bool:
        return consumer.in_flight == 0

    await until(idle, 30, "the end of the plans under way")


async def weaken(running: House, symbol: str) -> None:
    """Let the symbol fall by 2 %, and return once the engine has read that; at 3 % BSC closes it."""
    running.venue.venue.market.shock(symbol, Decimal("0.98"), running.app._clock.now_ms())
    account = running.app._joined.rooms.account  # type: ignore[union-attr]

    async def read() -> bool:
        await account.refresh_positions()
        loss = account.positions.value[Leg(symbol)].unrealized_pnl  # type: ignore[union-attr]
        return loss < 0

    await until(read, 20, f"the loss on {symbol}")


async def unwatch(running: House) -> None:
    """Have the next plan delivered by a reading that asks for no symbol's cooldown, as of a new symbol."""
    watch = running.app._joined.rooms.cooldowns  # type: ignore[union-attr]
    watch._recent.clear()
    watch._asked = None
    await asyncio.sleep(0.3)  # the read under way was asked for before, and has its end


def trace_of(result: Mapping[str, str]) -> dict[str, Any]:
    """Return a result's trace."""
    trace: dict[str, Any] = decode(result["trace"])
    return trace
