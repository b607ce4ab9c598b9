"""make bench-memory: many plans through one engine while its resident memory is watched.

    python bench/memory.py [--plans 1000000] [--json FILE]

A mixture as an engine may see it in months: of every hundred plans ten are filled (five opens, five
closes) and ninety are blocked. Memory is sampled a hundred times; "after warm-up" begins at a tenth.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from driver import Driver, closing, opening, too_large
from machine import BenchRefused, core, facts, resident_mb
from stand import HERE, Symbol, programs, server, stub, write_bodies
from subjects import Subject, engine

SYMBOLS = 20
SAMPLES = 100
PAIRS, BLOCKED = 5, 90
RESIDENT_MB_MAX = 150


def batch(subject: Subject, driver: Driver, symbols: list[Symbol]) -> None:
    """Send a hundred plans: some opened, as many closed, the rest blocked."""
    driver.at_once([opening(subject, symbol) for symbol in symbols[:PAIRS]])
    blocked = [too_large(subject, symbols[n % len(symbols)]) for n in range(BLOCKED)]
    driver.at_once([*blocked, *(closing(subject, symbol) for symbol in symbols[:PAIRS])])


def measure(plans: int, folder: Path) -> dict[str, Any]:
    """Let ``plans`` plans through; returns the samples of resident memory in MB."""
    os.sched_setaffinity(0, {core()})
    with ExitStack() as stack:
        (program,) = stack.enter_context(programs(folder / "bin", "stub_exchange"))
        symbols = write_bodies(folder / "bodies", SYMBOLS)
        venue = stack.enter_context(stub(program, folder / "bodies", symbols))
        url, _ = stack.enter_context(server(folder / "valkey"))
        subject = stack.enter_context(engine(venue, url, folder / "engine"))
        driver = Driver(subject)
        begun_s, done, samples = time.monotonic(), 0, [resident_mb(subject.pid)]
        rounds = max(SAMPLES, plans // (2 * PAIRS + BLOCKED))
        for number in range(1, rounds + 1):
            batch(subject, driver, symbols[number % 2 :] + symbols[: number % 2])
            done += 2 * PAIRS + BLOCKED
            if number % (rounds // SAMPLES) == 0:
                samples.append(resident_mb(subject.pid))
                print(f"{done:>9} plans  {samples[-1]:6.1f} MB", file=sys.stderr, flush=True)
        return {"plans": done, "seconds": time.monotonic() - begun_s, "resident_mb": samples}


def main() -> int:
    parser = argparse.ArgumentParser(description="Watch the engine's memory over many plans")
    parser.add_argument("--plans", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path, default=HERE / "memory.json")
    given = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="qt-bench-") as folder:
            found = measure(given.plans, Path(folder))
    except BenchRefused as refused:
        print(f"bench: {refused}", file=sys.stderr)
        return 1
    given.json.write_text(json.dumps({"machine": facts(), **found}, indent=1) + "\n")
    samples = found["resident_mb"]
    warm, last = samples[len(samples) // 10], samples[-1]
    print(f"{found['plans']} plans in {found['seconds']:.0f} s")
    print(f"resident after start {samples[0]:.1f} MB, after warm-up {warm:.1f} MB, at the end {last:.1f} MB")
    print(f"growth after warm-up {100 * (last - warm) / warm:+.1f} %; at most {RESIDENT_MB_MAX} MB wanted")
    return 0


if __name__ == "__main__":
    sys.exit(main())
