"""The caller of the request that is being answered.

The SDK hands a tool only what its signature names, and a resource not even that; so the caller
travels beside them, in a context variable that one middleware sets for each request.
"""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from mcp_orchestrator.server.auth.principal import Principal


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and from where.

    Attributes:
        principal: who.
        ip_address: from where, over the network; None over stdio.
    """

    principal: Principal
    ip_address: str | None = None

    @property
    def owner(self) -> str | None:
        """The name that what it starts is written down under."""
        return self.principal.name


_caller: Final[ContextVar[Caller]] = ContextVar("caller")


def current_caller() -> Caller:
    """Return the caller of this request.

    Raises:
        LookupError: no request is being answered; nobody is nobody, never everybody.
    """
    return _caller.get()


@contextmanager
def calling(caller: Caller) -> Generator[None]:
    """Answer on behalf of a caller for the length of a block."""
    token = _caller.set(caller)
    try:
        yield
    finally:
        _caller.reset(token)
