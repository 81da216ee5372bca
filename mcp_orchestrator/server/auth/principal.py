"""Principals and their scopes (pure).

A scope is ``read`` or ``write`` for every toolset, ``TOOLSET:read`` or ``TOOLSET:write`` for one,
or ``admin`` for everything and everybody's. Who may write may read.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from mcp_orchestrator.errors import InvalidInputError

ADMIN: Final = "admin"
_SCOPE: Final = re.compile(r"admin|(?:[a-z0-9_.-]+:)?(?:read|write)")


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls.

    Attributes:
        name: what its sagas, tasks, runs and sessions carry; None for the one local user.
        scopes: what it may do.
    """

    name: str | None
    scopes: frozenset[str]

    @property
    def sees_all(self) -> bool:
        """Tell whether everybody's work is shown to it."""
        return ADMIN in self.scopes

    def sees(self, owner: str | None) -> bool:
        """Tell whether it may know of an owner's work."""
        return self.sees_all or (owner is not None and owner == self.name)

    def may(self, toolset: str, *, write: bool) -> bool:
        """Tell whether it may use a toolset's tools that read, or those that change something."""
        enough = {ADMIN, f"{toolset}:write"}
        if not write:
            enough |= {"read", "write", f"{toolset}:read"}
        elif toolset != ADMIN:  # what changes the server itself is not part of everyday work
            enough.add("write")
        return not enough.isdisjoint(self.scopes)


#: The one user of a server without sign-in: whoever started it.
LOCAL: Final = Principal(None, frozenset({ADMIN}))


def check_scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    """Return the scopes, each once, in the order given.

    Raises:
        InvalidInputError: one of them is none, or there are none.
    """
    found = tuple(dict.fromkeys(scopes))
    wrong = [scope for scope in found if _SCOPE.fullmatch(scope) is None]
    if wrong or not found:
        what = f"{wrong[0][:80]!r} is no scope." if wrong else "A token without scopes is useless."
        raise InvalidInputError(
            what, remedy="Scopes are admin, read, write, TOOLSET:read and TOOLSET:write."
        )
    return found
