"""Master keys in memory and in a file: what wraps the data keys of sagas."""

import binascii
import hashlib
import secrets
from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mcp_orchestrator.errors import ConfigurationError
from mcp_orchestrator.store.wrapping import WrappedKey

KEY_BYTES = 32
NONCE_BYTES = 12


class MasterKeys:
    """Master keys in this process's memory; the first wraps, the others still unwrap.

    Args:
        keys: 32 bytes each.

    Raises:
        ConfigurationError: there is none.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys:
            raise ConfigurationError(
                "There is no master key.", remedy="Make one by: openssl rand -hex 32."
            )
        self._by_id = {key_id(key): AESGCM(key) for key in keys}
        self._current = key_id(keys[0])

    async def current_id(self) -> str:
        """Return the id of the first key."""
        return self._current

    async def wrap(self, data_key: bytes, saga_id: str) -> WrappedKey:
        """Return a data key under the first key."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = self._by_id[self._current].encrypt(nonce, data_key, saga_id.encode())
        return WrappedKey(self._current, (nonce + sealed).hex())

    async def unwrap(self, wrapped: WrappedKey, saga_id: str) -> bytes | None:
        """Return a data key; None when its master key is not among these.

        Raises:
            ConfigurationError: it was not wrapped so, or for another saga.
        """
        master = self._by_id.get(wrapped.master_key_id)
        if master is None:
            return None
        try:
            blob = bytes.fromhex(wrapped.text)
            return master.decrypt(blob[:NONCE_BYTES], blob[NONCE_BYTES:], saga_id.encode())
        except (InvalidTag, ValueError) as error:
            raise ConfigurationError(
                f"The data key of saga {saga_id!r} does not open: it was altered."
            ) from error


class KeyFile:
    """Master keys from a file, a line each, read again whenever it has changed.

    So a new key is put before the old ones while servers run, and old ones are taken out once
    no saga is under them any more.

    Args:
        path: the file.

    Raises:
        ConfigurationError: it cannot be read, or a line is no key.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._keys = self._read()

    async def current_id(self) -> str:
        """Return the id of the first key in the file."""
        return await self._read().current_id()

    async def wrap(self, data_key: bytes, saga_id: str) -> WrappedKey:
        """Return a data key under the first key in the file."""
        return await self._read().wrap(data_key, saga_id)

    async def unwrap(self, wrapped: WrappedKey, saga_id: str) -> bytes | None:
        """Return a data key; None when its master key is not in the file."""
        return await self._read().unwrap(wrapped, saga_id)

    def _read(self) -> MasterKeys:
        try:
            found = self._path.stat()
            seen = (found.st_mtime_ns, found.st_size)
            if self._seen != seen:
                self._keys = MasterKeys(parse_keys(self._path.read_text(encoding="ascii")))
                self._seen = seen
        except (OSError, UnicodeError) as error:
            raise ConfigurationError(f"Master key file {self._path}: {error}.") from error
        return self._keys


def parse_keys(text: str) -> list[bytes]:
    """Return the keys of a text: 64 hexadecimal digits each, separated by blanks, lines or commas.

    Raises:
        ConfigurationError: one is no key; it is not repeated in the message.
    """
    keys: list[bytes] = []
    for number, word in enumerate(text.replace(",", " ").split(), start=1):
        try:
            key = binascii.unhexlify(word)
        except ValueError:
            key = b""
        if len(key) != KEY_BYTES:
            raise ConfigurationError(
                f"Master key number {number} is not {2 * KEY_BYTES} hexadecimal digits.",
                remedy="Make one by: openssl rand -hex 32.",
            )
        keys.append(key)
    return keys


def key_id(key: bytes) -> str:
    """Return what tells keys apart without telling them."""
    return hashlib.sha256(b"master key id\n" + key).hexdigest()[:16]
