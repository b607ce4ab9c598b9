"""The page in a real headless Chromium, on a real engine."""

from typing import Any

import pytest
from playwright.async_api import Page, expect
from support.browser import PATIENCE_MS, browsing, chromium
from support.house import House, until
from support.web import TOKEN

from quantum_trader.domain.clock import SystemClock
from quantum_trader.stores.archive import Archive
from quantum_trader.web.service import WebService

pytestmark = [
    pytest.mark.drill,
    pytest.mark.skipif(chromium() is None, reason="no Chromium is installed (Debian: apt install chromium)"),
]
HOSTILE = "<img src=x onerror=window.hacked=1>"
CONTRAST = """
() => {
  const parse = (text) => text.match(/[0-9.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.matches(":disabled, noscript, .skip")) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) faint.push(`${element.tagName} ${element.className} ${ratio.toFixed(2)}`);
  }
  return faint;
}
"""


async def held_in_redis(running: House) -> str:
    value: Any = await running.redis.get(running.keys.kill)
    return value.decode() if value is not None else ""


async def command(page: Page, button: str, reason: str, token: str = "", scope: str = "") -> None:
    """Press Kill or Resume and send the dialog."""
    await page.click(f"#{button}")
    if scope:
        await page.check(f"input[name=scope][value={scope}]")
    await page.fill("#reason", reason)
    if token:
        await page.fill("#token", token)
    await page.click("#control-send")


async def test_the_page_loads_whole_from_the_engine_and_shows_a_plan_as_it_happens(running: House) -> None:
    async with browsing(running.app.web.url) as (page, seen):
        await expect(page.locator("#positions")).to_contain_text("Flat.")
        result = await running.open("XRPUSDT", 20)
        row = page.locator("#decisions > li").first
        await expect(row).to_contain_text(result["plan_id"], timeout=PATIENCE_MS)
        await expect(row).to_contain_text("filled")
        position = page.locator(".position")
        await expect(position).to_contain_text("XRPUSDT", timeout=PATIENCE_MS)
        await expect(position.locator("[role=meter]")).to_have_count(3)
        await row.locator("summary").click()
        await expect(row.locator(".chain li").first).to_be_visible()
        gates = await row.locator(".chain strong").all_inner_texts()
        assert gates.index("kill_switch") < gates.index("rate_limit") < gates.index("exchange_sizing")
        await expect(page.locator("#sentence")).to_contain_text(
            "Trading: 1 order filled", timeout=PATIENCE_MS
        )
        assert seen.errors == []
        assert seen.elsewhere == []


async def test_why_nothing_trades_is_answered_at_the_top(running: House) -> None:
    async with browsing(running.app.web.url) as (page, _):
        await running.open("XRPUSDT", 20, kill_score="0.95")
        sentence = page.locator("#sentence")
        await expect(sentence).to_contain_text("kill_score_critical_open", timeout=PATIENCE_MS)
        await expect(page.locator("#reasons > li").first).to_contain_text("kill_score")


async def test_kill_and_resume_with_a_reason(running: House) -> None:
    async with browsing(running.app.web.url) as (page, _):
        await command(page, "kill", "moon too bright", TOKEN)
        await expect(page.locator("#sentence")).to_contain_text("moon too bright", timeout=PATIENCE_MS)
        await expect(page.locator("#latches")).to_contain_text("kill switch")
        assert await held_in_redis(running) == "opens"
        assert (await running.open())["reason"] == "kill_switch_active"
        await command(page, "resume", "it set")
        await expect(page.locator("#latches-empty")).to_be_visible(timeout=PATIENCE_MS)
        assert await held_in_redis(running) == ""
        assert (await running.open())["decision"] == "FILLED"
        await command(page, "kill", "everything", scope="all")
        await until(lambda: _is(running, "1"), 20, "the kill switch")
    events = await running.events("KILL_SWITCH_CHANGED")
    assert [(event["kill"], event["reason"]) for event in events] == [
        ("opens", "moon too bright"),
        ("0", "it set"),
        ("1", "everything"),
    ]


async def _is(running: House, value: str) -> bool:
    return await held_in_redis(running) == value


async def test_a_wrong_token_changes_nothing_and_is_asked_for_again(running: House) -> None:
    async with browsing(running.app.web.url) as (page, _):
        await command(page, "kill", "a guess", "wrong-token-wrong-token")
        await expect(page.locator("#control-error")).to_contain_text("token is wrong")
        assert await held_in_redis(running) == ""
        await expect(page.locator("#token")).to_be_visible()
        kept = await page.evaluate(
            "[sessionStorage.length, localStorage.length, document.cookie, location.href]"
        )
        assert kept == [0, 0, "", running.app.web.url + "/"]
        await page.fill("#token", TOKEN)
        await page.click("#control-send")
        await until(lambda: _is(running, "opens"), 20, "the kill switch")


async def test_hostile_texts_stay_texts(running: House) -> None:
    async with browsing(running.app.web.url) as (page, seen):
        await running.open("XRPUSDT", 20, plan_id=HOSTILE, source=HOSTILE)
        await running.result(await running.submit(plan_id=HOSTILE + "2", symbol=HOSTILE, side="BUY", qty=1))
        await command(page, "kill", HOSTILE, TOKEN)
        await expect(page.locator("#sentence")).to_contain_text(HOSTILE, timeout=PATIENCE_MS)
        rows = page.locator("#decisions > li")
        await expect(rows).to_have_count(2, timeout=PATIENCE_MS)
        for number in range(2):
            await rows.nth(number).locator("summary").click()
            await expect(rows.nth(number).locator(".story p").first).not_to_have_text("Asking…")
            await expect(rows.nth(number)).to_contain_text(HOSTILE)
        await expect(page.locator("#events")).to_contain_text(HOSTILE)
        assert await page.locator("img").count() == 0
        assert await page.evaluate("window.hacked") is None
        assert seen.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_phone_shows_it_without_sideways_scrolling_and_with_contrast(
    running: House, scheme: Any
) -> None:
    await running.open("XRPUSDT", 20, plan_id="x" * 128)
    await running.open("BTCUSDT", 1000, plan_id="y" * 128, kill_score="0.9")
    phone = {"viewport": {"width": 375, "height": 812}, "color_scheme": scheme}
    async with browsing(running.app.web.url, **phone) as (page, _):
        await page.locator("#decisions summary").first.click()
        await expect(page.locator(".chain")).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") == 375
        assert await page.evaluate(CONTRAST) == []
        await page.click("#kill")
        box = await page.locator("#control").bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 375
        assert await page.evaluate(CONTRAST) == []
        ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == {"light": "rgb(243, 245, 247)", "dark": "rgb(14, 17, 20)"}[scheme]


async def test_the_keyboard_alone_suffices(running: House) -> None:
    async with browsing(running.app.web.url) as (page, _):
        focused = "document.activeElement.id || document.activeElement.className"
        order = []
        for _ in range(2):
            await page.keyboard.press("Tab")
            order.append(await page.evaluate(focused))
        assert order == ["skip", "kill"]
        await page.keyboard.press("Enter")
        await expect(page.locator("#control")).to_be_visible()
        assert await page.evaluate(focused) == "reason"
        await page.keyboard.press("Escape")
        await expect(page.locator("#control")).to_be_hidden()
        assert await page.evaluate(focused) == "kill"


async def test_everything_has_a_name_for_a_screen_reader(running: House) -> None:
    await running.open("XRPUSDT", 20)
    async with browsing(running.app.web.url) as (page, _):
        await expect(page.locator(".position")).to_be_visible()
        nameless = await page.evaluate(
            """() => [...document.querySelectorAll("section, dialog, input, button, figure > div")]
              .filter((e) => !(e.getAttribute("aria-label") || e.getAttribute("aria-labelledby")
                || e.labels?.length || e.textContent.trim())).map((e) => e.outerHTML)"""
        )
        assert nameless == []
        assert await page.locator("main").count() == await page.locator("h1").count() == 1
        assert await page.locator("#sentence").get_attribute("aria-live") == "polite"


async def test_a_lost_connection_is_said_and_made_again(running: House) -> None:
    async with browsing(running.app.web.url) as (page, _):
        await page.evaluate(
            """() => {
              window.said = [];
              const link = document.getElementById("link");
              const note = () => window.said.push(link.textContent);
              new MutationObserver(note).observe(link, { childList: true, subtree: true });
            }"""
        )
        await running.app.web.live._end_all(None)  # type: ignore[arg-type]  # as when the engine stops
        result = await running.open()

        async def came_back() -> bool:
            return await page.evaluate("window.said.join()") == "reconnecting,live"

        await until(came_back, 30, "the connection to come back")
        rows = page.locator("#decisions > li")
        await expect(rows).to_have_count(1, timeout=PATIENCE_MS)
        await expect(rows.first).to_contain_text(result["plan_id"])


async def test_beyond_loopback_the_page_asks_for_the_token_before_it_shows_anything(
    running: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quantum_trader.web.auth.is_loopback", lambda _: False)
    app = running.app
    other = WebService(lambda: app.config, Archive(app.config.state_dir, 1), SystemClock())
    await other.start()
    try:
        async with browsing(other.url, "#control[open]") as (page, _):
            await expect(page.locator("#control-title")).to_have_text("Token")
            await expect(page.locator("#tiles")).to_be_empty()
            await page.fill("#token", TOKEN)
            await page.click("#control-send")
            await expect(page.locator("#link")).to_have_text("live", timeout=PATIENCE_MS)
            await expect(page.locator("#tiles")).to_contain_text("Equity")
    finally:
        await other.stop()
