"""A model that is asked the same thing once."""

from mcp_orchestrator.agents.cache import AnswerCache, answer_key
from mcp_orchestrator.agents.ledgered import planned_call
from mcp_orchestrator.agents.model import Model, ModelReply, ModelRequest, Progress, RemoteJobs
from mcp_orchestrator.store.ledger import Ledger


class CachedModel:
    """Wraps a model; what it was asked before by the same owner is answered from the cache.

    Several samples of one prompt need different seeds, or ``fresh``, to be several.

    Args:
        inner: the model that is asked otherwise.
        cache: where answers are kept.
        ledger: where hits are entered; None to leave them out.
    """

    def __init__(self, inner: Model, cache: AnswerCache, ledger: Ledger | None = None) -> None:
        self.provider = inner.provider
        self.model = inner.model
        self._inner = inner
        self._cache = cache
        self._ledger = ledger

    async def ask(
        self,
        request: ModelRequest,
        *,
        on_progress: Progress | None = None,
        jobs: RemoteJobs | None = None,
    ) -> ModelReply:
        """Answer from the cache, or ask; ``request.fresh`` asks in any case and keeps nothing.

        Raises:
            ProviderError: what the inner model raised, for whoever asked it.
        """
        if request.fresh:
            return await self._inner.ask(request, on_progress=on_progress, jobs=jobs)
        key = answer_key(self.provider, self.model, request)
        reply = await self._cache.answer(
            key,
            request.owner,
            lambda: self._inner.ask(request, on_progress=on_progress, jobs=jobs),
        )
        if reply.from_cache and self._ledger is not None:
            await self._ledger.enter_cached(planned_call(self._inner, request, None))
        return reply

    async def check(self) -> str:
        """Say in one line that the provider answers.

        Raises:
            ProviderError: it does not, and why.
        """
        return await self._inner.check()
