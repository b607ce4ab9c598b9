"""The HTTP side of whole engines, each on an exchange and a Valkey of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.house import KEY, SECRET, House, house
from support.web import TOKEN


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trade on the drill's own account."""
    monkeypatch.setenv("BINANCE_TESTNET_API_KEY", KEY)
    monkeypatch.setenv("BINANCE_TESTNET_API_SECRET", SECRET)


@pytest.fixture
async def running(tmp_path: Path, account: None) -> AsyncIterator[House]:
    """An engine with wide limits whose page can be reached, and changed with ``TOKEN``."""
    async with house(tmp_path, http={"token": TOKEN}) as started:
        yield started
