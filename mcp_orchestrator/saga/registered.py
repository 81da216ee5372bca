"""Definitions that are kept under a name and a version, to be started by them."""

from dataclasses import dataclass
from datetime import datetime

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.errors import ConflictError, InvalidInputError, NotFoundError
from mcp_orchestrator.saga.catalog import KnownActions
from mcp_orchestrator.saga.definition import SagaDefinition
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.registrations import add_registration, list_registrations


@dataclass(frozen=True, slots=True)
class Registration:
    """One registered definition.

    Attributes:
        name: its name.
        version: its version.
        definition_hash: SHA-256 of the definition.
        registered_at: when it was registered.
    """

    name: str
    version: str
    definition_hash: str
    registered_at: datetime


class RegisteredDefinitions:
    """Keeps definitions for every process on one store. A version, once there, never changes.

    A saga keeps the definition it was started with, whatever is registered afterwards.

    Args:
        database: where they are.
        committer: the process's one writer.
        actions: what this process can run.
        clock: the time.
    """

    def __init__(
        self, database: Database, committer: GroupCommitter, actions: KnownActions, clock: Clock
    ) -> None:
        self._database = database
        self._committer = committer
        self._actions = actions
        self._clock = clock

    async def register(self, definition: SagaDefinition) -> None:
        """Keep a definition under its name and version; doing it twice is harmless.

        Raises:
            InvalidInputError: an action is unknown, or is a function without a registered name.
            ConflictError: the version is registered with other steps.
            BackendUnavailableError: the database failed.
        """
        if definition.bound_actions:
            raise InvalidInputError(
                f"Definition {definition.name!r} has functions of its own.",
                remedy="Register them as actions, and name them in the steps.",
            )
        self._actions.admit(definition)
        row = {
            "definition_hash": definition.content_hash,
            "name": definition.name,
            "version": definition.version,
            "body": definition.body,
            "created_at": self._clock.now(),
        }
        there = await self._committer.submit(lambda connection: add_registration(connection, row))
        if there != definition.content_hash:
            raise ConflictError(
                f"Version {definition.version!r} of {definition.name!r} has other steps.",
                remedy="Give the changed definition another version; sagas keep theirs.",
            )

    async def find(self, name: str, version: str | None = None) -> SagaDefinition:
        """Return a definition, without a version the one registered last.

        Raises:
            NotFoundError: there is none.
        """
        async with self._database.read() as connection:
            rows = await list_registrations(connection, name)
        for row in rows:
            if version is None or row["version"] == version:
                return self._actions.definition(row["definition_hash"], row["body"])
        known = ", ".join(row["version"] for row in rows)
        raise NotFoundError(
            f"No definition {name!r}" + (f" of version {version!r}." if rows else "."),
            remedy=f"Its versions are: {known}." if rows else "Register it first.",
        )

    async def list_all(self) -> list[Registration]:
        """Return what is registered by name, the latest version of each first."""
        async with self._database.read() as connection:
            rows = await list_registrations(connection)
        return [
            Registration(row["name"], row["version"], row["definition_hash"], row["registered_at"])
            for row in rows
        ]
