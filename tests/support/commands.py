"""Commands run in the tests' own process, beside an engine that logs to the same stdout."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from click.testing import CliRunner, Result

from quantum_trader.cli import main


async def run(*words: str) -> Result:
    """Run a command in a thread of its own, as it has an event loop of its own."""
    return await asyncio.to_thread(Runner().invoke, main, list(words))


class Runner(CliRunner):
    """Takes what its own thread writes, and nothing that an engine in another one logs meanwhile."""

    @contextmanager
    def isolation(self, *args: Any, **options: Any) -> Iterator[Any]:
        """Give this thread streams of its own while the command runs; the others keep theirs."""
        theirs = sys.stdout, sys.stderr
        with super().isolation(*args, **options) as streams:
            sys.stdout, sys.stderr = (
                _OfThread(mine, others)
                for mine, others in zip((sys.stdout, sys.stderr), theirs, strict=True)  # type: ignore[assignment]
            )
            yield streams


class _OfThread:
    """Is ``mine`` to the thread that made it, and ``others`` to every other."""

    def __init__(self, mine: Any, others: Any) -> None:
        self._mine, self._others = mine, others
        self._thread = threading.get_ident()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._mine if threading.get_ident() == self._thread else self._others, name)
