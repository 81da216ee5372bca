"""Signing the audit trail again and again, in every server that has the key."""

import logging
from datetime import timedelta

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.errors import ConflictError
from mcp_orchestrator.store.anchors import AnchorKey, write_anchor
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database

_log = logging.getLogger(__name__)


async def anchor_for_ever(
    database: Database, committer: GroupCommitter, key: AnchorKey, clock: Clock, *, every: float
) -> None:
    """Sign what has happened since the last anchor, until cancelled.

    Of several servers on one store, whichever comes first signs; the others find its anchor
    young enough. Each signature is logged: whoever keeps the logs elsewhere can tell later when
    anchors were cut off.

    Args:
        database: whose trail.
        committer: the process's one writer.
        key: what signs.
        clock: the time.
        every: seconds between anchors.
    """
    while True:
        try:
            signature = await write_anchor(
                database, committer, key, clock, not_within=timedelta(seconds=every / 2)
            )
            if signature is not None:
                _log.info("audit trail anchored: %s", signature)
        except ConflictError:  # another server was faster
            pass
        except Exception as error:  # the database may be back the next time
            _log.warning("the audit trail could not be anchored; trying again: %s", error)
        await clock.sleep(every)
