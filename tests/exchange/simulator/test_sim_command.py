"""``quantum-trader simulator``: its options, its refusals, and an exchange that stands afterwards."""

from __future__ import annotations

import asyncio
import base64
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from yarl import URL

from quantum_trader.cli.simulator import command
from quantum_trader.domain.clock import SystemClock
from quantum_trader.exchange.simulator.signing import hmac_hex

PATIENCE_S = 30
ROOT = Path(__file__).resolve().parents[3]


@asynccontextmanager
async def simulator(*words: str) -> AsyncIterator[str]:
    """Run the command as its own process; yields its URL."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "quantum_trader", "simulator", *words), stdout=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    try:
        said = await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)
        yield said.decode().split()[2].rstrip(";")
    finally:
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0


async def ask(url: str, key: str, sign: Any, path: str = "/fapi/v3/balance") -> tuple[int, Any]:
    query = urlencode({"timestamp": SystemClock().now_ms()})
    target = URL(f"{url}{path}?{query}&signature={quote(sign(query.encode()), safe='')}", encoded=True)
    async with aiohttp.ClientSession() as http, http.get(target, headers={"X-MBX-APIKEY": key}) as reply:
        return reply.status, await reply.json()


async def last_closed_day(url: str) -> Any:
    path = "/fapi/v1/klines?symbol=BTCUSDT&interval=1d&limit=2"
    async with aiohttp.ClientSession() as http, http.get(f"{url}{path}") as reply:
        assert reply.status == 200
        return (await reply.json())[0]


def public_pem(private: Any, path: Path) -> str:
    path.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return str(path)


async def test_accounts_of_every_kind_of_key_can_be_given(tmp_path: Path) -> None:
    edwards, rsa = Ed25519PrivateKey.generate(), generate_private_key(65_537, 2048)
    words = ("--account", "mine:secret:123.5", "--account", "other:secret:1")
    words += ("--public-key", f"ed:{public_pem(edwards, tmp_path / 'ed.pem')}:77")
    words += ("--public-key", f"rsa:{public_pem(rsa, tmp_path / 'rsa.pem')}:88")
    signers = {
        "mine": lambda payload: hmac_hex("secret", payload),
        "ed": lambda payload: base64.b64encode(edwards.sign(payload)).decode(),
        "rsa": lambda payload: base64.b64encode(rsa.sign(payload, PKCS1v15(), hashes.SHA256())).decode(),
    }
    async with simulator(*words) as url:
        balances = {}
        for key, sign in signers.items():
            status, rows = await ask(url, key, sign)
            assert status == 200, rows
            balances[key] = rows[0]["balance"]
        assert balances == {"mine": "123.50000000", "ed": "77.00000000", "rsa": "88.00000000"}
        assert (await ask(url, "ed", signers["rsa"]))[1]["code"] == -1022
        assert (await ask(url, "paper", signers["mine"]))[1]["code"] == -2015


async def test_without_an_account_there_is_paper_and_a_fault_file_comes_into_force(tmp_path: Path) -> None:
    faults = tmp_path / "faults.json"
    faults.write_text(
        '[{"at_s": 0, "kind": "status_before", "path": "/fapi/v3/balance", "api_key": "paper", '
        '"preset": "418_banned", "count": 1}]'
    )
    sign = lambda payload: hmac_hex("paper", payload)  # noqa: E731 -- a signer like those above
    async with simulator("--faults", str(faults)) as url:
        assert (await ask(url, "paper", sign))[0] == 418
        status, rows = await ask(url, "paper", sign)
        assert (status, rows[0]["balance"]) == (200, "10000.00000000")
        async with aiohttp.ClientSession() as http, http.get(f"{url}/sim/state") as reply:
            assert reply.status == 404


async def test_what_no_option_says_comes_from_the_paper_table(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[paper]\nbalance_usdt = 77\nseed = 5\nspeed = 0.5\n", encoding="utf-8")
    sign = lambda payload: hmac_hex("paper", payload)  # noqa: E731 -- a signer like those above
    async with simulator("--config", str(file)) as url:
        assert (await ask(url, "paper", sign))[1][0]["balance"] == "77.00000000"
        candle = await last_closed_day(url)
    async with simulator("--config", str(file), "--seed", "6") as url:
        assert candle != await last_closed_day(url)
    async with simulator("--seed", "5") as url:
        assert (await ask(url, "paper", sign))[1][0]["balance"] == "10000.00000000"
        assert candle == await last_closed_day(url)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--account", "key:secret"], "KEY:SECRET:BALANCE_USDT"),
        (["--account", "key:secret:lots"], "no amount of USDT"),
        (["--account", "key:secret:-5"], "no amount of USDT"),
        (["--account", "a:b:1", "--account", "a:c:2"], "given twice"),
        (["--public-key", "key:10"], "KEY:PEM_FILE:BALANCE_USDT"),
        (["--public-key", "key:/nowhere.pem:10"], "No such file"),
        (["--public-key", f"key:{__file__}:10"], "no Ed25519 or RSA public key"),
        (["--faults", "/nowhere.json"], "does not exist"),
        (["--faults", __file__], "FaultScheduleError|JSONDecodeError"),
        (["--port", "70000"], "70000"),
        *(
            (["--speed", wrong], f"'{wrong}' is no number above 0")
            for wrong in ("0", "-2", "fast", "nan", "inf")
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(words: list[str], complaint: str) -> None:
    done = CliRunner().invoke(command, words)
    assert done.exit_code in (1, 2)
    assert any(part in done.output for part in complaint.split("|")), done.output
    assert "Traceback" not in done.output


def test_the_help_names_every_option_of_the_specification() -> None:
    said = CliRunner().invoke(command, ["--help"]).output
    for option in (
        "--port",
        "--account KEY:SECRET:BALANCE_USDT",
        "--seed",
        "--speed",
        "--klines",
        "--faults",
    ):
        assert option in said
    assert "paper:paper:10000" in said
