"""make bench: ours beside a naive engine, a C floor and other people's clients, on one core.

    python bench/run.py [--quick] [--json FILE] [--only engines,clients,micro]

Ratios only: every figure is the median over interleaved rounds of "ours against theirs" within one
round, so that a machine which slows down slows both. docs/benchmarks.md says what each row means.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextlib import closing as closing_up
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import clients
import growth
import micro
from driver import Driver, Round, closing, opening, too_large
from machine import ROOT, BenchRefused, compiler, core, facts
from stand import HERE, programs, server, stub, write_bodies
from subjects import Subject, engine, floor, naive

from quantum_trader.config_tables import ExchangeTable

SYMBOLS = 100
WIDTH = 84
NAIVE, REST, WS = "naive", "engine, rest", "engine, ws"
FLOORS = {REST: "C floor, rest", WS: "C floor, ws"}
TRANSPORTS = ExchangeTable.model_fields["order_transport"].annotation.__args__  # type: ignore[union-attr]


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rounds: int
    one_by_one: int
    at_once: int
    blocked: int
    burst: int
    burst_rounds: int
    orders: int
    client_rounds: int
    starts: int
    growth_rounds: int


FULL = Size(15, 40, 300, 300, 1000, 3, 200, 15, 3, 15)
QUICK = Size(5, 20, 100, 100, 300, 1, 60, 5, 1, 5)
SMOKE = Size(1, 4, 8, 8, 8, 1, 4, 1, 1, 1)


@dataclass(frozen=True)
class Row:
    """One line of the table: a ratio in every round, and the goal that it is held to."""

    name: str
    ratios: Sequence[float]
    goal: float
    at_most: bool = False

    @property
    def median(self) -> float:
        return statistics.median(self.ratios)

    @property
    def reached(self) -> bool:
        return self.median <= self.goal if self.at_most else self.median >= self.goal

    def line(self) -> str:
        low, high = quartiles(self.ratios)
        goal, reached = f"{'≤' if self.at_most else '≥'} {self.goal:g}", "yes" if self.reached else "no"
        return f"{self.name:<{WIDTH}}{self.median:>8.2f}{low:>9.2f} … {high:<7.2f}{goal:>8}  {reached}"


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """The middle half of ``values``."""
    if len(values) < 3:
        return min(values), max(values)
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


# -- engines


@dataclass
class Turn:
    """One subject's share of one round."""

    order_us: float
    cpu_us: float
    filled_us: float
    blocked_us: float


@contextmanager
def subjects(folder: Path) -> Iterator[list[Subject]]:
    """Every engine on a stub and a Valkey of its own, all on one core."""
    with ExitStack() as stack:
        stub_program, floor_program = stack.enter_context(programs(folder / "bin", "stub_exchange", "floor"))
        symbols = write_bodies(folder / "bodies", SYMBOLS)

        def stand(name: str) -> tuple[Any, str, Path]:
            place = folder / name
            url, _ = stack.enter_context(server(place / "valkey"))
            return stack.enter_context(stub(stub_program, folder / "bodies", symbols)), url, place / "engine"

        running = [stack.enter_context(naive(*stand("naive")))]
        for transport in TRANSPORTS:
            running.append(stack.enter_context(engine(*stand(transport), transport=transport)))
            place = stand(f"floor-{transport}")
            running.append(stack.enter_context(floor(floor_program, *place, transport=transport)))
        yield running


def engines(size: Size, folder: Path) -> dict[str, Any]:
    """Rounds of every engine, interleaved."""
    with subjects(folder) as running:
        return interleaved(size, running, QUICK)


def interleaved(size: Size, running: list[Subject], warm_up: Size) -> dict[str, Any]:
    """Give every subject its turn in every round, each time in another order."""
    turns: dict[str, list[Turn]] = {subject.name: [] for subject in running}
    bursts: dict[str, list[float]] = {subject.name: [] for subject in running}
    with ExitStack() as stack:
        drivers = {subject.name: stack.enter_context(closing_up(Driver(subject))) for subject in running}
        for subject in running:
            turn_of(subject, drivers[subject.name], warm_up)
        for number in range(size.rounds):
            shift = number % len(running)
            for subject in running[shift:] + running[:shift]:
                turns[subject.name].append(turn_of(subject, drivers[subject.name], size))
            progress(f"round {number + 1} of {size.rounds}")
        for _ in range(size.burst_rounds):
            for subject in running:
                bursts[subject.name].append(_burst_us(subject, drivers[subject.name], size))
    return {
        "turns": {name: [asdict(turn) for turn in many] for name, many in turns.items()},
        "bursts_us": bursts,
    }


def turn_of(subject: Subject, driver: Driver, size: Size) -> Turn:
    symbols = subject.stub.symbols
    few = symbols[: size.one_by_one]
    ones = checked(subject, driver.one_by_one([opening(subject, symbol) for symbol in few]), "FILLED")
    checked(subject, driver.at_once([closing(subject, symbol) for symbol in few]), "FILLED")
    many = driver.at_once([opening(subject, symbols[n % len(symbols)]) for n in range(size.at_once)])
    checked(subject, many, "FILLED")
    checked(
        subject, driver.at_once([closing(subject, symbol) for symbol in symbols[: size.at_once]]), "FILLED"
    )
    blocked_us = 0.0
    if subject.name not in FLOORS.values():
        blocked = driver.at_once([too_large(subject, symbols[n % len(symbols)]) for n in range(size.blocked)])
        blocked_us = a_plan_us(checked(subject, blocked, "BLOCKED"))
    cpu_us = ones.cpu_us / len(few)
    return Turn(statistics.median(ones.order_us), cpu_us, a_plan_us(many), blocked_us)


def _burst_us(subject: Subject, driver: Driver, size: Size) -> float:
    """99.9th percentile from the burst's sending to the arrival of an order."""
    symbols = subject.stub.symbols
    burst = driver.at_once([opening(subject, symbols[n % len(symbols)]) for n in range(size.burst)])
    checked(subject, burst, "FILLED")
    checked(subject, driver.at_once([closing(subject, symbol) for symbol in symbols[: size.burst]]), "FILLED")
    arrivals = sorted(burst.order_us)
    return arrivals[min(len(arrivals) - 1, int(len(arrivals) * 0.999))]


def checked(subject: Subject, done: Round, decision: str) -> Round:
    """A round counts only if every plan ended as it had to (one in a hundred may meet a reading's edge)."""
    wrong = sum(count for name, count in done.decisions.items() if not name.startswith(decision))
    if wrong * 100 > sum(done.decisions.values()):
        raise BenchRefused(f"plans should have ended {decision}, but {subject.name}: {done.decisions}")
    return done


def a_plan_us(done: Round) -> float:
    return done.elapsed_us / sum(done.decisions.values())


def engine_rows(found: Mapping[str, Any]) -> list[Row]:
    turns, bursts = found["turns"], found["bursts_us"]

    def ratios(ours: str, theirs: str, field: str, *, ours_first: bool = False) -> list[float]:
        pairs = zip(turns[ours], turns[theirs], strict=True)
        return [a[field] / b[field] if ours_first else b[field] / a[field] for a, b in pairs]

    rows = []
    for name, faster, slower in ((WS, 12, 3), (REST, 7, 6.5)):
        if name not in turns:
            continue
        kind = "WebSocket API" if name == WS else "REST"
        rows += [
            Row(
                f"{kind}: order after delivery, × faster than naive", ratios(name, NAIVE, "order_us"), faster
            ),
            Row(
                f"{kind}: order after delivery, × the C floor",
                ratios(name, FLOORS[name], "order_us", ours_first=True),
                slower,
                at_most=True,
            ),
        ]
    best = WS if WS in turns else REST
    rows += [
        Row("CPU a plan, × less than naive", ratios(best, NAIVE, "cpu_us"), 12),
        Row(
            "filled plans a second, many at once, × naive",
            ratios(best, NAIVE, "filled_us"),
            20,
        ),
        Row("blocked plans a second, × naive", ratios(best, NAIVE, "blocked_us"), 35),
        Row(
            "burst of plans, 99.9th percentile, × better than naive",
            [a / b for a, b in zip(bursts[NAIVE], bursts[best], strict=True)],
            12,
        ),
    ]
    return rows


# -- parts


def parts(size: Size, folder: Path) -> dict[str, Any]:
    """Rounds of the parts by themselves."""
    with server(folder / "valkey") as (url, _):
        costs = [asdict(micro.measure(url)) for _ in range(size.rounds)]
    return {"costs": costs, "start_s": [micro.start_s(folder / f"start-{n}") for n in range(size.starts)]}


def part_rows(found: Mapping[str, Any]) -> list[Row]:
    costs = found["costs"]

    def ratios(above: str, below: str) -> list[float]:
        return [cost[above] / cost[below] for cost in costs]

    return [
        Row(
            "decode + all gates + trace, in claim round trips",
            ratios("decide_us", "claim_us"),
            0.25,
            at_most=True,
        ),
        Row(
            "claim script, × an empty script's round trip",
            ratios("claim_us", "empty_script_us"),
            1.7,
            at_most=True,
        ),
        Row("log cost a plan, × cheaper than ten structlog lines", ratios("ten_lines_us", "log_line_us"), 25),
        Row("start to ready, paper mode, seconds", found["start_s"], 2, at_most=True),
    ]


# -- order clients


def order_clients(size: Size, folder: Path) -> dict[str, Any]:
    """Rounds of the order clients alone."""
    with programs(folder / "bin", "stub_exchange") as (program,):
        symbols = write_bodies(folder / "bodies", 20)
        with stub(program, folder / "bodies", symbols) as venue:
            return clients.compare(venue, size.orders, size.client_rounds, folder, progress)


def client_rows(found: Mapping[str, Any]) -> list[Row]:
    goals = {
        "ws": {"python-binance": 3, "sdk": 5, "ccxt": 7},
        "rest": {"python-binance": 1.8, "ccxt": 3, "sdk": 6},
    }
    rows = []
    for transport, theirs in goals.items():
        for client, goal in theirs.items():
            ours, other = (
                found["order_us"].get(f"ours {transport}"),
                found["order_us"].get(f"{client} {transport}"),
            )
            if ours and other:
                kind = "WebSocket API" if transport == "ws" else "REST"
                ratios = [b / a for a, b in zip(ours, other, strict=True)]
                rows.append(Row(f"order client alone, {kind}, × faster than {client}", ratios, goal))
    return rows


# -- growth


def growing(size: Size, folder: Path) -> dict[str, Any]:
    """Rounds of engines of different size."""
    return dict(growth.measure(size.growth_rounds, folder, progress))


def growth_rows(found: Mapping[str, Any]) -> list[Row]:
    named = growth.ratios(found).items()
    return [
        Row(f"cost of a plan, × with {growth.BASE.name}: {name}", many, 1.1, at_most=True)
        for name, many in named
    ]


# -- the whole

SECTIONS: dict[
    str, tuple[Callable[[Size, Path], dict[str, Any]], Callable[[Mapping[str, Any]], list[Row]]]
] = {
    "engines": (engines, engine_rows),
    "clients": (order_clients, client_rows),
    "micro": (parts, part_rows),
    "growth": (growing, growth_rows),
}


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text:<40}", end="", file=sys.stderr, flush=True)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--quick", action="store_true", help="few and short rounds: a smoke test, not a measurement"
    )
    parser.add_argument("--json", type=Path, default=HERE / "results.json", help="where every figure goes")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, comma-separated")
    given = parser.parse_args(words)
    size = QUICK if given.quick else FULL
    try:
        compiler()
        found, rows = measure(size, given.only.split(","))
    except BenchRefused as refused:
        print(f"bench: {refused}", file=sys.stderr)
        return 1
    report = {
        "machine": facts(),
        "size": asdict(size),
        "rows": [{**asdict(row), "median": row.median, "reached": row.reached} for row in rows],
        "found": found,
    }
    given.json.write_text(json.dumps(report, indent=1) + "\n")
    progress("")
    print(f"{'':<{WIDTH}}{'median':>8}{'middle half':>15}{'goal':>12}")
    print("\n".join(row.line() for row in rows))
    shown = given.json.resolve()
    print(f"every round: {shown.relative_to(ROOT) if shown.is_relative_to(ROOT) else shown}")
    return 0


def measure(size: Size, names: Sequence[str]) -> tuple[dict[str, Any], list[Row]]:
    os.sched_setaffinity(0, {core()})
    found: dict[str, Any] = {}
    rows: list[Row] = []
    for name in names:
        take, tell = SECTIONS[name]
        with tempfile.TemporaryDirectory(prefix="qt-bench-") as folder:
            found[name] = take(size, Path(folder))
        rows += tell(found[name])
    return found, rows


if __name__ == "__main__":
    sys.exit(main())
