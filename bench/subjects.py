"""The engines that are measured: ours, and others that have to keep up with the same stream."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from machine import ROOT, BenchRefused, pin
from stand import HERE, KEY, SECRET, Stub

from quantum_trader.domain.order import client_order_id
from quantum_trader.stores.codec import encode

START_S = 120
WIDE = 1_000_000_000
LIMITS: dict[str, dict[str, Any]] = {
    "rate_limit": {
        "per_symbol_s": 0,
        "global_per_min": WIDE,
        "per_symbol_5min_max": WIDE,
        "per_symbol_hour_max": WIDE,
        "exits_per_min": WIDE,
    },
    "fund_caps": {"symbol_cooldown_s": 0, "max_total_notional_usdt": WIDE, "max_open_positions": WIDE},
    "active_slots": {"base": WIDE, "trend_strong": WIDE, "chop": WIDE},
    "position_sanity": {"cooldown_s": 0, "allow_add": "true"},
}
"""Wide, so that plans come through; the notional of one trade is capped at 200 USDT, as by default."""


class Subject:
    """A running engine under its name; ``namespace`` is that of its keys."""

    def __init__(
        self, name: str, namespace: str, process: subprocess.Popen[bytes], stub: Stub, url: str
    ) -> None:
        self.name = name
        self.namespace = namespace
        self.pid = process.pid
        self.stub = stub
        self.redis_url = url
        self.start_s = 0.0
        self.order_name: Callable[[str], str] = client_order_id


@contextmanager
def engine(
    stub: Stub,
    url: str,
    folder: Path,
    *,
    transport: str = "rest",
    namespace: str = "quantum",
    root: Path = ROOT,
) -> Iterator[Subject]:
    """Run our engine in a process of its own, as an operator would, until it is ready.

    ``root`` is the tree that it is run from.
    """
    folder.mkdir(parents=True)
    config = folder / "config.toml"
    symbols = [symbol.name for symbol in stub.symbols]
    config.write_text(_config(stub, url, folder / "state", symbols, transport, namespace))
    environment = {
        "BINANCE_TESTNET_API_KEY": KEY,
        "BINANCE_TESTNET_API_SECRET": SECRET,
        "PYTHONPATH": str(root),
    }
    words = [sys.executable, "-m", "quantum_trader", "run", "--config", str(config)]
    with _process(words, environment, folder / "log", root) as process:
        subject = Subject(f"engine, {transport}", namespace, process, stub, url)
        _set_policy(url, namespace, symbols)
        subject.start_s = _wait_for_line(process, folder / "log", b'"event":"ready"')
        pin(process.pid)
        yield subject


@contextmanager
def naive(stub: Stub, url: str, folder: Path, *, namespace: str = "naive") -> Iterator[Subject]:
    """Run the naive engine with the limits of ours."""
    limits = {**LIMITS, "position_sanity": {"cooldown_s": 0, "allow_add": True}}
    settings = {
        "rest_url": stub.url,
        "redis_url": url,
        "namespace": namespace,
        "api_key": KEY,
        "api_secret": SECRET,
        "symbols": [symbol.name for symbol in stub.symbols],
        "limits": limits,
    }
    folder.mkdir(parents=True)
    (folder / "settings.json").write_bytes(encode(settings))
    words = [sys.executable, str(HERE / "naive.py"), str(folder / "settings.json")]
    with other("naive", words, stub, url, folder, namespace) as subject:
        yield subject


@contextmanager
def floor(
    built: Path, stub: Stub, url: str, folder: Path, *, transport: str = "rest", namespace: str = "floor"
) -> Iterator[Subject]:
    """Run the C program that only makes the round trips."""
    folder.mkdir(parents=True)
    script = ROOT / "quantum_trader" / "stores" / "scripts" / "claim.lua"
    words = [
        str(built),
        url.removeprefix("unix://"),
        stub.url.rpartition(":")[2],
        namespace,
        transport,
        str(script),
    ]
    with other(f"C floor, {transport}", words, stub, url, folder, namespace) as subject:
        subject.order_name = str
        yield subject


@contextmanager
def other(
    name: str, words: list[str], stub: Stub, url: str, folder: Path, namespace: str
) -> Iterator[Subject]:
    """Run another engine, which says "ready" in its log when it is."""
    with _process(words, {"PYTHONPATH": str(ROOT)}, folder / "log", ROOT) as process:
        subject = Subject(name, namespace, process, stub, url)
        _set_policy(url, namespace, [symbol.name for symbol in stub.symbols])
        subject.start_s = _wait_for_line(process, folder / "log", b"ready")
        pin(process.pid)
        yield subject


def _config(stub: Stub, url: str, state: Path, symbols: list[str], transport: str, namespace: str) -> str:
    sockets = stub.url.replace("http://", "ws://")
    exchange = {"rest_url": stub.url, "order_transport": transport}
    if transport == "ws":
        exchange |= {"ws_api_url": f"{sockets}/ws-fapi/v1", "stream_url": sockets}
    tables: dict[str, Mapping[str, Any]] = {
        "redis": {"url": url, "namespace": namespace},
        "exchange": exchange,
        "http": {"port": 0},
        **{f"gates.{name}": limits for name, limits in LIMITS.items()},
    }
    lines = ['mode = "testnet"', f"symbols = {symbols}".replace("'", '"'), f'state_dir = "{state}"']
    for table, values in tables.items():
        lines += [f"[{table}]", *(f"{key} = {_toml(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    return str(value) if value in ("true", "false") or isinstance(value, int) else f'"{value}"'


@contextmanager
def _process(
    words: list[str], environment: Mapping[str, str], log: Path, root: Path
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(
            words, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **environment}, cwd=root
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _set_policy(url: str, namespace: str, symbols: list[str]) -> None:
    policy: Any = {"universe_symbols": encode(symbols), "policy_version": "bench"}
    with redis.Redis.from_url(url) as client:
        client.hset(f"{namespace}:policy:current", mapping=policy)


def _wait_for_line(process: subprocess.Popen[bytes], log: Path, wanted: bytes) -> float:
    begun_s = time.monotonic()
    while wanted not in log.read_bytes():
        if process.poll() is not None or time.monotonic() > begun_s + START_S:
            said = log.read_text(errors="replace").strip().splitlines()
            raise BenchRefused(f"not ready: {said[-1] if said else 'it said nothing'}")
        time.sleep(0.01)
    return time.monotonic() - begun_s
