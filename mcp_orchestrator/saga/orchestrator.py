"""Sagas from Python: a list of steps, and one call that runs them to their end."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from mcp_orchestrator.saga.catalog import NoActions
from mcp_orchestrator.saga.definition import SagaDefinition, SagaStep
from mcp_orchestrator.saga.engine import SagaEngine
from mcp_orchestrator.saga.states import SagaState
from mcp_orchestrator.saga.step import ActionCatalog
from mcp_orchestrator.saga.values import JsonObject
from mcp_orchestrator.saga.view import SagaView
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.sealing import Vault


@dataclass(frozen=True, slots=True)
class SagaConfig:
    """How an orchestrator's sagas are called and for whom they run.

    Attributes:
        saga_type: the name of the definition.
        version: its version; change it with the steps.
        user_id: for whom.
        ip_address: from where.
        idempotency_key: starting again with the same key gives the first saga's result.
        timeout: seconds that ``execute`` waits at the most; the saga goes on afterwards.
        redact: names of fields that the audit trail must not show.
        lease_seconds: how long other processes wait before they take over from a silent one.
    """

    saga_type: str
    version: str = "1"
    user_id: str | None = None
    ip_address: str | None = None
    idempotency_key: str | None = None
    timeout: float = 86_400.0
    redact: tuple[str, ...] = ()
    lease_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class SagaResult:
    """How a saga stands when ``execute`` or ``resume`` returns.

    Attributes:
        saga_id: its id.
        status: its state.
        context: the input, overlaid by what the steps returned.
        results: what each step returned, by name.
        error: why it failed.
        completed_steps: names of the steps that are done and not undone.
        compensated_steps: names of the steps that were undone, in the definition's order.
        needs_person: what a person must put right.
    """

    saga_id: str
    status: SagaState
    context: JsonObject
    results: JsonObject
    error: str | None
    completed_steps: list[str]
    compensated_steps: list[str]
    needs_person: list[JsonObject]


class SagaOrchestrator:
    """Runs sagas of one definition, on the same engine as everything else.

    Args:
        steps: in order; actions are functions or registered names.
        config: how they are called and for whom they run.
        store: a migrated database.
        actions: where names are looked up; not needed when every action is a function.
        vault: encrypts the sagas; by default they are in plain text.
    """

    def __init__(
        self,
        steps: Sequence[SagaStep],
        config: SagaConfig,
        store: Database,
        actions: ActionCatalog | None = None,
        vault: Vault | None = None,
    ) -> None:
        self._vault = vault
        self.definition = SagaDefinition(
            config.saga_type, config.version, tuple(steps), config.redact
        )
        self._config = config
        self._store = store
        self._actions = actions or NoActions()

    async def execute(self, context: JsonObject) -> SagaResult:
        """Start a saga and wait for its end.

        Args:
            context: its input; an action without arguments of its own gets it, overlaid by
                what earlier steps returned.

        Raises:
            InvalidInputError: the context is not JSON; nothing was written.
        """
        config = self._config
        async with self._engine() as engine:
            view = await engine.start(
                self.definition, context, idempotency_key=config.idempotency_key,
                user_id=config.user_id, ip_address=config.ip_address,
            )  # fmt: skip
            return _result(await engine.wait_for(view.saga_id, config.timeout))

    async def resume(self, saga_id: str) -> SagaResult:
        """Go on with a saga whose process stopped, and wait for its end.

        Raises:
            NotFoundError: there is no such saga.
            InvalidInputError: an action of the definition is not known here.
        """
        async with self._engine() as engine:
            return _result(await engine.wait_for(saga_id, self._config.timeout))

    @asynccontextmanager
    async def _engine(self) -> AsyncGenerator[SagaEngine]:
        async with (
            GroupCommitter(self._store) as committer,
            SagaEngine(
                self._store, committer, self._actions, runner_id=self.definition.name,
                lease_seconds=self._config.lease_seconds, vault=self._vault,
            ) as engine,
        ):  # fmt: skip
            engine.admit(self.definition)
            yield engine


def _result(view: SagaView) -> SagaResult:
    context: JsonObject = dict(view.input)
    for name, result in view.results.items():
        if isinstance(result, dict):
            context.update(result)
        elif result is not None:
            context[name] = result
    return SagaResult(
        view.saga_id, view.state, context, view.results, view.error,
        view.completed_steps, view.compensated_steps, view.needs_person,
    )  # fmt: skip
