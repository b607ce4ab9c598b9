"""The thin lane: replies in order, every break told to those who wait, and a new connection after it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import OutOfMemoryError, ResponseError
from redis.exceptions import TimeoutError as TimedOut
from support.house import until

from quantum_trader.stores.connection import Database, RedisError
from quantum_trader.stores.lane import NOTHING, Batch, Lane

PATIENCE_S = 20.0


@pytest.fixture
def losses() -> list[None]:
    """As long as there were connections that broke."""
    return []


@pytest.fixture
async def lane(database: Database, losses: list[None]) -> AsyncIterator[Lane]:
    made = Lane(database.client.connection_pool, PATIENCE_S, lambda: losses.append(None))
    yield made
    await made.close()


async def one(lane: Lane, *command: Any) -> Any:
    (reply,) = await lane.ask((command,))
    return reply


async def test_many_calls_at_once_get_their_own_replies(lane: Lane) -> None:
    replies = await asyncio.gather(*(lane.ask((("ECHO", n), ("ECHO", -n))) for n in range(300)))
    assert replies == [[str(n).encode(), str(-n).encode()] for n in range(300)]


async def test_it_is_a_connection_of_the_pools_own_kind(lane: Lane) -> None:
    about = (await one(lane, "CLIENT", "INFO")).decode()
    assert "name=quantum-trader" in about
    assert "resp=2" in about


async def test_an_error_is_the_reply_of_its_command_alone(lane: Lane) -> None:
    first, wrong, last = await lane.ask((("SET", "k", "v"), ("HGETALL", "k"), ("GET", "k")))
    assert (first, last) == (b"OK", b"v")
    assert isinstance(wrong, ResponseError)


async def test_a_caller_who_gives_up_does_not_shift_the_replies_of_others(lane: Lane) -> None:
    await one(lane, "PING")
    given_up = asyncio.create_task(one(lane, "ECHO", "a"))
    await asyncio.sleep(0)
    given_up.cancel()
    assert await one(lane, "ECHO", "b") == b"b"
    with pytest.raises(asyncio.CancelledError):
        await given_up


async def test_a_broken_connection_fails_who_waits_and_the_next_call_connects_anew(
    lane: Lane, database: Database
) -> None:
    me = await one(lane, "CLIENT", "ID")
    waiting = [asyncio.create_task(one(lane, "BLPOP", f"never-{n}", 0)) for n in range(3)]

    async def blocks() -> bool:
        return "cmd=blpop" in str(await database.client.execute_command("CLIENT", "LIST", "ID", me))

    await until(blocks, PATIENCE_S, "the blocking read")
    await database.client.execute_command("CLIENT", "KILL", "ID", me)
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Disconnected] * 3
    assert await one(lane, "CLIENT", "ID") != me


async def test_silence_counts_as_unknown_after_its_time(database: Database) -> None:
    losses: list[None] = []
    lane = Lane(database.client.connection_pool, timeout_s=0.2, lost=lambda: losses.append(None))
    with pytest.raises(TimedOut):
        await one(lane, "BLPOP", "never", 0)
    assert await one(lane, "PING") == b"PONG"
    await lane.close()
    assert len(losses) == 1


async def test_a_break_that_nobody_waited_on_is_told_and_an_end_of_our_own_is_not(
    lane: Lane, database: Database, losses: list[None]
) -> None:
    me = await one(lane, "CLIENT", "ID")
    await database.client.execute_command("CLIENT", "KILL", "ID", me)

    async def told() -> bool:
        return bool(losses)

    await until(told, PATIENCE_S, "word of the break")
    assert await one(lane, "CLIENT", "ID") != me
    await lane.close()
    assert len(losses) == 1


async def test_a_server_that_is_no_master_any_more_is_left(lane: Lane) -> None:
    me = await one(lane, "CLIENT", "ID")
    with pytest.raises(Disconnected, match="ReadOnlyError"):
        await one(lane, "EVAL", "return redis.error_reply('READONLY a replica now')", 0)
    assert await one(lane, "CLIENT", "ID") != me


async def test_no_server_is_an_error_not_a_wait() -> None:
    absent = Database("unix:///nowhere/at/all.sock")
    absent.open_lanes()
    with pytest.raises(Disconnected):
        await absent.ask_blocking(("PING",), NOTHING)
    await absent.close()


async def test_it_logs_on_as_the_address_says(database: Database, valkey_url: str) -> None:
    await database.client.execute_command("ACL", "SETUSER", "lane", "on", ">word", "~*", "+@all")
    address = valkey_url.removeprefix("unix://")
    known, unknown = Database(f"unix://lane:word@{address}"), Database(f"unix://lane:wrong@{address}")
    for named in (known, unknown):
        named.open_lanes()
    answers = await known.ask_blocking(("ACL", "WHOAMI"), Batch((("ECHO", "one"), ("ECHO", "two"))))
    assert answers == [b"lane", b"one", b"two"]
    with pytest.raises(RedisError):
        await unknown.ask_blocking(("PING",), NOTHING)
    for named in (known, unknown):
        await named.close()
    await database.client.execute_command("ACL", "DELUSER", "lane")


async def test_scripts_that_the_server_forgot_are_handed_over_again(database: Database) -> None:
    database.open_lanes()
    await database.client.set("lock", "me")
    await database.client.script_flush()
    assert await database.run("unlock", ["lock"], ["me"]) == 1
    assert await database.client.get("lock") is None


async def test_errors_are_of_the_classes_that_redis_py_raises(lane: Lane) -> None:
    refused = await one(lane, "EVAL", "return redis.error_reply('OOM command not allowed')", 0)
    assert isinstance(refused, OutOfMemoryError)


async def test_a_connection_that_does_not_end_keeps_nobody_from_reconnecting(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As over TLS, where a server that hangs does not confirm the end."""

    async def hangs(*, inuse_connections: bool) -> None:
        raise TimedOut

    monkeypatch.setattr(database.client.connection_pool, "disconnect", hangs)
    database.open_lanes()
    await database.reconnect()
    assert await database.run("unlock", ["no-lock"], ["nobody"]) is not None
