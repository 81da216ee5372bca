"""Access tokens: made once, shown once, kept as a hash, found by what a client sends."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import RowMapping, insert, select, update

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.errors import ConflictError, InvalidInputError, NotFoundError
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.schema.tokens import access_tokens

#: What every token begins with, so that leak scanners and people know one when they see it.
PREFIX: Final = "mcpo_"
#: Names of principals; a colon is kept for those whom an authorization server knows.
_PRINCIPAL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}")
_TOKEN: Final = re.compile(rf"{PREFIX}([0-9a-f]{{16}})_([A-Za-z0-9_-]{{43}})")


@dataclass(frozen=True, slots=True)
class AccessTokenRecord:
    """A token as it is kept: all but its secret.

    Attributes:
        token_id: names it in lists and for revocation; the token itself contains it.
        principal: who it stands for.
        scopes: what it may be used for.
        created_at: when it was made.
        expires_at: when it ends by itself, if it does.
        revoked_at: when it was revoked, if it was.
    """

    token_id: str
    principal: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    def is_valid(self, now: datetime) -> bool:
        """Tell whether it may be used at a moment."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class TokenStore:
    """Creates, finds, lists and revokes access tokens.

    A secret has 256 random bits, so a plain SHA-256 of it cannot be searched backwards and costs
    each request microseconds; a slow hash is for passwords that people choose.

    Args:
        database: read from.
        committer: written through.
        clock: dates them.
    """

    def __init__(self, database: Database, committer: GroupCommitter, clock: Clock) -> None:
        self._database = database
        self._committer = committer
        self._clock = clock

    async def create(
        self, principal: str, scopes: Sequence[str], *, expires_at: datetime | None = None
    ) -> tuple[str, AccessTokenRecord]:
        """Make a token; it is on disk when this returns, and cannot be shown again.

        Args:
            principal: who it stands for.
            scopes: what it may be used for, checked by the caller.
            expires_at: when it ends by itself.

        Returns:
            The token to hand over, and what is kept of it.

        Raises:
            InvalidInputError: the principal's name cannot be one, or the end is past.
        """
        if _PRINCIPAL.fullmatch(principal) is None:
            raise InvalidInputError(
                f"{principal[:80]!r} cannot be the name of a principal.",
                remedy="Use 1 to 100 letters, digits and . _ @ - and begin with a letter or digit.",
            )
        now = self._clock.now()
        if expires_at is not None and expires_at <= now:
            raise InvalidInputError("The token would be expired at once.")
        token_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        record = AccessTokenRecord(token_id, principal, tuple(scopes), now, expires_at, None)
        row = {
            "token_id": token_id, "principal": principal, "secret_hash": _hash(secret),
            "scopes": list(scopes), "created_at": now, "expires_at": expires_at,
        }  # fmt: skip
        await self._committer.submit(
            lambda connection: connection.execute(insert(access_tokens).values(row))
        )
        return f"{PREFIX}{token_id}_{secret}", record

    async def find(self, token: str) -> AccessTokenRecord | None:
        """Return the record of a token that may be used now, or None."""
        match = _TOKEN.fullmatch(token)
        if match is None:
            return None
        query = select(access_tokens).where(access_tokens.c.token_id == match[1])
        async with self._database.read() as connection:
            row = (await connection.execute(query)).mappings().first()
        if row is None or not hmac.compare_digest(row["secret_hash"], _hash(match[2])):
            return None
        record = _record(row)
        return record if record.is_valid(self._clock.now()) else None

    async def list_tokens(self) -> list[AccessTokenRecord]:
        """Return every token there ever was, oldest first."""
        query = select(access_tokens).order_by(access_tokens.c.created_at, access_tokens.c.token_id)
        async with self._database.read() as connection:
            return [_record(row) for row in (await connection.execute(query)).mappings()]

    async def revoke(self, token_id: str) -> None:
        """Revoke a token; the next request with it is refused, by every server.

        Raises:
            NotFoundError: there is no such token.
            ConflictError: it is revoked already.
        """
        query = select(access_tokens).where(access_tokens.c.token_id == token_id)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).mappings().first()
        if row is None:
            raise NotFoundError(
                f"There is no token {token_id[:80]!r}.", remedy="`token list` shows their ids."
            )
        if row["revoked_at"] is not None:
            raise ConflictError(f"The token {token_id} is revoked already.")
        statement = (
            update(access_tokens)
            .where(access_tokens.c.token_id == token_id)
            .values(revoked_at=self._clock.now())
        )
        await self._committer.submit(lambda connection: connection.execute(statement))


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _record(row: RowMapping) -> AccessTokenRecord:
    return AccessTokenRecord(
        row["token_id"], row["principal"], tuple(row["scopes"]), row["created_at"],
        row["expires_at"], row["revoked_at"],
    )  # fmt: skip
