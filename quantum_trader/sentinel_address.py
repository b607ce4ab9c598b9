"""A Redis behind Sentinel: ``redis+sentinel://[user:password@]host:port[,host:port…]/service[/db]``."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote

SCHEME = "redis+sentinel://"
PORT = 26379


@dataclass(frozen=True, slots=True)
class SentinelAddress:
    """What such a URL says."""

    hosts: tuple[tuple[str, int], ...]
    service: str
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def from_url(cls, url: str) -> SentinelAddress:
        """Read the URL; raises ``ValueError`` that says what it should look like."""
        login, _, rest = url.removeprefix(SCHEME).rpartition("@")
        hosts, _, path = rest.partition("/")
        service, _, database = path.partition("/")
        named = tuple(_host(text) for text in hosts.split(",") if text)
        if not url.startswith(SCHEME) or not named or not service or not (database or "0").isdigit():
            raise ValueError(f"must look like {SCHEME}host:port,host:port/service")
        if "?" in path:  # a password there would end up in the service's name
            raise ValueError(
                f"takes no ?key=value: write {SCHEME}user:password@host:port,host:port/service/db"
            )
        username, separator, password = login.partition(":")
        return cls(
            named,
            unquote(service),
            int(database or 0),
            unquote(username) or None,
            unquote(password) if separator else None,
        )


def _host(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":") if ":" in text else (text, "", str(PORT))
    if not host or not port.isdigit():
        raise ValueError(f"must look like {SCHEME}host:port,host:port/service")
    return host, int(port)
