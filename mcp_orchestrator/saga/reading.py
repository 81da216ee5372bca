"""Looking at sagas as they are on disk, whoever runs them."""

from mcp_orchestrator.saga.catalog import KnownActions
from mcp_orchestrator.saga.checkpoint import SagaRecord, record_of
from mcp_orchestrator.saga.states import SagaState
from mcp_orchestrator.saga.view import AuditEvent, SagaView, audit_event, saga_view
from mcp_orchestrator.store.audit import Tampering, read_events, verify_saga
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.sagas import list_checkpoints, read_checkpoint, read_key
from mcp_orchestrator.store.sealing import PlainVault, Vault


async def read_record(
    database: Database, vault: Vault, actions: KnownActions, saga_id: str
) -> SagaRecord:
    """Return a saga as whoever writes to it holds it.

    Args:
        database: where it is.
        vault: opens it if it is encrypted.
        actions: finds its definition.
        saga_id: the saga.

    Raises:
        NotFoundError: there is no such saga.
        ConfigurationError: it is encrypted, and its master key is not here.
    """
    async with database.read() as connection:
        row = await read_checkpoint(connection, saga_id)
    definition = actions.definition(row["definition_hash"], row["body"])
    return record_of(row, definition, await vault.cipher_of(row))


class SagaReader:
    """Shows sagas and their histories, and changes nothing.

    Args:
        database: the store.
        vault: opens what is encrypted; by default nothing is.
    """

    def __init__(self, database: Database, vault: Vault | None = None) -> None:
        self._database = database
        self._vault = vault or PlainVault()

    async def get(self, saga_id: str) -> SagaView:
        """Return a saga as it is on disk.

        Raises:
            NotFoundError: there is no such saga.
            ConfigurationError: it is encrypted, and its master key is not here.
        """
        async with self._database.read() as connection:
            row = await read_checkpoint(connection, saga_id)
        return saga_view(row, cipher=await self._vault.cipher_of(row))

    async def list_sagas(
        self,
        state: SagaState | None = None,
        saga_type: str | None = None,
        user_id: str | None = None,
        limit: int = 50,
        *,
        error: str | None = None,
    ) -> list[SagaView]:
        """Return the sagas that match, the latest changed first.

        Args:
            state: only in this state.
            saga_type: only of this type.
            user_id: only of this user.
            limit: how many at the most.
            error: only those whose error has this text in it, whatever its case.
        """
        async with self._database.read() as connection:
            rows = await list_checkpoints(
                connection, state=state.value if state else None, saga_type=saga_type,
                user_id=user_id, error=error, limit=limit,
            )  # fmt: skip
        return [saga_view(row, cipher=await self._vault.cipher_of(row)) for row in rows]

    async def audit(self, saga_id: str, *, after: int = 0, limit: int = 1000) -> list[AuditEvent]:
        """Return a saga's history in order.

        Args:
            saga_id: the saga.
            after: only events with a higher number.
            limit: how many at the most.

        Raises:
            NotFoundError: there is no such saga.
            ConfigurationError: it is encrypted, and its master key is not here.
        """
        async with self._database.read() as connection:
            rows = await read_events(connection, saga_id, after=after, limit=limit)
            if not rows:
                await read_checkpoint(connection, saga_id)
            key = await read_key(connection, saga_id)
        cipher = await self._vault.cipher_of(key)
        return [audit_event(row, cipher) for row in rows]

    async def verify_audit(self, saga_id: str) -> list[Tampering]:
        """Recompute a saga's audit chain and return what is wrong with it; nothing if intact."""
        async with self._database.read() as connection:
            return await verify_saga(connection, saga_id)
