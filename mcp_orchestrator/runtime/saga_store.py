"""The sagas alone, for whoever looks into them from outside: nothing is run in here."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from mcp_orchestrator.clock import Clock, SystemClock
from mcp_orchestrator.packs import Registry, load_packs
from mcp_orchestrator.packs.loader import pack_folders
from mcp_orchestrator.runtime.encryption import open_vault
from mcp_orchestrator.runtime.parts import open_store
from mcp_orchestrator.saga import SagaEngine
from mcp_orchestrator.settings import Settings
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.vault import SagaVault


@dataclass(frozen=True)
class SagaStore:
    """The database, and an engine that shows and changes sagas but runs none."""

    settings: Settings
    database: Database
    committer: GroupCommitter
    sagas: SagaEngine
    vault: SagaVault | None


@asynccontextmanager
async def open_sagas(settings: Settings, clock: Clock | None = None) -> AsyncGenerator[SagaStore]:
    """Open only the sagas.

    Raises:
        ConfigurationError: a setting is wrong.
        BackendUnavailableError: the database does not answer.
    """
    async with open_store(settings) as (database, committer):
        registry = Registry()  # probes are asked from here too
        load_packs(pack_folders(settings.packs), registry, settings.data_dir)
        vault = open_vault(settings, clock or SystemClock())
        engine = SagaEngine(
            database, committer, registry, runner_id="by-hand", clock=clock, vault=vault
        )
        yield SagaStore(settings, database, committer, engine, vault)
