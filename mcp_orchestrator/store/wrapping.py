"""What wraps the data keys of sagas: the door behind which a key service may stand."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A data key under a master key.

    Attributes:
        master_key_id: which master key.
        text: the wrapped key, in hexadecimal or whatever the key service makes.
    """

    master_key_id: str
    text: str


class KeyService(Protocol):
    """Wraps data keys under a current master key, and unwraps them under older ones too."""

    async def current_id(self) -> str:
        """Return the id of the master key that wraps now."""
        ...

    async def wrap(self, data_key: bytes, saga_id: str) -> WrappedKey:
        """Return a data key, bound to its saga, under the current master key."""
        ...

    async def unwrap(self, wrapped: WrappedKey, saga_id: str) -> bytes | None:
        """Return a data key; None when its master key is not known.

        Raises:
            ConfigurationError: it was not wrapped so, or for another saga.
        """
        ...
