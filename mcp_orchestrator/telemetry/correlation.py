"""Which saga, task, run and principal the present code works for: what every log line carries."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
from types import MappingProxyType
from typing import Final

_NOTHING: Final[Mapping[str, str | None]] = MappingProxyType({})
_ids: ContextVar[Mapping[str, str | None]] = ContextVar("mcp_orchestrator.ids", default=_NOTHING)


def current_ids() -> dict[str, str]:
    """Return the ids that hold here, such as ``saga_id``, by name."""
    return {name: value for name, value in _ids.get().items() if value is not None}


class correlated(AbstractContextManager[None]):  # noqa: N801 - used as a function; one made of a generator costs thrice as much
    """Let log lines of a block carry ids, besides those that hold already.

    Args:
        ids: each by its name; None leaves out.
    """

    __slots__ = ("_given", "_token")

    def __init__(self, **ids: str | None) -> None:
        self._given = ids
        self._token: Token[Mapping[str, str | None]] | None = None

    def __enter__(self) -> None:
        """Let them hold."""
        around = _ids.get()
        self._token = _ids.set({**around, **self._given} if around else self._given)

    def __exit__(self, *_: object) -> None:
        """Let those hold again that did before."""
        if self._token is not None:
            _ids.reset(self._token)
