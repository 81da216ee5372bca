"""What the store knows of encryption: who seals a saga's data, and how sealed data looks.

The cryptography itself is in ``vault``.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from mcp_orchestrator.errors import ConfigurationError, ConflictError
from mcp_orchestrator.store.canonical import CanonicalText

#: The only key of an object that stands for a sealed value, and the beginning of a sealed text.
SEALED = "$sealed"


class Cipher(Protocol):
    """Seals and opens the data of one saga. A place binds sealed data to where it stands."""

    def seal_json(self, place: str, text: str, /) -> CanonicalText:
        """Return a JSON value, given as canonical text, sealed."""
        ...

    def open_json(self, place: str, value: Any, /) -> Any:
        """Return a JSON value as it was; one that is not sealed as it is."""
        ...

    def seal_text(self, place: str, text: str, /) -> str:
        """Return a text sealed."""
        ...

    def open_text(self, place: str, text: str, /) -> str:
        """Return a text as it was; one that is not sealed as it is."""
        ...


class Vault(Protocol):
    """Makes and finds the ciphers of sagas."""

    async def new_key(self, saga_id: str, /) -> tuple[Cipher | None, Mapping[str, object] | None]:
        """Return a new saga's cipher and the columns of its key's row; none for none."""
        ...

    async def cipher_of(self, row: Mapping[Any, Any]) -> Cipher | None:
        """Return the cipher of a saga, from its key's columns; None for one in plain text.

        Raises:
            ConfigurationError: its master key is not here.
        """
        ...


class PlainVault:
    """The vault of those who have no master key: new sagas are in plain text."""

    async def new_key(self, _saga_id: str) -> tuple[None, None]:
        """Return nothing."""
        return None, None

    async def cipher_of(self, row: Mapping[Any, Any]) -> Cipher | None:
        """Return None, or what stands in for the key of an erased saga.

        Raises:
            ConfigurationError: the saga is encrypted.
        """
        if row["erased_at"] is not None:
            return ErasedCipher()
        if row["wrapped_key"] is not None:
            raise unknown_master_key(row)
        return None


class ErasedCipher:
    """What is left of a saga whose data key was destroyed: nothing can be read any more."""

    def seal_json(self, _place: str, _text: str) -> CanonicalText:
        """Refuse."""
        raise ConflictError("The saga's data were erased; nothing can be added to it.")

    def open_json(self, _place: str, value: Any) -> Any:
        """Say that it was erased."""
        return {"erased": True} if is_sealed(value) else value

    def seal_text(self, _place: str, _text: str) -> str:
        """Refuse."""
        raise ConflictError("The saga's data were erased; nothing can be added to it.")

    def open_text(self, _place: str, text: str) -> str:
        """Say that it was erased."""
        return "[erased]" if text.startswith(SEALED) else text


def is_sealed(value: Any) -> bool:
    """Tell whether a JSON value stands for a sealed one."""
    return isinstance(value, dict) and SEALED in value


def unknown_master_key(row: Mapping[Any, Any]) -> ConfigurationError:
    """Return what is wrong when a saga's master key is not here."""
    return ConfigurationError(
        f"Saga {row['saga_id']!r} is encrypted under master key {row['master_key_id']}, which is "
        "not here.",
        remedy="Add that key to MCP_ORCHESTRATOR_MASTER_KEY_FILE.",
    )
