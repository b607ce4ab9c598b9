"""Garbage collection that keeps out of the way of plans.

A full collection looks at every object there is: with a large heap it stops the event loop for tens
of milliseconds. So what stands after the start is set aside for good (``gc.freeze``), young objects
are collected in larger heaps, and a full collection never comes by itself: it is made on purpose,
while no plan is under way. Metrics show how many there were (``python_gc_collections_total``).
"""

from __future__ import annotations

import gc
from collections.abc import Callable

YOUNG_MAX = 20_000
YOUNG_BEFORE_MIDDLE = 20
NEVER = 1_000_000


class QuietGarbage:
    """The collector's settings while an engine runs; ``stop`` puts the former ones back."""

    def __init__(self) -> None:
        self._former: tuple[int, int, int] | None = None

    def start(self) -> None:
        """Collect once, set everything that stands aside, and make full collections a matter of choice."""
        self._former = gc.get_threshold()
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG_MAX, YOUNG_BEFORE_MIDDLE, NEVER)

    def stop(self) -> None:
        """Put back what was."""
        if self._former is not None:
            gc.set_threshold(*self._former)
            gc.unfreeze()
            self._former = None


def collect_when_idle(plans_in_flight: Callable[[], int]) -> bool:
    """Make a full collection unless a plan is under way; returns whether it was made."""
    if plans_in_flight():
        return False
    gc.collect()
    return True
