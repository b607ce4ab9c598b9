"""Who signed a request, and whether in time (BINANCE.md 2)."""

from __future__ import annotations

import base64
import binascii
import hmac
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from quantum_trader.exchange.simulator.errors import TIMESTAMP_AHEAD, RefusedError
from quantum_trader.exchange.simulator.model import Credentials
from quantum_trader.exchange.simulator.parameters import Params, integer, optional_integer

RECV_WINDOW_MS: Final = 5000
_AHEAD_MAX_MS: Final = 1000
_RECV_WINDOW_MAX_MS: Final = 60_000


def signed_payload(query: bytes, body: bytes) -> bytes:
    """The exact bytes that were signed: query and body, joined by nothing, less the signature."""
    return _unsigned(query) + _unsigned(body)


def _unsigned(part: bytes) -> bytes:
    if b"signature=" not in part:
        return part
    return b"&".join(pair for pair in part.split(b"&") if not pair.startswith(b"signature="))


def hmac_hex(secret: str, payload: bytes) -> str:
    """Lower-case hex HMAC-SHA256 of ``payload``."""
    return hmac.new(secret.encode(), payload, sha256).hexdigest()


def check_signature(credentials: Credentials, payload: bytes, signature: str) -> None:
    """-1022 unless ``signature`` is the account's own over ``payload``.

    HMAC where the account has a secret, otherwise Ed25519 or RSA (PKCS#1 v1.5, SHA-256) by its
    public key. Hex is accepted in either case.
    """
    if credentials.public_key_pem:
        valid = _verifies(credentials.public_key_pem, payload, signature)
    else:
        wanted = hmac_hex(credentials.api_secret, payload)
        valid = hmac.compare_digest(wanted.encode(), signature.lower().encode())
    if not valid:
        raise RefusedError(-1022)


def is_public_key(pem: str) -> bool:
    """Whether ``pem`` holds a public key that signatures can be checked with: Ed25519 or RSA."""
    try:
        return isinstance(load_pem_public_key(pem.encode()), (Ed25519PublicKey, RSAPublicKey))
    except (ValueError, UnsupportedAlgorithm):
        return False


def is_ed25519(credentials: Credentials) -> bool:
    """Whether the account signs with an Ed25519 key."""
    if not credentials.public_key_pem:
        return False
    return isinstance(load_pem_public_key(credentials.public_key_pem.encode()), Ed25519PublicKey)


def _verifies(public_key_pem: str, payload: bytes, signature: str) -> bool:
    key = load_pem_public_key(public_key_pem.encode())
    try:
        # A '+' that a client forgot to percent-encode arrives as a space.
        raw = base64.b64decode(signature.replace(" ", "+"), validate=True)
        if isinstance(key, Ed25519PublicKey):
            key.verify(raw, payload)
        elif isinstance(key, RSAPublicKey):
            key.verify(raw, payload, PKCS1v15(), hashes.SHA256())
        else:
            return False
    except (InvalidSignature, binascii.Error):
        return False
    return True


def check_time(params: Params, server_ms: int) -> None:
    """-1021 unless ``timestamp`` is inside recvWindow and less than 1000 ms ahead."""
    timestamp_ms = integer(params, "timestamp")
    window_ms = optional_integer(params, "recvWindow")
    window_ms = RECV_WINDOW_MS if window_ms is None else window_ms
    if not 0 < window_ms <= _RECV_WINDOW_MAX_MS:
        raise RefusedError(-1130, name="recvWindow")
    if timestamp_ms >= server_ms + _AHEAD_MAX_MS:
        raise RefusedError(-1021, TIMESTAMP_AHEAD)
    if server_ms - timestamp_ms > window_ms:
        raise RefusedError(-1021)
