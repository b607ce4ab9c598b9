import base64
import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from quantum_trader.exchange.signing import Ed25519Signer, HmacSigner, RsaSigner, signer_for

SECRET = "2b5eb11e18796d12d88f13dc27dbbd02c2cc51ff7059765ed9821957d82bb4d9"


@pytest.mark.parametrize(
    ("payload", "signature"),
    [
        (
            (
                "symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&price=9000&timeInForce=GTC&recvWindow=5000"
                "&timestamp=1591702613943"
            ),
            "3c661234138461fcc7a7d8746c6558c9842d4e10870d2ecbedf7777cad694af9",
        ),
        (
            (
                "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTCquantity=1&price=9000&recvWindow=5000"
                "&timestamp=1591702613943"
            ),
            "30baaf0fab549bbeda7f5ef201898b34122da25fd23c646cac2c529aebe670a4",
        ),
        (
            (
                "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTCquantity=1&price=9000&recvWindow=5000"
                "&timestamp= 1591702613943"
            ),
            "f9d0ae5e813ef6ccf15c2b5a434047a0181cb5a342b903b367ca6d27a66e36f2",
        ),
    ],
)
def test_hmac_signs_the_documented_examples(payload: str, signature: str) -> None:
    assert HmacSigner(SECRET).sign(payload.encode()) == signature


@given(st.text(min_size=1, max_size=200), st.binary(max_size=300))
def test_hmac_agrees_with_the_standard_library_for_every_key_and_payload(secret: str, payload: bytes) -> None:
    signer = HmacSigner(secret)
    expected = hmac.new(secret.encode(), payload, hashlib.sha256).hexdigest()
    assert [signer.sign(payload), signer.sign(payload)] == [expected, expected]


def _pem(key: object, passphrase: bytes | None = None) -> str:
    encryption = (
        serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    )
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    ).decode()


def test_an_ed25519_pem_makes_verifiable_base64_signatures() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    signer = signer_for("\n" + _pem(key))
    assert isinstance(signer, Ed25519Signer)
    key.public_key().verify(base64.b64decode(signer.sign(b"a=1")), b"a=1")


def test_an_rsa_pem_makes_verifiable_base64_signatures() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    signer = signer_for(_pem(key))
    assert isinstance(signer, RsaSigner)
    signature = base64.b64decode(signer.sign(b"a=1"))
    key.public_key().verify(signature, b"a=1", padding.PKCS1v15(), hashes.SHA256())


def test_a_pem_from_an_environment_variable_with_written_line_breaks_is_read() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    assert isinstance(signer_for(_pem(key).replace("\n", "\\n")), Ed25519Signer)


def test_anything_but_a_pem_is_an_hmac_secret() -> None:
    assert isinstance(signer_for(f" {SECRET}\n"), HmacSigner)
    assert signer_for(f" {SECRET}\n").sign(b"x") == HmacSigner(SECRET).sign(b"x")


_KEY = ed25519.Ed25519PrivateKey.generate()
_PLAIN = _pem(_KEY)
_PUBLIC = (
    _KEY.public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    .decode()
)


@pytest.mark.parametrize(
    ("secret", "advice"),
    [
        ("  ", "empty"),
        (_pem(_KEY, b"passphrase"), "encrypted"),
        (_PUBLIC, "public key"),
        (_pem(ec.generate_private_key(ec.SECP256R1())), "Ed25519 or RSA"),
        (_PLAIN[:60], "cannot be read"),
        (_PLAIN.replace(_PLAIN.splitlines()[1], "!!!" + _PLAIN.splitlines()[1][3:]), "cannot be read"),
    ],
    ids=("blank", "encrypted", "public", "other curve", "cut off", "garbled"),
)
def test_a_secret_that_cannot_sign_is_refused_with_advice_and_without_quoting_it(
    secret: str, advice: str
) -> None:
    with pytest.raises(ValueError, match=advice) as refusal:
        signer_for(secret)
    lines = [line for line in secret.splitlines() if line.strip() and "-----" not in line]
    assert not any(line in str(refusal.value) for line in lines)
    assert refusal.value.__cause__ is None


def test_no_repr_shows_a_secret() -> None:
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    shown = [repr(signer_for(secret)) for secret in (SECRET, _PLAIN, _pem(rsa_key))]
    assert shown == ["HmacSigner()", "Ed25519Signer()", "RsaSigner()"]
