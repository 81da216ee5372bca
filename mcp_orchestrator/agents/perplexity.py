"""Perplexity: the Agent API with background runs, Sonar chat completions, and plain search."""

from functools import partial
from typing import Final, Literal, assert_never

import anyio
from pydantic import ValidationError

from mcp_orchestrator.agents.agent_api import (
    AgentRun,
    read_reply,
    read_run,
    run_body,
    search_filters,
)
from mcp_orchestrator.agents.chat_completions import (
    SearchResult,
    Wire,
    messages_json,
    read_stream,
    read_whole,
)
from mcp_orchestrator.agents.failures import Account, FailedAttempt, JsonObject, unusable_answer
from mcp_orchestrator.agents.http import ProviderHttp
from mcp_orchestrator.agents.model import (
    ModelReply,
    ModelRequest,
    Progress,
    RemoteJobs,
    SearchOptions,
    Usage,
)
from mcp_orchestrator.agents.prices import Prices
from mcp_orchestrator.agents.reporting import ProgressReporter
from mcp_orchestrator.clock import Clock
from mcp_orchestrator.errors import ProviderError, ProviderRejectedError

BASE_URL: Final = "https://api.perplexity.ai"
ACCOUNT: Final = Account(
    "perplexity", "PERPLEXITY_API_KEY", "PERPLEXITY_BASE_URL", "PERPLEXITY_MODEL"
)
Protocol = Literal["agent", "sonar"]

#: The Sonar model that each effort corresponds to.
_SONAR: Final = {
    "fast": "sonar", "low": "sonar-pro", "medium": "sonar-reasoning-pro",
    "high": "sonar-reasoning-pro", "xhigh": "sonar-deep-research",
}  # fmt: skip
#: Efforts whose runs take minutes; a connection held open that long is likely to be cut.
_LONG: Final = ("high", "xhigh")
#: Seconds within which ``/cancel`` has to be answered; the caller is waiting to go.
_CANCEL_PATIENCE = 3.0
#: A run that is known from before may have been cancelled when its process ended in good order;
#: then another is begun, but not without end.
_MOST_RUNS = 5
_PROBE = "/v1/responses/resp_mcp_orchestrator_probe"


class _SearchAnswer(Wire):
    id: str | None = None
    results: tuple[SearchResult, ...]


class PerplexityModel:
    """A model that can search the web.

    Args:
        http: the connection to the vendor.
        clock: for latencies, polling and progress.
        protocol: ``"agent"`` for the Agent API, ``"sonar"`` for the older chat completions.
        model: a model name; None lets the effort choose, as the vendor recommends.
        effort: for requests that name none.
        background: run in the background and poll; None for "when the effort is high or more".
        first_poll: seconds before a background run is looked at; the pauses grow from there.
        longest_poll: seconds between two looks at most.
        prices: where the vendor does not tell what a call cost.
    """

    def __init__(
        self,
        http: ProviderHttp,
        *,
        clock: Clock,
        protocol: Protocol = "agent",
        model: str | None = None,
        effort: str = "low",
        background: bool | None = None,
        first_poll: float = 1.0,
        longest_poll: float = 5.0,
        prices: Prices | None = None,
    ) -> None:
        self.provider = http.account.provider
        self.model = model or f"{protocol}-{effort}"
        self._http = http
        self._clock = clock
        self._protocol: Protocol = protocol
        self._model = model
        self._effort = effort
        self._background = background
        self._first_poll = first_poll
        self._longest_poll = longest_poll
        self._prices = prices

    async def ask(
        self,
        request: ModelRequest,
        *,
        on_progress: Progress | None = None,
        jobs: RemoteJobs | None = None,
    ) -> ModelReply:
        """Ask and wait for the whole answer.

        Cancelling while a background run is under way cancels it at the vendor's too, so that
        billing stops. A run that ``jobs`` knows from before a crash is gone on with.

        Raises:
            ProviderRejectedError: the same request will be refused again.
            ProviderUnavailableError: it may work later.
        """
        started = self._clock.monotonic()
        effort = request.effort or self._effort
        try:
            match self._protocol:
                case "agent":
                    run = await self._finished_run(request, effort, on_progress, jobs)
                    return read_reply(
                        run, self._http.account, model=self._model or f"agent-{effort}",
                        prices=self._prices, latency_seconds=self._clock.monotonic() - started,
                    )  # fmt: skip
                case "sonar":
                    return await self._ask_sonar(request, effort, on_progress)
                case _:
                    assert_never(self._protocol)
        except FailedAttempt as failed:
            raise failed.error from failed.__cause__

    async def search(self, query: str, options: SearchOptions | None = None) -> ModelReply:
        """Search the web without a model (the vendor's Search API); only citations come back.

        Raises:
            ProviderRejectedError: the same request will be refused again.
            ProviderUnavailableError: it may work later.
        """
        options = options or SearchOptions()
        body: JsonObject = {"query": query, "max_results": options.max_results}
        started = self._clock.monotonic()
        data = await self._http.post("/search", body | search_filters(options))
        try:
            answer = _SearchAnswer.model_validate(data)
        except ValidationError as error:
            failed = unusable_answer(self._http.account, "an unknown shape", may_retry=False)
            raise failed.error from error
        return ModelReply(
            "", "", tuple(result.citation() for result in answer.results), Usage(), self.provider,
            "search", self._clock.monotonic() - started, answer.id, "stop",
        )  # fmt: skip

    async def check(self) -> str:
        """Say in one line that the vendor answers and accepts the key.

        It looks for a run that does not exist, which costs nothing.

        Raises:
            ProviderRejectedError: the key is refused.
            ProviderUnavailableError: the vendor does not answer.
        """
        try:
            await self._http.get(_PROBE)
        except ProviderRejectedError as error:
            if error.status not in (400, 404, 422):
                raise
        return f"{self.provider} answers at {self._http.base_url}; {self.model}"

    async def _finished_run(
        self,
        request: ModelRequest,
        effort: str,
        on_progress: Progress | None,
        jobs: RemoteJobs | None,
    ) -> AgentRun:
        body = run_body(request, model=self._model, effort=effort)
        background = effort in _LONG if self._background is None else self._background
        if not background:
            return read_run(await self._http.post("/v1/responses", body), self._http.account)
        for number in range(_MOST_RUNS):
            run = await self._background_run(body, on_progress, jobs, number)
            if run is not None:
                return run
        raise unusable_answer(self._http.account, "runs that somebody cancels", may_retry=False)

    async def _background_run(
        self,
        body: JsonObject,
        on_progress: Progress | None,
        jobs: RemoteJobs | None,
        number: int,
    ) -> AgentRun | None:
        """Begin a run, or go on with the one known; None when that one is gone."""
        begun: list[JsonObject] = []
        known: str | None = None

        async def begin() -> str:
            background = body | {"background": True}
            data = await self._http.post("/v1/responses", background, on_answer=begun.append)
            return read_run(data, self._http.account).id

        try:
            known = await (jobs.once(f"run.{number}", begin) if jobs else begin())
            if begun:
                return await self._poll(read_run(begun[-1], self._http.account), on_progress)
            run = await self._look(known)
            if run is None or run.status == "cancelled":
                return None
            return await self._poll(run, on_progress)
        except BaseException:  # we shall never read it, so nobody should pay for it
            run_id = begun[-1].get("id") if begun else known
            if run_id:
                await self._cancel(run_id)
            raise

    async def _look(self, run_id: str) -> AgentRun | None:
        try:
            data = await self._http.get(f"/v1/responses/{run_id}")
        except ProviderRejectedError as error:
            if error.status == 404:  # vendors do not keep runs for ever
                return None
            raise
        return read_run(data, self._http.account)

    async def _poll(self, run: AgentRun, on_progress: Progress | None) -> AgentRun:
        started, pause = self._clock.monotonic(), self._first_poll
        reporter = ProgressReporter(self._clock, on_progress)
        while run.is_under_way:
            await reporter.report(partial(self._in_words, run, started))
            await self._clock.sleep(pause)
            pause = min(pause * 1.5, self._longest_poll)
            run = read_run(await self._http.get(f"/v1/responses/{run.id}"), self._http.account)
        return run

    def _in_words(self, run: AgentRun, started: float) -> str:
        seconds = self._clock.monotonic() - started
        state = run.status.replace("_", " ")
        return f"{self.provider} run is {state} for {seconds:.0f} s; {run.searches} searches so far"

    async def _cancel(self, run_id: object) -> None:
        """Stop a run at the vendor's, whatever happens to us; failing to is not our caller's."""
        with anyio.move_on_after(_CANCEL_PATIENCE, shield=True):
            try:
                await self._http.post(f"/v1/responses/{run_id}/cancel", {}, urgent=True)
            except (ProviderError, FailedAttempt):
                return

    async def _ask_sonar(
        self, request: ModelRequest, effort: str, on_progress: Progress | None
    ) -> ModelReply:
        started, account = self._clock.monotonic(), self._http.account
        model = self._model or _SONAR[effort]
        body = _sonar_body(request, model)
        if on_progress is None:
            answer = read_whole(await self._http.post("/chat/completions", body), account)
        else:
            answer = await self._http.stream(
                "/chat/completions", {**body, "stream": True},
                lambda events: read_stream(events, account, self._clock, on_progress),
            )  # fmt: skip
        return answer.reply(
            provider=self.provider, model=model, prices=self._prices,
            latency_seconds=self._clock.monotonic() - started,
        )  # fmt: skip


def _sonar_body(request: ModelRequest, model: str) -> JsonObject:
    body: JsonObject = {
        "model": model,
        "messages": messages_json(request),
        "max_tokens": request.max_tokens,
    }
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.search is not None:
        body["web_search_options"] = {"search_context_size": request.search.context_size}
        body |= search_filters(request.search)
    return body
