"""No password of a URL is shown, wherever in it the password stands (SPEC 12)."""

from __future__ import annotations

import pytest

from quantum_trader.url_passwords import passwords_in, without_password


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("embedded", "embedded"),
        ("redis://127.0.0.1:6379/1", "redis://127.0.0.1:6379/1"),
        ("redis://me:hunter22@host:1/0", "redis://[redacted]@host:1/0"),
        ("redis://:hunt@er22@host", "redis://[redacted]@host"),
        ("redis://host/0?password=hunter22&db=1", "redis://host/0?password=[redacted]&db=1"),
        ("redis://host?password=hunt@er22", "redis://host?password=[redacted]"),
        ("redis://me:hunt?er22@host", "redis://[redacted]"),
        ("rediss://host?ssl_password=hunter22", "rediss://host?ssl_password=[redacted]"),
        ("rediss://me:hunter22@h?Pass%77ord=hunter22", "rediss://[redacted]@h?Pass%77ord=[redacted]"),
        ("unix:///x.sock?db=1&password=hunter22", "unix:///x.sock?db=1&password=[redacted]"),
        ("unix://me:hunter22@/x.sock?db=1", "unix://[redacted]@/x.sock?db=1"),
        (
            "redis+sentinel://me:hunter22@one:1,two:2/service/3",
            "redis+sentinel://[redacted]@one:1,two:2/service/3",
        ),
        (
            "redis+sentinel://one:1/service?password=hunter22",
            "redis+sentinel://one:1/service?password=[redacted]",
        ),
        ("https://user:hunter22@proxy.example/", "https://[redacted]@proxy.example/"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert without_password(url) == shown


@pytest.mark.parametrize(
    ("url", "passwords"),
    [
        ("embedded", set()),
        ("redis://host", set()),
        ("redis://me@host", set()),
        ("redis://me:hunter22@host", {"hunter22"}),
        ("redis://:hunter%2B22@host", {"hunter%2B22", "hunter+22"}),
        ("unix:///x.sock?db=1&password=hunter%2022", {"hunter%2022", "hunter 22"}),
        ("unix://me:first@/x.sock?password=second", {"first", "second"}),
    ],
)
def test_what_to_hide_is_the_password_as_written_and_as_meant(url: str, passwords: set[str]) -> None:
    assert passwords_in(url) == passwords
