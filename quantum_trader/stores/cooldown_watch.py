"""Whose symbol cooldowns a reading of the operator keys asks for.

The reading that comes with plans is asked for before their symbols are known, and latches are keyed
by symbol. So it asks for the symbols that plans named lately, all in one question that is answered
with a single number, and for those known to cool, one by one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

WATCHED_MAX = 128


@dataclass(frozen=True)
class Asked:
    """What one reading asks for: ``each`` symbol by itself, and those ``together`` in one question."""

    each: tuple[str, ...] = ()
    together: tuple[str, ...] = ()

    @cached_property
    def symbols(self) -> frozenset[str]:
        """Every symbol whose cooldown the reading knows of."""
        return frozenset((*self.each, *self.together))


class CooldownWatch:
    """The symbols of the newest plans, at most ``WATCHED_MAX``, and those known to cool."""

    def __init__(self) -> None:
        self._recent: OrderedDict[str, None] = OrderedDict()
        self._cooling: dict[str, int] = {}
        self._asked: Asked | None = None
        self.moment = 0
        """Counts what became known: a reading remembers the moment at which it was asked for."""

    def watch(self, symbol: str) -> None:
        """Ask for the cooldown of ``symbol`` from now on; the one that was longest unused may go for it."""
        if symbol not in self._recent:
            self._asked = None
        self._recent[symbol] = None
        self._recent.move_to_end(symbol)
        if len(self._recent) > WATCHED_MAX:
            self._recent.popitem(last=False)

    def cools(self, symbol: str) -> None:
        """Know that ``symbol`` cools down, until a reading asked for later finds that it does not."""
        self.moment += 1
        if symbol not in self._cooling:
            self._asked = None
        self._cooling[symbol] = self.moment

    def asked(self) -> Asked:
        """Return what a reading asks for now; the same object for as long as that does not change."""
        if self._asked is None:
            together = [symbol for symbol in self._recent if symbol not in self._cooling]
            self._asked = Asked(tuple(sorted(self._cooling)), tuple(together))
        return self._asked

    def knows_more_than(self, asked: Asked) -> bool:
        """Whether a symbol is known to cool that a reading did not ask for."""
        return not asked.symbols.issuperset(self._cooling)

    def learn(self, asked: Iterable[str], cooling: frozenset[str], moment: int) -> None:
        """Take over which of ``asked`` were found ``cooling`` by a reading asked for at ``moment``."""
        for symbol in asked:
            if symbol in cooling and symbol not in self._cooling:
                self.cools(symbol)
            elif symbol not in cooling and self._cooling.get(symbol, moment + 1) <= moment:
                del self._cooling[symbol]
                self._asked = None
