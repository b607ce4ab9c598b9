"""Real sockets: what was sent, and what may have been."""

import asyncio
import socket
from collections.abc import Callable

import pytest
from exchange_stubs import (
    KEY,
    SECRET,
    Connect,
    ManualClock,
    StartServer,
    Treatment,
    WireServer,
    answering_in_turn,
    http_answer,
    reset,
)

from quantum_trader.domain.order import Accepted, Claimed, ExitOrder, NotSent, Rejected, Unknown
from quantum_trader.exchange.binance import connect
from quantum_trader.exchange.errors import ExchangeRefused, ExchangeUnreachable
from quantum_trader.exchange.http_lane import HttpLane
from quantum_trader.exchange.settings import ExchangeSettings
from quantum_trader.exchange.signing import HmacSigner

FILLED = (
    b'{"clientOrderId":"qt-exit","executedQty":"0.010","orderId":1,"origQty":"0.010","side":"SELL",'
    b'"positionSide":"BOTH","status":"FILLED","symbol":"BTCUSDT","updateTime":1566818724722}'
)


def answering(status: str, body: bytes, headers: str = "") -> Treatment:
    async def treat(server: WireServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await server.read_request(reader)
            writer.write(http_answer(status, body, headers))
            await writer.drain()

    return treat


async def resetting_after_reading(
    server: WireServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await server.read_request(reader)
    reset(writer)


async def closing_after_reading(
    server: WireServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await server.read_request(reader)


async def resetting_before_reading(
    _: WireServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    reset(writer)


async def never_answering(
    server: WireServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await server.read_request(reader)
    await reader.read()


async def breaking_off(
    server: WireServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await server.read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + FILLED[:40])


async def answering_no_http(
    server: WireServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await server.read_request(reader)
    writer.write(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")


def answering_raw(answer: bytes) -> Treatment:
    async def treat(server: WireServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read_request(reader)
        writer.write(answer)
        await writer.drain()

    return treat


async def silent(_: WireServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    await reader.read()


async def test_an_order_is_answered_and_its_signature_covers_exactly_the_bytes_that_came(
    wire: StartServer,
    connected: Connect,
    exit_order: ExitOrder,
) -> None:
    server = await wire(answering("200 OK", FILLED))
    outcome = await connected(server.url).exits.reduce_position(exit_order)
    assert isinstance(outcome, Accepted)
    (request,) = server.requests
    head, _, body = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /fapi/v1/order HTTP/1.1\r\n")
    assert f"X-MBX-APIKEY: {KEY}".encode() in head
    payload, _, signature = body.rpartition(b"&signature=")
    assert signature.decode() == HmacSigner(SECRET).sign(payload)
    assert b"reduceOnly=true" in payload
    assert b"timestamp=1789478299007" in payload


async def test_a_query_is_sent_percent_encoded_and_signed_as_sent(
    wire: StartServer, connected: Connect
) -> None:
    server = await wire(answering("400 Bad Request", b'{"code":-2013,"msg":"Order does not exist."}'))
    assert await connected(server.url).account.order("币安USDT", "a:b/c") is None
    target = server.requests[0].split(b" ")[1]
    path, _, query = target.partition(b"?")
    payload, _, signature = query.rpartition(b"&signature=")
    assert path == b"/fapi/v1/order"
    assert payload.startswith(b"symbol=%E5%B8%81%E5%AE%89USDT&origClientOrderId=a%3Ab%2Fc&recvWindow=")
    assert signature.decode() == HmacSigner(SECRET).sign(payload)


@pytest.mark.parametrize(
    "treat",
    [
        resetting_after_reading,
        closing_after_reading,
        resetting_before_reading,
        never_answering,
        breaking_off,
        answering_no_http,
        answering("200 OK", FILLED, "Content-Encoding: gzip\r\n"),
        answering("200 OK", FILLED, "X: " + "y" * 100_000 + "\r\n"),
        answering_raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + FILLED),
        answering_raw(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n" + FILLED),
        answering_raw(b"HTTP/9.9 2\r\n\xff\xfe: \x00\r\n\r\n"),
    ],
)
async def test_an_order_whose_bytes_may_have_left_is_unknown_and_sent_once(
    treat: Treatment,
    wire: StartServer,
    connected: Connect,
    exit_order: ExitOrder,
    claimed: Claimed,
) -> None:
    server = await wire(treat)
    exchange = connected(server.url, request_timeout_s=1.5)
    assert isinstance(await exchange.exits.reduce_position(exit_order), Unknown)
    assert server.connections == 1
    assert isinstance(await exchange.entry.open_position(claimed), Unknown)
    assert server.connections == 2


async def test_an_order_to_a_port_where_nobody_listens_was_not_sent(
    connected: Connect,
    exit_order: ExitOrder,
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        exchange = connected(f"http://127.0.0.1:{unused.getsockname()[1]}")
        assert isinstance(await exchange.exits.reduce_position(exit_order), NotSent)


async def test_an_order_to_a_host_without_address_was_not_sent(
    connected: Connect,
    exit_order: ExitOrder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unresolvable(host: str, *_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, f"no address for {host}")

    monkeypatch.setattr(socket, "getaddrinfo", unresolvable)
    outcome = await connected("http://exchange.test").exits.reduce_position(exit_order)
    assert isinstance(outcome, NotSent)


async def test_an_order_whose_tls_handshake_fails_was_not_sent(
    wire: StartServer,
    connected: Connect,
    exit_order: ExitOrder,
) -> None:
    async def speak_no_tls(_: WireServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    server = await wire(speak_no_tls)
    exchange = connected(f"https://127.0.0.1:{server.port}")
    assert isinstance(await exchange.exits.reduce_position(exit_order), NotSent)


async def test_an_order_whose_tls_handshake_never_ends_was_not_sent(
    wire: StartServer,
    connected: Connect,
    exit_order: ExitOrder,
) -> None:
    server = await wire(silent)
    exchange = connected(f"https://127.0.0.1:{server.port}", request_timeout_s=0.4)
    assert isinstance(await exchange.exits.reduce_position(exit_order), NotSent)


async def test_an_order_on_a_kept_connection_that_dies_is_unknown_and_not_repeated(
    wire: StartServer,
    connected: Connect,
    exit_order: ExitOrder,
) -> None:
    async def answer_once(
        server: WireServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await server.read_request(reader)
        writer.write(http_answer("200 OK", FILLED))
        await server.read_request(reader)
        reset(writer)

    server = await wire(answer_once)
    exchange = connected(server.url)
    assert isinstance(await exchange.exits.reduce_position(exit_order), Accepted)
    assert isinstance(await exchange.exits.reduce_position(exit_order), Unknown)
    assert (server.connections, len(server.requests)) == (1, 2)


async def test_an_order_that_waited_for_a_kept_connection_which_then_dies_is_unknown(
    wire: StartServer, connected: Connect, exit_order: ExitOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer_once(
        server: WireServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await server.read_request(reader)
        writer.write(http_answer("200 OK", FILLED))
        await server.read_request(reader)
        reset(writer)

    monkeypatch.setattr("quantum_trader.exchange.rest._CONNECTIONS_MAX", 1)
    server = await wire(answer_once)
    exits = connected(server.url).exits
    outcomes = await asyncio.gather(exits.reduce_position(exit_order), exits.reduce_position(exit_order))
    assert [type(outcome) for outcome in outcomes] == [Accepted, Unknown]
    assert (server.connections, len(server.requests)) == (1, 2)


async def test_an_order_that_waited_for_a_connection_in_vain_was_not_sent(
    wire: StartServer, connected: Connect, exit_order: ExitOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quantum_trader.exchange.rest._CONNECTIONS_MAX", 1)
    server = await wire(never_answering)
    exits = connected(server.url, request_timeout_s=0.4).exits
    outcomes = await asyncio.gather(exits.reduce_position(exit_order), exits.reduce_position(exit_order))
    assert [type(outcome) for outcome in outcomes] == [Unknown, NotSent]
    assert len(server.requests) == 1


async def test_a_cancel_that_is_cut_off_is_not_repeated_behind_the_callers_back(
    wire: StartServer,
    connected: Connect,
) -> None:
    server = await wire(closing_after_reading)
    with pytest.raises(ExchangeUnreachable) as failure:
        await connected(server.url).exits.cancel_open_orders("BTCUSDT")
    assert failure.value.may_have_been_sent
    assert len(server.requests) == 1


async def test_a_redirect_is_not_followed(
    wire: StartServer, connected: Connect, exit_order: ExitOrder
) -> None:
    elsewhere = await wire(answering("200 OK", FILLED))
    server = await wire(answering("307 Temporary Redirect", b"", f"Location: {elsewhere.url}/x\r\n"))
    assert isinstance(await connected(server.url).exits.reduce_position(exit_order), Unknown)
    assert elsewhere.requests == []


async def test_a_proxy_of_the_environment_is_not_used(
    wire: StartServer,
    connected: Connect,
    exit_order: ExitOrder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proxy, server = await wire(never_answering), await wire(answering("200 OK", FILLED))
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("http_proxy", proxy.url)
    assert isinstance(await connected(server.url).exits.reduce_position(exit_order), Accepted)
    assert proxy.connections == 0


async def test_a_reply_longer_than_the_bound_is_unknown(
    wire: StartServer,
    connected: Connect,
    exit_order: ExitOrder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("quantum_trader.exchange.rest._BODY_BYTES_MAX", 100)
    server = await wire(answering("200 OK", FILLED))
    outcome = await connected(server.url).exits.reduce_position(exit_order)
    assert isinstance(outcome, Unknown)
    assert "longer" in outcome.reason


async def test_key_and_signature_that_come_back_in_an_error_are_taken_out(
    wire: StartServer,
    connected: Connect,
    exit_order: ExitOrder,
) -> None:
    async def echo(server: WireServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await server.read_request(reader)
        writer.write(http_answer("400 Bad Request", b"bad request: " + request.replace(b"\r\n", b" ")))
        await reader.read()

    server = await wire(echo)
    outcome = await connected(server.url).exits.reduce_position(exit_order)
    assert isinstance(outcome, Rejected)
    signature = server.requests[0].rpartition(b"signature=")[2].decode()
    assert KEY not in outcome.message
    assert signature not in outcome.message
    assert "signature=[removed]" in outcome.message


async def test_a_failed_read_quotes_neither_key_nor_signature(
    wire: StartServer, connected: Connect, clock: ManualClock
) -> None:
    server = await wire(answering_no_http)
    with pytest.raises(ExchangeUnreachable) as failure:
        await connected(server.url).account.account()
    assert failure.value.__cause__ is None
    assert "signature" not in f"{failure.value!r}{failure.value}"
    assert (len(server.requests), len(clock.slept_s)) == (3, 2)


async def test_a_reply_that_has_no_length_ends_with_its_connection(
    wire: StartServer, connected: Connect, exit_order: ExitOrder
) -> None:
    server = await wire(answering_raw(b"HTTP/1.1 400 Bad Request\r\n\r\n" + b'{"code":-2019,"msg":"short"}'))
    outcome = await connected(server.url).exits.reduce_position(exit_order)
    assert outcome == Rejected(-2019, "short", 400)


async def test_an_interim_reply_is_none(wire: StartServer, connected: Connect, exit_order: ExitOrder) -> None:
    answer = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + http_answer("200 OK", FILLED)
    server = await wire(answering_raw(answer))
    assert isinstance(await connected(server.url).exits.reduce_position(exit_order), Accepted)


async def test_a_reply_in_pieces_is_put_together(
    wire: StartServer, connected: Connect, exit_order: ExitOrder
) -> None:
    async def piecemeal(
        server: WireServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await server.read_request(reader)
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(FILLED), FILLED)
        for byte in b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body:
            writer.write(bytes([byte]))
            await writer.drain()

    server = await wire(piecemeal)
    assert isinstance(await connected(server.url).exits.reduce_position(exit_order), Accepted)


async def test_a_second_reply_to_one_order_is_not_taken_for_that_of_the_next(
    wire: StartServer, connected: Connect, exit_order: ExitOrder
) -> None:
    twice = http_answer("400 Bad Request", b'{"code":-2019,"msg":"first"}')
    twice += http_answer("400 Bad Request", b'{"code":-2019,"msg":"second"}')
    last = http_answer("400 Bad Request", b'{"code":-2019,"msg":"third"}')
    server = await wire(answering_in_turn(twice, last))
    exits = connected(server.url).exits
    said = [await exits.reduce_position(exit_order) for _ in range(2)]
    assert [one.message for one in said if isinstance(one, Rejected)] == ["first", "third"]
    assert server.connections == 2


async def test_a_late_reply_is_not_taken_for_that_of_the_next_order(
    wire: StartServer, connected: Connect, exit_order: ExitOrder
) -> None:
    release = asyncio.Event()

    async def late(server: WireServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(server.requests)
        await server.read_request(reader)
        if number == 0:
            await release.wait()
        writer.write(http_answer("400 Bad Request", b'{"code":-2019,"msg":"%d"}' % number))
        await writer.drain()

    server = await wire(late)
    exits = connected(server.url, request_timeout_s=0.4).exits
    assert isinstance(await exits.reduce_position(exit_order), Unknown)
    release.set()
    assert await exits.reduce_position(exit_order) == Rejected(-2019, "1", 400)


async def test_orders_one_after_the_other_share_a_connection_and_orders_at_once_do_not(
    wire: StartServer, connected: Connect, exit_order: ExitOrder
) -> None:
    server = await wire(answering("200 OK", FILLED))
    exits = connected(server.url).exits
    for _ in range(3):
        assert isinstance(await exits.reduce_position(exit_order), Accepted)
    assert server.connections == 1
    await asyncio.gather(*(exits.reduce_position(exit_order) for _ in range(3)))
    assert server.connections == 3


@pytest.mark.parametrize(
    ("idle_s_max", "headers"),
    [
        pytest.param(0.0, "", id="idle for too long"),
        pytest.param(20.0, "Connection: close\r\n", id="the server keeps none"),
    ],
)
async def test_a_connection_that_may_be_gone_is_not_used_again(
    wire: StartServer,
    connected: Connect,
    exit_order: ExitOrder,
    monkeypatch: pytest.MonkeyPatch,
    idle_s_max: float,
    headers: str,
) -> None:
    monkeypatch.setattr("quantum_trader.exchange.http_lane.IDLE_S_MAX", idle_s_max)
    server = await wire(answering("200 OK", FILLED, headers))
    exits = connected(server.url).exits
    for _ in range(2):
        assert isinstance(await exits.reduce_position(exit_order), Accepted)
    assert server.connections == 2


async def test_an_order_that_is_under_way_when_the_engine_closes_is_unknown(
    wire: StartServer, connected: Connect, exit_order: ExitOrder
) -> None:
    arrived = asyncio.Event()

    async def silent_from_then_on(
        server: WireServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await server.read_request(reader)
        arrived.set()
        await reader.read()

    server = await wire(silent_from_then_on)
    exchange = connected(server.url)
    sending = asyncio.create_task(exchange.exits.reduce_position(exit_order))
    await arrived.wait()
    await exchange.close()
    assert isinstance(await sending, Unknown)


def test_a_key_that_would_break_out_of_its_header_is_refused() -> None:
    settings = ExchangeSettings("https://exchange.test", "key\r\nX-Other: 1", SECRET)

    async def connect_with_it() -> None:
        connect(settings, ManualClock())

    with pytest.raises(ValueError, match="X-MBX-APIKEY cannot be sent"):
        asyncio.run(connect_with_it())


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110  # sockets tell nobody
            await asyncio.sleep(0.01)


async def test_an_engine_has_a_connection_standing_by_before_its_first_order(
    wire: StartServer, connected: Connect, exit_order: ExitOrder
) -> None:
    async def treat(server: WireServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            is_order = (await server.read_request(reader)).startswith(b"POST")
            writer.write(http_answer("200 OK", FILLED if is_order else b'{"serverTime":1}'))
            await writer.drain()

    server = await wire(treat)
    exchange = connected(server.url)
    exchange.start()
    await exchange.market.server_time_ms()
    await _until(lambda: server.connections == 2)  # one to read by, and one that waits
    await exchange.market.server_time_ms()
    assert isinstance(await exchange.exits.reduce_position(exit_order), Accepted)
    assert server.connections == 2


async def test_a_connection_that_stands_by_is_renewed_before_it_is_too_old(
    wire: StartServer, connected: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quantum_trader.exchange.http_lane.RENEWED_AFTER_S", 0.0)
    monkeypatch.setattr("quantum_trader.exchange.http_lane.IDLE_S_MAX", 0.0)
    server = await wire(answering("200 OK", b'{"serverTime":1}'))
    exchange = connected(server.url)
    exchange.start()
    for connections in (2, 3, 4):
        await exchange.market.server_time_ms()
        await _until(lambda wanted=connections: server.connections == wanted)
    (lane,) = [part for part in vars(exchange._transport).values() if isinstance(part, HttpLane)]
    await _until(lambda: len(lane._standing) == 1)  # the older ones were cut


async def test_a_dead_address_of_the_exchange_holds_no_order_up(
    wire: StartServer, connected: Connect, exit_order: ExitOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await wire(answering("200 OK", FILLED))
    with socket.socket() as silent_listener:
        silent_listener.bind(("127.0.0.1", 0))
        silent_listener.listen(0)
        silent = silent_listener.getsockname()
        with socket.create_connection(silent):  # its backlog is full: further ones get no answer

            async def addresses(*_: object, **__: object) -> list[tuple[object, ...]]:
                kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
                return [(*kind, silent), (*kind, ("127.0.0.1", server.port))]

            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", addresses)
            outcome = await connected("http://exchange.test").exits.reduce_position(exit_order)
    assert isinstance(outcome, Accepted)


async def test_a_refused_read_with_a_header_that_is_no_utf8_is_told_as_refused(
    wire: StartServer, connected: Connect
) -> None:
    answer = b"HTTP/1.1 400 Bad Request\r\nX-Where: caf\xe9\r\nContent-Length: 2\r\n\r\n{}"
    server = await wire(answering_raw(answer))
    with pytest.raises(ExchangeRefused):
        await connected(server.url).account.account()


async def test_a_reply_that_would_switch_protocols_is_unknown(
    wire: StartServer, connected: Connect, exit_order: ExitOrder
) -> None:
    answer = b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\nx"
    server = await wire(answering_raw(answer))
    assert isinstance(await connected(server.url).exits.reduce_position(exit_order), Unknown)


async def test_after_the_end_no_order_leaves(
    wire: StartServer, connected: Connect, exit_order: ExitOrder
) -> None:
    server = await wire(answering("200 OK", FILLED))
    exchange = connected(server.url)
    await exchange.close()
    assert isinstance(await exchange.exits.reduce_position(exit_order), NotSent)
    assert server.requests == []
