"""Whether the caller may know of a thing."""

from collections.abc import Generator
from contextlib import contextmanager

from mcp_orchestrator.errors import ForbiddenError, NotFoundError
from mcp_orchestrator.server.auth.caller import current_caller
from mcp_orchestrator.server.auth.refusals import Refusal, Refusals


class Sight:
    """Decides for the caller of the present request.

    Args:
        refusals: counts what others' ids were asked for.
    """

    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals

    @property
    def owner(self) -> str | None:
        """The name that what the caller starts is written down under."""
        return current_caller().owner

    @property
    def ip_address(self) -> str | None:
        """From where the caller asks."""
        return current_caller().ip_address

    @property
    def sees_all(self) -> bool:
        """Tell whether everybody's work is shown to the caller."""
        return current_caller().principal.sees_all

    @property
    def only_owner(self) -> str | None:
        """The owner that lists are narrowed to; None for those who see all."""
        return None if self.sees_all else self.owner

    def sees(self, owner: str | None) -> bool:
        """Tell whether the caller may know of an owner's work."""
        return current_caller().principal.sees(owner)

    def require_administrator(self) -> None:
        """Let only those go on who may change what concerns everybody.

        Raises:
            ForbiddenError: the caller is not one of them.
        """
        if not self.sees_all:
            self._refusals.count(Refusal.SCOPE)
            raise ForbiddenError(
                "This concerns everybody's work; nothing was done.",
                remedy="Ask somebody whose token has the scope admin.",
            )

    @contextmanager
    def hiding(self, kind: str, identifier: str) -> Generator[None]:
        """Answer for somebody else's thing exactly as for one that does not exist.

        Raises:
            NotFoundError: inside the block it was not found, or ``require`` failed.
        """
        try:
            yield
        except NotFoundError as error:
            if self.sees_all:
                raise
            raise NotFoundError(
                f"There is no {kind} {identifier[:80]!r}.", remedy="Use an id that you were given."
            ) from error

    def require(self, owner: str | None) -> None:
        """Let only those go on who may know of an owner's work; for use in ``hiding``.

        Raises:
            NotFoundError: it is not the caller's.
        """
        if not self.sees(owner):
            self._refusals.count(Refusal.NOT_OWNER)
            raise NotFoundError("It is somebody else's.")
