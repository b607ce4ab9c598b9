"""Virtual time, and processes that can be killed or paused at any await.

Theory of operation. The loop has no sockets and no threads. When nothing is ready, time jumps to
the next timer. Every callback belongs to a *process* (an engine) or to the world itself, told by
the context that it was scheduled in. The callbacks of a killed process are dropped and those of a
paused one are held back, so a crash and a stopped machine can be had between any two awaits, and
no ``finally`` of the dead runs while the world goes on. What is on its way through the network is
the world's and arrives all the same.
"""

from __future__ import annotations

import asyncio
import heapq
from asyncio import base_events
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from typing import Any

START_MS = 1_800_000_000_000

process_of_context: ContextVar[Process | None] = ContextVar("process", default=None)


class Stalled(AssertionError):
    """Nothing is left that could ever happen."""


class Process:
    """What one engine runs in; ``skew_ms`` is by how much its wall clock is off."""

    def __init__(self, name: str, loop: VirtualLoop, skew_ms: int = 0) -> None:
        self.name = name
        self.skew_ms = skew_ms
        self.is_dead = False
        self.is_paused = False
        self.steps_left: int | None = None
        self._loop = loop
        self._held: list[asyncio.Handle] = []
        self._context = copy_context()
        self._context.run(process_of_context.set, self)
        self.tasks: list[asyncio.Task[Any]] = []  # the dead stay here, so that nothing cleans up for them

    def spawn(self, coroutine: Any) -> asyncio.Task[Any]:
        """Run ``coroutine`` as part of this process."""
        return self._context.run(self._loop.create_task, coroutine)

    def kill(self) -> None:
        """Stop for ever, in the middle of whatever is being done."""
        self.is_dead = True
        self._held.clear()

    def pause(self) -> None:
        """Stop for a while."""
        self.is_paused = True

    def resume(self) -> None:
        """Go on where it was paused."""
        self.is_paused = False
        held, self._held = self._held, []
        self._loop.give_back(held)

    def takes(self, handle: asyncio.Handle) -> bool:
        """Whether ``handle`` may run now; counts down to a crash that was ordered."""
        if self.is_dead:
            return False
        if self.is_paused:
            self._held.append(handle)
            return False
        if self.steps_left is not None:
            self.steps_left -= 1
            if self.steps_left <= 0:
                self.kill()
                return False
        return True


class CountedTask(asyncio.Task):  # type: ignore[type-arg]
    """A task whose hash is its number, so that sets of tasks have the same order in every run."""

    def __init__(self, number: int, coroutine: Any, **options: Any) -> None:
        self._number = number
        super().__init__(coroutine, **options)

    def __hash__(self) -> int:
        return self._number


class VirtualLoop(base_events.BaseEventLoop):
    """An event loop whose clock is virtual; everything happens in one order, the same each time."""

    def __init__(self) -> None:
        super().__init__()
        self._now_s = 1_000.0
        self._tasks_made = 0
        self.steps = 0
        self.steps_max = 100_000_000
        self.set_task_factory(self._make_task)

    def time(self) -> float:
        return self._now_s

    @property
    def now_ms(self) -> int:
        """The true wall time, ms since the epoch."""
        return START_MS + round((self._now_s - 1_000.0) * 1_000)

    def give_back(self, handles: list[asyncio.Handle]) -> None:
        """Make callbacks that were held back ready again, in their order."""
        self._ready.extend(handles)  # type: ignore[attr-defined]

    def later(self, delay_s: float, work: Callable[..., Any], *args: Any) -> asyncio.TimerHandle:
        """Do ``work`` after ``delay_s`` as the world, whoever asks for it."""
        return self.call_later(delay_s, work, *args, context=_WORLD)

    def forget(self) -> None:
        """Drop everything that would still happen."""
        self._ready.clear()  # type: ignore[attr-defined]
        self._scheduled.clear()  # type: ignore[attr-defined]

    def _make_task(self, loop: Any, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        self._tasks_made += 1
        task: asyncio.Task[Any] = CountedTask(self._tasks_made, coroutine, loop=loop, **options)
        process = process_of_context.get()
        if process is not None:
            process.tasks.append(task)
            if len(process.tasks) > 512:
                process.tasks = [known for known in process.tasks if not known.done()]
        return task

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled  # type: ignore[attr-defined]
        while scheduled and scheduled[0]._cancelled:
            scheduled_handle = heapq.heappop(scheduled)
            scheduled_handle._scheduled = False
        if not ready:
            if not scheduled:
                raise Stalled("nothing is left to happen")
            self._now_s = max(self._now_s, scheduled[0]._when)
        while scheduled and scheduled[0]._when <= self._now_s:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            if not handle._cancelled:
                ready.append(handle)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            process = handle._context.get(process_of_context)
            if process is None or process.takes(handle):
                self.steps += 1
                handle._run()
        self._timer_cancelled_count = 0
        if self.steps > self.steps_max:
            raise Stalled(f"{self.steps} steps without coming to an end")

    def _write_to_self(self) -> None:
        """Nobody calls from another thread."""

    def _process_events(self, event_list: Any) -> None:
        """There are no sockets."""


_WORLD = Context()


class VirtualClock:
    """The engine's ``Clock`` on the loop's time, with the skew of its process."""

    def __init__(self, loop: VirtualLoop, process: Process) -> None:
        self._loop = loop
        self._process = process

    def now_ms(self) -> int:
        return self._loop.now_ms + self._process.skew_ms

    def monotonic_s(self) -> float:
        return self._loop.time()

    async def sleep(self, duration_s: float) -> None:
        await asyncio.sleep(duration_s)
