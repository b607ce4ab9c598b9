"""Puts plans on a stream and reads results from one, at the least cost for the core they share.

Plans are written on a connection whose replies are off, results awaited on another one that blocks:
between its write and a plan's result the driver sleeps.
"""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import hiredis
from machine import BenchRefused, cpu_s
from stand import Symbol
from subjects import Subject

PATIENCE_MS = 60_000
TIMEOUT_S = 90
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Plan:
    """One plan, packed for the wire."""

    plan_id: str
    command: bytes


def opening(subject: Subject, symbol: Symbol, **fields: str) -> Plan:
    """A plan that opens, or adds to, about 60 USDT."""
    wish = {
        "side": "BUY",
        "qty": symbol.quantity,
        "reduceOnly": "false",
        "confidence": "0.9",
        "kill_score": "0.1",
    }
    return _plan(subject, symbol, {**wish, **fields})


def too_large(subject: Subject, symbol: Symbol) -> Plan:
    """A plan that every gate judges and fund_caps blocks."""
    return opening(subject, symbol, qty=f"{10 * Decimal(symbol.quantity):f}")


def closing(subject: Subject, symbol: Symbol) -> Plan:
    """A plan that closes the whole position."""
    return _plan(subject, symbol, {"side": "CLOSE", "qty": "0", "action": "FULL_CLOSE_PROPOSED"})


def _plan(subject: Subject, symbol: Symbol, fields: Mapping[str, str]) -> Plan:
    plan_id = f"bench-{next(_numbers)}"
    entry = {
        "plan_id": plan_id,
        "decision": "EXECUTE",
        "symbol": symbol.name,
        "type": "MARKET",
        "source": "bench",
    }
    parts = [part for pair in {**entry, **fields}.items() for part in pair]
    return Plan(
        plan_id, hiredis.pack_command(("XADD", f"{subject.namespace}:stream:apply.plan", "*", *parts))
    )


@dataclass(frozen=True)
class Round:
    """What one round of plans took; times in µs, ``order_us`` one a plan that reached the exchange."""

    decisions: Mapping[str, int]
    elapsed_us: float
    cpu_us: float
    order_us: tuple[float, ...] = ()


class Driver:
    """Drives one subject."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._results = f"{subject.namespace}:stream:apply.result"
        self._writer, self._reader = _connected(subject.redis_url), _connected(subject.redis_url)
        self._replies = hiredis.Reader()
        self._writer.sendall(hiredis.pack_command(("CLIENT", "REPLY", "OFF")))
        newest = self._ask("XREVRANGE", self._results, "+", "-", "COUNT", "1")
        self._last_id = newest[0][0].decode() if newest else "0"

    def one_by_one(self, plans: Iterable[Plan]) -> Round:
        """Send each plan when the former one has its result."""
        sent_ns: dict[str, int] = {}
        decisions: dict[str, int] = {}
        orders, cpu = self._subject.stub.count(), cpu_s(self._subject.pid)
        begun = time.monotonic_ns()
        for plan in plans:
            self._await_results(1)
            sent_ns[plan.plan_id] = time.monotonic_ns()
            self._writer.sendall(plan.command)
            _count(decisions, self._results_read())
        elapsed_us = (time.monotonic_ns() - begun) / 1000
        return self._round(decisions, elapsed_us, cpu, orders, sent_ns)

    def at_once(self, plans: list[Plan]) -> Round:
        """Send all plans in one breath and wait for all their results."""
        decisions: dict[str, int] = {}
        commands = b"".join(plan.command for plan in plans)
        orders, cpu = self._subject.stub.count(), cpu_s(self._subject.pid)
        begun = time.monotonic_ns()
        self._writer.sendall(commands)
        left = len(plans)
        while left > 0:
            self._await_results(1000)
            left -= _count(decisions, self._results_read())
        elapsed_us = (time.monotonic_ns() - begun) / 1000
        return self._round(decisions, elapsed_us, cpu, orders, {plan.plan_id: begun for plan in plans})

    def close(self) -> None:
        self._writer.close()
        self._reader.close()

    def _round(
        self,
        decisions: Mapping[str, int],
        elapsed_us: float,
        cpu: float,
        orders: int,
        sent_ns: Mapping[str, int],
    ) -> Round:
        cpu_us = (cpu_s(self._subject.pid) - cpu) * 1e6
        arrived = self._subject.stub.stamps_ns(orders)
        names = {self._subject.order_name(plan_id): at_ns for plan_id, at_ns in sent_ns.items()}
        order_us = tuple((arrived[name] - at_ns) / 1000 for name, at_ns in names.items() if name in arrived)
        return Round(decisions, elapsed_us, cpu_us, order_us)

    def _await_results(self, count: int) -> None:
        words = (
            "XREAD",
            "COUNT",
            str(count),
            "BLOCK",
            str(PATIENCE_MS),
            "STREAMS",
            self._results,
            self._last_id,
        )
        self._reader.sendall(hiredis.pack_command(words))

    def _results_read(self) -> list[str]:
        reply = self._reply()
        if reply is None:
            raise BenchRefused(f"{self._subject.name} gave no result within {PATIENCE_MS / 1000:.0f} s")
        entries = reply[0][1]
        self._last_id = entries[-1][0].decode()
        return [_ended(fields) for _, fields in entries]

    def _ask(self, *words: str) -> Any:
        self._reader.sendall(hiredis.pack_command(words))
        return self._reply()

    def _reply(self) -> Any:
        while (reply := self._replies.gets()) is False:
            received = self._reader.recv(1 << 20)
            if not received:
                raise BenchRefused("Valkey hung up")
            self._replies.feed(received)
        return reply


def _ended(fields: list[bytes]) -> str:
    """Decision and reason of a result."""
    named = dict(zip(fields[::2], fields[1::2], strict=True))
    return f"{named[b'decision'].decode()} {named.get(b'reason', b'').decode()}".rstrip()


def _connected(url: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(TIMEOUT_S)
    made.connect(url.removeprefix("unix://"))
    return made


def _count(decisions: dict[str, int], results: list[str]) -> int:
    for decision in results:
        decisions[decision] = decisions.get(decision, 0) + 1
    return len(results)
