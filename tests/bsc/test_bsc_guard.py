"""A blocked event loop ends the process, and nothing else does (SPEC 10)."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, sys, time
from quantum_trader.bsc.guard import LoopGuard

async def main() -> None:
    guard = LoopGuard(blocked_s_max=0.5, tick_s=0.05)
    guard.start()
    await asyncio.sleep(1.2)
    print("alive", flush=True)
    if sys.argv[1] == "blocked":
        time.sleep(5)
    guard.stop()

asyncio.run(main())
"""


@pytest.mark.parametrize(("case", "code"), [("blocked", 70), ("busy", 0)])
def test_a_loop_blocked_for_too_long_ends_the_process(case: str, code: int) -> None:
    done = subprocess.run(  # noqa: S603 -- this very interpreter, and the program above
        [sys.executable, "-c", PROGRAM, case], capture_output=True, timeout=20, check=False
    )
    assert done.returncode == code, done.stderr
    assert done.stdout == b"alive\n"
