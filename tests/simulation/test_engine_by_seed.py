"""The whole engine by seed, as far as the tests have time for it; ``make simulate`` is the long way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from simulation.run import hunt, simulate
from simulation.world.mutants import MUTANTS

ROOT = Path(__file__).parents[2]
PLANS = 120
SEEDS = range(1, 25)
# With 500 plans: results that never came, former orders not told of, fills counted twice or lost.
BROKE_ONCE = (
    50001,
    50004,
    50016,
    50056,
    60129,
    70237,
    70252,
    80141,
    80452,
    80698,
    80731,
    82019,
    90016,
    91457,
    100790,
    100880,
    120753,
    130010,
    130130,
    150869,
    151136,
    160915,
    161190,
    161203,
    180292,
    180345,
    190017,
    200596,
    221423,
    330042,
    330402,
    340031,
    350798,
)
QUICKLY_FOUND = ("resend_on_timeout", "new_is_filled", "claim_kept", "settled_twice", "rate_counted_late")

TOLD_TWICE = """
from simulation.run import simulate
outcome = simulate(7, 60)
print(outcome.digest, round(outcome.virtual_s, 3), outcome.counts["events"])
"""


@pytest.mark.parametrize("seed", SEEDS)
def test_every_promise_holds_while_things_go_wrong(seed: int) -> None:
    outcome = simulate(seed, PLANS)
    again = f"again: make simulate SEED={seed} PLANS={PLANS} TRACE=1"
    assert outcome.violations == [], "\n".join([again, *(text for _, text in outcome.violations)])
    assert outcome.counts["events"] > PLANS, "the engine did not get far enough to break anything"


@pytest.mark.parametrize("seed", BROKE_ONCE)
def test_a_promise_that_was_broken_once_holds(seed: int) -> None:
    assert simulate(seed, 500).violations == []


def test_without_faults_most_of_what_can_be_done_is_done() -> None:
    outcomes = [simulate(seed, PLANS, faults=False) for seed in (1, 2, 3)]
    assert [outcome.violations for outcome in outcomes] == [[], [], []]
    assert sum(outcome.counts["result FILLED"] for outcome in outcomes) > PLANS / 2
    assert sum(outcome.counts["restarts"] for outcome in outcomes) == 0


def test_a_seed_is_the_same_in_every_process_whatever_its_hashes() -> None:
    told = {_run_with(hashes) for hashes in ("0", "1", "random")}
    assert len(told) == 1, told


def _run_with(hashes: str) -> str:
    paths = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    environment = {**os.environ, "PYTHONHASHSEED": hashes, "PYTHONPATH": paths}
    command = [sys.executable, "-c", TOLD_TWICE]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout  # noqa: S603


@pytest.mark.parametrize("name", QUICKLY_FOUND)
def test_a_planted_bug_is_found(name: str) -> None:
    found = hunt(name, seeds_max=20)
    assert found is not None, f"no seed up to 20 found {name}: make simulate-bugs BUGS={name}"


def test_every_planted_bug_has_a_name_of_its_own_and_can_be_planted() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 12
    for mutant in MUTANTS:
        with mutant.planted():
            assert mutant.what
