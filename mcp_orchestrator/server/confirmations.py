"""Confirmations: that a destructive call was seen before it is made.

Whoever calls such a tool without one is told what would happen, and gets a token for exactly that
call. It is bound to the principal, the tool and the arguments, runs out soon, is good once, and any
server on the store accepts it.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from pydantic import JsonValue

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.errors import ConflictError
from mcp_orchestrator.server.auth.caller import current_caller
from mcp_orchestrator.store.canonical import canonical_json
from mcp_orchestrator.store.confirmations import UsedConfirmations

#: How long a token is good.
GOOD_FOR: Final = timedelta(minutes=10)
_LABEL: Final = b"mcp-orchestrator/confirmation/v1"
_NONCE_BYTES: Final = 16
_AGAIN: Final = "Call the tool without `confirmation` to see what would happen and get a new one."


class Confirmations:
    """Issues tokens and accepts each once.

    Args:
        key: what all servers on the store share.
        used: which tokens have been used.
        clock: the time.
    """

    def __init__(self, key: bytes, used: UsedConfirmations, clock: Clock) -> None:
        self._key = hmac.digest(key, _LABEL, hashlib.sha256)
        self._used = used
        self._clock = clock

    def issue(self, tool: str, arguments: Mapping[str, JsonValue]) -> str:
        """Return a token for one call of the present caller's."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        ends = int((self._clock.now() + GOOD_FOR).timestamp())
        return _text(nonce + ends.to_bytes(8) + self._seal(nonce, ends, tool, arguments))

    async def redeem(self, token: str, tool: str, arguments: Mapping[str, JsonValue]) -> None:
        """Use a token up.

        Raises:
            ConflictError: it is not for this call of this caller, has run out, or was used.
        """
        raw = _bytes(token)
        nonce, ends = raw[:_NONCE_BYTES], int.from_bytes(raw[_NONCE_BYTES : _NONCE_BYTES + 8])
        sealed = self._seal(nonce, ends, tool, arguments)
        if not hmac.compare_digest(raw[_NONCE_BYTES + 8 :], sealed):
            raise ConflictError("The confirmation is not for this very call.", remedy=_AGAIN)
        expires = datetime.fromtimestamp(ends, UTC)
        if expires <= self._clock.now():
            raise ConflictError("The confirmation has run out.", remedy=_AGAIN)
        if not await self._used.use(nonce.hex(), expires):
            raise ConflictError("The confirmation was used already.", remedy=_AGAIN)

    def _seal(
        self, nonce: bytes, ends: int, tool: str, arguments: Mapping[str, JsonValue]
    ) -> bytes:
        owner = current_caller().owner
        call = canonical_json([owner, tool, dict(arguments), nonce.hex(), ends])
        return hmac.digest(self._key, call.encode(), hashlib.sha256)


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):  # whatever it is, it was not issued here
        return b""
