"""Bearer tokens of either kind: our own, and those of an authorization server."""

from typing import Final

from mcp.server.auth.provider import AccessToken, TokenVerifier
from mcp.server.auth.settings import AuthSettings

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.errors import ConfigurationError
from mcp_orchestrator.server.auth.oauth import JwtVerifier
from mcp_orchestrator.server.auth.principal import Principal
from mcp_orchestrator.settings import Settings
from mcp_orchestrator.store.tokens import PREFIX, TokenStore

#: Where clients find the server when nobody has said; its own tokens have no use for it.
_UNKNOWN_URL: Final = "http://localhost"


class BearerVerifier:
    """Asks the one who knows about a token.

    Args:
        tokens: our own tokens; None refuses them.
        oauth: verifies all others; None refuses them.
    """

    def __init__(self, tokens: TokenStore | None, oauth: TokenVerifier | None) -> None:
        self._tokens = tokens
        self._oauth = oauth

    async def verify_token(self, token: str) -> AccessToken | None:
        """Return who a token stands for and what for, or None if it is not good here."""
        if not token.startswith(PREFIX):
            return await self._oauth.verify_token(token) if self._oauth else None
        record = await self._tokens.find(token) if self._tokens else None
        if record is None:
            return None
        return AccessToken(
            token="",  # nothing behind this needs it, and what is not there cannot leak
            client_id=record.principal,
            scopes=list(record.scopes),
            subject=record.principal,
        )


def principal_of(access: AccessToken) -> Principal:
    """Return who a verified token stands for, with the scopes it has."""
    return Principal(access.subject or access.client_id, frozenset(access.scopes))


def resource_url(settings: Settings) -> str | None:
    """Return the identifier of this server as an OAuth resource, or None without OAuth."""
    if "oauth" not in settings.auth:
        return None
    if settings.oauth_audience:
        return settings.oauth_audience
    if settings.public_url is None:
        raise ConfigurationError(
            "Setting auth: oauth needs to know the address that clients use.",
            remedy="Set public_url, such as https://mcp.example.com, or oauth_audience.",
        )
    return f"{settings.public_url.rstrip('/')}/mcp"


def build_verifier(settings: Settings, tokens: TokenStore, clock: Clock) -> BearerVerifier | None:
    """Return what verifies bearer tokens, or None where nobody signs in.

    Raises:
        ConfigurationError: oauth without an issuer or an audience.
    """
    if not settings.auth:
        return None
    oauth = None
    audience = resource_url(settings)
    if audience is not None:
        if settings.oauth_issuer is None:
            raise ConfigurationError(
                "Setting auth: oauth needs an authorization server.", remedy="Set oauth_issuer."
            )
        oauth = JwtVerifier(
            settings.oauth_issuer, audience, clock, jwks_url=settings.oauth_jwks_url
        )
    return BearerVerifier(tokens if "token" in settings.auth else None, oauth)


def auth_settings(settings: Settings) -> AuthSettings | None:
    """Return the SDK's settings for what ``build_verifier`` returns."""
    if not settings.auth:
        return None
    values = {
        "issuer_url": settings.oauth_issuer or settings.public_url or _UNKNOWN_URL,
        "resource_server_url": resource_url(settings),
        "validate_token_resource": False,  # the verifier checks the audience itself
    }
    return AuthSettings.model_validate(values)
