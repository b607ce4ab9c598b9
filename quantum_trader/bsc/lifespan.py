"""How long BSC may close: thirty days from its activation, and longer only by a person's act (SPEC 10).

The activation is on disk, twice, and a start never renews it. Whoever deletes one copy gets it back
from the other, and from a BSC that runs: what it has once read holds while the disk fails. Only a start
that finds records and can read none has no proof that it may close, so it observes: said loudly, never
stored, and over as soon as one can be read (docs/decisions/0006).
A demotion is stored as well: turning the clock back does not undo it. Only ``extend`` does.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from quantum_trader.bsc import limits
from quantum_trader.bsc.health import Authority
from quantum_trader.bsc.records import RecordUnreadable, exclusive, read_record, write_record

DAY_MS = 86_400_000
FILE = "activation.json"
COPY = "activation.copy.json"
ENDED = "lifespan ended"
UNPROVEN = "the activation record cannot be read"


@dataclass(frozen=True, slots=True)
class Extension:
    """A person's act: ``days`` more from ``at_ms``, on the evidence named."""

    at_ms: int
    days: int
    evidence_sha256: str
    signed_by: str


@dataclass(frozen=True, slots=True)
class Activation:
    """The record: when BSC was first started, until when it may close, and whether it was demoted."""

    activated_ms: int
    ends_ms: int
    demoted_ms: int | None = None
    demoted_because: str = ""
    warned_day: int = 0
    extensions: tuple[Extension, ...] = ()

    @classmethod
    def new(cls, now_ms: int) -> Activation:
        """Return the record of a first start."""
        return cls(now_ms, now_ms + limits.LIFESPAN_DAYS * DAY_MS)

    def authority(self, now_ms: int) -> Authority:
        """CONTROLLER until the end, unless demoted."""
        is_over = self.demoted_ms is not None or now_ms >= self.ends_ms
        return Authority.OBSERVER if is_over else Authority.CONTROLLER

    def days_left(self, now_ms: int) -> float:
        """Days until the end, 0 when demoted; two decimals."""
        left_ms = self.ends_ms - now_ms if self.demoted_ms is None else 0
        return round(max(0, left_ms) / DAY_MS, 2)

    def warning_day(self, now_ms: int) -> int | None:
        """The number of today where it is to be warned of: from day 22 of 30 on, once a day."""
        day = limits.LIFESPAN_DAYS - (self.ends_ms - now_ms - 1) // DAY_MS
        is_due = limits.WARNING_FROM_DAY <= day <= limits.LIFESPAN_DAYS and day != self.warned_day
        return day if is_due and self.demoted_ms is None else None

    def demoted(self, now_ms: int, because: str) -> Activation:
        """Return the record of an observer; a first reason stays."""
        if self.demoted_ms is not None:
            return self
        return replace(self, demoted_ms=now_ms, demoted_because=because)

    def extended(self, extension: Extension) -> Activation:
        """Return the record with ``extension``: never more than 30 days from that moment on.

        Raises ``ValueError`` unless 1 ≤ days ≤ 30.
        """
        if not 1 <= extension.days <= limits.EXTENSION_DAYS_MAX:
            raise ValueError(f"days must lie in 1..{limits.EXTENSION_DAYS_MAX}, not {extension.days}")
        longest_ms = extension.at_ms + limits.EXTENSION_DAYS_MAX * DAY_MS
        wanted_ms = max(self.ends_ms, extension.at_ms) + extension.days * DAY_MS
        return replace(
            self,
            ends_ms=min(wanted_ms, longest_ms),
            demoted_ms=None,
            demoted_because="",
            warned_day=0,
            extensions=(*self.extensions, extension),
        )


class Lifespan:
    """``state_dir/bsc/activation.json``, read anew for every poll so that an extension is seen."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._current: Activation | None = None

    def begin(self, now_ms: int) -> Activation:
        """Return the record, made now if BSC was never activated.

        Raises ``OSError`` when it cannot be stored; it then holds in memory and is stored later.
        """
        with exclusive(self._folder):
            self._current = self._known(now_ms) or Activation.new(now_ms)
            self._write(self._current)
        return self._current

    def read(self, now_ms: int) -> Activation | None:
        """Return the record without changing anything; None if BSC was never activated."""
        return self._known(now_ms)

    def demote(self, now_ms: int, because: str) -> Activation:
        """Take the authority to close away until a person extends it. Raises ``OSError``."""
        return self._change(now_ms, lambda record: record.demoted(now_ms, because))

    def warned(self, now_ms: int, day: int) -> Activation:
        """Remember that day ``day`` was warned of. Raises ``OSError``."""
        return self._change(now_ms, lambda record: replace(record, warned_day=day))

    def extend(self, extension: Extension) -> Activation:
        """Give more days. Raises ``ValueError``, ``OSError``."""
        return self._change(extension.at_ms, lambda record: record.extended(extension))

    def _change(self, now_ms: int, change: Any) -> Activation:
        with exclusive(self._folder):
            before = self._known(now_ms) or Activation.new(now_ms)
            after: Activation = change(before)
            self._current = after
            if after != before:
                self._write(after)
        return after

    def _write(self, record: Activation) -> None:
        if record.demoted_because == UNPROVEN:  # what could not be read may be read later
            return
        for name in (FILE, COPY):
            if self._read_one(name) != record:
                write_record(self._folder / name, asdict(record))

    def _known(self, now_ms: int) -> Activation | None:
        """Return what is on disk, else what was read before; None if BSC was never activated."""
        found = [self._read_one(name) for name in (FILE, COPY)]
        readable = [record for record in found if isinstance(record, Activation)]
        if readable:
            return readable[0]
        if self._current is None and any(found):
            return Activation(0, 0, now_ms, UNPROVEN)
        return self._current

    def _read_one(self, name: str) -> Activation | str | None:
        """Return the record of one file, None where there is none, or what is wrong with it."""
        try:
            content = read_record(self._folder / name)
            return _activation(content) if content is not None else None
        except (RecordUnreadable, TypeError, KeyError, ValueError) as broken:
            return f"{name}: {type(broken).__name__}"


def _activation(content: dict[str, Any]) -> Activation:
    extensions = tuple(Extension(**row) for row in content.pop("extensions"))
    record = Activation(**content, extensions=extensions)
    times = (record.activated_ms, record.ends_ms)
    if not all(isinstance(time_ms, int) for time_ms in times):
        raise TypeError("times must be integers")
    return record
