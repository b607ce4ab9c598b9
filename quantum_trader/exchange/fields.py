"""The border where JSON becomes typed values, or an error that names the field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from functools import cache, lru_cache
from typing import Annotated, Any, TypeVar

import msgspec
import orjson

from quantum_trader.exchange.errors import ReplyUnreadable

_NUMBER_CHARS_MAX = 64
_EXPONENT_MAX = 30
_SHOWN_CHARS_MAX = 80
_NUMBERS_KEPT = 4_096
EnumT = TypeVar("EnumT", bound=StrEnum)
StructT = TypeVar("StructT", bound=msgspec.Struct)

Text = Annotated[str, msgspec.Meta(min_length=1)]
"""A string that is not empty."""

Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""A JSON integer of 64 bits, beyond which not everything can write it down."""


def decoded(endpoint: str, body: bytes) -> Any:
    """Decode a JSON body; raises ``ReplyUnreadable`` when it is none."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ReplyUnreadable(endpoint, "body", f"no JSON ({error.msg})") from None


def typed(endpoint: str, content: Any, kind: type[StructT]) -> StructT:
    """Return decoded JSON as a ``kind``; raises ``ReplyUnreadable`` naming the field."""
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        raise _misfit(endpoint, content, kind, error, "") from None


def typed_body(
    endpoint: str, body: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[StructT], path: str = ""
) -> StructT:
    """Return a JSON body as what ``decoder`` makes of it; raises ``ReplyUnreadable`` naming the field.

    ``path`` stands before its name: where in a larger whole ``body`` was found.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _misfit(endpoint, decoded(endpoint, bytes(body)), decoder.type, error, path) from None
    except (ValueError, RecursionError) as error:
        raise ReplyUnreadable(endpoint, "body", f"no JSON ({error})") from None


def _misfit(endpoint: str, content: Any, kind: type[StructT], error: Exception, path: str) -> ReplyUnreadable:
    """Return the error that names the first field which keeps ``content`` from being a ``kind``."""
    if not isinstance(content, dict):
        return ReplyUnreadable(endpoint, path.rstrip(".") or "body", "is no object")
    for field in msgspec.structs.fields(kind):
        name = field.encode_name
        if name not in content:
            if field.required:
                return ReplyUnreadable(endpoint, path + name, "is missing")
            continue
        try:
            msgspec.convert(content[name], field.type)
        except msgspec.ValidationError as misfit:
            return ReplyUnreadable(endpoint, path + name, f"{_cut(str(misfit))}: {_shown(content[name])}")
    return ReplyUnreadable(endpoint, "body", _cut(str(error)))


def number_in(endpoint: str, field: str, text: str) -> Decimal:
    """Return the number that ``text`` writes; raises ``ReplyUnreadable`` naming ``field``."""
    number = decimal_of(text)
    if number is None:
        raise ReplyUnreadable(endpoint, field, f"should be a decimal number, not {_shown(text)}")
    return number


def rows_of(endpoint: str, content: Any, name: str = "body") -> Iterator[Row]:
    """Yield the objects of a JSON array; raises ``ReplyUnreadable`` when it is none."""
    if not isinstance(content, list):
        raise ReplyUnreadable(endpoint, name, "is no array")
    return (Row(endpoint, item, f"{name}[{number}]") for number, item in enumerate(content))


@lru_cache(_NUMBERS_KEPT)  # the quantities of an order come again in all that is told of it
def decimal_of(text: str) -> Decimal | None:
    """Return the finite number that ``text`` writes, exponents allowed; None when it is none.

    Bounded to 64 characters and exponents of ±30, so that writing it out in full stays short.
    """
    if len(text) > _NUMBER_CHARS_MAX or not text.isascii() or "_" in text:
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number.adjusted()) <= _EXPONENT_MAX else None


class Row:
    """One JSON object of a reply; every getter raises ``ReplyUnreadable`` naming its field."""

    __slots__ = ("_content", "_endpoint", "_path")

    def __init__(self, endpoint: str, content: Any, path: str = "") -> None:
        if not isinstance(content, dict):
            raise ReplyUnreadable(endpoint, path or "body", "is no object")
        self._endpoint = endpoint
        self._content = content
        self._path = path

    def __contains__(self, field: str) -> bool:
        return field in self._content

    def text(self, field: str) -> str:
        """Return a string that is not empty."""
        value = self._content.get(field)
        if not isinstance(value, str) or not value:
            raise self.wrong(field, "a string")
        return value

    def integer(self, field: str) -> int:
        """Return a JSON integer."""
        value = self._content.get(field)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.wrong(field, "an integer")
        return value

    def truth(self, field: str) -> bool:
        """Return a JSON boolean."""
        value = self._content.get(field)
        if not isinstance(value, bool):
            raise self.wrong(field, "true or false")
        return value

    def decimal(self, field: str) -> Decimal:
        """Return a number that is written as a string, as Binance writes all that matter."""
        value = self._content.get(field)
        number = decimal_of(value) if isinstance(value, str) else None
        if number is None:
            raise self.wrong(field, "a decimal number as a string")
        return number

    def member(self, field: str, kind: type[EnumT]) -> EnumT:
        """Return a member of ``kind``."""
        member: EnumT | None = _members(kind).get(self.text(field))
        if member is None:
            raise self.wrong(field, f"one of {', '.join(kind)}")
        return member

    def row(self, field: str) -> Row:
        """Return an object."""
        return Row(self._endpoint, self._content.get(field), self._name(field))

    def rows(self, field: str) -> Iterator[Row]:
        """Yield the objects of an array."""
        return rows_of(self._endpoint, self._content.get(field), self._name(field))

    def _name(self, field: str) -> str:
        return f"{self._path}.{field}" if self._path else field

    def wrong(self, field: str, wanted: str) -> ReplyUnreadable:
        """Return the error that ``field`` is missing or is not ``wanted``."""
        if field not in self._content:
            return ReplyUnreadable(self._endpoint, self._name(field), "is missing")
        shown = _shown(self._content[field])
        return ReplyUnreadable(self._endpoint, self._name(field), f"should be {wanted}, not {shown}")


@cache
def _members(kind: type[EnumT]) -> Mapping[str, EnumT]:
    """Return the members of ``kind`` by value, which is looked up faster than ``kind(value)`` answers."""
    return {member.value: member for member in kind}


def _shown(value: object) -> str:
    return _cut(repr(value))


def _cut(text: str) -> str:
    return text[:_SHOWN_CHARS_MAX]
