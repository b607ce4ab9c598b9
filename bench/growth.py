"""What a plan costs as things grow: history, symbols, open positions.

Each case is an engine of its own, all of them alive at once and measured in interleaved rounds. The
figure is engine CPU a plan, opens one after the other, as a ratio to the smallest case.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driver import Driver, closing, opening, too_large
from stand import Symbol, programs, server, stub, write_bodies
from subjects import Subject, engine

PLANS = 20
BATCH = 500


@dataclass(frozen=True)
class Stage:
    """How large things are: plans already done, symbols listed and allowed, positions already open."""

    name: str
    history: int = 1
    symbols: int = 100
    positions: int = 1


BASE = Stage("1 plan done, 100 symbols, 1 position")
STAGES = (
    BASE,
    Stage("100 plans done", history=100),
    Stage("10 000 plans done", history=10_000),
    Stage("10 symbols", symbols=10),
    Stage("1 000 symbols", symbols=1_000),
    Stage("100 positions open", symbols=100 + PLANS, positions=100),
)


def measure(rounds: int, folder: Path, progress: Callable[[str], None]) -> Any:
    """Engine CPU a plan in every round, µs, by stage."""
    found: dict[str, list[float]] = {stage.name: [] for stage in STAGES}
    with ExitStack() as stack:
        (program,) = stack.enter_context(programs(folder / "bin", "stub_exchange"))
        running: list[tuple[Stage, Subject, Driver]] = []
        for number, stage in enumerate(STAGES):
            place = folder / str(number)
            symbols = write_bodies(place / "bodies", stage.symbols)
            venue = stack.enter_context(stub(program, place / "bodies", symbols))
            url, _ = stack.enter_context(server(place / "valkey"))
            subject = stack.enter_context(engine(venue, url, place / "engine"))
            driver = Driver(subject)
            _grow(stage, subject, driver)
            running.append((stage, subject, driver))
            progress(f"growth: {stage.name}")
        for number in range(rounds):
            for stage, subject, driver in running:
                found[stage.name].append(_cpu_us(subject, driver, _traded(stage, subject)))
            progress(f"growth, round {number + 1} of {rounds}")
    return {"cpu_us": found}


def ratios(found: Any) -> dict[str, list[float]]:
    """Cost against the smallest case, by stage and round."""
    costs = dict(found["cpu_us"])
    base = costs[BASE.name]
    return {
        name: [a / b for a, b in zip(many, base, strict=True)]
        for name, many in costs.items()
        if name != BASE.name
    }


def _traded(stage: Stage, subject: Subject) -> list[Symbol]:
    """Symbols that no standing position takes."""
    return list(subject.stub.symbols[stage.positions :][:PLANS])


def _grow(stage: Stage, subject: Subject, driver: Driver) -> None:
    symbols = subject.stub.symbols
    driver.at_once([opening(subject, symbol) for symbol in symbols[: stage.positions]])
    left = stage.history
    while left > 0:
        plans = [too_large(subject, symbols[n % len(symbols)]) for n in range(min(BATCH, left))]
        driver.at_once(plans)
        left -= len(plans)
    _cpu_us(subject, driver, _traded(stage, subject))


def _cpu_us(subject: Subject, driver: Driver, symbols: list[Symbol]) -> float:
    """Open ``PLANS`` positions or more one after the other, each where none is: few symbols come again."""
    cpu_us, opened = 0.0, 0
    while opened < PLANS:
        cpu_us += driver.one_by_one([opening(subject, symbol) for symbol in symbols]).cpu_us
        driver.at_once([closing(subject, symbol) for symbol in symbols])
        opened += len(symbols)
    return cpu_us / opened
