"""``log.file``: the lines of stdout once more, and no trouble of the file's is the engine's (SPEC 13)."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from quantum_trader import log
from quantum_trader.stores.codec import decode

SECRET = "hunter22-hunter22"


@pytest.fixture(autouse=True)
def stdout_alone_afterwards() -> Iterator[None]:
    yield
    log.set_up("info", "json")


def say_three_lines() -> None:
    structlog.get_logger().info("by structlog", number=1)
    logging.getLogger("other.library").warning("by a library")
    log.tell("by the short way", [(0, {"plan_id": "p"})])


@pytest.mark.parametrize("line_format", ["json", "console"])
def test_the_file_has_the_lines_of_stdout_each_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line_format: str
) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("of before\n", encoding="utf-8")
    log.set_up("info", line_format, str(path))
    say_three_lines()
    kept = path.read_text(encoding="utf-8")
    assert kept == "of before\n" + capsys.readouterr().out
    assert len(kept.splitlines()) == 4


def test_the_file_holds_no_secret_and_nothing_below_the_level(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log.hide([SECRET])
    log.set_up("warning", "json", str(path))
    say_three_lines()
    structlog.get_logger().error("refused", key=SECRET)
    events = [decode(line)["event"] for line in path.read_text(encoding="utf-8").splitlines()]
    assert events == ["by a library", "refused"]
    assert SECRET not in path.read_text(encoding="utf-8")


def test_after_a_rotation_lines_go_to_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log.set_up("info", "json", str(path))
    say_three_lines()
    rotated = path.rename(tmp_path / "log.jsonl.1")
    log.reopen_file()
    log.tell("afterwards", [(0, {"plan_id": "q"})])
    assert len(rotated.read_text(encoding="utf-8").splitlines()) == 3
    assert [decode(line)["event"] for line in path.read_text(encoding="utf-8").splitlines()] == ["afterwards"]


def test_a_rotation_into_nowhere_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    log.set_up("info", "json", str(folder / "log.jsonl"))
    moved = folder.rename(tmp_path / "moved")
    log.reopen_file()
    log.tell("afterwards", [(0, {"plan_id": "q"})])
    assert "log_file_not_reopened" in capsys.readouterr().out
    assert "afterwards" in (moved / "log.jsonl").read_text(encoding="utf-8")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
@pytest.mark.parametrize("line_format", ["json", "console"])
def test_a_full_disk_is_told_once_and_stops_nothing(
    capsys: pytest.CaptureFixture[str], line_format: str
) -> None:
    log.set_up("info", line_format, "/dev/full")
    say_three_lines()
    said = capsys.readouterr().out
    assert said.count("log_file_unwritable") == 1
    for line in ("by structlog", "by a library", "by the short way"):
        assert line in said


@pytest.mark.parametrize("line_format", ["json", "console"])
def test_a_stdout_that_takes_nothing_costs_its_lines_and_says_how_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line_format: str
) -> None:
    path = tmp_path / "log.jsonl"
    log.set_up("info", line_format, str(path))
    gone = io.StringIO()
    gone.close()
    with monkeypatch.context() as broken:
        broken.setattr("sys.stdout", gone)
        say_three_lines()
    log.tell("afterwards", [(0, {"plan_id": "q"})])
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2
    assert "log_lines_lost" in said[0]
    assert "afterwards" in said[1]
    kept = path.read_text(encoding="utf-8").splitlines()
    assert all(
        any(line in one for one in kept) for line in ("by structlog", "by a library", "by the short way")
    )


def test_loggers_made_under_one_stdout_write_to_the_next(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = structlog.get_logger()
    with monkeypatch.context() as of_before:
        of_before.setattr("sys.stdout", io.StringIO())
        log.set_up("info", "json")
        logger.info("before")
    logger.info("after")
    assert decode(capsys.readouterr().out)["event"] == "after"


def test_a_logger_that_wrote_before_writes_as_it_was_set_up_last(capsys: pytest.CaptureFixture[str]) -> None:
    logger = structlog.get_logger()
    log.set_up("info", "console", to_stderr=True)
    logger.info("for_people")
    log.set_up("info", "json")
    logger.info("for_programs")
    said = capsys.readouterr()
    assert "for_people" in said.err
    assert "for_programs" not in said.err
    assert decode(said.out)["event"] == "for_programs"
