import ast
import asyncio
import gc
import re
from decimal import Decimal
from pathlib import Path
from types import FunctionType, ModuleType

import pytest
from aioresponses import aioresponses
from exchange_stubs import NOW_MS, Connect, StartServer, WireServer, answering_in_turn, http_answer
from hypothesis import assume, given
from hypothesis import strategies as st

import quantum_trader
from quantum_trader.domain.order import Claimed, ExitOrder, NotSent, Rejected, Unknown
from quantum_trader.domain.trading import Leg, PositionSide, Side
from quantum_trader.exchange.binance import Exchange
from quantum_trader.exchange.entry_port import RestEntryPort
from quantum_trader.exchange.errors import ExchangeError, ExchangeThrottled, KeyRefused, ReplyUnreadable
from quantum_trader.exchange.order_params import exit_params, open_params, plain_decimal
from quantum_trader.exchange.ports import EntryPort, ExitPort

BASE = "https://exchange.test"
legs = st.sampled_from([Leg("BTCUSDT", side) for side in PositionSide])
quantities = st.decimals(
    min_value=Decimal("1e-18"), max_value=Decimal("1e15"), allow_nan=False, allow_infinity=False
)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("0.0100", "0.01"),
        ("1E-7", "0.0000001"),
        ("1E+3", "1000"),
        ("100", "100"),
        ("100.000", "100"),
        ("-0.50", "-0.5"),
        ("0.34999", "0.34999"),
    ],
)
def test_a_quantity_is_written_plainly_and_exactly(number: str, text: str) -> None:
    assert plain_decimal(Decimal(number)) == text


@given(quantities)
def test_a_quantity_never_shows_an_exponent_and_never_changes(number: Decimal) -> None:
    text = plain_decimal(number)
    assert set(text) <= set("0123456789.")
    assert Decimal(text) == number
    assert not ("." in text and text.endswith(("0", ".")))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_quantity_that_is_no_number_is_refused(number: str) -> None:
    with pytest.raises(ValueError, match="cannot be sent"):
        plain_decimal(Decimal(number))


def test_an_exit_in_one_way_mode_says_reduce_only(exit_order: ExitOrder) -> None:
    assert exit_params(exit_order, 3_000) == (
        ("symbol", "BTCUSDT"),
        ("side", "SELL"),
        ("positionSide", "BOTH"),
        ("type", "MARKET"),
        ("quantity", "0.01"),
        ("newClientOrderId", "qt-exit"),
        ("newOrderRespType", "RESULT"),
        ("reduceOnly", "true"),
        ("recvWindow", "3000"),
        ("timestamp", str(NOW_MS - 7)),
    )


def test_an_exit_in_hedge_mode_names_its_leg_and_leaves_reduce_only_out() -> None:
    order = ExitOrder(Leg("BTCUSDT", PositionSide.SHORT), Side.BUY, Decimal(1), "qt-1", 5)
    params = dict(exit_params(order, 3_000))
    assert (params["positionSide"], params["side"]) == ("SHORT", "BUY")
    assert "reduceOnly" not in params


@given(legs, st.sampled_from(list(Side)), quantities)
def test_no_exit_order_has_parameters_that_could_open(leg: Leg, side: Side, quantity: Decimal) -> None:
    try:
        order = ExitOrder(leg, side, quantity, "qt-1", 5)
    except ValueError:
        assume(False)
    params = dict(exit_params(order, 3_000))
    reduces_leg = (params["positionSide"], params["side"]) in (("LONG", "SELL"), ("SHORT", "BUY"))
    assert params.get("reduceOnly") == "true" or reduces_leg


def test_an_open_carries_the_stored_timestamp_and_is_not_reduce_only(claimed: Claimed) -> None:
    params = dict(open_params(claimed.order, 2_500))
    assert (params["timestamp"], params["recvWindow"]) == (str(NOW_MS - 9), "2500")
    assert (params["quantity"], params["side"], params["type"]) == ("0.002", "BUY", "MARKET")
    assert "reduceOnly" not in params


async def test_nothing_but_a_claim_opens(exchange: Exchange, claimed: Claimed, exit_order: ExitOrder) -> None:
    for unclaimed in (claimed.order, exit_order, None):
        with pytest.raises(TypeError, match="only a Claimed"):
            await exchange.entry.open_position(unclaimed)  # type: ignore[arg-type]


async def test_nothing_but_an_exit_order_reduces(exchange: Exchange, claimed: Claimed) -> None:
    for other in (claimed, claimed.order, None):
        with pytest.raises(TypeError, match="only an ExitOrder"):
            await exchange.exits.reduce_position(other)  # type: ignore[arg-type]


def test_the_ports_satisfy_the_contract(exchange: Exchange) -> None:
    entry: EntryPort = exchange.entry
    exits: ExitPort = exchange.exits
    assert not hasattr(exits, "open_position")
    assert not hasattr(entry, "reduce_position")


def _reachable(start: object) -> list[object]:
    """Return all that ``start`` leads to, classes, modules and functions' globals left out."""
    seen, queue = {id(start): start}, [start]
    while queue:
        for found in gc.get_referents(queue.pop()):
            if isinstance(found, type | ModuleType) or id(found) in seen:
                continue
            seen[id(found)] = found
            if not isinstance(found, FunctionType):
                queue.append(found)
    return list(seen.values())


def test_the_exit_port_cannot_reach_what_opens(exchange: Exchange) -> None:
    reached = _reachable(exchange.exits)
    assert exchange.exits._transport in reached
    assert not any(isinstance(each, RestEntryPort | Exchange) for each in reached)
    assert RestEntryPort.open_position not in reached


def _functions_naming(name: str) -> set[str]:
    found = set()
    for path in Path(quantum_trader.__file__).parent.rglob("*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                names = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
                if name in names:
                    found.add(f"{path.name}:{function.name}")
    return found


def test_one_function_in_the_tree_builds_what_opens_and_two_send_orders() -> None:
    builders = _functions_naming("open_params")
    assert builders == {"entry_port.py:open_position", "order_probe.py:check"}
    assert _functions_naming("TEST_ORDER") == {"order_probe.py:check"}  # which places nothing
    senders = _functions_naming("NEW_ORDER") - {"outcomes.py:_outcome_of_success"}
    assert senders == {"entry_port.py:open_position", "exit_port.py:reduce_position"}


async def test_a_rejection_keeps_code_and_message(
    wire: StartServer, connected: Connect, claimed: Claimed
) -> None:
    answer = http_answer("400 Bad Request", b'{"code":-2019,"msg":"Margin is insufficient."}')
    server = await wire(answering_in_turn(answer))
    outcome = await connected(server.url).entry.open_position(claimed)
    assert outcome == Rejected(-2019, "Margin is insufficient.", 400)


async def test_an_order_is_never_repeated_whatever_is_answered(
    wire: StartServer, connected: Connect, claimed: Claimed, exit_order: ExitOrder
) -> None:
    answers = (
        http_answer("503 Service Unavailable", b"Service Unavailable."),
        http_answer("500 Internal Server Error", b""),
    )
    server = await wire(answering_in_turn(*answers))
    exchange = connected(server.url, request_timeout_s=0.4)
    assert isinstance(await exchange.entry.open_position(claimed), Rejected)
    assert isinstance(await exchange.exits.reduce_position(exit_order), Unknown)
    assert isinstance(await exchange.exits.reduce_position(exit_order), Unknown)  # not answered
    assert len(server.requests) == 3


async def test_after_a_ban_no_order_leaves_and_after_a_429_exits_still_do(
    wire: StartServer, connected: Connect, claimed: Claimed, exit_order: ExitOrder
) -> None:
    answers = (
        http_answer("429 Too Many Requests", b'{"code":-1003,"msg":"Too many requests"}'),
        http_answer("418 I'm a teapot", b'{"code":-1003,"msg":"Way too many requests"}'),
    )
    server = await wire(answering_in_turn(*answers))
    exchange = connected(server.url)
    assert isinstance(await exchange.entry.open_position(claimed), Rejected)
    assert isinstance(await exchange.entry.open_position(claimed), NotSent)
    assert isinstance(await exchange.exits.reduce_position(exit_order), Rejected)
    outcome = await exchange.exits.reduce_position(exit_order)
    assert isinstance(outcome, NotSent)
    assert "banned" in outcome.reason
    assert len(server.requests) == 2


@pytest.mark.parametrize("code", [-4061, -1106])
async def test_an_order_of_the_wrong_mode_has_the_mode_read_again(
    wire: StartServer, connected: Connect, exit_order: ExitOrder, code: int
) -> None:
    modes = [b'{"dualSidePosition":false}', b'{"dualSidePosition":true}']

    async def treat(server: WireServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = await server.read_request(reader)
            if b"positionSide/dual" in request:
                writer.write(http_answer("200 OK", modes.pop(0)))
            elif b"positionRisk" in request:
                writer.write(http_answer("200 OK", b"[]"))
            else:
                writer.write(http_answer("400 Bad Request", b'{"code":%d,"msg":"x"}' % code))
            await writer.drain()

    server = await wire(treat)
    exchange = connected(server.url)
    assert not (await exchange.account.positions()).hedge_mode
    await exchange.exits.reduce_position(exit_order)
    assert (await exchange.account.positions()).hedge_mode


async def test_a_leverage_that_was_confirmed_is_set(exchange: Exchange, http: aioresponses) -> None:
    http.post(
        f"{BASE}/fapi/v1/leverage", payload={"leverage": 5, "maxNotionalValue": "1", "symbol": "BTCUSDT"}
    )
    await exchange.entry.set_leverage("BTCUSDT", 5)
    ((_, (call,)),) = http.requests.items()
    assert call.kwargs["data"].startswith(b"symbol=BTCUSDT&leverage=5&recvWindow=3000&timestamp=")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"payload": {"leverage": 4, "symbol": "BTCUSDT"}}, ReplyUnreadable),
        ({"payload": {"symbol": "BTCUSDT"}}, ReplyUnreadable),
        ({"body": "<html>"}, ReplyUnreadable),
        ({"status": 400, "payload": {"code": -4028, "msg": "Leverage 5 is not valid"}}, ExchangeError),
        ({"status": 401, "payload": {"code": -2015, "msg": "Invalid API-key"}}, KeyRefused),
        ({"status": 429, "body": ""}, ExchangeThrottled),
    ],
)
async def test_a_leverage_that_was_not_confirmed_raises(
    exchange: Exchange, http: aioresponses, answer: dict[str, object], error: type[ExchangeError]
) -> None:
    http.post(f"{BASE}/fapi/v1/leverage", **answer)
    with pytest.raises(error, match="POST /fapi/v1/leverage"):
        await exchange.entry.set_leverage("BTCUSDT", 5)


async def test_cancelling_asks_for_the_one_symbol_and_raises_when_refused(
    exchange: Exchange, http: aioresponses
) -> None:
    http.delete(_any("/fapi/v1/allOpenOrders"), payload={"code": 200, "msg": "done"})
    await exchange.exits.cancel_open_orders("BTCUSDT")
    (((_, url), _),) = http.requests.items()
    assert url.query["symbol"] == "BTCUSDT"
    http.delete(_any("/fapi/v1/allOpenOrders"), status=400, payload={"code": -1121, "msg": "Invalid symbol."})
    with pytest.raises(ExchangeError, match="-1121"):
        await exchange.exits.cancel_open_orders("BTCUSDT")


def _any(path: str) -> re.Pattern[str]:
    return re.compile(re.escape(BASE + path) + r"(\?.*)?$")


async def test_a_probe_goes_to_the_endpoint_that_places_nothing_and_says_why_it_would_be_refused(
    exchange: Exchange, http: aioresponses, claimed: Claimed
) -> None:
    probed = f"{BASE}/fapi/v1/order/test"
    http.post(probed, payload={})
    await exchange.probe.check(claimed.order)
    http.post(probed, status=401, payload={"code": -2015, "msg": "Invalid API-key"})
    with pytest.raises(KeyRefused, match="futures permission"):
        await exchange.probe.check(claimed.order)
    assert {url.path for _, url in http.requests} == {"/fapi/v1/order/test"}
