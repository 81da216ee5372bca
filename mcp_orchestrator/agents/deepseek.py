"""DeepSeek, and any other server that speaks OpenAI's chat completions."""

import hashlib
import logging
from dataclasses import replace
from typing import Final

from pydantic import ValidationError

from mcp_orchestrator.agents.chat_completions import (
    ChatAnswer,
    Wire,
    messages_json,
    read_stream,
    read_whole,
)
from mcp_orchestrator.agents.failures import Account, FailedAttempt, JsonObject
from mcp_orchestrator.agents.http import ProviderHttp
from mcp_orchestrator.agents.model import (
    Message,
    ModelReply,
    ModelRequest,
    Progress,
    RemoteJobs,
    Usage,
)
from mcp_orchestrator.agents.prices import DEEPSEEK_FLASH, Prices
from mcp_orchestrator.clock import Clock
from mcp_orchestrator.errors import (
    AnswerLostError,
    ProviderRejectedError,
    ProviderUnavailableError,
)

BASE_URL: Final = "https://api.deepseek.com"
MODEL: Final = "deepseek-flash"
ACCOUNT: Final = Account("deepseek", "DEEPSEEK_API_KEY", "DEEPSEEK_BASE_URL", "DEEPSEEK_MODEL")
#: The same settings, where the base URL is another server's.
OTHER_ACCOUNT: Final = replace(ACCOUNT, provider="openai-compatible")

#: Names the vendor has withdrawn: what to use instead, and whether that thinks.
_WITHDRAWN: Final = {
    "deepseek-chat": False,
    "deepseek-coder": False,
    "deepseek-reasoner": True,
}
#: Names that are valid and not always listed.
_ALIASES: Final = ("deepseek-v4-flash", "deepseek-v4-pro")
_EFFORTS: Final = {"fast": "low", "low": "low", "medium": "high", "high": "high", "xhigh": "max"}
_LONGEST_COMPLETION = 4096
_log = logging.getLogger(__name__)


class _Listed(Wire):
    id: str


class _ModelList(Wire):
    data: tuple[_Listed, ...] = ()


class DeepSeekModel:
    """A model behind ``POST /chat/completions``.

    Args:
        http: the connection to the server.
        clock: for latencies and progress.
        model: a name that the server lists; the vendor's withdrawn names are translated.
        vendor_fields: send DeepSeek's own fields (``thinking``, ``reasoning_effort``,
            ``user_id``), which other servers may refuse; None for "if the host is DeepSeek's".
        prices: for the cost of a call; None when it is free or unknown.
        blank_retries: how often to ask again when JSON was asked for and nothing came.
    """

    def __init__(
        self,
        http: ProviderHttp,
        *,
        clock: Clock,
        model: str = MODEL,
        vendor_fields: bool | None = None,
        prices: Prices | None = None,
        blank_retries: int = 2,
    ) -> None:
        host = http.host
        is_vendor = host == "deepseek.com" or host.endswith(".deepseek.com")
        self.provider = http.account.provider
        self._vendor_fields = is_vendor if vendor_fields is None else vendor_fields
        self.model, self._thinking = self._present_name(model)
        self._http = http
        self._clock = clock
        self._prices = prices or (DEEPSEEK_FLASH if is_vendor else None)
        self._blank_retries = blank_retries

    async def ask(
        self,
        request: ModelRequest,
        *,
        on_progress: Progress | None = None,
        jobs: RemoteJobs | None = None,  # noqa: ARG002 - answers here come within the call
    ) -> ModelReply:
        """Ask and wait for the whole answer; it is streamed when somebody watches.

        A blank answer where JSON was asked for (a known fault of the vendor's) is asked for again;
        the usage then counts every attempt.

        Raises:
            ProviderRejectedError: the same request will be refused again.
            ProviderUnavailableError: it may work later.
        """
        spent: list[Usage] = []
        for _ in range(self._blank_retries + 1):
            started, prices = self._clock.monotonic(), self._present_prices()
            answer = await self._send(self._body(request), on_progress)
            reply = answer.reply(
                provider=self.provider, model=self.model, prices=prices,
                latency_seconds=self._clock.monotonic() - started,
            )  # fmt: skip
            spent.append(reply.usage)
            if reply.text.strip() or not request.json_object:
                return replace(reply, usage=_sum(spent))
        raise AnswerLostError(
            f"{self.provider} answered {len(spent)} times with blanks instead of JSON.",
            provider=self.provider,
            remedy="Ask again, or put an example of the JSON into the prompt.",
        )

    async def complete(self, prefix: str, suffix: str, *, max_tokens: int = 256) -> ModelReply:
        """Write what belongs between two texts (fill-in-the-middle; never thinks).

        Raises:
            ProviderRejectedError: the server does not offer it, or refuses the request.
            ProviderUnavailableError: it may work later.
        """
        body: JsonObject = {
            "model": self.model, "prompt": prefix, "suffix": suffix,
            "max_tokens": min(max_tokens, _LONGEST_COMPLETION),
        }  # fmt: skip
        path = "/beta/completions" if self._vendor_fields else "/completions"
        started, prices = self._clock.monotonic(), self._present_prices()
        answer = await self._read_whole(path, body)
        return answer.reply(
            provider=self.provider, model=self.model, prices=prices,
            latency_seconds=self._clock.monotonic() - started,
        )  # fmt: skip

    async def check(self) -> str:
        """Say in one line that the server answers and lists the model.

        Raises:
            ProviderRejectedError: the key is refused, or the model is not listed.
            ProviderUnavailableError: the server does not answer.
        """
        names = await self._listed()
        is_alias = self._vendor_fields and self.model in _ALIASES
        if names and self.model not in names and not is_alias:
            raise ProviderRejectedError(
                f"{self.provider} has no model {self.model!r}.",
                provider=self.provider,
                remedy=f"Set {self._http.account.model_setting} to one of: {', '.join(names)}.",
            )
        known = "an alias" if is_alias else "listed"
        if not names:
            known = "not verified: the server lists no models"
        return f"{self.provider} answers at {self._http.base_url}; model {self.model} ({known})"

    async def _send(self, body: JsonObject, on_progress: Progress | None) -> ChatAnswer:
        account = self._http.account
        try:
            if on_progress is None:
                return await self._read_whole("/chat/completions", body)
            streamed = {**body, "stream": True, "stream_options": {"include_usage": True}}
            return await self._http.stream(
                "/chat/completions", streamed,
                lambda events: read_stream(events, account, self._clock, on_progress),
            )  # fmt: skip
        except ProviderRejectedError as error:
            if error.status in (400, 404) and "model" in error.message.lower():
                raise await self._with_valid_names(error) from error
            raise

    async def _read_whole(self, path: str, body: JsonObject) -> ChatAnswer:
        try:
            return read_whole(await self._http.post(path, body), self._http.account)
        except FailedAttempt as failed:
            raise failed.error from failed.__cause__

    async def _listed(self) -> list[str]:
        try:
            listed = _ModelList.model_validate(await self._http.get("/models"))
        except ProviderRejectedError as error:
            if error.status in (404, 405):
                return []
            raise
        except ValidationError:
            return []
        return [model.id for model in listed.data]

    async def _with_valid_names(self, error: ProviderRejectedError) -> ProviderRejectedError:
        """Add to a refused model name the names that are valid, where the server tells them."""
        try:
            names = await self._listed()
        except (ProviderRejectedError, ProviderUnavailableError):
            return error
        if not names or self.model in names:
            return error
        remedy = f"Set {self._http.account.model_setting} to one of: {', '.join(names)}."
        return ProviderRejectedError(
            error.message, provider=error.provider, status=error.status, remedy=remedy
        )

    def _present_prices(self) -> Prices | None:
        return self._prices.at(self._clock.now()) if self._prices is not None else None

    def _present_name(self, name: str) -> tuple[str, bool | None]:
        if not self._vendor_fields or name not in _WITHDRAWN:
            return name, None
        thinks = _WITHDRAWN[name]
        _log.warning(
            "The model %s has been withdrawn; using %s %s thinking. Set %s.",
            name, MODEL, "with" if thinks else "without", ACCOUNT.model_setting,
        )  # fmt: skip
        return MODEL, thinks

    def _body(self, request: ModelRequest) -> JsonObject:
        if request.json_object:
            request = _mentioning_json(request)
        body: JsonObject = {
            "model": self.model,
            "messages": messages_json(request),
            "max_tokens": request.max_tokens,
        }
        if request.stop:
            body["stop"] = list(request.stop)
        if request.json_object:
            body["response_format"] = {"type": "json_object"}
        thinking = request.thinking if request.thinking is not None else self._thinking
        if self._vendor_fields:
            body |= _vendor_fields(request, thinking)
        if request.temperature is not None and not (self._vendor_fields and thinking is not False):
            body["temperature"] = request.temperature  # while it thinks, the vendor ignores it
        if request.seed is not None and not self._vendor_fields:
            body["seed"] = request.seed
        return body


def _vendor_fields(request: ModelRequest, thinking: bool | None) -> JsonObject:
    fields: JsonObject = {}
    if thinking is not None:
        fields["thinking"] = {"type": "enabled" if thinking else "disabled"}
    if request.effort is not None and thinking is not False:
        fields["reasoning_effort"] = _EFFORTS[request.effort]
    if request.owner is not None:  # isolates the vendor's prompt cache; it need not know the name
        fields["user_id"] = hashlib.sha256(request.owner.encode()).hexdigest()[:32]
    return fields


def _mentioning_json(request: ModelRequest) -> ModelRequest:
    """JSON mode is refused unless the prompt says the word."""
    if any("json" in message.content.lower() for message in request.messages):
        return request
    reminder = Message("system", "Answer with one JSON object.")
    return replace(request, messages=(reminder, *request.messages))


def _sum(spent: list[Usage]) -> Usage:
    costs = [usage.cost for usage in spent if usage.cost is not None]
    return Usage(
        input_tokens=sum(usage.input_tokens for usage in spent),
        output_tokens=sum(usage.output_tokens for usage in spent),
        cached_tokens=sum(usage.cached_tokens for usage in spent),
        reasoning_tokens=sum(usage.reasoning_tokens for usage in spent),
        cost=sum(costs[1:], costs[0]) if costs else None,
        currency=spent[-1].currency,
    )
