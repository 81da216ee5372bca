"""The one door to providers' HTTP: time-outs, retries, breaker, limits, and no secrets outside.

Cancelling a call closes its connection, which is how a provider learns to stop working on it.
"""

import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

import anyio
import httpx
from pydantic import SecretStr

from mcp_orchestrator.agents.breaker import Circuit, CircuitBreaker
from mcp_orchestrator.agents.failures import (
    Account,
    FailedAttempt,
    JsonObject,
    failed_connection,
    failure_of_status,
    hung_up,
    parse_padded_json,
    unusable_answer,
)
from mcp_orchestrator.agents.grace import with_grace
from mcp_orchestrator.agents.limits import CallLimits, Unlimited
from mcp_orchestrator.agents.metrics import ProviderMetrics
from mcp_orchestrator.agents.redaction import redact
from mcp_orchestrator.agents.retries import RetryPolicy, retry_after
from mcp_orchestrator.clock import Clock
from mcp_orchestrator.errors import (
    ConfigurationError,
    ProviderRejectedError,
    ProviderUnavailableError,
)
from mcp_orchestrator.telemetry.tracing import note

T = TypeVar("T")
#: Reads the events of a streamed answer; called anew for every attempt.
Consumer = Callable[[AsyncIterator[JsonObject]], Awaitable[T]]

LARGEST_BODY = 32 * 1024 * 1024
_END_OF_STREAM = "[DONE]"
#: Seconds that a request which starts a remote job may still take when we are cancelled.
_GRACE = 2.0


@dataclass(frozen=True)
class Timeouts:
    """Time limits of one attempt, in seconds.

    Args:
        connect: to reach the provider.
        read: between two pieces of an answer; padding counts as a piece.
        whole: for one attempt from beginning to end.
    """

    connect: float = 10.0
    read: float = 300.0
    whole: float = 900.0


class ProviderHttp:
    """A pooled connection to one provider; use it as an async context manager.

    Args:
        account: the provider's name and what its settings are called.
        base_url: where it is, such as ``https://api.deepseek.com``.
        clock: for back-off and the breaker.
        api_key: sent as a bearer token; None sends none.
        needs_key: refuse to ask without a key (the vendor's own servers do).
        timeouts: time limits of one attempt.
        retries: how patient to be.
        breaker: leaves a broken provider alone; its own by default.
        limits: holds calls back; none by default.
        transport: what carries the requests, for record and replay; the network by default.
        chance: a source of random numbers from 0 to 1.
        metrics: counts requests and retries and shows the breaker; None for nothing.

    Raises:
        ConfigurationError: the base URL is not one, or carries a secret.
    """

    def __init__(
        self,
        account: Account,
        *,
        base_url: str,
        clock: Clock,
        api_key: SecretStr | None = None,
        needs_key: bool = False,
        timeouts: Timeouts | None = None,
        retries: RetryPolicy | None = None,
        breaker: CircuitBreaker | None = None,
        limits: CallLimits | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        chance: Callable[[], float] = random.random,
        metrics: ProviderMetrics | None = None,
    ) -> None:
        self.account = account
        self.base_url = _checked_url(base_url, account)
        self.host = self.base_url.host
        self._clock = clock
        self._key = api_key
        self._needs_key = needs_key
        self._timeouts = timeouts or Timeouts()
        self._retries = retries or RetryPolicy()
        self._breaker = breaker or CircuitBreaker()
        self._limits = limits or Unlimited()
        self._chance = chance
        self._metrics = metrics
        if metrics is not None:
            metrics.watch(account.provider, self.circuit)
        self._client = httpx.AsyncClient(
            headers={"Accept": "application/json, text/event-stream"}, transport=transport,
            timeout=httpx.Timeout(self._timeouts.read, connect=self._timeouts.connect),
            limits=httpx.Limits(max_connections=200, max_keepalive_connections=20),
            trust_env=self.host not in ("localhost", "127.0.0.1", "::1"),  # no proxy to ourselves
        )  # fmt: skip

    async def __aenter__(self) -> Self:
        """Return itself; connections are opened when needed."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close every connection."""
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        with anyio.CancelScope(shield=True):
            await self._client.aclose()

    def circuit(self) -> Circuit:
        """Return where the breaker stands now."""
        return self._breaker.state(self._clock.monotonic())

    async def get(self, path: str) -> JsonObject:
        """GET a JSON object. Looking costs nothing, so limits do not hold it back.

        Raises:
            ProviderRejectedError: 4xx but 429; the same request will be refused again.
            ProviderUnavailableError: 429, 5xx, connection or time-out, after the retries.
        """
        return await self._until_answered(lambda: self._whole("GET", path, None), urgent=True)

    async def post(
        self,
        path: str,
        body: JsonObject,
        *,
        on_answer: Callable[[JsonObject], None] | None = None,
        urgent: bool = False,
    ) -> JsonObject:
        """POST a JSON object and return the one that is answered.

        Args:
            path: below the base URL, with a leading slash.
            body: what to send.
            on_answer: told of the answer even if we are being cancelled, so that the id of a
                remote job is not lost: a cancel gives an attempt that is under way a moment.
            urgent: not held back by limits, for what stops work instead of starting it.

        Raises:
            ProviderRejectedError: 4xx but 429; the same request will be refused again.
            ProviderUnavailableError: 429, 5xx, connection or time-out, after the retries.
        """

        async def attempt() -> JsonObject:
            if on_answer is None:
                return await self._whole("POST", path, body)
            answer = await with_grace(lambda: self._whole("POST", path, body), _GRACE)
            on_answer(answer)
            return answer

        return await self._until_answered(attempt, urgent=urgent)

    async def stream(self, path: str, body: JsonObject, consume: Consumer[T]) -> T:
        """POST a JSON object and hand the events of the answer to a consumer.

        A server that answers with one JSON object instead gives one event.

        Raises:
            ProviderRejectedError: 4xx but 429; the same request will be refused again.
            ProviderUnavailableError: 429, 5xx, connection or time-out, after the retries.
        """

        async def attempt() -> T:
            async with (
                self._answer("POST", path, body) as response,
                aclosing(self._events(response)) as events,
            ):
                return await consume(events)

        return await self._until_answered(attempt)

    async def _until_answered(
        self, attempt: Callable[[], Awaitable[T]], *, urgent: bool = False
    ) -> T:
        limits = Unlimited() if urgent else self._limits
        failures, throttles, waited = 0, 0, 0.0
        while True:
            try:
                return await self._one_attempt(attempt, limits)
            except FailedAttempt as failed:
                throttles += failed.throttled
                failures += not failed.throttled
                wait = self._retries.wait(
                    failures=failures, throttles=throttles, waited=waited,
                    asked=failed.retry_after, chance=self._chance(),
                ) if failed.may_retry else None  # fmt: skip
                if wait is None:
                    raise failed.error from failed.__cause__
                note("retry", {"error": failed.error.code, "wait_seconds": wait})
                if self._metrics is not None:
                    self._metrics.again(self.account.provider, throttled=failed.throttled)
            await self._clock.sleep(wait)
            waited += wait

    async def _one_attempt(self, attempt: Callable[[], Awaitable[T]], limits: CallLimits) -> T:
        self._require_key()
        async with limits.slot():
            self._admit()
            began = self._clock.monotonic()
            try:
                answer = await self._without_httpx(attempt)
            except FailedAttempt as failed:
                self._note_failure(failed, began)
                if failed.throttled:
                    await limits.throttled(failed.retry_after)
                raise
            except BaseException:
                self._breaker.abandoned()
                self._count("cancelled", began)
                raise
            self._breaker.succeeded()
            self._count("answered", began)
            return answer

    def _note_failure(self, failed: FailedAttempt, began: float) -> None:
        if failed.is_fault:
            self._breaker.failed(self._clock.monotonic())
            self._count("failed", began)
        else:
            self._breaker.succeeded()
            self._count("throttled" if failed.throttled else "refused", began)

    def _count(self, outcome: str, began: float) -> None:
        if self._metrics is not None:
            seconds = self._clock.monotonic() - began
            self._metrics.sent(self.account.provider, outcome, seconds)

    async def _without_httpx(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Run an attempt; every fault of the connection becomes a FailedAttempt."""
        account, limits = self.account, self._timeouts
        try:
            with anyio.fail_after(limits.whole):
                return await attempt()
        except TimeoutError as error:
            what = f"did not finish within {limits.whole:g} s"
            raise failed_connection(account, what, reached=True, may_retry=False) from error
        except httpx.ConnectTimeout as error:
            what = f"could not be reached within {limits.connect:g} s"
            raise failed_connection(account, what, reached=False, may_retry=True) from error
        except httpx.TimeoutException as error:
            what = f"sent nothing for {limits.read:g} s"
            raise failed_connection(account, what, reached=True, may_retry=False) from error
        except httpx.ConnectError as error:
            what = f"cannot be reached at {self.base_url}"
            raise failed_connection(account, what, reached=False, may_retry=True) from error
        except (httpx.TransportError, httpx.StreamError, httpx.DecodingError) as error:
            what = f"broke the connection ({type(error).__name__})"
            raise failed_connection(account, what, reached=True, may_retry=True) from error

    async def _whole(self, method: str, path: str, body: JsonObject | None) -> JsonObject:
        async with self._answer(method, path, body) as response:
            text = await self._text(response)
        try:
            found = parse_padded_json(text)
        except ValueError as error:
            raise unusable_answer(
                self.account, "something that is not a JSON object", may_retry=False
            ) from error
        if found is None:  # padded under load, then hung up: no work was done
            raise hung_up(self.account)
        return found

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, body: JsonObject | None
    ) -> AsyncGenerator[httpx.Response]:
        url = str(self.base_url).rstrip("/") + path
        async with self._client.stream(method, url, json=body, headers=self._headers()) as response:
            if not response.is_success:
                text = redact(await self._text(response), self._secret())
                asked = retry_after(response.headers.get("retry-after"), self._clock.now())
                raise failure_of_status(response.status_code, text, self.account, retry_after=asked)
            yield response

    async def _text(self, response: httpx.Response) -> str:
        received = bytearray()
        async for piece in response.aiter_bytes():
            received += piece
            if len(received) > LARGEST_BODY:
                raise self._too_long()
        return received.decode(errors="replace")

    async def _events(self, response: httpx.Response) -> AsyncGenerator[JsonObject]:
        """Read server-sent events, or one JSON object where the server does not stream."""
        if "text/event-stream" not in response.headers.get("content-type", ""):
            found = _event(await self._text(response), self.account)
            if found is None:
                raise hung_up(self.account)
            yield found
            return
        received = 0
        async for line in response.aiter_lines():
            received += len(line)
            if received > LARGEST_BODY:
                raise self._too_long()
            name, _, data = line.partition(":")
            if name != "data":
                continue  # padding, comments, event names
            if data.strip() == _END_OF_STREAM:
                return
            event = _event(data.strip(), self.account)
            if event is not None:
                yield event

    def _too_long(self) -> FailedAttempt:
        what = f"more than {LARGEST_BODY} bytes"
        return unusable_answer(self.account, what, may_retry=False)

    def _headers(self) -> dict[str, str]:
        secret = self._secret()
        return {"Authorization": f"Bearer {secret}"} if secret else {}

    def _secret(self) -> str | None:
        return self._key.get_secret_value() if self._key is not None else None

    def _require_key(self) -> None:
        if self._needs_key and not self._secret():
            raise ProviderRejectedError(
                f"There is no key for {self.account.provider}.",
                provider=self.account.provider,
                remedy=f"Set {self.account.key_setting}.",
            )

    def _admit(self) -> None:
        left = self._breaker.admit(self._clock.monotonic())
        if left is not None:
            raise ProviderUnavailableError(
                f"{self.account.provider} failed several times in a row and is left alone.",
                provider=self.account.provider,
                remedy=f"Ask again in {left:.0f} s.",
            )


def _event(data: str, account: Account) -> JsonObject | None:
    try:
        return parse_padded_json(data)
    except ValueError as error:
        what = "a streamed event that is not a JSON object"
        raise unusable_answer(account, what, may_retry=False) from error


def _checked_url(base_url: str, account: Account) -> httpx.URL:
    remedy = f"Set {account.url_setting} to a URL such as https://HOST/v1."
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise ConfigurationError(f"{account.url_setting} is not a URL.", remedy=remedy) from error
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigurationError(f"{account.url_setting} is not an HTTP URL.", remedy=remedy)
    if url.userinfo or url.query:  # they would be logged with every request
        raise ConfigurationError(
            f"{account.url_setting} carries a secret.",
            remedy=f"Put the key into {account.key_setting} instead.",
        )
    return url
