"""Who may see and who may change: over real sockets, as a browser, a script or an attacker would ask."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from quantum_trader.config_tables import HttpTable
from quantum_trader.domain.clock import SystemClock
from quantum_trader.web.server import HttpServer, reply

TOKEN = "0123456789abcdef-token"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
changed: list[Any] = []


async def _change(request: web.Request) -> web.Response:
    changed.append(await request.json())
    return reply({"ok": True})


async def _read(request: web.Request) -> web.Response:
    return reply({"equity": "10000"})


async def _break(request: web.Request) -> web.Response:
    raise RuntimeError("secret detail")


def routes(app: web.Application) -> None:
    app.router.add_post("/api/change", _change)
    app.router.add_get("/api/read", _read)
    app.router.add_get("/api/broken", _break)


@asynccontextmanager
async def serving(**table: Any) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    server = HttpServer(HttpTable(port=0, **table), [routes], SystemClock())
    await server.start()
    changed.clear()
    async with aiohttp.ClientSession() as session:
        yield session, server.url
    await server.stop()


async def ask(table: dict[str, Any], method: str, path: str, **request: Any) -> tuple[int, dict[str, Any]]:
    async with serving(**table) as (session, url), session.request(method, url + path, **request) as answer:
        return answer.status, await answer.json()


async def test_a_change_with_the_token_is_made() -> None:
    assert await ask({"token": TOKEN}, "POST", "/api/change", json={"a": 1}, headers=BEARER) == (
        200,
        {"ok": True},
    )
    assert changed == [{"a": 1}]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": f"Bearer {TOKEN[:-1]}"}, 401),
        ({"Authorization": f"Basic {TOKEN}"}, 401),
        ({"Authorization": "Bearer ⓧ".encode().decode("latin-1")}, 401),
        ({**BEARER, "Origin": "https://evil.example"}, 403),
        ({**BEARER, "Origin": "null"}, 403),
        ({**BEARER, "Sec-Fetch-Site": "cross-site"}, 403),
        ({**BEARER, "Sec-Fetch-Site": "same-site"}, 403),
        ({**BEARER, "Host": "evil.example"}, 403),
        ({**BEARER, "Host": ""}, 403),
        ({**BEARER, "Content-Type": "text/plain"}, 415),
        ({**BEARER, "Content-Type": "application/x-www-form-urlencoded"}, 415),
    ],
)
async def test_a_change_is_refused_to(headers: dict[str, str], status: int) -> None:
    whole = {"Content-Type": "application/json", **headers}
    answered, body = await ask({"token": TOKEN}, "POST", "/api/change", data=b'{"a": 1}', headers=whole)
    assert answered == status
    assert body["error"]
    assert changed == []
    assert TOKEN not in str(body)


async def test_a_token_that_is_no_utf_8_is_a_wrong_token() -> None:
    async with serving(token=TOKEN) as (_, url):
        host = url.removeprefix("http://")
        reader, writer = await asyncio.open_connection(*host.split(":"))
        head = f"POST /api/change HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nAuthorization: Bearer "
        writer.write(head.encode() + b"\xff\xfe\r\n\r\n")
        answer = await reader.readline()
        writer.close()
        await writer.wait_closed()
    assert answer == b"HTTP/1.1 401 Unauthorized\r\n"


async def test_without_a_configured_token_no_change_is_made_and_the_answer_says_how_to_set_one() -> None:
    for headers in ({}, {"Authorization": "Bearer "}, BEARER):
        status, body = await ask({}, "POST", "/api/change", json={}, headers=headers)
        assert status == 403
        assert "QT_HTTP__TOKEN" in body["error"]
    assert changed == []


async def test_reading_needs_no_token_on_loopback_and_needs_it_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert (await ask({}, "GET", "/api/read"))[0] == 200
    monkeypatch.setattr("quantum_trader.web.auth.is_loopback", lambda _: False)
    assert (await ask({"token": TOKEN}, "GET", "/api/read"))[0] == 401
    assert (await ask({"token": TOKEN}, "GET", "/api/read", headers=BEARER))[0] == 200


async def test_a_rebound_name_reads_nothing_and_a_configured_one_does() -> None:
    assert (await ask({}, "GET", "/api/read", headers={"Host": "evil.example:8080"}))[0] == 403
    named = {"hosts": ("trader.example",)}
    assert (await ask(named, "GET", "/api/read", headers={"Host": "Trader.example"}))[0] == 200
    assert (await ask({}, "GET", "/api/read", headers={"Host": "localhost:1"}))[0] == 200


async def test_every_answer_keeps_browsers_in_check_and_none_lets_another_site_read() -> None:
    async with serving(token=TOKEN) as (session, url):
        for path in ("/api/read", "/api/broken", "/none"):
            async with session.get(url + path, headers={"Origin": "https://evil.example"}) as answer:
                assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
                assert "unsafe" not in answer.headers["Content-Security-Policy"]
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert answer.headers["X-Frame-Options"] == "DENY"
                assert not [name for name in answer.headers if name.lower().startswith("access-control")]
        async with session.options(url + "/api/change", headers={"Origin": "https://evil.example"}) as answer:
            assert answer.status >= 400
            assert not [name for name in answer.headers if name.lower().startswith("access-control")]


async def test_an_error_of_our_own_shows_no_details() -> None:
    status, body = await ask({}, "GET", "/api/broken")
    assert status == 500
    assert "secret" not in str(body)


async def test_a_body_beyond_its_bound_is_refused() -> None:
    status, _ = await ask({"token": TOKEN}, "POST", "/api/change", json={"a": "x" * 100_000}, headers=BEARER)
    assert status == 413


async def test_a_taken_port_is_said_and_taken_when_it_is_free() -> None:
    first = HttpServer(HttpTable(port=0), [routes], SystemClock())
    await first.start()
    port = int(first.url.rpartition(":")[2])
    waits: list[float] = []

    class Waiting(SystemClock):
        async def sleep(self, duration_s: float) -> None:
            waits.append(duration_s)
            await first.stop()

    second = HttpServer(HttpTable(port=port), [routes], Waiting())
    await second.start()
    assert second.url == ""
    retrying = second._retrying
    assert retrying is not None
    await retrying
    assert second.url == f"http://127.0.0.1:{port}"
    assert waits
    await second.stop()
