"""What every order client's loop shares; runs in the environment of the client that is measured.

Reads a number of orders from standard input, sends them one after the other, and answers with the
time of each in µs as a JSON list.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable

SYMBOL, QUANTITY = "XRPUSDT", "40"

Send = Callable[[str], Awaitable[object]]


async def serve(send: Send) -> None:
    """Send ``"BUY"`` and ``"SELL"`` in turn for every number that is asked for."""
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        taken = []
        for number in range(int(line)):
            begun = time.perf_counter_ns()
            await send("SELL" if number % 2 else "BUY")
            taken.append((time.perf_counter_ns() - begun) / 1000)
        print(json.dumps(taken), flush=True)
