"""What a request's body becomes: plans as they are, alerts as TradingView sends them, refusals by name."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantum_trader.domain.plan import Plan
from quantum_trader.pipeline.intake import Refused
from quantum_trader.web.plan_forms import BadForm, checked, plan_of_alert, read_object

NOW_MS = 1_795_000_000_000
ALERT = {
    "ticker": "BINANCE:BTCUSDT.P",
    "action": "buy",
    "contracts": "0.002",
    "market_position": "long",
    "time": "2026-11-18T11:06:40Z",
    "price": "98000.5",
    "token": "a-secret",
}


def planned(**changes: Any) -> Plan:
    """Return the plan that an alert becomes, read as the chain reads it."""
    fields = plan_of_alert({name: one for name, one in (ALERT | changes).items() if one is not None})
    found = checked({"decision": "EXECUTE", "plan_id": "made-here"} | fields, NOW_MS)
    assert isinstance(found, Plan)
    return found


@pytest.mark.parametrize(
    "ticker",
    ["BTCUSDT", "BTCUSDT.P", "BTCUSDTPERP", "BINANCE:BTCUSDT", "BINANCE:BTCUSDT.P", "binance:btcusdt.p"],
)
def test_every_way_of_writing_the_symbol_means_the_same(ticker: str) -> None:
    assert planned(ticker=ticker).symbol == "BTCUSDT"


def test_an_alert_opens_and_is_dated_with_its_own_time() -> None:
    plan = planned()
    assert (plan.side, plan.quantity, plan.reduce_only) == ("BUY", Decimal("0.002"), False)
    assert plan.issued_at_ms == NOW_MS
    assert planned(time="2026-11-18T11:06:00Z").issued_at_ms == NOW_MS - 40_000


@pytest.mark.parametrize(
    "closing", [{"market_position": "flat", "action": "sell"}, {"action": "close", "contracts": None}]
)
def test_an_alert_after_which_the_strategy_is_flat_closes_whatever_is_held(closing: dict[str, Any]) -> None:
    plan = planned(**closing)
    assert (plan.action, plan.quantity, plan.reduce_only) == ("FULL_CLOSE_PROPOSED", 0, True)
    assert plan.side in ("SELL", "CLOSE")


@pytest.mark.parametrize(
    ("action", "market_position", "said", "reduces"),
    [
        ("sell", "long", None, True),
        ("buy", "short", None, True),
        ("SHORT", "Long", None, True),
        ("sell", "long", "false", True),
        ("buy", "long", None, False),
        ("sell", "short", None, False),
        ("buy", "long", "true", True),
        ("sell", None, "true", True),
        ("sell", "not told", "yes", True),
        ("sell", None, "false", False),
    ],
)
def test_inc_60_an_alert_opens_only_where_it_says_so(
    action: str, market_position: str | None, said: str | None, reduces: bool
) -> None:
    plan = planned(action=action, market_position=market_position, reduceOnly=said)
    assert (plan.reduce_only, plan.quantity) == (reduces, Decimal("0.002"))


def test_inc_05_the_same_alert_is_the_same_plan_and_the_next_one_another() -> None:
    again = planned(token="rotated-meanwhile")
    assert planned().plan_id == again.plan_id
    later = planned(time="2026-11-18T11:06:41Z")
    other = planned(contracts="0.003")
    assert len({planned().plan_id, later.plan_id, other.plan_id}) == 3
    assert planned(plan_id="mine").plan_id == "mine"


def test_the_token_stays_out_of_the_plan() -> None:
    assert "a-secret" not in str(plan_of_alert(ALERT))


@pytest.mark.parametrize(
    ("change", "field", "says"),
    [
        ({"ticker": "BYBIT:BTCUSDT.P"}, "ticker", "not on BYBIT"),
        ({"ticker": "BTC/USDT"}, "ticker", "BINANCE:BTCUSDT.P"),
        ({"ticker": ""}, "ticker", "BTCUSDT"),
        ({"action": "hold"}, "action", "buy, long, sell, short, close"),
        ({"time": ""}, "time", "{{timenow}}"),
        ({"time": "{{timenow}}"}, "timestamp", "ISO 8601"),
        ({"contracts": ""}, "qty", "required"),
        ({"contracts": "{{strategy.order.contracts}}"}, "qty", "decimal number"),
        ({"contracts": "1e3"}, "qty", "decimal number"),
        ({"market_position": None}, "reduceOnly", "never assumed false"),
        ({"market_position": "{{strategy.market_position}}"}, "market_position", "long, short, flat"),
        ({"market_position": "up", "reduceOnly": "false"}, "market_position", "long, short, flat"),
        ({"time": None}, "time", "sent again"),
        ({"type": "LIMIT"}, "type", "MARKET"),
        ({"leverage": "2.5"}, "leverage", "whole number"),
    ],
)
def test_a_wrong_alert_is_refused_with_the_field_and_what_is_allowed(
    change: dict[str, str | None], field: str, says: str
) -> None:
    with pytest.raises(BadForm) as refused:
        planned(**change)
    assert refused.value.field == field
    assert says in str(refused.value)


TEMPLATE = """{
  "token": "a-secret", "passphrase": "of-another-receiver",
  "ticker": "BTCUSDT.P", "exchange": "BINANCE", "interval": "15", "time": "2026-11-18T11:06:40Z",
  "bar": {"time": "2026-11-18T11:00:00Z", "close": 98000.50},
  "strategy": %s
}"""


@pytest.mark.parametrize(
    "strategy",
    [
        '{"order_action": "sell", "order_contracts": 0.0020, "market_position": "long", "order_id": "TP 1"}',
        '{"order": {"action": "sell", "contracts": 0.0020, "id": "TP 1"}, "market_position": "long"}',
    ],
)
def test_an_alert_may_nest_what_it_says_of_the_order_and_the_rest_travels_along(strategy: str) -> None:
    plan = planned(**dict.fromkeys(ALERT) | read_object((TEMPLATE % strategy).encode()))
    assert (plan.symbol, plan.side, plan.quantity) == ("BTCUSDT", "SELL", Decimal("0.002"))
    assert plan.reduce_only is True
    carried = plan.carried or {}
    assert (carried["exchange"], carried["interval"], carried["bar.close"]) == ("BINANCE", "15", "98000.50")
    assert "TP 1" in carried.values()
    assert not {"a-secret", "of-another-receiver"} & set(carried.values())


def test_what_an_alert_says_besides_changes_nothing_of_the_order() -> None:
    plan = planned(
        symbol="XRPUSDT", side="SELL", qty="9", timestamp="1", source="me", comment="TP", permit="yes"
    )
    assert (plan.symbol, plan.side, plan.quantity, plan.source) == (
        "BTCUSDT",
        "BUY",
        Decimal("0.002"),
        "tradingview",
    )
    assert plan.issued_at_ms == NOW_MS
    carried = plan.carried or {}
    assert (carried["alert_symbol"], carried["alert_qty"], carried["comment"]) == ("XRPUSDT", "9", "TP")


def test_plain_fields_count_before_nested_ones() -> None:
    assert planned(**{"strategy.order_action": "sell", "strategy.order_contracts": "9"}).side == "BUY"


def test_an_exit_needs_no_time_and_two_alike_are_two_exits() -> None:
    partial = ALERT | {"time": "", "action": "sell"}
    assert "plan_id" not in plan_of_alert(partial)
    assert "plan_id" not in plan_of_alert(partial | {"market_position": "flat"})
    assert planned(time=None, action="sell").issued_at_ms == NOW_MS
    assert planned(time=None, plan_id="mine").plan_id == "mine"


@pytest.mark.parametrize(
    "body",
    [
        b'{"ticker": "BTCUSDT", "orders": [1]}',
        b'{"ticker": "BTCUSDT", "a": {"b": {"c": {"d": 1}}}}',
        b'{"ticker": "BTCUSDT", "a": {' + b",".join(b'"%d": 1' % n for n in range(60)) + b"}}",
    ],
)
def test_an_alert_holds_no_list_nothing_deep_and_not_too_much(body: bytes) -> None:
    with pytest.raises(BadForm):
        read_object(body)


def test_numbers_in_json_keep_every_digit() -> None:
    assert read_object(b'{"qty": 0.34999999999999999999, "reduceOnly": false, "leverage": null}') == {
        "qty": "0.34999999999999999999",
        "reduceOnly": "false",
    }


@pytest.mark.parametrize(
    "body",
    [b"", b"buy", b"[1]", b'"x"', b"\xff\xfe", b"[" * 9000, b'{"a": [1]}', b'{"a": {}}', b'{"a": "\\ud800"}'],
)
def test_what_is_no_flat_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadForm):
        read_object(body)


@given(st.dictionaries(st.text(max_size=12), st.text(max_size=40), max_size=8))
def test_whatever_the_fields_say_they_are_a_plan_or_refused(fields: dict[str, str]) -> None:
    found: Plan | Refused | BadForm
    try:
        found = checked(fields, NOW_MS)
    except BadForm as refused:
        found = refused
    assert isinstance(found, (Plan, Refused, BadForm))


def test_a_malformed_optional_field_refuses_an_open_and_not_an_exit() -> None:
    plan = {"plan_id": "p", "decision": "EXECUTE", "symbol": "XRPUSDT", "side": "BUY", "qty": "1"}
    with pytest.raises(BadForm, match="confidence: a decimal number"):
        checked(plan | {"reduceOnly": "false", "confidence": "high"}, NOW_MS)
    assert isinstance(checked(plan | {"reduceOnly": "true", "confidence": "high"}, NOW_MS), Plan)
