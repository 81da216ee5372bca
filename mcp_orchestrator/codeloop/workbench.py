"""One loop at work: asking for programs, testing them, counting what it spends.

Every model call and every test run is a memo of the saga step it happens in: after a crash the
recorded ones are read back and only the one in flight is done again.
"""

import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import cast

import anyio
from pydantic import JsonValue, TypeAdapter

from mcp_orchestrator.agents import Begin, Message, Model, ModelReply, ModelRequest
from mcp_orchestrator.clock import Clock
from mcp_orchestrator.codeloop.attempt import Attempt, Origin, read_attempt, untested_attempt
from mcp_orchestrator.codeloop.memos import Memos
from mcp_orchestrator.codeloop.mending import mend
from mcp_orchestrator.codeloop.problem import Problem
from mcp_orchestrator.codeloop.reply import extract_code, imported_modules, newer_syntax
from mcp_orchestrator.codeloop.small_changes import small_changes
from mcp_orchestrator.codeloop.spend import Spend
from mcp_orchestrator.codeloop.telling import telling_when_slow
from mcp_orchestrator.errors import BudgetExceededError, ProviderRejectedError
from mcp_orchestrator.saga import BusinessRefusalError, JsonObject, StepHandle, progress
from mcp_orchestrator.sandbox import Sandbox, TestRequest

#: The likeliest programs first: they differ by how they are asked for. Later ones by chance too.
_TEMPERATURES = (0.2, 0.2, 0.2, 0.3, 0.3, 0.4, 0.6, 0.8)

_Run = TypeAdapter(tuple[Attempt, float])
_Changes = TypeAdapter(tuple[Attempt | None, float, int])
RunMemo = Callable[[str, Callable[[], Awaitable[JsonValue]]], Awaitable[JsonValue]]


class Workbench:
    """What the steps of one loop share.

    Args:
        problem: what is to be solved.
        tests: the tests that decide.
        memos: those of the saga step that is running, which keep what was paid for.
        coder: the model that writes programs.
        sandbox: where programs are tested.
        spend: what earlier steps have spent.
        concurrency: how many candidates are asked for at once.
        clock: tells when a call has become a long one.
    """

    def __init__(
        self,
        problem: Problem,
        tests: str,
        memos: Memos,
        coder: Model,
        sandbox: Sandbox,
        *,
        spend: Spend,
        concurrency: int,
        clock: Clock,
    ) -> None:
        self._clock = clock
        self.problem = problem
        self.spend = spend
        self._tests = tests
        self._step = memos.step
        self._memos = memos
        self._coder = coder
        self._sandbox = sandbox
        self._concurrency = concurrency

    async def attempt(
        self,
        number: int,
        origin: Origin,
        messages: tuple[Message, ...],
        *,
        parent: int | None = None,
    ) -> Attempt:
        """Ask for one program, test it, and count what that cost.

        Raises:
            BusinessRefusalError: the provider will refuse again.
            ProviderUnavailableError: it may work later.
        """
        label = f"{origin} {number + 1}"
        asking = f"{label}: asking {self._coder.model}"
        request = self._request(messages, number)
        async with telling_when_slow(lambda: self._tell(asking), self._clock):
            reply = await self.ask(self._coder, f"program.{number}", request)
        code = extract_code(reply.text)
        attempt, seconds = await self._test(number, origin, code, parent)
        self.spend = self.spend.with_run(seconds)
        return attempt

    async def ask(self, model: Model, memo: str, request: ModelRequest) -> ModelReply:
        """Ask a model once for this saga, and count what that cost.

        Raises:
            BusinessRefusalError: the provider will refuse again.
            ProviderUnavailableError: it may work later.
        """
        reply = await ask(self._step, model, memo, request, run=self._memos.run)
        self.spend = self.spend.with_reply(reply)
        return reply

    async def try_given(self, code: str) -> Attempt:
        """Test the program that was given, as the first attempt; no model is asked."""
        attempt, seconds = await self._test(0, "given", code, None)
        self.spend = self.spend.with_run(seconds)
        return attempt

    async def attempt_together(self, requests: list[tuple[Message, ...]]) -> list[Attempt]:
        """Ask for several candidates, some at once, until one passes or the budget is spent.

        Raises:
            BusinessRefusalError: the provider refused the first of them.
            ProviderUnavailableError: it may work later; what was answered is kept until then.
        """
        attempts: list[Attempt] = []
        while len(attempts) < len(requests) and not any(a.all_passed for a in attempts):
            width = min(self._concurrency, self.spend.calls_left(self.problem.budget))
            wave = range(len(attempts), min(len(attempts) + width, len(requests)))
            if not wave:
                break
            answered, failures = await _all_of(
                [self._candidate_later(number, requests[number]) for number in wave]
            )
            attempts += answered
            if failures:
                if attempts and isinstance(failures[0], BusinessRefusalError):
                    break  # nobody answers any more, but there is something to go on with
                raise failures[0]
        return attempts

    def _candidate_later(
        self, number: int, messages: tuple[Message, ...]
    ) -> Callable[[], Awaitable[Attempt]]:
        return lambda: self.attempt(number, "candidate", messages)

    def _request(self, messages: tuple[Message, ...], number: int) -> ModelRequest:
        return ModelRequest(
            messages=messages,
            max_tokens=self.problem.budget.reply_tokens,
            temperature=_TEMPERATURES[min(number, len(_TEMPERATURES) - 1)],
            seed=number,
        )

    async def tell_apart(self, attempts: list[Attempt], tests: str) -> list[Attempt]:
        """Run tests that a model wrote on programs that pass the tests that decide."""
        told: list[Attempt] = []
        for attempt in attempts:
            memo = f"apart.{attempt.number}"
            run, seconds = await self._run(
                memo, tests, attempt.number, attempt.origin, attempt.code
            )
            self.spend = self.spend.with_run(seconds)
            told.append(attempt.model_copy(update={"agreeing_tests": run.passing_tests}))
        return told

    async def try_changes(
        self, line: Attempt, number: int, most: int
    ) -> tuple[Attempt | None, int]:
        """Test programs one small change from an attempt until one passes all tests.

        Args:
            line: the attempt.
            number: of the attempt that comes of it.
            most: test runs at most.

        Returns:
            The one that passes, if any, and how many were tested.
        """

        async def try_all() -> JsonValue:
            seconds, tried = 0.0, 0
            for change in itertools.islice(small_changes(line.code), most):
                if self._objection(change.code):
                    continue
                report = await self._sandbox.run_tests(self._test_request(self._tests, change.code))
                seconds += report.run.duration_seconds
                tried += 1
                if report.all_passed:
                    found = read_attempt(
                        number, "small change", change.code, report, parent=line.number
                    ).model_copy(update={"mended": [change.note]})
                    return _changes_json(found, seconds, tried)
            return _changes_json(None, seconds, tried)

        await self._tell(f"trying programs one change from attempt {line.number + 1}")
        made = await self._memos.run(f"changes.{line.number}", try_all)
        found, seconds, tried = _Changes.validate_python(made)
        self.spend = self.spend.with_runs(tried, seconds)
        return found, tried

    async def _test(
        self, number: int, origin: Origin, code: str, parent: int | None
    ) -> tuple[Attempt, float]:
        objection = self._objection(code)
        if objection:
            return untested_attempt(number, origin, code, objection, parent=parent), 0.0
        memo = f"test.{number}"
        attempt, seconds = await self._run(memo, self._tests, number, origin, code, parent=parent)
        mended = None if attempt.passed else mend(code, self.problem.allowed_imports)
        if mended is None:
            return attempt, seconds
        again, more = await self._run(
            f"{memo}.mended", self._tests, number, origin, mended.code, parent=parent
        )
        if again.passed > attempt.passed:
            attempt = again.model_copy(update={"mended": list(mended.notes)})
        return attempt, seconds + more

    async def _run(
        self,
        memo: str,
        tests: str,
        number: int,
        origin: Origin,
        code: str,
        *,
        parent: int | None = None,
    ) -> tuple[Attempt, float]:
        async def run() -> JsonValue:
            report = await self._sandbox.run_tests(self._test_request(tests, code))
            attempt = read_attempt(number, origin, code, report, parent=parent)
            return cast(
                "JsonValue", _Run.dump_python((attempt, report.run.duration_seconds), mode="json")
            )

        def tell(made: JsonValue) -> JsonObject:
            attempt, _ = _Run.validate_python(made)
            return progress(f"{origin} {number + 1}: {attempt.summary}", **self._calls_made())

        return _Run.validate_python(await self._memos.run(memo, run, tell))

    def _test_request(self, tests: str, code: str) -> TestRequest:
        return TestRequest(
            code=code,
            tests=tests,
            module_name=self.problem.module_name,
            files=self.problem.files,
            owner=self._step.user_id,
            saga_id=self._step.saga_id,
        )

    def _objection(self, code: str) -> str:
        if not code:
            return "the reply held no program"
        if self.problem.allowed_imports is not None:
            forbidden = imported_modules(code) - set(self.problem.allowed_imports)
            if forbidden:
                return f"it imports {', '.join(sorted(forbidden))}, which is not allowed"
        if self.problem.language_level is not None:
            newer = newer_syntax(code, self.problem.language_level)
            if newer:
                return f"it needs a newer Python than {self.problem.language_level}: {newer}"
        return ""

    async def _tell(self, message: str) -> None:
        await self._step.report_progress(message, **self._calls_made())

    def _calls_made(self) -> dict[str, float]:
        return {
            "current": float(self.spend.model_calls),
            "total": float(self.problem.budget.model_calls),
        }


async def ask(
    step: StepHandle, model: Model, memo: str, request: ModelRequest, *, run: RunMemo | None = None
) -> ModelReply:
    """Ask a model once for this saga, whatever crashes in between.

    Args:
        step: the step that asks.
        model: whom it asks.
        memo: the name under which the reply is kept.
        request: what it asks.
        run: runs the memo; the step's own way, which waits for the disk, by default.

    Raises:
        BusinessRefusalError: the provider, or a budget, will refuse again; the saga should not
            repeat it.
        ProviderUnavailableError: it may work later.
    """
    addressed = replace(
        request, owner=step.user_id, saga_id=step.saga_id, purpose=f"{step.step_name}.{memo}"
    )

    async def call() -> JsonValue:
        jobs = _MemoisedJobs(step, memo)
        return cast("JsonValue", (await model.ask(addressed, jobs=jobs)).to_json())

    try:
        recorded = await (run or step.memo)(memo, call)
    except (ProviderRejectedError, BudgetExceededError) as error:
        raise BusinessRefusalError(error.message, remedy=error.remedy) from error
    return ModelReply.from_json(cast("dict[str, object]", recorded))


def _changes_json(found: Attempt | None, seconds: float, tried: int) -> JsonValue:
    return cast("JsonValue", _Changes.dump_python((found, seconds, tried), mode="json"))


class _MemoisedJobs:
    """Keeps the id of a job at the provider's as a memo, beside that of its answer."""

    def __init__(self, step: StepHandle, memo: str) -> None:
        self._step = step
        self._memo = memo

    async def once(self, name: str, begin: Begin) -> str:
        """Return the id that is known for this saga, or begin the job and keep its id."""
        return await self._step.memo(f"{self._memo}.{name}", begin)


async def _all_of(
    calls: Sequence[Callable[[], Awaitable[Attempt]]],
) -> tuple[list[Attempt], list[Exception]]:
    """Await several calls; when one fails the others still finish, since they are paid for."""
    results: dict[int, Attempt] = {}
    failures: list[Exception] = []

    async def settle(index: int) -> None:
        try:
            results[index] = await calls[index]()
        except Exception as error:  # the caller's to judge, once the others are done
            failures.append(error)

    async with anyio.create_task_group() as tasks:
        for index in range(len(calls)):
            tasks.start_soon(settle, index)
    return [results[index] for index in sorted(results)], failures
