"""Signatures and time windows (BINANCE.md 2)."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from quantum_trader.exchange.simulator.errors import RefusedError
from quantum_trader.exchange.simulator.model import Credentials
from quantum_trader.exchange.simulator.signing import check_signature, check_time, hmac_hex, signed_payload

SECRET = "2b5eb11e18796d12d88f13dc27dbbd02c2cc51ff7059765ed9821957d82bb4d9"
QUERY = "symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&price=9000&timeInForce=GTC"
TAIL = "&recvWindow=5000&timestamp=1591702613943"
MIXED = "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC"


@pytest.mark.parametrize(
    ("payload", "signature"),
    [
        (QUERY + TAIL, "3c661234138461fcc7a7d8746c6558c9842d4e10870d2ecbedf7777cad694af9"),
        (
            MIXED + "quantity=1&price=9000" + TAIL,
            "30baaf0fab549bbeda7f5ef201898b34122da25fd23c646cac2c529aebe670a4",
        ),
        (
            MIXED + "quantity=1&price=9000&recvWindow=5000&timestamp= 1591702613943",
            "f9d0ae5e813ef6ccf15c2b5a434047a0181cb5a342b903b367ca6d27a66e36f2",
        ),
    ],
)
def test_documented_payloads_have_the_documented_signatures(payload: str, signature: str) -> None:
    assert hmac_hex(SECRET, payload.encode()) == signature
    check_signature(Credentials("k", SECRET), payload.encode(), signature)
    check_signature(Credentials("k", SECRET), payload.encode(), signature.upper())


def test_query_and_body_are_signed_without_anything_between_them() -> None:
    query, body = MIXED.encode(), b"quantity=1&price=9000&signature=abc"
    assert signed_payload(query, body) == (MIXED + "quantity=1&price=9000").encode()
    assert signed_payload(query + b"&signature=abc", b"quantity=1") == (MIXED + "quantity=1").encode()


def test_a_wrong_signature_is_refused() -> None:
    with pytest.raises(RefusedError, match="-1022"):
        check_signature(Credentials("k", SECRET), b"a=1", hmac_hex("another", b"a=1"))
    with pytest.raises(RefusedError, match="-1022"):
        check_signature(Credentials("k", SECRET), b"a=2", hmac_hex(SECRET, b"a=1"))
    with pytest.raises(RefusedError, match="-1022"):
        check_signature(Credentials("k", SECRET), b"a=1", "ünsigned")


def pem(key: ed25519.Ed25519PublicKey | rsa.RSAPublicKey) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def test_ed25519_signatures_are_checked_by_the_public_key() -> None:
    private = ed25519.Ed25519PrivateKey.generate()
    credentials = Credentials("k", public_key_pem=pem(private.public_key()))
    signature = base64.b64encode(private.sign(b"a=1")).decode()
    check_signature(credentials, b"a=1", signature)
    check_signature(credentials, b"a=1", signature.replace("+", " "))
    for payload, wrong in ((b"a=2", signature), (b"a=1", "not base64"), (b"a=1", "AAAA")):
        with pytest.raises(RefusedError, match="-1022"):
            check_signature(credentials, payload, wrong)


def test_rsa_signatures_are_checked_by_the_public_key() -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    credentials = Credentials("k", public_key_pem=pem(private.public_key()))
    signed = private.sign(b"a=1", padding.PKCS1v15(), hashes.SHA256())
    check_signature(credentials, b"a=1", base64.b64encode(signed).decode())
    with pytest.raises(RefusedError, match="-1022"):
        check_signature(credentials, b"a=2", base64.b64encode(signed).decode())


NOW_MS = 1_800_000_000_000


@pytest.mark.parametrize(("age_ms", "window"), [(0, None), (5000, None), (-999, None), (2000, "2000")])
def test_a_timestamp_inside_the_window_passes(age_ms: int, window: str | None) -> None:
    params = {"timestamp": str(NOW_MS - age_ms)}
    check_time(params if window is None else {**params, "recvWindow": window}, NOW_MS)


@pytest.mark.parametrize(
    ("age_ms", "window", "text"),
    [
        (5001, None, "outside of the recvWindow"),
        (-1000, None, "1000ms ahead"),
        (2001, "2000", "outside of the recvWindow"),
    ],
)
def test_a_timestamp_outside_the_window_is_refused(age_ms: int, window: str | None, text: str) -> None:
    params = {"timestamp": str(NOW_MS - age_ms)}
    with pytest.raises(RefusedError, match=f"-1021.*{text}"):
        check_time(params if window is None else {**params, "recvWindow": window}, NOW_MS)


def test_a_receive_window_beyond_a_minute_is_refused() -> None:
    with pytest.raises(RefusedError, match="-1130"):
        check_time({"timestamp": str(NOW_MS), "recvWindow": "60001"}, NOW_MS)


def test_secrets_do_not_show_in_a_repr() -> None:
    assert SECRET not in repr(Credentials("k", SECRET, "pem-of-a-key"))
    assert "pem-of-a-key" not in repr(Credentials("k", SECRET, "pem-of-a-key"))
