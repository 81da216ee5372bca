"""Which back end a configuration means."""

from importlib import import_module
from typing import TYPE_CHECKING, cast

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.errors import ConfigurationError
from mcp_orchestrator.queue.config import TaskQueueConfig
from mcp_orchestrator.queue.port import QueueBackend
from mcp_orchestrator.queue.sql.backend import SqlBackend
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database

if TYPE_CHECKING:
    from mcp_orchestrator.queue.redis_streams.backend import RedisBackend


def choose_backend(
    config: TaskQueueConfig,
    database: Database | None,
    committer: GroupCommitter | None,
    clock: Clock,
) -> QueueBackend:
    """Return Redis where a URL names it, else the SQL database.

    Raises:
        ConfigurationError: there is neither.
    """
    if config.redis_url is not None:
        return _redis_backend()(config, clock)
    if database is None:
        raise ConfigurationError(
            "The queue has neither a Redis URL nor a database.",
            remedy="Set REDIS_URL, or pass the store's database.",
        )
    return SqlBackend(database, committer, config, clock)


def _redis_backend() -> "type[RedisBackend]":
    """Import it only here: its client is slow to import, and most people have no Redis."""
    module = import_module("mcp_orchestrator.queue.redis_streams.backend")
    return cast("type[RedisBackend]", module.RedisBackend)
