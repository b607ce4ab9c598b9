"""Unmodified clients of the real exchange trade on the embedded one; run by ``make conformance``.

Not collected by ``make test``: every client needs a virtual environment of its own.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from quantum_trader.domain.clock import SystemClock
from quantum_trader.exchange.simulator import AccountSettings, EmbeddedExchange, SimulatorSettings

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))
from probes import API_KEY, API_SECRET, ED25519_KEY, YES  # noqa: E402 -- probes are scripts, not a package

PATIENCE_S = 240
CLIENTS = {"ccxt": "ccxt", "python-binance": "python-binance", "sdk": "official SDK"}
FEATURES = (
    "load markets",
    "market data",
    "account and positions",
    "set leverage",
    "place a market order",
    "place, query, amend, cancel a limit order",
    "conditional order",
    "market streams",
    "order book stream",
    "user stream",
    "WebSocket API",
    "reply shapes",
)
ONLY_SDK = {"reply shapes"}  # no other client ships response models


@pytest.fixture(scope="module")
def outcomes() -> dict[str, dict[str, str]]:
    """What the probes of this run found, by client."""
    return {}


@pytest.fixture
async def exchange(tmp_path: Path) -> AsyncIterator[tuple[str, Path]]:
    """A running exchange's URL, and the file of an Ed25519 key that one of its accounts signs with."""
    key, file = Ed25519PrivateKey.generate(), tmp_path / "key.pem"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    accounts = (AccountSettings(API_KEY, API_SECRET), AccountSettings(ED25519_KEY, public_key_pem=public))
    embedded = EmbeddedExchange(SimulatorSettings(accounts=accounts), SystemClock())
    yield await embedded.start(), file
    await embedded.stop()


@pytest.mark.parametrize("client", CLIENTS)
async def test_every_feature_of_the_client_works(
    client: str, exchange: tuple[str, Path], outcomes: dict[str, dict[str, str]]
) -> None:
    url, key_file = exchange
    python = ROOT / f".venv-conformance-{client}" / "bin" / "python"
    assert python.exists(), f"{python} is missing: start this by make conformance"
    script = HERE / f"probe_{client.replace('-', '_')}.py"
    # A client's own warnings about its dependencies are none of our business.
    process = await asyncio.create_subprocess_exec(
        python,
        "-W",
        "ignore",
        script,
        url,
        str(key_file),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert process.returncode == 0, err.decode()
    outcomes[client] = json.loads(out.splitlines()[-1])
    wanted = [feature for feature in FEATURES if client == "sdk" or feature not in ONLY_SDK]
    assert outcomes[client] == dict.fromkeys(wanted, YES)


def test_the_table_in_the_docs_is_what_was_found(outcomes: dict[str, dict[str, str]]) -> None:
    assert outcomes.keys() == CLIENTS.keys(), "the table is about all clients: run them all"
    expected = table(outcomes)
    assert expected in (ROOT / "docs" / "simulator.md").read_text("utf-8"), f"it should be:\n{expected}"


def table(outcomes: dict[str, dict[str, str]]) -> str:
    """Client × feature as Markdown."""
    lines = ["| feature | " + " | ".join(versions()) + " |", "|---" * (len(CLIENTS) + 1) + "|"]
    for feature in FEATURES:
        cells = [outcomes[client].get(feature, "–") for client in CLIENTS]
        shown = [cell if cell in (YES, "–") else "no" for cell in cells]
        lines.append(f"| {feature} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def versions() -> list[str]:
    """The clients with the versions that were installed."""
    names = []
    for client, name in CLIENTS.items():
        source = ROOT / "requirements" / f"conformance-{client}.in"
        names.append(f"{name} {source.read_text('utf-8').split()[0].partition('==')[2]}")
    return names
