"""Before and after: this tree's engine beside another tree's, in one interleaved run.

    python bench/against.py OTHER_TREE [--transport rest] [--rounds 15]

Figures are this tree's share of the other's: 0.80 means a fifth less.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from driver import Driver
from machine import ROOT, core
from run import FULL, Turn, quartiles, turn_of
from stand import programs, server, stub, write_bodies
from subjects import engine

SYMBOLS = 100
FIELDS = ("order_us", "cpu_us", "filled_us", "blocked_us")


def main() -> int:
    parser = argparse.ArgumentParser(description="This tree's engine beside another tree's")
    parser.add_argument("other", type=Path)
    parser.add_argument("--transport", default="rest")
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    os.sched_setaffinity(0, {core()})
    turns: dict[str, list[Turn]] = {"other": [], "this": []}
    with tempfile.TemporaryDirectory(prefix="qt-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        (program,) = stack.enter_context(programs(folder / "bin", "stub_exchange"))
        symbols = write_bodies(folder / "bodies", SYMBOLS)
        running = []
        for label, root in (("other", given.other.resolve()), ("this", ROOT)):
            venue = stack.enter_context(stub(program, folder / "bodies", symbols))
            url, _ = stack.enter_context(server(folder / label / "valkey"))
            place = folder / label / "engine"
            subject = stack.enter_context(engine(venue, url, place, transport=given.transport, root=root))
            running.append((label, subject, Driver(subject)))
        for number in range(-1, given.rounds):
            for label, subject, driver in running[:: 1 if number % 2 else -1]:
                turn = turn_of(subject, driver, FULL)
                if number >= 0:
                    turns[label].append(turn)
        for _, _, driver in running:
            driver.close()
    for field in FIELDS:
        before = [getattr(turn, field) for turn in turns["other"]]
        after = [getattr(turn, field) for turn in turns["this"]]
        ratios = [a / b for a, b in zip(after, before, strict=True)]
        low, high = quartiles(ratios)
        medians = f"{statistics.median(before):9.0f} → {statistics.median(after):7.0f} µs"
        print(
            f"{field:<12}{medians}   × {statistics.median(ratios):.3f}   middle half {low:.3f} … {high:.3f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
