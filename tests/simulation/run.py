"""Runs many seeds, or finds the planted bugs: ``make simulate``, ``make simulate-bugs``."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import islice

from simulation.world.mutants import BY_NAME, MUTANTS
from simulation.world.scenario import draw
from simulation.world.world import Outcome, run_seed

TOLD_EVERY_S = 10.0
BUG_PLANS = 200
BUG_SEEDS_MAX = 400
SHOWN_MAX = 5


def simulate(seed: int, plans: int, *, faults: bool = True) -> Outcome:
    """Run one seed."""
    return run_seed(draw(seed, plans, faults=faults))


def hunt(name: str, first_seed: int = 1, seeds_max: int = BUG_SEEDS_MAX) -> tuple[int, str, str] | None:
    """Return the seed that finds a planted bug, the checker and its words; None if none does.

    An exception does not count: the bug is then one of the mutant itself, which has to follow the code.
    """
    with BY_NAME[name].planted():
        for seed in range(first_seed, first_seed + seeds_max):
            outcome = run_seed(draw(seed, BUG_PLANS), hasty=True)
            found = [(checker, text) for checker, text in outcome.violations if checker != "internal_error"]
            if found:
                return seed, *found[0]
    return None


class Progress:
    """One line for people, every ten seconds, and the sums for the end."""

    def __init__(self, seeds: int) -> None:
        self._seeds = seeds
        self._begun_s = time.monotonic()
        self._told_s = 0.0
        self.seeds = self.plans = 0
        self.virtual_s = 0.0
        self.counts: Counter[str] = Counter()
        self.failed: list[Outcome] = []

    def take(self, outcome: Outcome) -> None:
        """Count one seed, and say so now and then."""
        self.seeds += 1
        self.plans += outcome.plans
        self.virtual_s += outcome.virtual_s
        self.counts.update({str(name): count for name, count in outcome.counts.items()})
        if outcome.violations:
            self.failed.append(outcome)
            self._show(outcome)
        if time.monotonic() - self._told_s > TOLD_EVERY_S:
            self._told_s = time.monotonic()
            print(f"{self.seeds}/{self._seeds} seeds, {self._sums()}", file=sys.stderr, flush=True)

    def _sums(self) -> str:
        passed_s = time.monotonic() - self._begun_s
        rate = self.plans / max(passed_s, 0.001)
        return (
            f"{self.plans} plans, {self.counts['orders']} orders, {len(self.failed)} seeds failed, "
            f"{self.virtual_s / 3600:.1f} virtual hours in {passed_s:.0f} s, {rate:.0f} plans/s"
        )

    @staticmethod
    def _show(outcome: Outcome) -> None:
        for _, text in outcome.violations[:SHOWN_MAX]:
            print(f"seed {outcome.seed}: {text}")
        asked = outcome.asked
        print(
            f"  again: make simulate SEED={outcome.seed} PLANS={asked}   (TRACE=1 tells all of it)",
            flush=True,
        )

    def sum_up(self) -> None:
        """Print what was done."""
        print(f"\n{self.seeds} seeds, {self._sums()}")
        for title, prefix in (("results", "result "), ("reasons", "reason ")):
            print(f"{title}: {_listed(self.counts, lambda name, p=prefix: name.startswith(p), prefix)}")
        print(f"faults and events: {_listed(self.counts, lambda name: ' ' not in name)}")


def _listed(counts: Counter[str], wanted: object, prefix: str = "") -> str:
    chosen = [(name, count) for name, count in counts.most_common() if wanted(name)]  # type: ignore[operator]
    return ", ".join(f"{name.removeprefix(prefix)} {count}" for name, count in chosen)


def _outcomes(seeds: Iterable[int], plans: int, jobs: int, *, faults: bool) -> Iterator[Outcome]:
    if jobs == 1:
        yield from (simulate(seed, plans, faults=faults) for seed in seeds)
        return
    waiting = iter(seeds)
    with ProcessPoolExecutor(jobs, max_tasks_per_child=50) as pool:
        running: set[Future[Outcome]] = set()
        while True:
            running |= {
                pool.submit(simulate, seed, plans, faults=faults)
                for seed in islice(waiting, 2 * jobs - len(running))
            }
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)


def find_bugs(names: list[str], first_seed: int) -> int:
    """Plant each bug in turn; print which seed and which checker found it. 1 if one was not found."""
    missed = 0
    print(f"{'planted bug':22} {'seed':>5}  {'checker':22} what was seen")
    for name in names:
        found = hunt(name, first_seed)
        missed += found is None
        seed, checker, text = found or ("-", "NOT FOUND", BY_NAME[name].what)
        print(f"{name:22} {seed:>5}  {checker:22} {text.splitlines()[0][:120]}", flush=True)
    print(f"{len(names) - missed} of {len(names)} planted bugs were found")
    return int(missed > 0)


def trace(seed: int, plans: int, *, faults: bool) -> int:
    """Run one seed and print everything that the engines log."""
    scenario = draw(seed, plans, faults=faults)
    print(scenario)
    outcome = run_seed(scenario, trace=True)
    progress = Progress(1)
    progress.take(outcome)
    progress.sum_up()
    return int(bool(outcome.violations))


def main() -> int:
    """Read the command line; 0 where every promise held (or every bug was found)."""
    parser = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many seeds")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--seed", type=int, help="one seed alone")
    parser.add_argument("--plans", type=int, default=500, help="plans a seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--no-faults", action="store_true", help="nothing goes wrong")
    parser.add_argument("--trace", action="store_true", help="print the engine's log in virtual time")
    parser.add_argument("--bugs", nargs="*", metavar="NAME", help="find the planted bugs, all or these")
    given = parser.parse_args()
    if given.bugs is not None:
        return find_bugs(given.bugs or [mutant.name for mutant in MUTANTS], given.first)
    faults = not given.no_faults
    if given.seed is not None and given.trace:
        return trace(given.seed, given.plans, faults=faults)
    seeds = [given.seed] if given.seed is not None else range(given.first, given.first + given.seeds)
    progress = Progress(len(seeds))
    for outcome in _outcomes(seeds, given.plans, min(given.jobs, len(seeds)), faults=faults):
        progress.take(outcome)
    progress.sum_up()
    return int(bool(progress.failed))


if __name__ == "__main__":
    sys.exit(main())
