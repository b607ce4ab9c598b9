"""An in-process Redis: the commands that the stores use, over plain dicts, on the world's time.

Unknown commands and options raise ``NotImplementedError``: a stand-in that guesses would hide what
it does not know. ``tests/simulation/test_redis_stand_in.py`` compares it with a real Valkey.
"""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Callable, Iterator
from typing import Any

from simulation.world.redis_lua import ReplyError, run_script
from simulation.world.redis_streams import LAST, Group, Id, Pending, Stream, format_id, parse_id

OK = b"OK"
NODE_ENTRIES = 100  # what an approximate trim may leave standing

Reply = Any


class ZSet(dict[bytes, float]):
    """Members and their scores."""

    def in_order(self) -> list[tuple[bytes, float]]:
        return sorted(self.items(), key=lambda item: (item[1], item[0]))


KINDS: tuple[tuple[type, bytes], ...] = (
    (list, b"list"),
    (bytes, b"string"),
    (ZSet, b"zset"),
    (Stream, b"stream"),
    (dict, b"hash"),
)
WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"


class RedisServer:
    """One server; ``now_ms`` is its clock. Commands are lists of bytes, replies as the wire has them."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self.now_ms = now_ms
        self.data: dict[bytes, Any] = {}
        self.expires: dict[bytes, int] = {}
        self.scripts: dict[bytes, str] = {}
        self.after_script: list[Callable[[str, list[bytes], list[bytes], Any], None]] = []
        self.on_append: list[Callable[[bytes], None]] = []
        self._commands = {
            name.removeprefix("do_").upper().encode(): getattr(self, name)
            for name in dir(self)
            if name.startswith("do_")
        }

    def execute(self, args: list[bytes]) -> Reply:
        """Run one command; raises ``ReplyError`` for an error reply."""
        try:
            command = self._commands[args[0].upper()]
        except KeyError:
            raise NotImplementedError(f"the Redis stand-in does not know {args[0]!r}") from None
        return command(*args[1:])

    def snapshot(self) -> tuple[dict[bytes, Any], dict[bytes, int]]:
        """Return a copy of everything that is stored."""
        return {key: _clone(value) for key, value in self.data.items()}, dict(self.expires)

    def restore(self, kept: tuple[dict[bytes, Any], dict[bytes, int]]) -> None:
        """Go back to a copy: what was written since is lost."""
        self.data, self.expires = kept

    # -- keys

    def find(self, key: bytes, kind: type) -> Any:
        """Return the value of ``key`` if it lives; None where there is none."""
        value = self.peek(key)
        if value is not None and type(value) is not kind:
            raise ReplyError(WRONG_TYPE)
        return value

    def peek(self, key: bytes) -> Any:
        due_ms = self.expires.get(key)
        if due_ms is not None and due_ms <= self.now_ms():
            del self.expires[key]
            del self.data[key]
        return self.data.get(key)

    def _made(self, key: bytes, kind: type) -> Any:
        value = self.find(key, kind)
        if value is None:
            value = self.data[key] = kind()
        return value

    def _drop_if_empty(self, key: bytes) -> None:
        if not self.data.get(key):
            self.data.pop(key, None)
            self.expires.pop(key, None)

    def do_time(self) -> Reply:
        seconds, ms = divmod(self.now_ms(), 1000)
        return [b"%d" % seconds, b"%d" % (ms * 1000)]

    def do_ping(self) -> Reply:
        return b"PONG"

    def do_info(self, *_: bytes) -> Reply:
        return b"# Persistence\r\naof_enabled:1\r\nmaxmemory_policy:noeviction\r\nredis_version:7.2.0\r\n"

    def do_get(self, key: bytes) -> Reply:
        return self.find(key, bytes)

    def do_mget(self, *keys: bytes) -> Reply:
        values = [self.peek(key) for key in keys]
        return [value if isinstance(value, bytes) else None for value in values]

    def do_mset(self, *pairs: bytes) -> Reply:
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            self.do_set(key, value)
        return b"OK"

    def do_set(self, key: bytes, value: bytes, *options: bytes) -> Reply:
        ttl_ms, words = None, iter(options)
        for word in words:
            match word.upper():
                case b"EX":
                    ttl_ms = int(next(words)) * 1000
                case b"PX":
                    ttl_ms = int(next(words))
                case b"NX":
                    if self.peek(key) is not None:
                        return None
                case _:
                    raise NotImplementedError(f"SET {word!r}")
        self.data[key] = value
        self.expires.pop(key, None)
        if ttl_ms is not None:
            self.expires[key] = self.now_ms() + ttl_ms
        return OK

    def do_incr(self, key: bytes) -> Reply:
        value = self.find(key, bytes)
        try:
            number = int(value or b"0") + 1
        except ValueError:
            raise ReplyError("ERR value is not an integer or out of range") from None
        self.data[key] = b"%d" % number
        return number

    def do_del(self, *keys: bytes) -> Reply:
        gone = [key for key in keys if self.peek(key) is not None]
        for key in gone:
            self.data.pop(key, None)
            self.expires.pop(key, None)
        return len(set(gone))

    def do_exists(self, *keys: bytes) -> Reply:
        return sum(1 for key in keys if self.peek(key) is not None)

    def do_type(self, key: bytes) -> Reply:
        value = self.peek(key)
        return next((name for kind, name in KINDS if isinstance(value, kind)), b"none")

    def do_expire(self, key: bytes, seconds: bytes) -> Reply:
        return self.do_pexpire(key, b"%d" % (int(seconds) * 1000))

    def do_pexpire(self, key: bytes, ttl_ms: bytes) -> Reply:
        if self.peek(key) is None:
            return 0
        self.expires[key] = self.now_ms() + int(ttl_ms)
        return 1

    def do_persist(self, key: bytes) -> Reply:
        return int(self.peek(key) is not None and self.expires.pop(key, None) is not None)

    def do_pttl(self, key: bytes) -> Reply:
        if self.peek(key) is None:
            return -2
        return self.expires[key] - self.now_ms() if key in self.expires else -1

    def do_scan(self, _cursor: bytes, *options: bytes) -> Reply:
        """Everything in one page."""
        given = dict(zip([word.upper() for word in options[::2]], options[1::2], strict=True))
        pattern = given.get(b"MATCH", b"*")
        return [
            b"0",
            [key for key in list(self.data) if self.peek(key) is not None and _matches(key, pattern)],
        ]

    # -- hashes

    def do_hset(self, key: bytes, *pairs: bytes) -> Reply:
        stored = self._made(key, dict)
        before = len(stored)
        stored.update(zip(pairs[::2], pairs[1::2], strict=True))
        return len(stored) - before

    def do_hsetnx(self, key: bytes, name: bytes, value: bytes) -> Reply:
        stored = self._made(key, dict)
        if name in stored:
            return 0
        stored[name] = value
        return 1

    def do_hget(self, key: bytes, name: bytes) -> Reply:
        return (self.find(key, dict) or {}).get(name)

    def do_hmget(self, key: bytes, *names: bytes) -> Reply:
        stored = self.find(key, dict) or {}
        return [stored.get(name) for name in names]

    def do_hlen(self, key: bytes) -> Reply:
        return len(self.find(key, dict) or {})

    def do_hgetall(self, key: bytes) -> Reply:
        return [part for pair in (self.find(key, dict) or {}).items() for part in pair]

    def do_hexists(self, key: bytes, name: bytes) -> Reply:
        return int(name in (self.find(key, dict) or {}))

    def do_hdel(self, key: bytes, *names: bytes) -> Reply:
        stored = self.find(key, dict) or {}
        gone = sum(stored.pop(name, None) is not None for name in names)
        self._drop_if_empty(key)
        return gone

    # -- lists

    def do_rpush(self, key: bytes, *values: bytes) -> Reply:
        stored = self._made(key, list)
        stored += values
        return len(stored)

    def do_lpop(self, key: bytes, count: bytes) -> Reply:
        stored = self.find(key, list)
        if stored is None:
            return None
        first = stored[: int(count)]
        del stored[: int(count)]
        self._drop_if_empty(key)
        return first

    # -- sorted sets

    def do_zadd(self, key: bytes, *pairs: bytes) -> Reply:
        stored = self._made(key, ZSet)
        before = len(stored)
        stored.update({member: float(score) for score, member in zip(pairs[::2], pairs[1::2], strict=True)})
        return len(stored) - before

    def do_zrem(self, key: bytes, *members: bytes) -> Reply:
        stored = self.find(key, ZSet) or {}
        gone = sum(stored.pop(member, None) is not None for member in members)
        self._drop_if_empty(key)
        return gone

    def do_zcard(self, key: bytes) -> Reply:
        return len(self.find(key, ZSet) or ())

    def do_zcount(self, key: bytes, low: bytes, high: bytes) -> Reply:
        return len(self._scored(key, low, high))

    def do_zremrangebyscore(self, key: bytes, low: bytes, high: bytes) -> Reply:
        gone = self._scored(key, low, high)
        return self.do_zrem(key, *gone) if gone else 0

    def do_zrange(self, key: bytes, first: bytes, last: bytes, *options: bytes) -> Reply:
        if [word.upper() for word in options] != [b"WITHSCORES"]:
            raise NotImplementedError(f"ZRANGE {options!r}")
        members = (self.find(key, ZSet) or ZSet()).in_order()
        end = int(last)
        page = members[int(first) : None if end == -1 else end + 1]
        return [part for member, score in page for part in (member, b"%.17g" % score)]

    def _scored(self, key: bytes, low: bytes, high: bytes) -> list[bytes]:
        above, from_score = _bound(low)
        below, to_score = _bound(high)
        return [
            member
            for member, score in (self.find(key, ZSet) or {}).items()
            if (score > from_score or (score == from_score and not above))
            and (score < to_score or (score == to_score and not below))
        ]

    # -- streams

    def do_xadd(self, key: bytes, *words: bytes) -> Reply:
        keep, exact, rest = None, True, list(words)
        if rest[0].upper() == b"MAXLEN":
            exact = rest[1] != b"~"
            rest = rest[2 if rest[1] in (b"~", b"=") else 1 :]
            keep, rest = int(rest[0]), rest[1:]
        if rest[0] != b"*":
            raise NotImplementedError(f"XADD {rest[0]!r}")
        stream = self._made(key, Stream)
        entry_id = stream.next_id(self.now_ms())
        stream.append(entry_id, rest[1:])
        if keep is not None and len(stream.ids) > keep + (0 if exact else NODE_ENTRIES):
            stream.drop_first(len(stream.ids) - keep)
        for told in self.on_append:
            told(key)
        return format_id(entry_id)

    def do_xlen(self, key: bytes) -> Reply:
        stream = self.find(key, Stream)
        return len(stream.ids) if stream is not None else 0

    def do_xrange(self, key: bytes, first: bytes, last: bytes, *options: bytes) -> Reply:
        return self._range(key, first, last, options, newest_first=False)

    def do_xrevrange(self, key: bytes, last: bytes, first: bytes, *options: bytes) -> Reply:
        return self._range(key, first, last, options, newest_first=True)

    def _range(
        self, key: bytes, first: bytes, last: bytes, options: tuple[bytes, ...], *, newest_first: bool
    ) -> Reply:
        stream = self.find(key, Stream) or Stream()
        start = parse_id(first.removeprefix(b"("))
        end = parse_id(last.removeprefix(b"("), missing_sequence=LAST[1])
        ids = stream.between(start, end)
        ids = [one for one in ids if (first[:1] != b"(" or one != start) and (last[:1] != b"(" or one != end)]
        if newest_first:
            ids.reverse()
        if options:
            ids = ids[: int(options[1])]
        return [[format_id(one), stream.entries[one]] for one in ids]

    def do_xtrim(self, key: bytes, strategy: bytes, *words: bytes) -> Reply:
        rest = [word for word in words if word not in (b"~", b"=")]
        if strategy.upper() != b"MINID":
            raise NotImplementedError(f"XTRIM {strategy!r}")
        stream = self.find(key, Stream)
        if stream is None:
            return 0
        surplus = len(stream.ids) - len(stream.between(parse_id(rest[0]), LAST))
        if len(rest) > 1:
            surplus = min(surplus, int(rest[2]))
        return stream.drop_first(surplus)

    def do_xgroup(self, action: bytes, key: bytes, name: bytes, entry_id: bytes, *options: bytes) -> Reply:
        if action.upper() != b"CREATE":
            raise NotImplementedError(f"XGROUP {action!r}")
        if self.find(key, Stream) is None and b"MKSTREAM" not in [word.upper() for word in options]:
            raise ReplyError("ERR The XGROUP subcommand requires the key to exist.")
        stream = self._made(key, Stream)
        if name in stream.groups:
            raise ReplyError("BUSYGROUP Consumer Group name already exists")
        words = [word.upper() for word in options]
        read = int(options[words.index(b"ENTRIESREAD") + 1]) if b"ENTRIESREAD" in words else None
        stream.groups[name] = Group(stream.last if entry_id == b"$" else parse_id(entry_id), read=read)
        return OK

    def group(self, key: bytes, name: bytes) -> tuple[Stream, Group]:
        """Return a stream and one of its groups; the error reply of a read where there is none."""
        stream = self.find(key, Stream)
        if stream is None or name not in stream.groups:
            raise ReplyError(
                f"NOGROUP No such key '{key.decode()}' or consumer group '{name.decode()}' "
                "in XREADGROUP with GROUP option"
            )
        return stream, stream.groups[name]

    def do_xreadgroup(self, *words: bytes) -> Reply:
        """One stream; never blocks: the connection waits (redis_client.py)."""
        name, consumer, key, start, count, _ = read_options(words)
        stream, group = self.group(key, name)
        group.consumers.add(consumer)
        if start != b">":
            return [[key, self._history(stream, group, consumer, parse_id(start), count)]]
        ids = stream.after(group.last)[:count]
        if not ids:
            return None
        for one in ids:
            group.pending[one] = Pending(consumer, self.now_ms())
            stream.count_read(group, one)
        return [[key, [[format_id(one), stream.entries[one]] for one in ids]]]

    def _history(self, stream: Stream, group: Group, consumer: bytes, start: Id, count: int | None) -> Reply:
        own = sorted(
            one for one, known in group.pending.items() if known.consumer == consumer and one > start
        )
        for one in own[:count]:
            group.pending[one].deliveries += one in stream.entries
        return [[format_id(one), stream.entries.get(one)] for one in own[:count]]

    def do_xack(self, key: bytes, name: bytes, *ids: bytes) -> Reply:
        stream = self.find(key, Stream)
        if stream is None or name not in stream.groups:
            return 0
        pending = stream.groups[name].pending
        return sum(pending.pop(parse_id(one), None) is not None for one in ids)

    def do_xpending(self, key: bytes, name: bytes, first: bytes, last: bytes, count: bytes) -> Reply:
        _, group = self.group(key, name)
        end = parse_id(last, missing_sequence=LAST[1])
        ids = sorted(one for one in group.pending if parse_id(first) <= one <= end)[: int(count)]
        known = [(one, group.pending[one]) for one in ids]
        return [
            [format_id(one), held.consumer, self.now_ms() - held.delivered_ms, held.deliveries]
            for one, held in known
        ]

    def do_xinfo(self, what: bytes, key: bytes, name: bytes = b"") -> Reply:
        stream = self.find(key, Stream)
        if stream is None:
            raise ReplyError("ERR no such key")
        match what.upper():
            case b"GROUPS":
                return [self._about_group(stream, name, group) for name, group in stream.groups.items()]
            case b"STREAM":
                return self._about_stream(stream)
            case b"CONSUMERS":
                return self._about_consumers(*self.group(key, name))
            case _:
                raise NotImplementedError(f"XINFO {what!r}")

    @staticmethod
    def _about_group(stream: Stream, name: bytes, group: Group) -> Reply:
        read = stream.reads_in_all(group)
        return [
            *(b"name", name, b"consumers", len(group.consumers), b"pending", len(group.pending)),
            *(b"last-delivered-id", format_id(group.last), b"entries-read", group.read),
            *(b"lag", stream.added - read if read is not None else None),
        ]

    @staticmethod
    def _about_consumers(_: Stream, group: Group) -> Reply:
        held = [known.consumer for known in group.pending.values()]
        return [[b"name", one, b"pending", held.count(one)] for one in sorted(group.consumers)]

    @staticmethod
    def _about_stream(stream: Stream) -> Reply:
        first, last = (
            [format_id(one), stream.entries[one]] if one is not None else None
            for one in ((stream.ids[0], stream.ids[-1]) if stream.ids else (None, None))
        )
        return [
            *(b"length", len(stream.ids), b"last-generated-id", format_id(stream.last)),
            *(b"entries-added", stream.added, b"groups", len(stream.groups)),
            *(b"first-entry", first, b"last-entry", last),
        ]

    # -- scripts

    def do_script(self, action: bytes, text: bytes) -> Reply:
        if action.upper() != b"LOAD":
            raise NotImplementedError(f"SCRIPT {action!r}")
        digest = hashlib.sha1(text).hexdigest().encode()  # noqa: S324  # Redis names scripts so
        self.scripts[digest] = text.decode()
        return digest

    def do_evalsha(self, digest: bytes, keys_count: bytes, *words: bytes) -> Reply:
        text = self.scripts.get(digest)
        if text is None:
            raise ReplyError("NOSCRIPT No matching script.")
        count = int(keys_count)
        keys, args = list(words[:count]), list(words[count:])
        reply = run_script(text, keys, args, self.execute)
        for told in self.after_script:
            told(text, keys, args, reply)
        return reply


def read_options(words: tuple[bytes, ...]) -> tuple[bytes, bytes, bytes, bytes, int | None, int | None]:
    """Return group, consumer, key, start id, COUNT and BLOCK (ms) of an XREADGROUP."""
    count = block = None
    rest = iter(words)
    for word in rest:
        match word.upper():
            case b"GROUP":
                group, consumer = next(rest), next(rest)
            case b"COUNT":
                count = int(next(rest))
            case b"BLOCK":
                block = int(next(rest))
            case b"STREAMS":
                key, start = rest
            case _:
                raise NotImplementedError(f"XREADGROUP {word!r}")
    return group, consumer, key, start, count, block


def _clone(value: Any) -> Any:
    if isinstance(value, bytes):
        return value
    return value.clone() if isinstance(value, Stream) else type(value)(value)


def _bound(text: bytes) -> tuple[bool, float]:
    """Return whether a score's bound is exclusive, and the score."""
    return text[:1] == b"(", float(text.removeprefix(b"("))


def _matches(key: bytes, pattern: bytes) -> bool:
    if pattern.endswith(b"*") and not any(sign in pattern[:-1] for sign in b"*?["):
        return key.startswith(pattern[:-1])
    return fnmatch.fnmatchcase(key.decode("latin-1"), pattern.decode("latin-1"))


def keys_of(data: dict[bytes, Any], prefix: bytes) -> Iterator[bytes]:
    """Iterate over the keys that begin with ``prefix``."""
    return (key for key in data if key.startswith(prefix))
