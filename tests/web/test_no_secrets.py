"""No secret in any answer, error, metric, page or log line (SPEC 12, 13)."""

from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.alert_sink import alert_sink
from support.commands import run
from support.house import KEY, SECRET, house, until

from quantum_trader.web.api import PARTS

pytestmark = [pytest.mark.drill, pytest.mark.usefixtures("account")]

TOKEN = "leak-me-0123456789abcdef"
PATHS = (
    *("/", "/healthz", "/readyz", "/metrics", "/none", "/api/none", "/static/main.js", "/static/../auth.py"),
    *(f"/api/{name}" for name in PARTS),
    *("/api/decisions", "/api/decision?plan_id=leak", "/api/decision", "/api/event-log", "/api/history"),
    "/api/decisions?limit=x",
)


async def test_nothing_that_is_served_or_logged_holds_a_secret(
    tmp_path: Path, capsys: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the log's own redaction, which would hide what is looked for here."""
    caplog.set_level("DEBUG")
    async with alert_sink() as sink:
        secrets = (KEY, SECRET, TOKEN, "sink-secret")
        sink.broken = True  # what a library says of its failure must not show the address
        async with house(tmp_path, http={"token": TOKEN}, alerts={"urls": (sink.url,)}) as running:
            await running.open("XRPUSDT", 20, plan_id="leak")
            url = running.app.web.url
            shown = []
            async with aiohttp.ClientSession() as session:
                for path in PATHS:
                    async with session.get(url + path) as answer:
                        shown.append(f"{path} {dict(answer.headers)} {await answer.text()}")
                for headers in (
                    {},
                    {"Authorization": f"Bearer {TOKEN}x"},
                    {"Authorization": f"Bearer {TOKEN}"},
                ):
                    async with session.post(
                        url + "/api/kill", json={"reason": "drill"}, headers=headers
                    ) as answer:
                        shown.append(await answer.text())
                async with session.get(url + "/api/events") as live:
                    shown.append((await live.content.readuntil(b"history")).decode())

            async def failed() -> bool:
                lines = capsys.readouterr().out
                shown.append(lines)
                return "alert_not_sent" in lines

            await until(failed, 30, "the alert that could not be sent")
    shown += [capsys.readouterr().out, caplog.text]
    assert len(shown) > len(PATHS)
    for text in shown:
        assert [secret for secret in secrets if secret in text] == []


async def test_the_test_command_sends_to_every_address_and_shows_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    empty = await run("alerts", "test")
    assert empty.exit_code == 1
    assert "QT_ALERTS__URLS" in empty.output
    async with alert_sink() as good, alert_sink() as bad:
        bad.broken = True
        monkeypatch.setenv("QT_ALERTS__URLS", f"{good.url} {bad.url}")
        told = await run("alerts", "test")
    assert told.exit_code == 1
    assert told.output.splitlines() == ["1 (json): accepted", "2 (json): the address did not accept it"]
    assert "sink-secret" not in told.output
    assert len(good.messages) == 1
