"""All parts of the program as one caller sees them."""

from dataclasses import dataclass

from mcp_orchestrator.agents import SamplingMailbox
from mcp_orchestrator.clock import Clock
from mcp_orchestrator.codeloop import Roles
from mcp_orchestrator.packs import LoadedPack, Registry
from mcp_orchestrator.runtime import HealthReport, Runtime, examine
from mcp_orchestrator.runtime.providers import Providers
from mcp_orchestrator.server.auth.refusals import Refusals
from mcp_orchestrator.server.confirmations import Confirmations
from mcp_orchestrator.server.owned.queue import OwnedQueue, OwnedSchedules, OwnedSignals
from mcp_orchestrator.server.owned.sagas import OwnedSagas
from mcp_orchestrator.server.owned.sandbox import OwnedRuns, OwnedSandbox
from mcp_orchestrator.server.owned.sight import Sight
from mcp_orchestrator.settings import Settings


@dataclass(frozen=True)
class Workspace:
    """What tools and resources work with: every part, narrowed to the caller of the moment.

    Its attributes are the runtime's. Those of no owner (settings, registry, providers) are the
    runtime's own; the mailbox is asked only for loops that ``sagas`` has shown.
    """

    settings: Settings
    clock: Clock
    registry: Registry
    packs: list[LoadedPack]
    queue: OwnedQueue
    signals: OwnedSignals
    schedules: OwnedSchedules
    sagas: OwnedSagas
    sandbox: OwnedSandbox
    runs: OwnedRuns
    providers: Providers
    roles: Roles
    mailbox: SamplingMailbox
    confirmations: Confirmations
    _runtime: Runtime

    async def health(self) -> HealthReport:
        """Ask every part whether it works."""
        return await examine(self._runtime)


def workspace_of(runtime: Runtime, refusals: Refusals) -> Workspace:
    """Return a runtime as callers see it.

    Args:
        runtime: the whole.
        refusals: counts what others' ids were asked for.
    """
    sight = Sight(refusals)
    queue, sagas = OwnedQueue(runtime.queue, sight), OwnedSagas(runtime.sagas, sight)
    return Workspace(
        settings=runtime.settings,
        clock=runtime.clock,
        registry=runtime.registry,
        packs=runtime.packs,
        queue=queue,
        signals=OwnedSignals(runtime.signals, sight),
        schedules=OwnedSchedules(runtime.schedules, sight),
        sagas=sagas,
        sandbox=OwnedSandbox(runtime.sandbox, sight),
        runs=OwnedRuns(runtime.runs, sagas, queue, sight),
        providers=runtime.providers,
        roles=runtime.roles,
        mailbox=runtime.mailbox,
        confirmations=Confirmations(
            runtime.serving.key, runtime.serving.confirmations, runtime.clock
        ),
        _runtime=runtime,
    )
