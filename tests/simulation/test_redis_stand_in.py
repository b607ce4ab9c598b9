"""The Redis of the simulation gives the replies of a real one, command by command and script by script."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from importlib.resources import files
from typing import Any

import pytest
import redis.asyncio as redis
from redis.exceptions import ResponseError
from simulation.world.redis_lua import ReplyError, run_script
from simulation.world.redis_server import RedisServer

KEYS = ("one", "two", "three")
FIELDS = ("a", "b", "c")
STREAM, GROUP = "stream", "group"
CONSUMER = "engine"
STEPS = 400


@pytest.fixture
async def real(valkey_url: str) -> AsyncIterator[redis.Redis]:
    client = redis.Redis.from_url(valkey_url, protocol=2)
    await client.flushall()
    yield client
    await client.aclose()


class Pair:
    """The real server and the stand-in, side by side; stream ids of the one are named as the other's."""

    def __init__(self, real: redis.Redis) -> None:
        self._real = real
        self._now_ms = 1_000
        self.stand_in = RedisServer(lambda: self._now_ms)
        self._ids: dict[bytes, bytes] = {}

    async def both(self, *words: object) -> None:
        """Send one command to both and compare what they say."""
        self._now_ms += 1
        real = await self._ask_real([self._real_id(str(word).encode()) for word in words])
        stand_in = self._ask_stand_in([str(word).encode() for word in words])
        if words[0] == "XADD":
            self._ids[stand_in] = real
            real = stand_in
        assert self._told(stand_in) == self._told(real), words

    def _real_id(self, word: bytes) -> bytes:
        bracket = b"(" if word.startswith(b"(") else b""
        bare = word.removeprefix(b"(")
        return bracket + self._ids.get(bare, bare)

    async def _ask_real(self, words: list[bytes]) -> Any:
        try:
            connection = await self._real.connection_pool.get_connection()
            try:
                await connection.send_command(*words)
                return await connection.read_response()
            finally:
                await self._real.connection_pool.release(connection)
        except ResponseError as refused:
            return f"error {str(refused).split()[0]}"

    def _ask_stand_in(self, words: list[bytes]) -> Any:
        try:
            return self.stand_in.execute(words)
        except ReplyError as refused:
            return f"error {str(refused).removeprefix('ERR ').split()[0]}"

    def _told(self, reply: Any) -> Any:
        """Return a reply with the stand-in's ids in it, and what has no order sorted."""
        names = {real: name for name, real in self._ids.items()}
        if isinstance(reply, list):
            return [self._told(one) for one in reply]
        return names.get(reply, reply) if isinstance(reply, bytes) else reply


def commands(rng: random.Random) -> Iterator[tuple[object, ...]]:
    """Yield random commands over few keys of all kinds, so that types collide as well."""
    for _ in range(STEPS):
        key, field, number = rng.choice(KEYS), rng.choice(FIELDS), rng.randrange(5)
        yield rng.choice(
            (
                ("GET", key),
                ("SET", key, number),
                ("SET", key, number, "PX", 100_000),
                ("SET", key, number, "EX", 100, "NX"),
                ("INCR", key),
                ("RPUSH", key, number, field),
                ("LPOP", key, 1 + number),
                ("DEL", key, field),
                ("EXISTS", key, rng.choice(KEYS)),
                ("TYPE", key),
                ("MGET", *KEYS),
                ("PERSIST", key),
                ("PEXPIRE", key, 100_000),
                ("HSET", key, field, number, "d", number),
                ("HSETNX", key, field, number),
                ("HGET", key, field),
                ("HGETALL", key),
                ("HEXISTS", key, field),
                ("HDEL", key, field),
                ("RPUSH", key, field, number),
                ("LPOP", key, 2),
                ("ZADD", key, number, field),
                ("ZREM", key, field),
                ("ZCARD", key),
                ("ZCOUNT", key, "(1", "+inf"),
                ("ZRANGE", key, 0, -1, "WITHSCORES"),
                ("ZREMRANGEBYSCORE", key, "-inf", 1),
            )
        )


@pytest.mark.parametrize("seed", range(5))
async def test_keys_hashes_and_sorted_sets_answer_alike(seed: int, real: redis.Redis) -> None:
    pair = Pair(real)
    for command in commands(random.Random(seed)):
        await pair.both(*command)


def stream_commands(rng: random.Random, ids: list[bytes]) -> Iterator[tuple[object, ...]]:
    """Yield random commands over one stream and its group; ``ids`` are those made so far."""
    yield "XGROUP", "CREATE", STREAM, GROUP, "0", "MKSTREAM"
    for step in range(STEPS):
        known = rng.choice(ids).decode() if ids else "0-1"
        yield rng.choice(
            (
                ("XADD", STREAM, "*", "field", step, "other", rng.randrange(9)),
                ("XADD", STREAM, "MAXLEN", 30, "*", "field", step),
                ("XLEN", STREAM),
                ("XRANGE", STREAM, "-", "+"),
                ("XRANGE", STREAM, known, "+", "COUNT", 3),
                ("XREVRANGE", STREAM, "+", "-", "COUNT", 4),
                ("XREVRANGE", STREAM, f"({known}", "-", "COUNT", 2),
                ("XGROUP", "CREATE", STREAM, GROUP, "0"),
                ("XREADGROUP", "GROUP", GROUP, CONSUMER, "COUNT", 2, "STREAMS", STREAM, ">"),
                ("XREADGROUP", "GROUP", GROUP, CONSUMER, "COUNT", 5, "STREAMS", STREAM, "0"),
                ("XREADGROUP", "GROUP", "nobody", CONSUMER, "COUNT", 5, "STREAMS", STREAM, ">"),
                ("XACK", STREAM, GROUP, known),
                ("XTRIM", STREAM, "MINID", known),
            )
        )


@pytest.mark.parametrize("seed", range(5))
async def test_streams_and_groups_answer_alike(seed: int, real: redis.Redis) -> None:
    pair = Pair(real)
    ids: list[bytes] = []
    for command in stream_commands(random.Random(seed), ids):
        await pair.both(*command)
        ids[:] = list(pair._ids)
        await pair.both("XLEN", STREAM)
    stand_in = pair.stand_in.execute([b"XPENDING", STREAM.encode(), GROUP.encode(), b"-", b"+", b"10"])
    rows = await real.xpending_range(STREAM, GROUP, "-", "+", 10)
    assert [(row[1], row[3]) for row in stand_in] == [
        (row["consumer"], row["times_delivered"]) for row in rows
    ]


@pytest.mark.parametrize("seed", range(3))
async def test_what_is_told_of_stream_and_group_is_alike(seed: int, real: redis.Redis) -> None:
    pair = Pair(real)
    ids: list[bytes] = []
    for command in stream_commands(random.Random(seed), ids):
        await pair.both(*command)
        ids[:] = list(pair._ids)
        theirs = (await real.xinfo_groups(STREAM))[0]
        raw = pair.stand_in.execute([b"XINFO", b"GROUPS", STREAM.encode()])[0]
        ours = dict(zip(raw[::2], raw[1::2], strict=True))
        assert (ours[b"pending"], ours[b"consumers"]) == (theirs["pending"], theirs["consumers"])
        assert ours[b"lag"] == theirs["lag"], command
        about = await real.xinfo_stream(STREAM)
        raw = pair.stand_in.execute([b"XINFO", b"STREAM", STREAM.encode()])
        told = dict(zip(raw[::2], raw[1::2], strict=True))
        assert (told[b"length"], told[b"entries-added"]) == (about["length"], about["entries-added"])


def scripts() -> list[str]:
    folder = files("quantum_trader.stores") / "scripts"
    return sorted(
        entry.read_text(encoding="utf-8") for entry in folder.iterdir() if entry.name.endswith(".lua")
    )


@pytest.mark.parametrize("text", scripts(), ids=lambda text: text.split(":")[0].removeprefix("-- "))
def test_every_script_of_the_engine_compiles_on_the_stand_in(text: str) -> None:
    server = RedisServer(lambda: 1_000)
    with pytest.raises(
        (ReplyError, Exception)
    ) as refused:  # no keys and no arguments: it gets as far as that
        run_script(text + "\nreturn redis.call('NO_SUCH_COMMAND')", [], [], server.execute)
    assert "syntax" not in str(refused.value)


async def test_conversions_between_lua_and_redis_are_alike(real: redis.Redis) -> None:
    text = """
      local told = {}
      redis.call('SET', KEYS[1], 'text', 'PX', 60000)
      told[1] = redis.call('TYPE', KEYS[1])['ok']
      told[2] = tostring(redis.call('GET', 'nothing'))
      redis.call('HSET', KEYS[2], 'n', 1795000000123, 'f', 0.5)
      told[3] = redis.call('HGETALL', KEYS[2])
      local refused = redis.pcall('GET', KEYS[2])
      told[4] = type(refused) .. tostring(refused.err ~= nil)
      local ok, broken = pcall(cjson.decode, '{broken')
      told[5] = tostring(ok)
      local read = cjson.decode(ARGV[1])
      read.settled_epoch = redis.call('INCR', KEYS[3])
      read.gone = nil
      told[6] = cjson.encode({read.list, read.text, read.number, read.flag, read.settled_epoch})
      told[7] = #read.list
      told[8] = redis.call('ZADD', KEYS[4], read.number, 'member')
      told[9] = redis.call('ZRANGE', KEYS[4], 0, -1, 'WITHSCORES')
      told[10] = 3.7
      told[11] = true
      return told
    """
    names = ["text", "hash", "counter", "zset"]
    argument = (
        b'{"list": ["a/b", "c\\u00e9"], "text": "x\\"y", "number": 200000000, "flag": true, "gone": null}'
    )
    theirs = await real.eval(text, len(names), *names, argument)
    server = RedisServer(lambda: 1_000)
    ours = run_script(text, [name.encode() for name in names], [argument], server.execute)
    assert ours == theirs
