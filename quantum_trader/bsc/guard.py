"""Ends the process when its event loop has been blocked for 30 s, for the supervisor to start it anew.

A thread counts its own ticks and the loop's. Ticks instead of the clock: a machine that was asleep,
or a process that was stopped, has missed as many of the one as of the other.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading

from quantum_trader.bsc import limits

TICK_S = 1.0
EXIT_CODE = 70


class LoopGuard:
    """Guards the running event loop from ``start`` to ``stop``."""

    def __init__(self, blocked_s_max: float = limits.LOOP_BLOCKED_S, tick_s: float = TICK_S) -> None:
        self._ticks_max = round(blocked_s_max / tick_s)
        self._tick_s = tick_s
        self._beats = 0
        self._ended = threading.Event()
        self._beating: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Begin; call it inside the loop."""
        self._loop = asyncio.get_running_loop()
        self._beat()
        threading.Thread(target=self._watch, name="bsc-loop-guard", daemon=True).start()

    def stop(self) -> None:
        """End the guard."""
        self._ended.set()
        if self._beating is not None:
            self._beating.cancel()

    def _beat(self) -> None:
        self._beats += 1
        if self._loop is not None:
            self._beating = self._loop.call_later(self._tick_s, self._beat)

    def _watch(self) -> None:
        heard, missed = self._beats, 0
        while not self._ended.wait(self._tick_s):
            missed = missed + 1 if self._beats == heard else 0
            heard = self._beats
            if missed >= self._ticks_max:
                self._end_process()

    def _end_process(self) -> None:
        blocked_s = self._ticks_max * self._tick_s
        sys.stderr.write(f"bsc: the event loop has been blocked for {blocked_s:g} s; the process ends\n")
        sys.stderr.flush()
        os._exit(EXIT_CODE)
