"""What the polls have seen, kept on disk: the evidence of being awake and not blind (INC-102, INC-105).

Polls of one kind in a row become one span, so that weeks fit into a small file. A silence longer
than three polls ends a span: nobody was watching then.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from quantum_trader.bsc import limits
from quantum_trader.bsc.health import State, state_of
from quantum_trader.bsc.records import RecordUnreadable, exclusive, read_record, write_record

SPANS_MAX = 2_000
SILENCE_MS_MAX = int(limits.BLIND_AFTER_POLLS * limits.POLL_S * 1_000)
FILE = "polls.json"


@dataclass(frozen=True, slots=True)
class Span:
    """``polls`` polls in a row from ``first_ms`` to ``last_ms`` (wall time), all good or all failed."""

    first_ms: int
    last_ms: int
    polls: int
    good: bool


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a period saw. ``silences_ms`` are (from, to) without a good poll, longer than three polls."""

    from_ms: int
    to_ms: int
    good_polls: int
    failed_polls: int
    blind: tuple[Span, ...]
    silences_ms: tuple[tuple[int, int], ...]


class WatchLog:
    """The spans of ``state_dir/bsc/polls.json``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / FILE
        self._spans: tuple[Span, ...] = ()
        self._is_stored = True

    def note(self, at_ms: int, *, good: bool) -> None:
        """Add one poll. Raises ``OSError`` when it cannot be stored; it counts in memory all the same."""
        try:
            with exclusive(self._folder):
                if self._is_stored:
                    self._spans = self._stored()
                self._spans = joined(self._spans, at_ms, good=good)
                write_record(self._path, {"spans": [_fields(span) for span in self._spans]})
        except OSError:
            if self._is_stored:
                self._is_stored = False
                self._spans = joined(self._spans, at_ms, good=good)
            raise
        self._is_stored = True

    def read(self) -> WatchLog:
        """Take over what is stored, and return this log; an unreadable file counts as empty."""
        self._spans = self._stored()
        return self

    @property
    def failures_in_a_row(self) -> int:
        """Failed polls since the last good one, restarts and silences in between or not."""
        return sum(span.polls for span in itertools.takewhile(_has_failed, reversed(self._spans)))

    @property
    def last_good_ms(self) -> int | None:
        """When a poll last saw the account; None if none ever did."""
        return next((span.last_ms for span in reversed(self._spans) if span.good), None)

    def coverage(self, from_ms: int, to_ms: int) -> Coverage:
        """Return what is known of a period."""
        return coverage_of(self._spans, from_ms, to_ms)

    def _stored(self) -> tuple[Span, ...]:
        try:
            record = read_record(self._path)
            return tuple(_span(row) for row in (record or {}).get("spans", ()))
        except (RecordUnreadable, TypeError, KeyError, ValueError):
            return ()  # what cannot be proven counts as not watched


def joined(spans: tuple[Span, ...], at_ms: int, *, good: bool) -> tuple[Span, ...]:
    """Return ``spans`` with one more poll; the oldest are forgotten beyond the bound."""
    last = spans[-1] if spans else None
    if last is not None and last.good is good and 0 <= at_ms - last.last_ms <= SILENCE_MS_MAX:
        return (*spans[:-1], replace(last, last_ms=at_ms, polls=last.polls + 1))
    return (*spans, Span(at_ms, at_ms, 1, good))[-SPANS_MAX:]


def coverage_of(spans: Iterable[Span], from_ms: int, to_ms: int) -> Coverage:
    """Judge a period by the spans that touch it."""
    touching = [span for span in spans if span.last_ms >= from_ms and span.first_ms <= to_ms]
    good = [span for span in touching if span.good]
    failed = [span for span in touching if not span.good]
    return Coverage(
        from_ms=from_ms,
        to_ms=to_ms,
        good_polls=sum(span.polls for span in good),
        failed_polls=sum(span.polls for span in failed),
        blind=tuple(span for span in failed if state_of(span.polls) is State.BLIND),
        silences_ms=tuple(_silences(good, from_ms, to_ms)),
    )


def _silences(good: list[Span], from_ms: int, to_ms: int) -> Iterable[tuple[int, int]]:
    heard_ms = from_ms
    for span in good:
        if span.first_ms - heard_ms > SILENCE_MS_MAX:
            yield heard_ms, span.first_ms
        heard_ms = max(heard_ms, span.last_ms)
    if to_ms - heard_ms > SILENCE_MS_MAX:
        yield heard_ms, to_ms


def _has_failed(span: Span) -> bool:
    return not span.good


def _fields(span: Span) -> dict[str, Any]:
    return {"first_ms": span.first_ms, "last_ms": span.last_ms, "polls": span.polls, "good": span.good}


def _span(row: dict[str, Any]) -> Span:
    return Span(int(row["first_ms"]), int(row["last_ms"]), int(row["polls"]), bool(row["good"]))
