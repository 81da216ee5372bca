"""What signals start besides tasks: sagas, behind the interface that the queue asks for."""

from pydantic import JsonValue

from mcp_orchestrator.errors import NotFoundError
from mcp_orchestrator.saga import SagaEngine, parse_definition


class SagasOfSignals:
    """Starts and signals sagas on behalf of signals.

    Args:
        sagas: the engine.
    """

    def __init__(self, sagas: SagaEngine) -> None:
        self._sagas = sagas

    async def start_saga(
        self,
        definition: dict[str, JsonValue],
        payload: dict[str, JsonValue],
        *,
        key: str,
        owner: str | None,
    ) -> str:
        """Start a saga whose input is the signal's payload, once for each key."""
        parsed = parse_definition(definition)
        view = await self._sagas.start(parsed, payload, idempotency_key=key, user_id=owner)
        return view.saga_id

    async def signal_saga(
        self,
        saga_id: str,
        signal: str,
        payload: dict[str, JsonValue],
        *,
        key: str,
        owner: str | None,
    ) -> None:
        """Send a signal to a saga that waits for it, or will, once for each key.

        An owner reaches only their own.
        """
        if owner is not None and (await self._sagas.get(saga_id)).user_id != owner:
            raise NotFoundError(f"There is no saga {saga_id[:80]!r}.")
        await self._sagas.signal(saga_id, signal, payload, user_id=owner, idempotency_key=key)
