"""The code loop as a saga: reason → generate → refine → deliver.

Each step is an action; what it returns is the next one's input. The program that passes ends the
loop; otherwise at most two repairs of one line of attack, then a fresh start, until a budget is
spent ("debugging decay": most of a model's ability to repair is gone after two or three tries).
"""

from typing import cast

from pydantic import BaseModel, ConfigDict, JsonValue

from mcp_orchestrator.agents import Message, Model, ModelRequest
from mcp_orchestrator.codeloop import feedback
from mcp_orchestrator.codeloop.attempt import Attempt, Origin
from mcp_orchestrator.codeloop.delivery import Deliveries
from mcp_orchestrator.codeloop.problem import Problem
from mcp_orchestrator.codeloop.ranking import best_attempt
from mcp_orchestrator.codeloop.reply import extract_code
from mcp_orchestrator.codeloop.report import LoopResult, write_patch, write_report
from mcp_orchestrator.codeloop.roles import Roles
from mcp_orchestrator.codeloop.spend import Spend
from mcp_orchestrator.codeloop.workbench import Workbench, ask
from mcp_orchestrator.packs import Registry
from mcp_orchestrator.saga import JsonObject, SagaDefinition, SagaStep, StepHandle
from mcp_orchestrator.sandbox import Sandbox

LOOP_TYPE = "code_loop"
_GENERATED_TESTS = 6


class Plan(BaseModel):
    """What the step `reason` found out."""

    model_config = ConfigDict(frozen=True)

    analysis: str
    tests: str
    tests_generated: bool
    spend: Spend


class Progress(BaseModel):
    """Where the steps `generate` and `refine` left off."""

    model_config = ConfigDict(frozen=True)

    attempts: list[Attempt]
    spend: Spend
    stop_reason: str = ""


class CodeLoop:
    """The actions of the loop, bound to the models, the sandbox and the delivery folder.

    Args:
        roles: which model reasons and which writes code.
        sandbox: where programs are tested.
        deliveries: where the finished program goes.
        concurrency: how many candidates one loop asks for at once.
    """

    def __init__(
        self, roles: Roles, sandbox: Sandbox, deliveries: Deliveries, *, concurrency: int
    ) -> None:
        self._roles = roles
        self._sandbox = sandbox
        self._deliveries = deliveries
        self._concurrency = concurrency

    def register(self, registry: Registry) -> None:
        """Add the loop's actions to a registry."""
        registry.add_action("loop.reason", self.reason)
        registry.add_action("loop.generate", self.generate)
        registry.add_action("loop.refine", self.refine)
        registry.add_action("loop.deliver", self.deliver)
        registry.add_action("loop.withdraw", self.withdraw)

    async def reason(self, arguments: JsonObject, step: StepHandle) -> JsonValue:
        """Analyse the problem; without tests of the user's, have some written."""
        problem = Problem.model_validate(arguments["problem"])
        reasoner = self._roles.reasoner(problem.provider, step.saga_id)
        await step.report_progress(f"reasoning about the problem with {reasoner.model}")
        request = ModelRequest(
            messages=feedback.analysis_request(problem),
            max_tokens=min(problem.budget.reply_tokens, 1024),
            seed=0,
        )
        reply = await ask(step, reasoner, "analysis", request)
        spend = Spend().with_reply(reply)
        tests, generated = problem.tests, False
        if not tests:
            coder = self._roles.coder(problem.provider, step.saga_id)
            tests, spend = await self._write_tests(problem, step, coder, spend)
            generated = True
        plan = Plan(
            analysis=reply.text.strip(), tests=tests, tests_generated=generated, spend=spend
        )
        return _json(plan)

    async def _write_tests(
        self, problem: Problem, step: StepHandle, coder: Model, spend: Spend
    ) -> tuple[str, Spend]:
        await step.report_progress(f"no tests were given: asking {coder.model} for some")
        request = ModelRequest(
            messages=feedback.tests_request(problem, _GENERATED_TESTS),
            max_tokens=problem.budget.reply_tokens,
            seed=0,
        )
        reply = await ask(step, coder, "tests", request)
        return extract_code(reply.text), spend.with_reply(reply)

    async def generate(self, arguments: JsonObject, step: StepHandle) -> JsonValue:
        """Ask for the candidates and test each; a given program is the one candidate."""
        problem, plan = _problem_and_plan(arguments)
        bench = self._workbench(problem, plan, step, plan.spend)
        if problem.program is not None:
            given = await bench.try_given(problem.program)
            return _json(Progress(attempts=[given], spend=bench.spend))
        attempts = await bench.attempt_together(
            [
                feedback.candidate_request(problem, plan.analysis, number)
                for number in range(problem.candidates)
            ]
        )
        return _json(Progress(attempts=attempts, spend=bench.spend))

    async def refine(self, arguments: JsonObject, step: StepHandle) -> JsonValue:
        """Repair the best attempt, or start afresh, until one passes or a limit is reached."""
        problem, plan = _problem_and_plan(arguments)
        generated = Progress.model_validate(arguments["generated"])
        bench = self._workbench(problem, plan, step, generated.spend)
        search = _Search(problem, plan, bench, self._diagnostician(problem, step), step)
        stop_reason = await search.run(list(generated.attempts))
        return _json(Progress(attempts=search.attempts, spend=bench.spend, stop_reason=stop_reason))

    async def deliver(self, arguments: JsonObject, step: StepHandle) -> JsonValue:
        """Write the program, its tests and the report where a person finds them."""
        problem, plan = _problem_and_plan(arguments)
        refined = Progress.model_validate(arguments["refined"])
        best = best_attempt(refined.attempts) if refined.attempts else None
        result = LoopResult(
            solved=best is not None and best.all_passed,
            stop_reason=refined.stop_reason,
            code=best.code if best else "",
            tests=plan.tests,
            tests_generated=plan.tests_generated,
            best=best.number if best else None,
            attempts=refined.attempts,
            analysis=plan.analysis,
            spend=refined.spend,
            patch=write_patch(problem, best.code) if best else "",
            delivered_to=str(self._deliveries.path(step.saga_id)),
        )
        files = {
            f"{problem.module_name}.py": result.code,
            f"test_{problem.module_name}.py": result.tests,
            "report.md": write_report(problem, result),
        }
        if result.patch:
            files["changes.patch"] = result.patch
        await self._deliveries.deliver(step.saga_id, files)
        return _json(result)

    async def withdraw(self, _arguments: JsonObject, step: StepHandle) -> JsonValue:
        """Undo a delivery."""
        await self._deliveries.remove(step.saga_id)
        return "withdrawn"

    def _workbench(self, problem: Problem, plan: Plan, step: StepHandle, spend: Spend) -> Workbench:
        coder = self._roles.coder(problem.provider, step.saga_id)
        return Workbench(
            problem, plan.tests, step, coder, self._sandbox,
            spend=spend, concurrency=self._concurrency,
        )  # fmt: skip

    def _diagnostician(self, problem: Problem, step: StepHandle) -> Model | None:
        """Return the reasoner where it is another model than the coder: no model twice."""
        reasoner = self._roles.reasoner(problem.provider, step.saga_id)
        coder = self._roles.coder(problem.provider, step.saga_id)
        same = (reasoner.provider, reasoner.model) == (coder.provider, coder.model)
        return None if same else reasoner


class _Search:
    """The repairs and fresh starts of the step `refine`."""

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
        """Search on from the candidates; return why it stopped."""
        self.attempts = attempts
        if not self._plan.tests.strip():
            return "there are no tests to decide by"
        starts_left = self._problem.fresh_starts
        line = best_attempt(attempts) if attempts else None
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
        number = len(self.attempts)
        if failed is None:
            messages = feedback.candidate_request(self._problem, self._plan.analysis, number)
        else:
            messages = feedback.fresh_request(self._problem, self._plan.analysis, failed, number)
        return await self._next_attempt("fresh start", messages, parent=None)

    async def _next_attempt(
        self, origin: Origin, messages: tuple[Message, ...], *, parent: int | None
    ) -> Attempt:
        attempt = await self._bench.attempt(len(self.attempts), origin, messages, parent=parent)
        self.attempts.append(attempt)
        return attempt

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
        reply = await ask(self._step, self._diagnostician, f"diagnosis.{line.number}", request)
        self._bench.spend = self._bench.spend.with_reply(reply)
        return reply.text.strip()


def loop_definition() -> SagaDefinition:
    """Return the saga that a loop is."""
    problem: JsonValue = {"$ref": "input"}
    plan: JsonValue = {"$ref": "steps.reason.result"}
    generated: JsonValue = {"$ref": "steps.generate.result"}
    refined: JsonValue = {"$ref": "steps.refine.result"}
    return SagaDefinition(
        name=LOOP_TYPE,
        version="1",
        steps=(
            SagaStep("reason", "loop.reason", arguments={"problem": problem}),
            SagaStep("generate", "loop.generate", arguments={"problem": problem, "plan": plan}),
            SagaStep(
                "refine",
                "loop.refine",
                arguments={"problem": problem, "plan": plan, "generated": generated},
            ),
            SagaStep(
                "deliver",
                "loop.deliver",
                compensation="loop.withdraw",
                arguments={"problem": problem, "plan": plan, "refined": refined},
            ),
        ),
    )


def _problem_and_plan(arguments: JsonObject) -> tuple[Problem, Plan]:
    return Problem.model_validate(arguments["problem"]), Plan.model_validate(arguments["plan"])


def _json(model: BaseModel) -> JsonValue:
    return cast("JsonValue", model.model_dump(mode="json"))
