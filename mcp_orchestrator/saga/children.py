"""Sagas as steps of sagas: a child is started once, awaited, and undone with its parent."""

from collections.abc import Callable
from typing import Protocol

from pydantic import JsonValue

from mcp_orchestrator.clock import Clock
from mcp_orchestrator.errors import BusinessRefusalError, InvalidInputError
from mcp_orchestrator.saga.built_in import CHILD, UNDO_CHILD
from mcp_orchestrator.saga.definition import SagaDefinition
from mcp_orchestrator.saga.orders import Order
from mcp_orchestrator.saga.parsing import parse_definition
from mcp_orchestrator.saga.states import SagaState
from mcp_orchestrator.saga.step import Action, StepHandle
from mcp_orchestrator.saga.values import JsonObject
from mcp_orchestrator.saga.view import SagaView

#: How long one look at a child lasts, in seconds; it ends at once when the child does.
_LOOK = 60.0
#: How often a child is looked at that is held for a person, in seconds.
_HELD_LOOK = 1.0


class ChildStarter(Protocol):
    """What children need of the engine."""

    async def start(
        self,
        definition: SagaDefinition,
        input: JsonObject,  # noqa: A002 - the word that references use
        *,
        idempotency_key: str | None = None,
        user_id: str | None = None,
        parent_saga_id: str | None = None,
    ) -> SagaView:
        """Start a saga."""
        ...

    async def get(self, saga_id: str) -> SagaView:
        """Return a saga."""
        ...

    async def wait_for(self, saga_id: str, timeout: float) -> SagaView:
        """Wait until a saga is finished or held."""
        ...

    async def compensate(self, saga_id: str, order: Order) -> SagaView:
        """Undo a finished saga."""
        ...


class Children:
    """The actions ``saga.child`` and ``saga.undo_child``.

    A step found in flight after a crash is repeated with the same idempotency key, which finds
    the child that it had started.

    Args:
        engine: starts and undoes sagas.
        clock: the time.
    """

    def __init__(self, engine: ChildStarter, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def actions(self) -> dict[str, Action]:
        """Return the actions by name."""
        return {CHILD: self.run, UNDO_CHILD: self.undo}

    async def run(self, arguments: JsonObject, step: StepHandle) -> JsonValue:
        """Start the child, or find it again, and wait for its end.

        Raises:
            BusinessRefusalError: the child failed or was aborted; it has undone itself.
            InvalidInputError: the definition is not one.
        """
        given = arguments.get("input", {})
        if not isinstance(given, dict):
            raise InvalidInputError("arguments.input: a child's input is an object.")
        view = await self._engine.start(
            parse_definition(arguments.get("definition")), given,
            idempotency_key=f"child:{step.idempotency_key}", user_id=step.user_id,
            parent_saga_id=step.saga_id,
        )  # fmt: skip
        with step.waiting():  # the child needs a place to run, too
            view = await self._until(view.saga_id, lambda seen: seen.state.is_finished)
        if view.state is not SagaState.COMPLETED:
            raise BusinessRefusalError(f"Child {view.saga_id} is {view.state}: {view.error}")
        return {"saga_id": view.saga_id, "output": view.output, "results": view.results}

    async def undo(self, arguments: JsonObject, step: StepHandle) -> JsonValue:
        """Compensate the child and wait until it is undone.

        Raises:
            BusinessRefusalError: a person must put something of the child right.
        """
        result = arguments.get("result")
        if not isinstance(result, dict):
            return None
        child = str(result.get("saga_id"))
        view = await self._engine.get(child)
        if view.state is SagaState.COMPLETED:
            reason = f"Its parent {step.saga_id} is undone."
            await self._engine.compensate(child, Order(reason, step.user_id))
        with step.waiting():
            view = await self._until(child, lambda seen: seen.state.is_finished)
        if view.needs_person:
            raise BusinessRefusalError(f"Child {child} could not be undone without a person.")
        return None

    async def _until(self, saga_id: str, reached: Callable[[SagaView], bool]) -> SagaView:
        while not reached(view := await self._engine.wait_for(saga_id, _LOOK)):
            if view.held_reason is not None:
                await self._clock.sleep(_HELD_LOOK)
        return view
