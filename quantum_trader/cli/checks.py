"""One thing looked at, by `doctor` and `verify`: fine, wrong or not known, each with what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import click

NAME_WIDTH = 16
COLOURS = {True: "green", False: "red", None: "yellow"}
SIGNS = {True: "✓", False: "✗", None: "?"}


@dataclass(frozen=True, slots=True)
class Check:
    """``fine`` None: it could not be looked at, which is neither good nor bad; ``cure`` says what to do."""

    name: str
    fine: bool | None
    found: str
    cure: str = ""

    def as_record(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"name": self.name, "fine": self.fine, "found": self.found, "cure": self.cure}


def show(check: Check) -> None:
    """Print it, in colour only on a terminal."""
    sign = click.style(SIGNS[check.fine], fg=COLOURS[check.fine])
    click.echo(f"{sign} {check.name:<{NAME_WIDTH}} {check.found}")
    if check.fine is not True and check.cure:
        click.echo(f"  {'':<{NAME_WIDTH}} → {check.cure}")


def verdict_of(checks: Iterable[Check]) -> str:
    """Return the last line: how many are wrong, how many not known."""
    listed = list(checks)
    wrong = sum(check.fine is False for check in listed)
    unknown = sum(check.fine is None for check in listed)
    if wrong:
        return f"{wrong} of {len(listed)} wrong" + (f", {unknown} could not be checked" if unknown else "")
    if unknown:
        return f"nothing wrong, but {unknown} of {len(listed)} could not be checked"
    return f"all {len(listed)} fine"
