"""Sagas of one caller."""

from collections.abc import Mapping
from dataclasses import replace

from mcp_orchestrator.saga import (
    AuditEvent,
    Finding,
    Interventions,
    JsonObject,
    JsonValue,
    Order,
    Preview,
    SagaDefinition,
    SagaEngine,
    SagaState,
    SagaView,
)
from mcp_orchestrator.server.owned.sight import Sight
from mcp_orchestrator.store.audit import Tampering


class OwnedSagas:
    """The saga engine as the caller sees it; each method is the engine's of that name.

    Attributes:
        by_hand: what the caller can do to their own finished or held sagas.
        definitions: those kept under a name and a version; they are everybody's.

    Args:
        sagas: the engine.
        sight: whose sagas these are.
    """

    def __init__(self, sagas: SagaEngine, sight: Sight) -> None:
        self._sagas = sagas
        self._sight = sight
        self.definitions = sagas.definitions
        self.by_hand = OwnedInterventions(sagas.by_hand, self, sight)

    async def start(
        self,
        definition: SagaDefinition,
        input: JsonObject,  # noqa: A002 - the engine's word
        *,
        idempotency_key: str | None = None,
    ) -> SagaView:
        """Start a saga of the caller's."""
        return await self._sagas.start(
            definition,
            input,
            idempotency_key=idempotency_key,
            user_id=self._sight.owner,
            ip_address=self._sight.ip_address,
        )

    async def get(self, saga_id: str) -> SagaView:
        """Return a saga of the caller's; raises NotFoundError."""
        with self._sight.hiding("saga", saga_id):
            view = await self._sagas.get(saga_id)
            self._sight.require(view.user_id)
        return view

    async def list_sagas(
        self,
        state: SagaState | None = None,
        saga_type: str | None = None,
        limit: int = 50,
        *,
        error: str | None = None,
    ) -> list[SagaView]:
        """Return the caller's sagas that match, the latest changed first."""
        return await self._sagas.list_sagas(
            state, saga_type, self._sight.only_owner, limit, error=error
        )

    async def audit(self, saga_id: str, *, after: int = 0, limit: int = 1000) -> list[AuditEvent]:
        """Return the history of a saga of the caller's."""
        await self.get(saga_id)
        return await self._sagas.audit(saga_id, after=after, limit=limit)

    async def verify_audit(self, saga_id: str) -> list[Tampering]:
        """Return what is wrong with the audit chain of a saga of the caller's."""
        await self.get(saga_id)
        return await self._sagas.verify_audit(saga_id)

    async def wait_for(self, saga_id: str, timeout: float) -> SagaView:
        """Wait until a saga of the caller's is finished or held."""
        await self.get(saga_id)
        return await self._sagas.wait_for(saga_id, timeout)

    async def abort(self, saga_id: str, reason: str, *, compensate: bool = True) -> SagaView:
        """Ask a saga of the caller's to stop."""
        await self.get(saga_id)
        return await self._sagas.abort(
            saga_id, reason, compensate=compensate, user_id=self._sight.owner
        )

    async def signal(self, saga_id: str, name: str, value: JsonValue = None) -> None:
        """Send a signal to a saga of the caller's."""
        await self.get(saga_id)
        await self._sagas.signal(saga_id, name, value, user_id=self._sight.owner)

    async def approve(
        self, saga_id: str, approval: str, order: Order, *, approved: bool = True
    ) -> None:
        """Give a person's decision to a saga of the caller's."""
        await self.get(saga_id)
        signed = replace(order, user_id=self._sight.owner)
        await self._sagas.approve(saga_id, approval, signed, approved=approved)


class OwnedInterventions:
    """What the caller can do to their sagas by hand; each order is signed with their name."""

    def __init__(self, hand: Interventions, sagas: OwnedSagas, sight: Sight) -> None:
        self._hand = hand
        self._sagas = sagas
        self._sight = sight

    async def preview_retry(self, saga_id: str, skip: Mapping[str, JsonValue]) -> Preview:
        """Say what ``retry`` would do."""
        await self._sagas.get(saga_id)
        return await self._hand.preview_retry(saga_id, skip)

    async def preview_compensate(self, saga_id: str) -> Preview:
        """Say what ``compensate`` would do."""
        await self._sagas.get(saga_id)
        return await self._hand.preview_compensate(saga_id)

    async def preview_fork(self, saga_id: str, from_step: str) -> Preview:
        """Say what ``fork`` would do."""
        await self._sagas.get(saga_id)
        return await self._hand.preview_fork(saga_id, from_step)

    async def retry(
        self,
        saga_id: str,
        order: Order,
        *,
        skip: Mapping[str, JsonValue],
        new_input: JsonObject | None = None,
    ) -> SagaView:
        """Run what is not completed."""
        await self._sagas.get(saga_id)
        return await self._hand.retry(saga_id, self._signed(order), skip=skip, new_input=new_input)

    async def compensate(self, saga_id: str, order: Order) -> SagaView:
        """Undo what is completed."""
        await self._sagas.get(saga_id)
        return await self._hand.compensate(saga_id, self._signed(order))

    async def fork(
        self, saga_id: str, order: Order, *, from_step: str, new_input: JsonObject | None = None
    ) -> SagaView:
        """Start a new saga that has the results of this one up to a step."""
        await self._sagas.get(saga_id)
        return await self._hand.fork(
            saga_id, self._signed(order), from_step=from_step, new_input=new_input
        )

    async def preview_rewind(self, saga_id: str, to_step: str) -> Preview:
        """Say what ``rewind`` would do."""
        await self._sagas.get(saga_id)
        return await self._hand.preview_rewind(saga_id, to_step)

    async def rewind(
        self, saga_id: str, order: Order, *, to_step: str, new_input: JsonObject | None = None
    ) -> SagaView:
        """Take a saga back to a step, and let it go forward again from there."""
        await self._sagas.get(saga_id)
        return await self._hand.rewind(
            saga_id, self._signed(order), to_step=to_step, new_input=new_input
        )

    async def preview_resolve(self, saga_id: str, happened: Mapping[str, JsonValue]) -> Preview:
        """Say what ``resolve`` would do."""
        await self._sagas.get(saga_id)
        return await self._hand.preview_resolve(saga_id, happened)

    async def resolve(
        self, saga_id: str, order: Order, *, happened: Mapping[str, JsonValue] | None = None
    ) -> SagaView:
        """Say that what needed a person is settled."""
        await self._sagas.get(saga_id)
        return await self._hand.resolve(saga_id, self._signed(order), happened=happened)

    async def reconcile(self, saga_id: str, order: Order) -> list[Finding]:
        """Compare what the store believes of a saga with what its probes find."""
        await self._sagas.get(saga_id)
        return await self._hand.reconcile(saga_id, self._signed(order))

    def _signed(self, order: Order) -> Order:
        return replace(order, user_id=self._sight.owner)
