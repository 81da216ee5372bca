"""Access tokens of an authorization server: what a resource server must refuse."""

import base64
import hmac
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.errors import ConfigurationError
from mcp_orchestrator.server.auth.oauth import JwtVerifier, find_jwks_url
from tests.services.issuer import Issuer, issuer

AUDIENCE = "https://mcp.example.com/mcp"
PAST = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def trusted() -> Iterator[Issuer]:
    with issuer() as running:
        yield running


def verifier(trusted: Issuer) -> JwtVerifier:
    return JwtVerifier(trusted.url, AUDIENCE, SystemClock())


async def test_a_good_token_names_its_principal_and_scopes(trusted: Issuer) -> None:
    access = await verifier(trusted).verify_token(trusted.token(AUDIENCE))
    assert access is not None
    assert (access.subject, access.scopes) == ("oauth:carol", ["read", "write"])
    listed = trusted.token(AUDIENCE, scope=None, scp=["admin"], aud=["other", AUDIENCE])
    access = await verifier(trusted).verify_token(listed)
    assert access is not None
    assert access.scopes == ["admin"]


@pytest.mark.parametrize(
    "changed",
    [
        {"aud": "https://other.example.com/mcp"},
        {"aud": None},
        {"iss": "https://evil.example.com"},
        {"iss": None},
        {"exp": PAST},
        {"exp": None},
        {"nbf": datetime(2999, 1, 1, tzinfo=UTC)},
        {"sub": None},
        {"sub": "x" * 200},
    ],
    ids=str,
)
async def test_a_token_with_a_wrong_claim_is_refused(
    trusted: Issuer, changed: dict[str, Any]
) -> None:
    assert await verifier(trusted).verify_token(trusted.token(AUDIENCE, **changed)) is None


def _claims(trusted: Issuer) -> dict[str, Any]:
    ends = datetime.now(UTC) + timedelta(hours=1)
    return {"iss": trusted.url, "aud": AUDIENCE, "sub": "carol", "exp": ends, "scope": "admin"}


def _sign_with_public_key(claims: dict[str, Any], public: bytes) -> str:
    """Sign as who takes the public key for a shared secret would accept it."""
    unsigned = jwt.encode(claims, "", algorithm="none", headers={"kid": "k1"}).split(".")
    header = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT","kid":"k1"}').rstrip(b"=")
    signed = header + b"." + unsigned[1].encode()
    mac = base64.urlsafe_b64encode(hmac.digest(public, signed, "sha256")).rstrip(b"=")
    return f"{signed.decode()}.{mac.decode()}"


async def test_a_forged_signature_is_refused(trusted: Issuer) -> None:
    good = verifier(trusted)
    claims = _claims(trusted)
    stranger = ec.generate_private_key(ec.SECP256R1())
    public = trusted.key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    forged = [
        jwt.encode(claims, stranger, algorithm="ES256", headers={"kid": "k1"}),
        jwt.encode(claims, stranger, algorithm="ES256", headers={"kid": "unknown"}),
        _sign_with_public_key(claims, public),
        jwt.encode(claims, "", algorithm="none", headers={"kid": "k1"}),
        trusted.token(AUDIENCE)[:-4] + "AAAA",
        "not.a.token",
        "",
    ]
    for token in forged:
        assert await good.verify_token(token) is None


async def test_unknown_key_names_do_not_make_the_server_ask_the_issuer_each_time(
    trusted: Issuer,
) -> None:
    good = verifier(trusted)
    assert await good.verify_token(trusted.token(AUDIENCE)) is not None
    before = trusted.asked
    for number in range(20):
        token = jwt.encode(
            _claims(trusted), trusted.key, algorithm="ES256", headers={"kid": f"unknown-{number}"}
        )
        assert await good.verify_token(token) is None
    assert trusted.asked - before <= 1


def test_metadata_of_another_issuer_is_not_believed(trusted: Issuer) -> None:
    assert find_jwks_url(trusted.url) == f"{trusted.url}/keys"
    with pytest.raises(ConfigurationError):
        find_jwks_url(trusted.url.replace("127.0.0.1", "localhost"))
    with pytest.raises(ConfigurationError):
        find_jwks_url("file:///etc/passwd")
