"""A real headless Chromium, where one is installed."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Page, Request, async_playwright, expect

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS = 30_000

expect.set_options(timeout=PATIENCE_MS)  # by itself it waits for 5 s, which a loaded machine may take


def chromium() -> str | None:
    """Return the path of an installed Chromium; None if there is none."""
    return next((path for name in NAMES if (path := shutil.which(name)) is not None), None)


class Seen:
    """What a page did besides showing itself."""

    def __init__(self, page: Page, url: str) -> None:
        self.errors: list[str] = []
        self.elsewhere: list[str] = []
        self._url = url
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda line: self.errors.append(line.text) if line.type == "error" else None)
        page.on("request", self._note)

    def _note(self, request: Request) -> None:
        if not request.url.startswith(self._url):
            self.elsewhere.append(request.url)


@asynccontextmanager
async def browsing(
    url: str, shows: str = "#link[data-tone=good]", **context: Any
) -> AsyncIterator[tuple[Page, Seen]]:
    """Open ``url`` in a browser of its own and wait until it ``shows`` that; by itself: that it is live."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=list(ARGUMENTS))
        page = await (await browser.new_context(**context)).new_page()
        page.set_default_timeout(PATIENCE_MS)
        seen = Seen(page, url)
        await page.goto(url)
        await page.wait_for_selector(shows)
        try:
            yield page, seen
        finally:
            await browser.close()
