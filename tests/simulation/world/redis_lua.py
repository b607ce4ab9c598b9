"""The engine's own Lua scripts, run by Lua 5.1 on the stand-in, with Redis's conversions both ways."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import lupa.luajit21 as lupa
import orjson

Execute = Callable[[list[bytes]], Any]

STATUS_COMMANDS = frozenset({b"TYPE", b"SET", b"MSET"})
"""The commands of the scripts that reply with a status."""

_lua = lupa.LuaRuntime(encoding=None, unpack_returned_tuples=False)  # type: ignore[call-arg]
_table_from = _lua.table_from
_null = _lua.eval(b"{}")


class ReplyError(Exception):
    """An error reply; its text is Redis's own."""


class _Bound:
    """The server that the running script talks to."""

    execute: Execute


def edited(text: str) -> str:
    """Return the script that is run for ``text``: itself, unless a mutant stands here."""
    return text


def run_script(text: str, keys: list[bytes], args: list[bytes], execute: Execute) -> Any:
    """Run a script to its end; returns its reply as the wire would carry it.

    An error reply of one of its commands ends it, as on the real server, and nothing is rolled back.
    """
    _Bound.execute = execute
    return _reply(_compiled(edited(text))(_table_from(keys), _table_from(args), _REDIS, _CJSON))


@lru_cache(maxsize=64)
def _compiled(text: str) -> Any:
    return _lua.execute(f"return function(KEYS, ARGV, redis, cjson) {text}\nend".encode())


def _call(*words: Any) -> Any:
    args = [_argument(word) for word in words]
    return _to_lua(args[0].upper(), _Bound.execute(args))


def _pcall(*words: Any) -> Any:
    try:
        return _call(*words)
    except ReplyError as refused:
        return _table_from({b"err": str(refused).encode()})


def _argument(word: Any) -> bytes:
    if isinstance(word, bytes):
        return word
    if isinstance(word, (int, float)) and not isinstance(word, bool):
        return b"%.17g" % word
    raise TypeError(f"Lua redis lib command arguments must be strings or integers, not {word!r}")


def _to_lua(command: bytes, reply: Any) -> Any:
    if reply is None:
        return False
    if isinstance(reply, list):
        return _table_from([_to_lua(b"", one) for one in reply])
    if isinstance(reply, bytes) and command in STATUS_COMMANDS:
        return _table_from({b"ok": reply})
    return reply


def _reply(value: Any) -> Any:
    if lupa.lua_type(value) == "table":
        if value[b"err"] is not None:
            raise ReplyError(value[b"err"].decode())
        if value[b"ok"] is not None:
            return value[b"ok"]
        return [_reply(value[index]) for index in range(1, len(value) + 1)]
    if isinstance(value, bool):
        return 1 if value else None
    return int(value) if isinstance(value, float) else value


def _decode(text: bytes) -> Any:
    return _as_lua(orjson.loads(text))


def _as_lua(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict):
        return _table_from({name.encode(): _as_lua(inner) for name, inner in value.items()})
    if isinstance(value, list):
        return _table_from([_as_lua(inner) for inner in value])
    return _null if value is None else value


def _encode(value: Any) -> bytes:
    """As cjson does: numbers with 14 digits, slashes escaped, an empty table as an object."""
    kind = lupa.lua_type(value)
    if value is _null:
        return b"null"
    if kind == "table":
        count = len(value)
        if count:
            return b"[" + b",".join(_encode(value[index]) for index in range(1, count + 1)) + b"]"
        pairs = [orjson.dumps(name.decode()) + b":" + _encode(inner) for name, inner in value.items()]
        return b"{" + b",".join(pairs) + b"}"
    if isinstance(value, bytes):
        return re.sub(rb"/", rb"\\/", orjson.dumps(value.decode()))
    if isinstance(value, bool):
        return b"true" if value else b"false"
    return b"%.14g" % value


_REDIS = _table_from({b"call": _call, b"pcall": _pcall})
_CJSON = _table_from({b"decode": _decode, b"encode": _encode, b"null": _null})
