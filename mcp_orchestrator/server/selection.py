"""Which tools a client is shown: a model chooses worse the more of them there are (pure)."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

#: Shown only when asked for by name or by toolset: what a model seldom needs.
OCCASIONAL: Final = frozenset(
    {
        "codegen_complete",
        "queue_limit_type",
        "queue_pause",
        "queue_resume",
        "queue_retry_dead",
        "saga_approve",
        "saga_catalog",
        "saga_define",
        "saga_reconcile",
        "saga_resolve",
        "saga_retry",
        "sandbox_check_risk",
        "schedule_add",
        "schedule_list",
        "schedule_remove",
        "signal_add_rule",
        "signal_list_rules",
        "signal_list_unrouted",
        "signal_publish",
        "signal_remove_rule",
        "signal_route_again",
    }
)
DEFAULT: Final = "default"
ALL: Final = "all"


@dataclass(frozen=True)
class Selection:
    """A choice of tools.

    Args:
        toolsets: names of toolsets, each with all its tools; ``default`` for the common tools of
            every set, ``all`` for every tool.
        tools: more tools, by name.
        read_only: show only tools that change nothing; wins over all the rest.
    """

    toolsets: Collection[str] = (DEFAULT,)
    tools: Collection[str] = ()
    read_only: bool = False

    def includes(self, toolset: str, name: str, *, reads_only: bool) -> bool:
        """Tell whether a tool is shown.

        Args:
            toolset: the set it belongs to.
            name: its own name.
            reads_only: whether it changes nothing.
        """
        if self.read_only and not reads_only:
            return False
        if ALL in self.toolsets or toolset in self.toolsets or name in self.tools:
            return True
        return DEFAULT in self.toolsets and name not in OCCASIONAL
