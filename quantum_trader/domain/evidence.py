"""Evidence: what was known when a plan was judged, with its source and its time.

A gate asks for a fact by name and, where it matters, for its largest age. What is absent or
stale raises ``EvidenceMissing``, so failing closed is structural: no gate has to remember it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from msgspec import Struct

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class EvidenceMissing(Exception):
    """A fact that a gate needs is absent or too old."""

    def __init__(self, fact: str, detail: str) -> None:
        super().__init__(f"{fact}: {detail}")
        self.fact = fact
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Fact(Generic[T_co]):
    """The name of one kind of reading and the type of its value."""

    name: str


class Reading(Struct, Generic[T_co], frozen=True, gc=False):
    """A value, the wall time (ms) at which it was true, and where it came from."""

    value: T_co
    read_at_ms: int
    source: str

    def age_ms(self, now_ms: int) -> int:
        """Return how far it is from ``now_ms``: one from the future is as old, the clock was set back."""
        return abs(now_ms - self.read_at_ms)


class Evidence(Struct, frozen=True, gc=False):
    """All readings for one decision, and the wall time (ms) at which it is made."""

    now_ms: int
    readings: Mapping[str, Reading[Any]] = {}

    def reading(self, fact: Fact[T], *, age_ms_max: int | None = None) -> Reading[T]:
        """Return the reading of ``fact``.

        Raises:
            EvidenceMissing: it is absent, or older than ``age_ms_max``.
        """
        found = self.readings.get(fact.name)
        if found is None:
            raise EvidenceMissing(fact.name, "absent")
        age_ms = found.age_ms(self.now_ms)
        if age_ms_max is not None and age_ms > age_ms_max:
            raise EvidenceMissing(fact.name, f"{age_ms} ms old, at most {age_ms_max} ms allowed")
        return found

    def get(self, fact: Fact[T], *, age_ms_max: int | None = None) -> T:
        """Return the value of ``fact``; raises as ``reading`` does."""
        found = self.readings.get(fact.name)
        if found is not None and (age_ms_max is None or abs(self.now_ms - found.read_at_ms) <= age_ms_max):
            value: T = found.value
            return value
        return self.reading(fact, age_ms_max=age_ms_max).value

    def find(self, fact: Fact[T], *, age_ms_max: int | None = None) -> T | None:
        """Return the value of ``fact``, or None where ``get`` would raise."""
        try:
            return self.get(fact, age_ms_max=age_ms_max)
        except EvidenceMissing:
            return None

    def with_readings(self, **readings: Reading[Any]) -> Evidence:
        """Return a copy with ``readings`` (by fact name) put in or replaced."""
        return Evidence(self.now_ms, {**self.readings, **readings})
