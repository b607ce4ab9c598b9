"""What BSC says arrives in order, later if need be, and can only be said (SPEC 10, INC-104)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis.asyncio as redis
from redis.asyncio.connection import parse_url
from support.watch import MovableClock

from quantum_trader.bsc import spool as spool_module
from quantum_trader.bsc.events import Event, EventSink, as_text
from quantum_trader.bsc.health import Authority, Health, State
from quantum_trader.bsc.redis_writer import Address, NotDelivered, RedisWriter
from quantum_trader.bsc.spool import Spool
from quantum_trader.domain.clock import SystemClock
from quantum_trader.stores.embedded import EmbeddedServer

STREAM, KEY = "quantum:stream:bsc.events", "quantum:bsc:health"
HEALTH = Health(State.OK, Authority.CONTROLLER, 12.5, 1, 7)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[str]:
    valkey = EmbeddedServer(tmp_path / "valkey", SystemClock())
    yield await valkey.start()
    await valkey.stop()


def writer(url: str) -> RedisWriter:
    return RedisWriter(Address.from_url(url), stream=STREAM, stream_entries_max=1_000, key=KEY)


async def said(url: str) -> list[dict[bytes, bytes]]:
    client = redis.Redis.from_url(url)
    entries = await client.xrange(STREAM)
    await client.aclose()
    return [fields for _, fields in entries]


async def test_events_and_health_reach_redis(tmp_path: Path, server: str) -> None:
    sink = EventSink(Spool(tmp_path), writer(server), MovableClock())
    sink.event(Event.FORCE_CLOSE, symbol="XRPUSDT")
    sink.health(HEALTH)
    await sink.flush()
    (entry,) = await said(server)
    assert (entry[b"event"], entry[b"symbol"]) == (b"BSC_FORCE_CLOSE", b"XRPUSDT")
    client = redis.Redis.from_url(server)
    stored: Any = await client.get(KEY)
    assert orjson.loads(stored) == HEALTH.as_fields()
    assert 170 < await client.ttl(KEY) <= 180
    await client.aclose()


async def test_inc104_without_redis_events_wait_on_disk_and_arrive_later_in_order_once(
    tmp_path: Path, server: str
) -> None:
    away = EventSink(Spool(tmp_path), writer("unix:///nowhere/at/all.sock"), MovableClock())
    for number in range(250):
        away.event(Event.HEALTH_CHECK, cycle=number)
    await away.flush()
    back = EventSink(Spool(tmp_path), writer(server), MovableClock())
    back.event(Event.STOPPED)
    await back.flush()
    await back.flush()
    entries = await said(server)
    assert [entry.get(b"cycle") for entry in entries] == [*(str(n).encode() for n in range(250)), None]
    assert Spool(tmp_path).oldest(1) == []


async def test_health_from_before_an_outage_is_not_written_as_if_it_were_new(
    tmp_path: Path, server: str
) -> None:
    clock = MovableClock()
    sink = EventSink(Spool(tmp_path), writer(server), clock)
    sink.health(HEALTH)
    clock.move(181)
    await sink.flush()
    client = redis.Redis.from_url(server)
    assert await client.get(KEY) is None
    await client.aclose()


async def test_a_disk_that_takes_nothing_keeps_no_event_from_redis(tmp_path: Path, server: str) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    sink = EventSink(Spool(blocked / "bsc"), writer(server), MovableClock())
    sink.event(Event.BLIND)
    await sink.flush()
    sink.event(Event.STOPPED)
    assert not await sink.deliver()


def test_a_full_spool_gives_up_routine_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "LINES_KEPT", 5)
    events = ["BSC_FORCE_CLOSE", *["BSC_HEALTH_CHECK"] * 6, "BSC_BLIND"]
    lines = [orjson.dumps({"event": name, "event_id": str(n)}) for n, name in enumerate(events)]
    kept = [orjson.loads(line)["event_id"] for line in spool_module.within_bound(lines)]
    assert kept == ["0", "4", "5", "6", "7"]


async def test_a_line_that_a_power_cut_left_half_written_stops_nothing(tmp_path: Path, server: str) -> None:
    spool = Spool(tmp_path)
    (tmp_path / spool_module.FILE).write_bytes(b'{"event":"BSC_BL\n')
    sink = EventSink(spool, writer(server), MovableClock())
    sink.event(Event.STOPPED)
    await sink.flush()
    assert [entry[b"event"] for entry in await said(server)] == [b"BSC_STOPPED"]
    assert (tmp_path / spool_module.FILE).read_bytes() == b""


async def test_a_refusal_by_redis_is_told_without_the_password(server: str) -> None:
    url = server.replace("unix://", "unix://someone:hunter22@")
    with pytest.raises(NotDelivered) as why:
        await writer(url).set("x", 1)
    assert "hunter22" not in f"{why.value} {Address.from_url(url)!r}"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://localhost", Address("localhost")),
        ("redis://u:p%40@host:7000/3", Address("host", 7000, database=3, username="u", password="p@")),
        ("rediss://:secret@host", Address("host", is_encrypted=True, password="secret")),
        ("unix:///run/redis.sock?db=2", Address(path="/run/redis.sock", database=2)),
    ],
)
def test_redis_urls_are_understood(url: str, expected: Address) -> None:
    assert Address.from_url(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "redis://host?password=secret",
        "redis://host:7000/1?username=me&password=p%2540ss&db=4",
        "redis://u:first@host/2?username=other&password=second",
        "rediss://:secret@host:7000/2?db=5",
        "unix:///run/redis.sock?password=secret&db=2",
        "unix://u:p%40@/run/redis%20one.sock?username=other",
        "redis://host/not-a-number",
    ],
)
def test_redis_urls_mean_what_they_mean_to_the_engines_own_client(url: str) -> None:
    theirs, ours = parse_url(url), Address.from_url(url)
    assert (ours.username, ours.password) == (theirs.get("username", ""), theirs.get("password", ""))
    assert ours.database == theirs.get("db", 0)
    assert (ours.host, ours.path) == (theirs.get("host", ""), theirs.get("path", ""))


def test_fields_are_plain_text() -> None:
    assert as_text(Decimal("1E-7")) == "0.0000001"
    assert as_text(Decimal("Infinity")) == "inf"
    assert as_text((1, Decimal("0.5"))) == '[1,"0.5"]'
    assert [as_text(value) for value in (None, True, State.OK)] == ["", "true", "OK"]
