"""The bench runs: one round of few plans through the naive engine, ours and the C floor."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import closing as closing_up
from pathlib import Path

import pytest
import redis

BENCH = Path(__file__).resolve().parents[2] / "bench"
sys.path.insert(0, str(BENCH))
import micro  # noqa: E402 -- programs of the bench are no package
import run  # noqa: E402
from driver import Driver, closing, opening, too_large  # noqa: E402
from subjects import Subject  # noqa: E402

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("gcc", "cc", "clang"))),
    reason="the bench needs a C compiler for its stub exchange",
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Subject]]:
    """Every engine of the bench, up and ready."""
    with run.subjects(tmp_path_factory.mktemp("bench")) as subjects:
        yield subjects


def test_a_round_of_every_engine_gives_every_ratio(running: list[Subject]) -> None:
    found = run.interleaved(run.SMOKE, running, run.SMOKE)
    rows = run.engine_rows(found)
    assert len(rows) == 2 * len(run.TRANSPORTS) + 4
    assert all(ratio > 0 for row in rows for ratio in row.ratios)


def test_the_parts_cost_something_and_their_log_lines_stay_off_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], valkey_url: str
) -> None:
    monkeypatch.setattr(micro, "LOOPS", 210)  # 21 batches: one that was interrupted is not the median
    costs = micro.measure(valkey_url)
    assert 0 < costs.log_line_us < costs.ten_lines_us
    assert capsys.readouterr().out == ""


def test_naive_engine_decides_as_ours(running: list[Subject]) -> None:
    naive, ours = (_ends(subject) for subject in running if subject.name in (run.NAIVE, run.REST))
    assert len(ours) == 11
    assert naive == ours


def _ends(subject: Subject) -> list[tuple[str, ...]]:
    """How a handful of plans end: decision, gate, reason, filled quantity."""
    one, other = subject.stub.symbols[-2:]
    space = subject.namespace
    with (
        closing_up(Driver(subject)) as driver,
        redis.Redis.from_url(subject.redis_url, decode_responses=True) as client,
    ):
        before = client.xlen(f"{space}:stream:apply.result")
        driver.one_by_one(
            [
                opening(subject, one, kill_score="0.8"),
                too_large(subject, one),
                opening(subject, one, qty="0.0000001"),
                opening(subject, one, reduceOnly="true", side="SELL"),
                opening(subject, one),
                opening(subject, one),
                opening(subject, other, side="SELL"),
                closing(subject, one),
                closing(subject, one),
            ]
        )
        client.set(f"{space}:safety:cooldown_symbol:{one.name}", "1")
        driver.one_by_one([opening(subject, one)])
        client.set(f"{space}:kill", "1")
        driver.one_by_one([closing(subject, other)])
        client.delete(f"{space}:kill", f"{space}:safety:cooldown_symbol:{one.name}")
        results = client.xrange(f"{space}:stream:apply.result")[before:]
    return [(r["decision"], r["gate"], r["reason"], r["filled_qty"]) for _, r in results]


def test_without_a_compiler_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert run.main([]) == 1
    assert "C compiler" in capsys.readouterr().err
