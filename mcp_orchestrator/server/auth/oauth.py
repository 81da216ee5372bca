"""OAuth 2.1 resource server: access tokens signed by somebody else's authorization server.

RFC 9068 (JWT access tokens), RFC 8414 and OpenID Connect Discovery (where the keys are),
RFC 8707 (the audience is this server).
"""

import json
import logging
import urllib.request
from typing import Any, Final, cast
from urllib.parse import urlsplit

import anyio
import jwt
from anyio import to_thread
from mcp.server.auth.provider import AccessToken

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.errors import ConfigurationError

_log = logging.getLogger(__name__)
#: Signatures by a private key only: with a shared secret whoever checks a token could forge it.
_ALGORITHMS: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
#: By how much the clocks of issuer and server may differ, in seconds.
_LEEWAY: Final = 30
#: How long the issuer may take to send its keys, in seconds, and how many ask it at a time.
_PATIENCE: Final = 5.0
_ASKING: Final = 2
#: The prefix of the names of principals whom an issuer knows; tokens of our own cannot have it.
PREFIX: Final = "oauth:"
_LONGEST_SUBJECT: Final = 180


class JwtVerifier:
    """Verifies access tokens: signature, issuer, audience, times.

    Args:
        issuer: who must have issued them.
        audience: the resource that they must be for.
        clock: the time.
        jwks_url: where the issuer's public keys are; found by its metadata where none is given.
    """

    def __init__(
        self, issuer: str, audience: str, clock: Clock, *, jwks_url: str | None = None
    ) -> None:
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        self._jwks_url = jwks_url
        self._keys: jwt.PyJWKClient | None = None
        self._limiter = anyio.CapacityLimiter(_ASKING)

    async def verify_token(self, token: str) -> AccessToken | None:
        """Return who a token stands for and what for, or None if it is not good here."""
        try:
            claims = await to_thread.run_sync(self._decode, token, limiter=self._limiter)
        except (jwt.PyJWTError, ConfigurationError) as error:
            _log.info("A bearer token was refused: %s", error)
            return None
        return self._access(claims)

    def _decode(self, token: str) -> dict[str, Any]:
        """Check signature, issuer and audience; blocks while keys are fetched."""
        key = self._key_client().get_signing_key_from_jwt(token)
        return jwt.decode(
            token,
            key,
            algorithms=list(_ALGORITHMS),
            audience=self._audience,
            issuer=self._issuer,
            options={  # the times are checked by our own clock
                "require": ["exp", "iss", "aud", "sub"], "verify_exp": False,
                "verify_nbf": False, "verify_iat": False,
            },
        )  # fmt: skip

    def _key_client(self) -> jwt.PyJWKClient:
        if self._keys is None:
            url = self._jwks_url or find_jwks_url(self._issuer)
            self._keys = jwt.PyJWKClient(url, timeout=_PATIENCE)
        return self._keys

    def _access(self, claims: dict[str, Any]) -> AccessToken | None:
        now = self._clock.now().timestamp()
        subject, ends, begins = claims["sub"], claims["exp"], claims.get("nbf", 0)
        if not isinstance(ends, int | float) or not isinstance(begins, int | float):
            return None
        if now >= ends + _LEEWAY or now < begins - _LEEWAY:
            _log.info("A bearer token was refused: it is not valid at this time")
            return None
        if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_SUBJECT:
            return None
        client = claims.get("client_id") or claims.get("azp") or subject
        return AccessToken(
            token="",  # nothing behind this needs it, and what is not there cannot leak
            client_id=str(client),
            scopes=_scopes(claims),
            resource=self._audience,
            subject=f"{PREFIX}{subject}",
            claims={"iss": self._issuer},
        )


def _scopes(claims: dict[str, Any]) -> list[str]:
    given: object = claims.get("scope", claims.get("scp", []))
    if isinstance(given, str):
        return given.split()
    if isinstance(given, list):
        return [str(scope) for scope in cast("list[object]", given)]
    return []


def find_jwks_url(issuer: str) -> str:
    """Return where an issuer's metadata says that its keys are; blocks.

    Raises:
        ConfigurationError: there is no metadata, or it is another issuer's.
    """
    parts = urlsplit(issuer)
    path = parts.path.rstrip("/")
    origin = f"{parts.scheme}://{parts.netloc}"
    if parts.scheme not in {"http", "https"}:
        raise ConfigurationError(f"Setting oauth_issuer: {issuer!r} is no http URL.")
    for url in (
        f"{origin}/.well-known/oauth-authorization-server{path}",
        f"{origin}{path}/.well-known/openid-configuration",
    ):
        try:
            with urllib.request.urlopen(url, timeout=_PATIENCE) as answer:
                metadata = json.load(answer)
        except (OSError, ValueError):
            continue
        if isinstance(metadata, dict):
            entries = cast("dict[str, object]", metadata)
            found = entries.get("jwks_uri")
            if entries.get("issuer") == issuer and isinstance(found, str):
                return found
    raise ConfigurationError(
        f"Setting oauth_issuer: {issuer} publishes no metadata that names its keys.",
        remedy="Set oauth_jwks_url.",
    )
