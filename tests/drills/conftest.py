"""Drills run on real processes and sockets, each on an exchange and a Valkey of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.house import KEY, SECRET, House, house


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trade on the drill's own account."""
    monkeypatch.setenv("BINANCE_TESTNET_API_KEY", KEY)
    monkeypatch.setenv("BINANCE_TESTNET_API_SECRET", SECRET)


@pytest.fixture(autouse=True)
def lasting_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a loaded machine the chore may be late; an engine that stops deletes its status itself."""
    monkeypatch.setattr("quantum_trader.housekeeping.STATUS_TTL_MS", 60_000)


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[House]:
    """An engine with wide limits."""
    async with house(tmp_path) as started:
        yield started
