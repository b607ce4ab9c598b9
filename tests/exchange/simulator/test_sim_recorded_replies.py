"""Public REST replies beside those that were recorded live: the same fields and the same JSON types."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from test_sim_recorded_frames import RECORDED, shape

from quantum_trader.exchange.simulator import Request

FILE = RECORDED / "rest_public_2026-09-15.json"
PATHS = (
    "/fapi/v1/time",
    "/fapi/v1/premiumIndex?symbol=BTCUSDT",
    "/fapi/v1/openInterest?symbol=BTCUSDT",
    "/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=3",
    "/fapi/v1/fundingRate?symbol=BTCUSDT&limit=2",
    "/fapi/v1/ticker/24hr?symbol=BTCUSDT",
    "/fapi/v1/ticker/price?symbol=BTCUSDT",
    "/fapi/v2/ticker/price?symbol=BTCUSDT",
    "/fapi/v1/ticker/bookTicker?symbol=BTCUSDT",
    "/fapi/v1/depth?symbol=BTCUSDT&limit=5",
    "/fapi/v1/aggTrades?symbol=BTCUSDT&limit=2",
)

pytestmark = pytest.mark.skipif(not FILE.exists(), reason=f"the recorded replies are not at {FILE}")


@pytest.fixture
def recorded() -> dict[str, Any]:
    content: dict[str, Any] = orjson.loads(FILE.read_bytes())
    return content


def ask(desk: Any, target: str) -> tuple[int, Any]:
    path, _, query = target.partition("?")
    reply = desk.gateway.handle(Request("GET", path, query.encode()), desk.now_ms)
    return reply.status, orjson.loads(reply.body)


@pytest.mark.parametrize("target", PATHS)
def test_a_public_reply_has_the_recorded_shape(desk: Any, recorded: dict[str, Any], target: str) -> None:
    assert shape(ask(desk, target)[1]) == shape(recorded[f"GET {target}"])


def test_exchange_info_has_the_recorded_shape(desk: Any, recorded: dict[str, Any]) -> None:
    ours = ask(desk, "/fapi/v1/exchangeInfo")[1]
    assert list(ours) == recorded["exchangeInfo.top_level_keys"]
    assert shape(ours["rateLimits"]) == shape(recorded["exchangeInfo.rateLimits"])
    symbol, live = ours["symbols"][0], recorded["exchangeInfo.symbols[BTCUSDT]"]
    assert shape(symbol) == shape(live)
    filters = {row["filterType"]: set(row) for row in symbol["filters"]}
    assert filters == {row["filterType"]: set(row) for row in live["filters"]}


def test_errors_have_the_recorded_statuses_codes_and_texts(desk: Any, recorded: dict[str, Any]) -> None:
    rows = [row for row in recorded["errors"] if "(no key)" not in row["request"]]
    assert len(rows) == 5
    for row in rows:
        assert ask(desk, row["request"].removeprefix("GET ")) == (row["http"], row["body"])
