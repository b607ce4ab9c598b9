"""Order clients alone: ours, and the well-known ones, each in the environment made for it.

Each client sends market orders one after the other from a process of its own (order_loop_*.py) and
says how long each took; rounds are interleaved. Absent environments are left out, and said so.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from machine import ROOT, BenchRefused, pin
from stand import HERE, KEY, SECRET, Stub

PEERS = ("python-binance", "ccxt", "sdk")
WARM_UP = 20


class Loop:
    """One client in its process: told how many orders to send, tells the median of their times."""

    def __init__(self, name: str, words: list[str], environment: dict[str, str], log: Path) -> None:
        self.name = name
        with log.open("ab") as complaints:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                env={**os.environ, **environment},
                cwd=HERE,
            )
        if self._line() != "ready":
            raise BenchRefused(f"the order client {name} did not start")
        pin(self._process.pid)

    def orders_us(self, count: int) -> float:
        """Median time of an order, µs."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{count}\n".encode())
        self._process.stdin.flush()
        answer = self._line()
        if not answer.startswith("["):
            raise BenchRefused(f"the order client {self.name} failed: {answer}")
        return statistics.median(json.loads(answer))

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().decode().strip()


def compare(
    stub: Stub, orders: int, rounds: int, folder: Path, progress: Callable[[str], None]
) -> dict[str, Any]:
    """Median order times of every client in every round, µs."""
    key_file = folder / "ed25519.pem"
    key_file.write_bytes(_ed25519_pem())
    with ExitStack() as stack:
        loops, absent = [], []
        for transport in ("rest", "ws"):
            for client in ("ours", *PEERS):
                python = (
                    sys.executable
                    if client == "ours"
                    else str(ROOT / f".venv-conformance-{client}/bin/python")
                )
                script = HERE / f"order_loop_{client.replace('-', '_')}.py"
                if not Path(python).exists() or (client == "ours" and not _ours_has(transport)):
                    absent.append(f"{client} {transport}")
                    continue
                words = [python, "-W", "ignore", str(script), stub.url, transport, KEY, SECRET, str(key_file)]
                environment = {"PYTHONPATH": str(ROOT)} if client == "ours" else {}
                loop = Loop(f"{client} {transport}", words, environment, folder / "complaints")
                stack.callback(loop.end)
                loop.orders_us(WARM_UP)
                loops.append(loop)
        found: dict[str, list[float]] = {loop.name: [] for loop in loops}
        for number in range(rounds):
            for loop in loops:
                found[loop.name].append(loop.orders_us(orders))
            progress(f"clients, round {number + 1} of {rounds}")
    return {"order_us": found, "absent": absent}


def _ours_has(transport: str) -> bool:
    from quantum_trader.config_tables import ExchangeTable  # noqa: PLC0415

    return transport in str(ExchangeTable.model_fields["order_transport"].annotation)


def _ed25519_pem() -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat  # noqa: PLC0415

    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
