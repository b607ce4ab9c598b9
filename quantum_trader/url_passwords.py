"""Passwords in URLs: what may be shown of one, and what must be kept out of every line (SPEC 12).

They stand before the host (``redis://user:password@host``) or, as Redis clients also take them, in the
query (``unix:///x.sock?db=1&password=…``).
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote, unquote_plus

REDACTED = "[redacted]"


def without_password(url: str) -> str:
    """Return ``url`` as it may be shown; what is no URL stays as it is."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    place, question_mark, query = rest.partition("?")
    login, at, host = place.rpartition("@")
    shown_query = "&".join(map(_shown_field, query.split("&")))
    if not at and "@" in shown_query:  # a password with a bare "?" in it: which part is whose is a guess
        return f"{scheme}://{REDACTED}"
    shown_login = f"{REDACTED}@" if login else at
    return f"{scheme}://{shown_login}{host}{question_mark}{shown_query}"


def passwords_in(url: str) -> set[str]:
    """Return every password in ``url``, as written and as meant."""
    place, _, query = url.partition("://")[2].partition("?")
    login = place.rpartition("@")[0]
    written = {login.partition(":")[2], *_secret_values(query)}
    return {form for text in written if text for form in (text, unquote(text), unquote_plus(text))}


def _secret_values(query: str) -> Iterator[str]:
    for field in query.split("&"):
        name, _, value = field.partition("=")
        if _is_secret(name):
            yield value


def _shown_field(field: str) -> str:
    name, equals, value = field.partition("=")
    return f"{name}{equals}{REDACTED}" if value and _is_secret(name) else field


def _is_secret(name: str) -> bool:
    """Whether a field of the query is a password: Redis clients know several, like ssl_password."""
    return unquote_plus(name).lower().endswith("password")
