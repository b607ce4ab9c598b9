"""A read that is shared: none is older than the call, and nobody waits for one time-out after another."""

from __future__ import annotations

import asyncio

import pytest

from quantum_trader.concurrency import SharedRead

OTHERS = 5


class Slow:
    """A read that ends when it is told to; those whose numbers are ``failing`` fail."""

    def __init__(self, *failing: int) -> None:
        self.begun = 0
        self.has_begun, self.may_end = asyncio.Event(), asyncio.Event()
        self._failing = failing

    async def read(self) -> None:
        self.begun += 1
        number = self.begun
        self.has_begun.set()
        await self.may_end.wait()
        if number in self._failing:
            raise ConnectionError(f"read {number}")


async def outcomes(slow: Slow) -> list[object]:
    """Have one caller begin a read, and the others ask while it runs."""
    shared = SharedRead(slow.read)
    asking = [asyncio.create_task(shared.fresh())]
    await slow.has_begun.wait()
    asking += [asyncio.create_task(shared.fresh()) for _ in range(OTHERS)]
    await asyncio.sleep(0)
    slow.may_end.set()
    return list(await asyncio.gather(*asking, return_exceptions=True))


async def test_who_asks_while_one_runs_shares_the_next() -> None:
    slow = Slow()
    assert await outcomes(slow) == [None] * (1 + OTHERS)
    assert slow.begun == 2


async def test_a_failure_is_shared_by_all_who_waited_for_that_read() -> None:
    slow = Slow(2)
    first, *others = await outcomes(slow)
    assert first is None
    assert [str(failed) for failed in others] == ["read 2"] * OTHERS
    assert slow.begun == 2


async def test_a_failure_is_not_theirs_who_asked_after_its_read_had_begun() -> None:
    first, *others = await outcomes(Slow(1))
    assert isinstance(first, ConnectionError)
    assert others == [None] * OTHERS


async def test_after_a_failure_the_next_caller_reads_anew() -> None:
    slow = Slow(1)
    slow.may_end.set()
    shared = SharedRead(slow.read)
    with pytest.raises(ConnectionError):
        await shared.fresh()
    await shared.fresh()
    assert slow.begun == 2
