"""Thirty days, and longer only by a person's act (SPEC 10, INC-107)."""

from __future__ import annotations

from pathlib import Path

import pytest

from quantum_trader.bsc.health import Authority
from quantum_trader.bsc.lifespan import COPY, DAY_MS, FILE, UNPROVEN, Activation, Extension, Lifespan

START_MS = 1_800_000_000_000


def extension(at_ms: int, days: int = 10) -> Extension:
    return Extension(at_ms, days, "digest", "Ada")


def test_inc107_bsc_closes_for_thirty_days_and_not_a_moment_longer() -> None:
    record = Activation.new(START_MS)
    end_ms = START_MS + 30 * DAY_MS
    assert record.authority(end_ms - 1) is Authority.CONTROLLER
    assert record.authority(end_ms) is Authority.OBSERVER
    assert (record.days_left(START_MS), record.days_left(end_ms)) == (30, 0)


def test_inc107_a_restart_does_not_begin_anew(tmp_path: Path) -> None:
    Lifespan(tmp_path).begin(START_MS)
    for day in (1, 29, 31):
        assert Lifespan(tmp_path).begin(START_MS + day * DAY_MS).activated_ms == START_MS


@pytest.mark.parametrize("name", [FILE, COPY])
@pytest.mark.parametrize("harm", ["delete", "cut short"])
def test_inc107_one_copy_of_the_record_restores_the_other(tmp_path: Path, name: str, harm: str) -> None:
    Lifespan(tmp_path).begin(START_MS)
    path = tmp_path / name
    path.unlink() if harm == "delete" else path.write_text("{")
    assert Lifespan(tmp_path).begin(START_MS + DAY_MS).activated_ms == START_MS
    assert (tmp_path / FILE).read_bytes() == (tmp_path / COPY).read_bytes()


def spoil(folder: Path) -> dict[str, bytes]:
    """Make both records unreadable; returns what they held."""
    held = {name: (folder / name).read_bytes() for name in (FILE, COPY)}
    for name in held:
        (folder / name).write_text("[]")
    return held


def test_a_start_that_can_read_no_record_observes(tmp_path: Path) -> None:
    Lifespan(tmp_path).begin(START_MS)
    spoil(tmp_path)
    found = Lifespan(tmp_path).begin(START_MS + DAY_MS)
    assert found.authority(START_MS + DAY_MS) is Authority.OBSERVER
    assert found.demoted_because == UNPROVEN


def test_a_record_that_can_be_read_again_counts_again(tmp_path: Path) -> None:
    before = Lifespan(tmp_path).begin(START_MS)
    held = spoil(tmp_path)
    lifespan = Lifespan(tmp_path)
    for _ in range(2):
        assert lifespan.begin(START_MS + DAY_MS).demoted_because == UNPROVEN
    assert (tmp_path / FILE).read_text() == "[]"
    (tmp_path / COPY).write_bytes(held[COPY])
    assert lifespan.begin(START_MS + DAY_MS) == before
    assert (tmp_path / FILE).read_bytes() == held[FILE]


def test_what_a_running_bsc_has_read_holds_while_its_records_cannot_be_read(tmp_path: Path) -> None:
    lifespan = Lifespan(tmp_path)
    before = lifespan.begin(START_MS)
    spoil(tmp_path)
    assert lifespan.begin(START_MS + DAY_MS) == before
    assert Lifespan(tmp_path).begin(START_MS + DAY_MS) == before


def test_a_demotion_holds_while_its_records_cannot_be_read(tmp_path: Path) -> None:
    lifespan = Lifespan(tmp_path)
    lifespan.begin(START_MS)
    lifespan.demote(START_MS, "audit failed")
    spoil(tmp_path)
    assert lifespan.begin(START_MS + DAY_MS).demoted_because == "audit failed"


def test_days_22_to_30_are_warned_of_once_each(tmp_path: Path) -> None:
    lifespan = Lifespan(tmp_path)
    record = lifespan.begin(START_MS)
    warned = []
    for hour in range(31 * 24):
        now_ms = START_MS + hour * DAY_MS // 24
        day = record.warning_day(now_ms)
        if day is not None:
            warned.append(day)
            record = lifespan.warned(now_ms, day)
    assert warned == list(range(22, 31))


def test_a_demotion_outlives_the_process_and_a_clock_turned_back(tmp_path: Path) -> None:
    Lifespan(tmp_path).begin(START_MS)
    Lifespan(tmp_path).demote(START_MS + DAY_MS, "audit failed")
    record = Lifespan(tmp_path).begin(START_MS)
    assert record.authority(START_MS) is Authority.OBSERVER
    assert record.demoted_because == "audit failed"


def test_an_extension_reinstates_an_observer_for_so_many_days(tmp_path: Path) -> None:
    lifespan = Lifespan(tmp_path)
    lifespan.begin(START_MS)
    now_ms = START_MS + 40 * DAY_MS
    lifespan.demote(now_ms, "lifespan ended")
    record = lifespan.extend(extension(now_ms, 10))
    assert record.authority(now_ms) is Authority.CONTROLLER
    assert record.days_left(now_ms) == 10
    assert Lifespan(tmp_path).begin(now_ms).extensions[0].signed_by == "Ada"


def test_extensions_never_add_up_to_more_than_thirty_days_from_now() -> None:
    record = Activation.new(START_MS)
    for _ in range(3):
        record = record.extended(extension(START_MS, 30))
    assert record.days_left(START_MS) == 30


@pytest.mark.parametrize("days", [0, -1, 31])
def test_an_extension_of_other_than_1_to_30_days_is_refused(days: int) -> None:
    with pytest.raises(ValueError, match=r"1\.\.30"):
        Activation.new(START_MS).extended(extension(START_MS, days))
