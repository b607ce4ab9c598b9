import json
from decimal import Decimal
from pathlib import Path

import pytest

from quantum_trader.domain.trading import QuantityLimits
from quantum_trader.exchange.errors import ReplyUnreadable
from quantum_trader.exchange.filters import exchange_info
from quantum_trader.exchange.weight import Counter, RateLimit

RECORDED = Path(__file__).parents[3] / "shared" / "data"


def _symbol(
    *filters: dict[str, object], symbol: str = "BTCUSDT", status: str = "TRADING"
) -> dict[str, object]:
    return {"symbol": symbol, "status": status, "filters": list(filters)}


def _size(kind: str, minimum: str, maximum: str, step: str) -> dict[str, object]:
    return {"filterType": kind, "minQty": minimum, "maxQty": maximum, "stepSize": step}


def _info(*symbols: dict[str, object]) -> dict[str, object]:
    return {"symbols": list(symbols), "rateLimits": []}


def _limits(*filters: dict[str, object]) -> QuantityLimits:
    return exchange_info(_info(_symbol(*filters))).rules["BTCUSDT"].market_quantity


@pytest.mark.parametrize(
    ("plain", "market", "combined"),
    [
        (("0.001", "1000", "0.001"), ("0.001", "120", "0.001"), ("0.001", "120", "0.001")),
        (("0.01", "10", "0.01"), ("0.001", "120", "0.001"), ("0.01", "10", "0.01")),
        (("1", "100", "2"), ("1", "100", "3"), ("1", "100", "6")),
        (("0.1", "100", "0.25"), ("0.1", "100", "0.1"), ("0.1", "100", "0.5")),
        (("0.001", "1000", "0.001"), ("0", "120", "0"), ("0.001", "120", "0.001")),
        (("0.001", "0", "0.001"), ("0.001", "0", "0.001"), ("0.001", "0", "0.001")),
        (("0.001", "0", "0.001"), ("0.001", "7", "0.001"), ("0.001", "7", "0.001")),
        (("1E-3", "1E+3", "1e-3"), ("0.0010", "1.2E2", "0.00100"), ("0.001", "120", "0.001")),
        (("5", "500", "5"), ("25", "250", "25"), ("25", "250", "25")),
    ],
)
def test_a_market_order_must_satisfy_both_lot_filters(
    plain: tuple[str, str, str], market: tuple[str, str, str], combined: tuple[str, str, str]
) -> None:
    both = _limits(_size("LOT_SIZE", *plain), _size("MARKET_LOT_SIZE", *market))
    assert both == QuantityLimits(*map(Decimal, combined))


def test_one_lot_filter_alone_holds_and_none_limits_nothing() -> None:
    assert _limits(_size("LOT_SIZE", "1", "9", "1")) == QuantityLimits(Decimal(1), Decimal(9), Decimal(1))
    assert _limits() == QuantityLimits(Decimal(0), Decimal(0), Decimal(0))


def test_the_minimum_notional_is_read_and_0_where_there_is_none() -> None:
    content = _info(
        _symbol({"filterType": "MIN_NOTIONAL", "notional": "50"}, symbol="A"), _symbol(symbol="B")
    )
    rules = exchange_info(content).rules
    assert (rules["A"].notional_min, rules["B"].notional_min) == (50, 0)


def test_unknown_filters_statuses_and_rate_limits_are_passed_over() -> None:
    content = _info(_symbol({"filterType": "POSITION_RISK_CONTROL", "x": None}, status="HIBERNATING"))
    content["rateLimits"] = [
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000},
        {"rateLimitType": "MOOD", "interval": "MINUTE", "intervalNum": 1, "limit": 1},
        {"rateLimitType": "ORDERS", "interval": "FORTNIGHT", "intervalNum": 1, "limit": 1},
    ]
    info = exchange_info(content)
    assert info.rules["BTCUSDT"].status == "HIBERNATING"
    assert not info.rules["BTCUSDT"].is_trading
    assert info.rate_limits == (RateLimit(Counter.WEIGHT, 60_000, 6_000),)


@pytest.mark.parametrize(
    "step", ["", "abc", "NaN", "Infinity", "-1", "1_0", "1e-99", "1e999999999", "٣", 0.001, None]
)
def test_a_symbol_with_a_damaged_filter_is_named_and_takes_no_other_down(step: object) -> None:
    damaged = _symbol(_size("LOT_SIZE", "1", "9", step), symbol="BAD")  # type: ignore[arg-type]
    info = exchange_info(_info(damaged, _symbol()))
    assert list(info.rules) == ["BTCUSDT"]
    assert "stepSize" in info.unreadable["BAD"]


@pytest.mark.parametrize("content", [[], {}, {"symbols": {}}, {"symbols": []}, {"symbols": [7]}, "x", None])
def test_a_reply_of_another_shape_raises_an_error_that_names_the_endpoint(content: object) -> None:
    with pytest.raises(ReplyUnreadable, match="GET /fapi/v1/exchangeInfo"):
        exchange_info(content)


def test_recorded_replies_of_the_exchange_are_read_whole() -> None:
    if not RECORDED.exists():
        pytest.skip(f"no recorded data at {RECORDED}")
    recorded = exchange_info(json.loads((RECORDED / "exchangeInfo-2021-07-22.json").read_text()))
    assert len(recorded.rules) == 122
    assert not recorded.unreadable
    live = json.loads((RECORDED / "live-2024-2026" / "rest_public_2026-09-15.json").read_text())
    info = exchange_info(
        {"symbols": [live["exchangeInfo.symbols[BTCUSDT]"]], "rateLimits": live["exchangeInfo.rateLimits"]}
    )
    bitcoin = info.rules["BTCUSDT"]
    assert bitcoin.market_quantity == QuantityLimits(Decimal("0.001"), Decimal(120), Decimal("0.001"))
    assert (bitcoin.notional_min, bitcoin.is_trading) == (50, True)
    assert info.rate_limits == (
        RateLimit(Counter.WEIGHT, 60_000, 2_400),
        RateLimit(Counter.ORDERS, 60_000, 1_200),
        RateLimit(Counter.ORDERS, 10_000, 300),
    )
