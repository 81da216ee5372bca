"""The search of the step `refine`: some repairs of one line of attack, then a fresh start.

Most of a model's ability to repair its own program is gone after two or three tries ("debugging
decay"), so a line that does not come to pass is given up for another approach.
"""

from mcp_orchestrator.agents import Message, Model, ModelRequest
from mcp_orchestrator.codeloop import feedback
from mcp_orchestrator.codeloop.attempt import Attempt, Origin
from mcp_orchestrator.codeloop.problem import Problem
from mcp_orchestrator.codeloop.progress import Plan
from mcp_orchestrator.codeloop.ranking import best_attempt, rank
from mcp_orchestrator.codeloop.workbench import Workbench
from mcp_orchestrator.saga import BusinessRefusalError, StepHandle


class Search:
    """The repairs and fresh starts of one loop.

    Args:
        problem: what is to be solved.
        plan: what reasoning found out.
        bench: asks for programs and tests them.
        diagnostician: asked why an attempt fails; None for nobody.
        step: the saga step that is running.
    """

    def __init__(
        self,
        problem: Problem,
        plan: Plan,
        bench: Workbench,
        diagnostician: Model | None,
        step: StepHandle,
    ) -> None:
        self.attempts: list[Attempt] = []
        self._problem = problem
        self._plan = plan
        self._bench = bench
        self._diagnostician = diagnostician
        self._step = step

    async def run(self, attempts: list[Attempt]) -> str:
        """Search on from the candidates; return why it stopped.

        Raises:
            BusinessRefusalError: no model has answered, and none will.
            ProviderUnavailableError: it may work later.
        """
        self.attempts = attempts
        if not self._plan.tests.strip():
            return "there are no tests to decide by"
        try:
            stop = await self._search()
        except BusinessRefusalError as error:
            if all(attempt.origin == "given" for attempt in self.attempts):
                raise
            stop = f"no further program was to be had: {error}"
        return await self._try_small_changes() or stop

    async def _try_small_changes(self) -> str | None:
        """Look beside what failed, the best first, now that no model goes on.

        Generated tests are too few and too doubtful to tell a lucky change from a right one.
        """
        left = self._problem.small_changes
        ranked = rank(self.attempts)
        if self._plan.tests_generated or any(attempt.all_passed for attempt in ranked):
            return None
        for line in ranked:
            if left <= 0 or self._bench.spend.seconds >= self._problem.budget.seconds:
                break
            found, tried = await self._bench.try_changes(line, self._next_number(), left)
            left -= tried
            if found is not None:
                self.attempts.append(found)
                number = found.number + 1
                return f"attempt {number} passed all tests, by a change that no model made"
        return None

    async def _search(self) -> str:
        starts_left = self._problem.fresh_starts
        line = best_attempt(self.attempts) if self.attempts else None
        while True:
            stop = self._stop_reason(line)
            if stop:
                return stop
            if line is not None:
                line = await self._repair_line(line)
                if line.all_passed or self._stop_reason(line):
                    continue
            if starts_left == 0:
                return "every line of attack failed"
            starts_left -= 1
            line = await self._fresh_start(best_attempt(self.attempts) if self.attempts else None)

    def _stop_reason(self, latest: Attempt | None) -> str | None:
        if latest is not None and latest.all_passed:
            return f"attempt {latest.number + 1} passed all tests"
        return self._bench.spend.exhausted(self._problem.budget)

    async def _repair_line(self, line: Attempt) -> Attempt:
        """Repair one attempt a few times; stop when it passes, or fails the same way again.

        A repair that made it worse is not built upon.
        """
        for _ in range(self._problem.repairs):
            if self._bench.spend.exhausted(self._problem.budget):
                break
            diagnosis = await self._diagnose(line)
            messages = feedback.repair_request(self._problem, line, diagnosis)
            repaired = await self._next_attempt("repair", messages, parent=line.number)
            stuck = repaired.fingerprint == line.fingerprint
            line = best_attempt([repaired, line])
            if line.all_passed or stuck:
                break
        return line

    async def _fresh_start(self, failed: Attempt | None) -> Attempt:
        number = self._next_number()
        if failed is None:
            messages = feedback.candidate_request(self._problem, self._plan.analysis, number)
        else:
            messages = feedback.fresh_request(self._problem, self._plan.analysis, failed, number)
        return await self._next_attempt("fresh start", messages, parent=None)

    async def _next_attempt(
        self, origin: Origin, messages: tuple[Message, ...], *, parent: int | None
    ) -> Attempt:
        number = self._next_number()
        attempt = await self._bench.attempt(number, origin, messages, parent=parent)
        self.attempts.append(attempt)
        return attempt

    def _next_number(self) -> int:
        """Return a number that no attempt has, also where a candidate was refused."""
        return 1 + max((attempt.number for attempt in self.attempts), default=-1)

    async def _diagnose(self, line: Attempt) -> str:
        left = self._bench.spend.calls_left(self._problem.budget)
        if self._diagnostician is None or left < 2:
            return ""
        await self._step.report_progress(f"asking {self._diagnostician.model} why it failed")
        request = ModelRequest(
            messages=feedback.diagnosis_request(self._problem, line),
            max_tokens=min(self._problem.budget.reply_tokens, 1024),
            seed=line.number,
        )
        reply = await self._bench.ask(self._diagnostician, f"diagnosis.{line.number}", request)
        return reply.text.strip()
