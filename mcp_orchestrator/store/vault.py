"""Encryption of sagas: one AES-256-GCM data key each, wrapped by a master key that rotates.

What a saga knows (its context, snapshots, event data, error texts of its trail, memos) is sealed
under its data key. The chain of its audit trail covers the sealed form, so that it verifies
without any key, and still does once the data key is destroyed: that erases the saga's data
wherever they stand.
"""

import base64
import json
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.errors import ConfigurationError
from mcp_orchestrator.store.canonical import CanonicalText, canonical_json
from mcp_orchestrator.store.master_keys import KEY_BYTES, NONCE_BYTES
from mcp_orchestrator.store.sealing import (
    SEALED,
    Cipher,
    ErasedCipher,
    is_sealed,
    unknown_master_key,
)
from mcp_orchestrator.store.wrapping import KeyService, WrappedKey

#: How many data keys a process keeps at hand.
_KEPT = 10_000


class SagaCipher:
    """Seals and opens one saga's data.

    Args:
        saga_id: the saga; sealed data of another do not open.
        data_key: 32 bytes.
    """

    def __init__(self, saga_id: str, data_key: bytes) -> None:
        self._saga_id = saga_id
        self._key = AESGCM(data_key)

    def seal_json(self, place: str, text: str) -> CanonicalText:
        """Return a JSON value, given as canonical text, sealed."""
        return CanonicalText(canonical_json({SEALED: self._seal(place, text)}))

    def open_json(self, place: str, value: Any) -> Any:
        """Return a JSON value as it was; one that is not sealed as it is.

        Raises:
            ConfigurationError: it was altered, or moved here from elsewhere.
        """
        return json.loads(self._open(place, value[SEALED])) if is_sealed(value) else value

    def seal_text(self, place: str, text: str) -> str:
        """Return a text sealed."""
        return f"{SEALED}:{self._seal(place, text)}"

    def open_text(self, place: str, text: str) -> str:
        """Return a text as it was; one that is not sealed as it is.

        Raises:
            ConfigurationError: it was altered, or moved here from elsewhere.
        """
        head = f"{SEALED}:"
        return self._open(place, text.removeprefix(head)) if text.startswith(head) else text

    def _seal(self, place: str, text: str) -> str:
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = self._key.encrypt(nonce, text.encode(), self._bound_to(place))
        return base64.b64encode(nonce + sealed).decode("ascii")

    def _open(self, place: str, sealed: str) -> str:
        try:
            blob = base64.b64decode(sealed, validate=True)
            plain = self._key.decrypt(blob[:NONCE_BYTES], blob[NONCE_BYTES:], self._bound_to(place))
        except (InvalidTag, ValueError) as error:
            raise ConfigurationError(
                f"The {place} of saga {self._saga_id!r} does not open: it was altered.",
                remedy="Run `mcp-orchestrator audit verify`.",
            ) from error
        return plain.decode()

    def _bound_to(self, place: str) -> bytes:
        return f"{self._saga_id}\n{place}".encode()


class SagaVault:
    """Makes data keys and unwraps them.

    Args:
        keys: wraps and unwraps data keys.
        clock: the time.
    """

    def __init__(self, keys: KeyService, clock: Clock) -> None:
        self.keys = keys
        self._clock = clock
        self._ciphers: OrderedDict[tuple[str, str], SagaCipher] = OrderedDict()

    async def new_key(self, saga_id: str) -> tuple[Cipher | None, Mapping[str, object] | None]:
        """Return a new saga's cipher and the columns of its key's row."""
        data_key = AESGCM.generate_key(8 * KEY_BYTES)
        wrapped = await self.keys.wrap(data_key, saga_id)
        cipher = self._keep(saga_id, wrapped.text, data_key)
        return cipher, {
            "saga_id": saga_id,
            "wrapped_key": wrapped.text,
            "master_key_id": wrapped.master_key_id,
            "created_at": self._clock.now(),
        }

    async def cipher_of(self, row: Mapping[Any, Any]) -> Cipher | None:
        """Return the cipher of a saga; None for one in plain text.

        Raises:
            ConfigurationError: its master key is not here, or its data key was altered.
        """
        if row["erased_at"] is not None:
            return ErasedCipher()
        text = row["wrapped_key"]
        if text is None:
            return None
        saga_id = row["saga_id"]
        kept = self._ciphers.get((saga_id, text))
        if kept is not None:
            self._ciphers.move_to_end((saga_id, text))
            return kept
        data_key = await self.keys.unwrap(WrappedKey(row["master_key_id"], text), saga_id)
        if data_key is None:
            raise unknown_master_key(row)
        return self._keep(saga_id, text, data_key)

    def _keep(self, saga_id: str, text: str, data_key: bytes) -> SagaCipher:
        cipher = self._ciphers[saga_id, text] = SagaCipher(saga_id, data_key)
        if len(self._ciphers) > _KEPT:
            self._ciphers.popitem(last=False)
        return cipher
