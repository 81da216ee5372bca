"""The tables, as SQLAlchemy Core metadata; a module for each part that owns some."""

from mcp_orchestrator.store.schema import ledger as ledger
from mcp_orchestrator.store.schema import runs as runs
from mcp_orchestrator.store.schema import sagas as sagas
from mcp_orchestrator.store.schema import serving as serving
from mcp_orchestrator.store.schema import tasks as tasks
from mcp_orchestrator.store.schema import tokens as tokens
from mcp_orchestrator.store.schema.metadata import metadata

__all__ = ["metadata"]
