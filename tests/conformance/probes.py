"""What every probe shares; runs in the environment of the client that is probed, on its own.

A probe is a script that takes the exchange's URL, uses an unmodified client as its users would,
and prints one JSON object: feature to "yes", or to what went wrong.
"""

from __future__ import annotations

import asyncio
import json
import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

API_KEY, API_SECRET = "conformance", "conformance-secret"
ED25519_KEY = "conformance-ed25519"
PATIENCE_S = 20.0
SYMBOL = "BTCUSDT"
YES = "yes"

Check = Callable[[], Awaitable[Any]]


class Probe:
    """Runs checks one after the other and remembers what became of each."""

    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}

    async def check(self, feature: str, check: Check) -> None:
        """Run ``check``; the feature works unless it raises or takes too long."""
        try:
            await asyncio.wait_for(check(), PATIENCE_S)
            self.outcomes.setdefault(feature, YES)
        except Exception as error:  # noqa: BLE001 -- whatever a client raises is the outcome
            where = traceback.extract_tb(error.__traceback__)[0]
            self.outcomes[feature] = f"{type(error).__name__}: {error} (line {where.lineno})"[:600]

    def report(self) -> None:
        """Print the outcomes."""
        sys.stdout.write(json.dumps(self.outcomes) + "\n")


def expect(holds: object, what: str) -> None:
    """Raise unless ``holds``; a plain assert would vanish under -O."""
    if not holds:
        raise AssertionError(what)


def run(main: Callable[[str, Probe], Awaitable[None]]) -> None:
    """Run a probe's ``main(url, probe)`` and print what it found."""
    probe = Probe()
    asyncio.run(main(sys.argv[1], probe))
    probe.report()
