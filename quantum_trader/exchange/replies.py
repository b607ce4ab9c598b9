"""A reply as it came over the wire, and what its error body says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson
from msgspec import Struct

_MESSAGE_CHARS_MAX = 500
_VISIBLE_BYTES_MAX = 8_192  # the patterns below may look back: long pages must not hold up the loop
_UNSEEN = re.compile(r"<(script|style)\b.*?</\1\s*>|<!--.*?-->", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")
_SUCCESS = range(200, 300)


class Reply(Struct, frozen=True, gc=False):
    """Status, all headers and the whole body of one answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    counts: Mapping[tuple[str, int], int] = {}
    """Counts of rate limits by what is counted and window (ms), where no header tells them."""

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return self.status in _SUCCESS


class Complaint(NamedTuple):
    """What an error reply says: ``code`` 0 where it carries none, ``phrases`` as a reader sees them."""

    code: int
    phrases: tuple[str, ...]

    @property
    def message(self) -> str:
        """The phrases in one line, at most 500 characters."""
        return " ".join(self.phrases)[:_MESSAGE_CHARS_MAX]


def complaint_of(body: bytes) -> Complaint:
    """Read an error body: JSON ``{"code", "msg"}``, plain text or HTML (BINANCE.md 4)."""
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return Complaint(0, _visible_phrases(body))
    if isinstance(content, dict):
        return Complaint(_code_of(content), _phrases_of(content.get("msg")))
    return Complaint(0, _phrases_of(content))


def _code_of(content: Mapping[str, Any]) -> int:
    code = content.get("code")
    if isinstance(code, bool):
        return 0
    if isinstance(code, int):
        return code
    return int(code) if isinstance(code, str) and re.fullmatch(r"-?[0-9]{1,9}", code) else 0


def _phrases_of(message: object) -> tuple[str, ...]:
    return (" ".join(message.split()),) if isinstance(message, str) and message.strip() else ()


def _visible_phrases(body: bytes) -> tuple[str, ...]:
    text = _UNSEEN.sub("\n", body[:_VISIBLE_BYTES_MAX].decode("utf-8", "replace"))
    phrases = (" ".join(phrase.split()) for phrase in _TAG.split(text))
    return tuple(phrase for phrase in phrases if phrase)
