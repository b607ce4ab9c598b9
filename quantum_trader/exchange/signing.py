"""Signatures of requests (BINANCE.md 2): HMAC-SHA256, Ed25519, RSA.

A signer is given exactly the bytes that go over the wire and answers with the signature as text,
not yet percent-encoded: REST puts it into a query or form, the WebSocket API into JSON.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

_BLOCK_BYTES = 64
_INNER_PAD = bytes(byte ^ 0x36 for byte in range(256))
_OUTER_PAD = bytes(byte ^ 0x5C for byte in range(256))
_PKCS1V15 = padding.PKCS1v15()
_SHA256 = hashes.SHA256()


class Signer(Protocol):
    """Signs the bytes of one request."""

    def sign(self, payload: bytes) -> str:
        """Return the signature of ``payload``: lowercase hex (HMAC) or base64 (the others)."""
        ...


class HmacSigner:
    """HMAC-SHA256 whose two key blocks are hashed once; each signature copies their state."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, secret: str) -> None:
        key = secret.encode()
        if len(key) > _BLOCK_BYTES:
            key = hashlib.sha256(key).digest()
        key = key.ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(key.translate(_INNER_PAD))
        self._outer = hashlib.sha256(key.translate(_OUTER_PAD))

    def sign(self, payload: bytes) -> str:
        """Return 64 lowercase hex digits."""
        inner = self._inner.copy()
        inner.update(payload)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.hexdigest()

    def __repr__(self) -> str:
        return "HmacSigner()"


class Ed25519Signer:
    """Ed25519, base64 (the only kind that may log a WebSocket API session on)."""

    __slots__ = ("_key",)

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    def sign(self, payload: bytes) -> str:
        """Return the base64 of the 64-byte signature."""
        return base64.b64encode(self._key.sign(payload)).decode()

    def __repr__(self) -> str:
        return "Ed25519Signer()"


class RsaSigner:
    """RSASSA-PKCS1-v1_5 with SHA-256, base64."""

    __slots__ = ("_key",)

    def __init__(self, key: RSAPrivateKey) -> None:
        self._key = key

    def sign(self, payload: bytes) -> str:
        """Return the base64 of the signature."""
        return base64.b64encode(self._key.sign(payload, _PKCS1V15, _SHA256)).decode()

    def __repr__(self) -> str:
        return "RsaSigner()"


def signer_for(secret: str) -> Signer:
    """Pick the signer by what ``secret`` is: a PEM private key by its type, else an HMAC secret.

    Raises ``ValueError`` with advice, and without any part of the secret, when it is empty, an
    encrypted or damaged PEM, a public key, or a private key of a kind that Binance does not take.
    """
    text = secret.strip()
    if not text:
        raise ValueError("the API secret is empty")
    if "-----" not in text:
        return HmacSigner(text)
    return _signer_of_pem(text)


def _signer_of_pem(pem: str) -> Signer:
    if "PUBLIC KEY" in pem:
        raise ValueError("the API secret is a public key: give the private key it belongs to")
    if "ENCRYPTED" in pem:
        raise ValueError(
            "the private key is encrypted: store it without a passphrase (openssl pkey -in KEY -out PLAIN)"
        )
    try:
        key = load_pem_private_key(pem.replace("\\n", "\n").encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # Without its cause: a parser's message may quote the key.
        raise ValueError(
            "the private key cannot be read: it must be a whole PEM file, header and footer lines included"
        ) from None
    if isinstance(key, Ed25519PrivateKey):
        return Ed25519Signer(key)
    if isinstance(key, RSAPrivateKey):
        return RsaSigner(key)
    raise ValueError("the private key must be Ed25519 or RSA: Binance takes no other kind")
