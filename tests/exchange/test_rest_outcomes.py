import itertools
from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantum_trader.domain.order import Accepted, ExitOrder, NotSent, OrderStatus, Rejected, Unknown
from quantum_trader.domain.trading import Leg, Side
from quantum_trader.exchange.codes import Refusal, listed_codes, refusal_of
from quantum_trader.exchange.errors import ExchangeUnreachable, HeldBack
from quantum_trader.exchange.outcomes import outcome_of_failure, outcome_of_reply
from quantum_trader.exchange.replies import Reply

ORDER = ExitOrder(Leg("BTCUSDT"), Side.SELL, Decimal("0.01"), "qt-1", 1_789_478_299_014)
ORDER_BODY = {
    "clientOrderId": "qt-1",
    "cumQty": "0.010",
    "executedQty": "0.010",
    "orderId": 22542179,
    "origQty": "0.010",
    "price": "0",
    "reduceOnly": True,
    "side": "SELL",
    "positionSide": "BOTH",
    "status": "FILLED",
    "symbol": "BTCUSDT",
    "type": "MARKET",
    "updateTime": 1566818724722,
}
TEXT_A = "Unknown error, please check your request or try again later."
TEXT_B = "Service Unavailable."
TEXT_C = "Internal error; unable to process your request. Please try again."
TEXT_D = (
    "Request throttled by system-level protection. Reduce-only/close-position orders are exempt. "
    "Please try again."
)


def _body(content: object) -> bytes:
    return content if isinstance(content, bytes) else orjson.dumps(content)


def _outcome(status: int, content: object) -> object:
    return outcome_of_reply(Reply(status, {}, _body(content)), ORDER)


def _forms(text: str, code: int) -> list[bytes]:
    return [
        orjson.dumps({"code": code, "msg": text}),
        orjson.dumps({"msg": text}),
        text.encode(),
        f"  {text}\n".encode(),
        f"<html><head><title>503</title></head><body><h1>{text}</h1></body></html>".encode(),
    ]


def test_a_reply_without_average_price_is_accepted_as_it_stands() -> None:
    outcome = _outcome(200, ORDER_BODY)
    assert isinstance(outcome, Accepted)
    assert outcome.order.status is OrderStatus.FILLED
    assert outcome.order.executed_quantity == Decimal("0.010")
    assert outcome.order.avg_price is None
    assert outcome.order.created_ms is None


@pytest.mark.parametrize("missing", ["orderId", "status", "executedQty", "updateTime", "symbol"])
def test_a_success_that_cannot_be_read_is_unknown(missing: str) -> None:
    content = {name: value for name, value in ORDER_BODY.items() if name != missing}
    outcome = _outcome(200, content)
    assert isinstance(outcome, Unknown)
    assert missing in outcome.reason


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("orderId", "7"), ("orderId", 7.0), ("orderId", True), ("orderId", None), ("updateTime", [])),
        *(("symbol", ""), ("symbol", 5), ("status", "LATER"), ("side", 1), ("positionSide", None)),
        *(
            ("origQty", 5),
            ("origQty", ""),
            ("executedQty", "NaN"),
            ("executedQty", "1e31"),
            ("executedQty", "1_0"),
        ),
        *(("avgPrice", None), ("avgPrice", "x"), ("time", None), ("time", "1")),
    ],
)
def test_a_success_with_a_field_that_cannot_be_it_is_unknown_and_says_which(
    field: str, value: object
) -> None:
    outcome = _outcome(200, ORDER_BODY | {field: value})
    assert isinstance(outcome, Unknown)
    assert f": {field}: " in outcome.reason
    assert repr(value) in outcome.reason


@pytest.mark.parametrize(
    "body",
    [
        b'{"symbol":5,',
        b'{"symbol":"A","symbol":5}',
        orjson.dumps(ORDER_BODY).replace(b"22542179", b"9" * 30),
        orjson.dumps(ORDER_BODY).replace(b"BTCUSDT", b"\xff"),
        orjson.dumps(ORDER_BODY).replace(b"BTCUSDT", b"\\ud800"),
        b'{"deep":%b%b}' % (b"[" * 100_000, b"]" * 100_000),
    ],
)
def test_a_success_that_is_spoilt_is_unknown_and_never_a_crash(body: bytes) -> None:
    assert isinstance(outcome_of_reply(Reply(200, {}, body), ORDER), Unknown)


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b'{"code":-1000,"msg":"x"}', b"\xff\xfe"])
def test_a_success_with_another_body_is_unknown(content: bytes) -> None:
    assert isinstance(_outcome(200, content), Unknown)


@pytest.mark.parametrize("change", [{"clientOrderId": "qt-2"}, {"symbol": "ETHUSDT"}, {"side": "BUY"}])
def test_a_success_about_another_order_is_unknown(change: dict[str, str]) -> None:
    assert isinstance(_outcome(200, ORDER_BODY | change), Unknown)


@pytest.mark.parametrize("body", _forms(TEXT_A, -1000) + _forms(TEXT_A, -1001) + _forms(TEXT_A, -1008))
def test_503_that_says_unknown_is_unknown_in_every_form_and_with_every_code(body: bytes) -> None:
    assert isinstance(_outcome(503, body), Unknown)


@pytest.mark.parametrize(
    ("body", "code"),
    [(body, 0) for body in _forms(TEXT_B, 0)]
    + [(body, -1001) for body in _forms(TEXT_C, -1001)]
    + [(body, -1008) for body in _forms(TEXT_D, -1008)]
    + [(orjson.dumps({"code": -1008, "msg": "Server is currently overloaded."}), -1008)],
)
def test_503_with_a_definite_text_is_rejected_in_every_form(body: bytes, code: int) -> None:
    outcome = _outcome(503, body)
    assert isinstance(outcome, Rejected)
    assert (outcome.code, outcome.http_status) == (code, 503)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"upstream connect error or disconnect/reset before headers",
        b"<html><title>503 Service Temporarily Unavailable</title></html>",
        b"<html><title>503 Service Unavailable</title></html>",
        b"Service Unavailable. Upstream request timeout",
        orjson.dumps({"code": -1001, "msg": "something new"}),
        orjson.dumps({"code": -2019, "msg": "Margin is insufficient."}),
        f"<p>{TEXT_B}</p><p>{TEXT_A}</p>".encode(),
    ],
)
def test_503_with_any_other_body_is_unknown(body: bytes) -> None:
    assert isinstance(_outcome(503, body), Unknown)


@pytest.mark.parametrize(
    ("status", "text"),
    list(itertools.product([500, 502, 504, 520], [TEXT_B, TEXT_C, TEXT_D, "Bad Gateway"])),
)
def test_other_server_errors_are_unknown_whatever_they_say(status: int, text: str) -> None:
    assert isinstance(_outcome(status, {"code": -1008, "msg": text}), Unknown)


@pytest.mark.parametrize("code", [-1000, -1006, -1007, -1010, -2012, -4083])
def test_codes_that_leave_the_state_open_are_unknown(code: int) -> None:
    assert refusal_of(code) is Refusal.UNSETTLED
    assert isinstance(_outcome(400, {"code": code, "msg": "x"}), Unknown)


@pytest.mark.parametrize("code", sorted(listed_codes() - {-1000, -1006, -1007, -1010, -2012, -4083}))
def test_every_other_listed_code_rejects(code: int) -> None:
    outcome = _outcome(400, {"code": code, "msg": "said"})
    assert outcome == Rejected(code, "said", 400)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 414, 415, 418, 429, 431, 451])
@pytest.mark.parametrize("body", [b"", b"<html><h1>Forbidden</h1></html>", b'{"code":-9999,"msg":"new"}'])
def test_statuses_that_refuse_reject_even_without_a_readable_code(status: int, body: bytes) -> None:
    outcome = _outcome(status, body)
    assert isinstance(outcome, Rejected)
    assert outcome.http_status == status
    assert outcome.message


@pytest.mark.parametrize("status", [100, 302, 307, 408, 409, 425, 499, 600])
def test_statuses_without_a_definite_meaning_are_unknown(status: int) -> None:
    assert isinstance(_outcome(status, b"moved"), Unknown)


def test_a_408_is_unknown_with_any_code() -> None:
    assert isinstance(_outcome(408, {"code": -2019, "msg": "Margin is insufficient."}), Unknown)


@pytest.mark.parametrize(
    ("refusal", "codes"),
    [
        (Refusal.TRANSIENT, [-1001, -1008, -1112, -2020, -4117, -4131]),
        (Refusal.THROTTLE, [-1003, -1015]),
        (Refusal.TIME, [-1021, -5028]),
        (Refusal.OPERATOR, [-1002, -1022, -2014, -2015, -2017, -2023, -4088, -4109]),
        (Refusal.OPENING_FORBIDDEN, [-4087, -4105, -4106, -4107, -4140, -4189, -4192, -4400, -4401]),
        (Refusal.MARGIN, [-2018, -2019, -2027, -4050, -4051]),
        (Refusal.POSITION_STATE, [-2022, -2024, -4118]),
        (Refusal.POSITION_MODE, [-1106, -4061]),
        (Refusal.PRECISION, [-1111, -4003, -4004, -4005, -4023, -4164]),
        (Refusal.DUPLICATE, [-4116]),
        (Refusal.NOT_FOUND, [-2011, -2013]),
        (Refusal.ALREADY_SO, [-4046, -4059, -4171]),
        (Refusal.PERMANENT, [-1102, -1121, -4015, -4120, -4069, -4081]),
        (Refusal.UNLISTED, [-9999, 0, 200]),
    ],
)
def test_each_code_means_what_the_table_says(refusal: Refusal, codes: list[int]) -> None:
    assert [refusal_of(code) for code in codes] == [refusal] * len(codes)


def test_no_code_stands_in_the_table_twice() -> None:
    from quantum_trader.exchange import codes  # noqa: PLC0415 - the table is private to its module

    listed = list(itertools.chain.from_iterable(codes._CODES.values()))
    assert len(listed) == len(set(listed)) == len(listed_codes())


def test_a_failure_is_not_sent_only_on_proof() -> None:
    before = ExchangeUnreachable("POST /x", "refused", may_have_been_sent=False)
    after = ExchangeUnreachable("POST /x", "reset", may_have_been_sent=True)
    held = HeldBack("POST /x", "rate limit", retry_after_s=3)
    assert [type(outcome_of_failure(error)) for error in (before, held, after)] == [NotSent, NotSent, Unknown]


_bodies = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=80).map(str.encode),
    st.fixed_dictionaries(
        {}, optional={"code": st.integers() | st.none() | st.text(), "msg": st.text() | st.integers()}
    ).map(lambda content: repr(content).replace("'", '"').encode()),
    st.dictionaries(
        st.sampled_from(list(ORDER_BODY)), st.text() | st.integers(-(2**62), 2**62) | st.none()
    ).map(orjson.dumps),
    st.sampled_from([form for text in (TEXT_A, TEXT_B, TEXT_C, TEXT_D) for form in _forms(text, -1000)]),
)


@given(st.integers(100, 999), _bodies)
def test_whatever_is_answered_there_is_an_outcome_with_a_reason(status: int, body: bytes) -> None:
    outcome = outcome_of_reply(Reply(status, {}, body), ORDER)
    assert isinstance(outcome, Accepted | Rejected | Unknown)
    assert (
        isinstance(outcome, Accepted) or getattr(outcome, "reason", None) or getattr(outcome, "message", None)
    )


@given(st.integers(500, 599), _bodies)
def test_a_server_error_is_unknown_unless_a_definite_text_says_otherwise(status: int, body: bytes) -> None:
    definite = status == 503 and any(text.encode() in body for text in (TEXT_B, TEXT_C, TEXT_D))
    if not definite and b"-1008" not in body:
        assert isinstance(outcome_of_reply(Reply(status, {}, body), ORDER), Unknown)
