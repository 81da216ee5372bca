"""The code loop as a saga: reason → generate → refine → approve → deliver.

Each step is an action; what it returns is the next one's input. The program that passes ends the
loop; otherwise it is repaired or written anew until a budget is spent. A person is asked before
the delivery where the program is risky.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast

from pydantic import BaseModel, JsonValue

from mcp_orchestrator.agents import Model, ModelRequest
from mcp_orchestrator.clock import Clock
from mcp_orchestrator.codeloop import feedback
from mcp_orchestrator.codeloop.attempt import Attempt, same_program
from mcp_orchestrator.codeloop.delivery import Deliveries
from mcp_orchestrator.codeloop.memos import memos_of
from mcp_orchestrator.codeloop.problem import Problem
from mcp_orchestrator.codeloop.progress import Plan, Progress
from mcp_orchestrator.codeloop.ranking import best_attempt
from mcp_orchestrator.codeloop.reply import extract_code
from mcp_orchestrator.codeloop.report import (
    LoopResult,
    approval_question,
    write_patch,
    write_report,
)
from mcp_orchestrator.codeloop.roles import Roles
from mcp_orchestrator.codeloop.search import Search
from mcp_orchestrator.codeloop.spend import Spend
from mcp_orchestrator.codeloop.workbench import Workbench, ask
from mcp_orchestrator.packs import Registry
from mcp_orchestrator.saga import (
    BusinessRefusalError,
    JsonObject,
    SagaDefinition,
    SagaStep,
    SagaView,
    StepHandle,
    StepState,
)
from mcp_orchestrator.sandbox import Sandbox

LOOP_TYPE = "code_loop"
#: What the saga calls a person's approval of the delivery.
APPROVAL = "delivery"
_GENERATED_TESTS = 6


class CodeLoop:
    """The actions of the loop, bound to the models, the sandbox and the delivery folder.

    Args:
        roles: which model reasons and which writes code.
        sandbox: where programs are tested.
        deliveries: where the finished program goes.
        concurrency: how many candidates one loop asks for at once.
        approval_risk: the risk score from which a person is asked before the delivery.
        clock: the time.
    """

    def __init__(
        self,
        roles: Roles,
        sandbox: Sandbox,
        deliveries: Deliveries,
        *,
        concurrency: int,
        approval_risk: int,
        clock: Clock,
    ) -> None:
        self._clock = clock
        self._roles = roles
        self._sandbox = sandbox
        self._deliveries = deliveries
        self._concurrency = concurrency
        self._approval_risk = approval_risk

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
        analysis, tests, spend = "", problem.tests, Spend()
        if problem.analyse:
            analysis, spend = await self._analyse(problem, step)
        if not tests:
            tests, spend = await self._write_tests(problem, step, spend)
        generated = not problem.tests
        return _json(Plan(analysis=analysis, tests=tests, tests_generated=generated, spend=spend))

    async def _analyse(self, problem: Problem, step: StepHandle) -> tuple[str, Spend]:
        reasoner = self._roles.reasoner(problem.provider, step.saga_id)
        await step.report_progress(f"reasoning about the problem with {reasoner.model}")
        request = ModelRequest(
            messages=feedback.analysis_request(problem),
            max_tokens=min(problem.budget.reply_tokens, 1024),
            seed=0,
        )
        reply = await ask(step, reasoner, "analysis", request)
        return reply.text.strip(), Spend().with_reply(reply)

    async def _write_tests(
        self, problem: Problem, step: StepHandle, spend: Spend
    ) -> tuple[str, Spend]:
        coder = self._roles.coder(problem.provider, step.saga_id)
        await step.report_progress(f"asking {coder.model} for tests")
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
        async with self._workbench(problem, plan, step, plan.spend) as bench:
            if problem.program is not None:
                given = await bench.try_given(problem.program)
                return _json(Progress(attempts=[given], spend=bench.spend))
            attempts = await bench.attempt_together(
                [
                    feedback.candidate_request(problem, plan.analysis, number)
                    for number in range(problem.candidates)
                ]
            )
            tests, attempts = await self._choose(problem, attempts, bench, step)
            return _json(Progress(attempts=attempts, spend=bench.spend, generated_tests=tests))

    async def _choose(
        self, problem: Problem, attempts: list[Attempt], bench: Workbench, step: StepHandle
    ) -> tuple[str, list[Attempt]]:
        """Have tests written where several different programs pass all of the user's."""
        passing = [attempt for attempt in attempts if attempt.all_passed]
        differ = any(not same_program(passing[0], attempt) for attempt in passing[1:])
        if not problem.tests or not differ or not bench.spend.calls_left(problem.budget):
            return "", attempts
        try:
            tests, bench.spend = await self._write_tests(problem, step, bench.spend)
        except BusinessRefusalError:
            return "", attempts  # any of them will do
        if not tests.strip():
            return "", attempts
        told = {attempt.number: attempt for attempt in await bench.tell_apart(passing, tests)}
        return tests, [told.get(attempt.number, attempt) for attempt in attempts]

    async def refine(self, arguments: JsonObject, step: StepHandle) -> JsonValue:
        """Repair the best attempt, or start afresh, until one passes or a limit is reached."""
        problem, plan = _problem_and_plan(arguments)
        generated = Progress.model_validate(arguments["generated"])
        async with self._workbench(problem, plan, step, generated.spend) as bench:
            search = Search(problem, plan, bench, self._diagnostician(problem, step), step)
            stop_reason = await search.run(list(generated.attempts))
        best = best_attempt(search.attempts) if search.attempts else None
        risky = best is not None and best.risk_score >= self._approval_risk
        return _json(
            Progress(
                attempts=search.attempts,
                spend=bench.spend,
                generated_tests=generated.generated_tests,
                stop_reason=stop_reason,
                needs_approval=risky,
                question=approval_question(best) if best is not None and risky else "",
            )
        )

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
            more_tests=refined.generated_tests,
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

    @asynccontextmanager
    async def _workbench(
        self, problem: Problem, plan: Plan, step: StepHandle, spend: Spend
    ) -> AsyncGenerator[Workbench]:
        coder = self._roles.coder(problem.provider, step.saga_id)
        async with memos_of(step) as memos:
            yield Workbench(
                problem, plan.tests, memos, coder, self._sandbox,
                spend=spend, concurrency=self._concurrency, clock=self._clock,
            )  # fmt: skip

    def _diagnostician(self, problem: Problem, step: StepHandle) -> Model | None:
        """Return the reasoner where it is another model than the coder: no model twice."""
        reasoner = self._roles.reasoner(problem.provider, step.saga_id)
        coder = self._roles.coder(problem.provider, step.saga_id)
        same = (reasoner.provider, reasoner.model) == (coder.provider, coder.model)
        return None if same else reasoner


def loop_definition() -> SagaDefinition:
    """Return the saga that a loop is."""
    problem: JsonValue = {"$ref": "input"}
    plan: JsonValue = {"$ref": "steps.reason.result"}
    generated: JsonValue = {"$ref": "steps.generate.result"}
    refined: JsonValue = {"$ref": "steps.refine.result"}
    return SagaDefinition(
        name=LOOP_TYPE,
        version="2",
        steps=(
            SagaStep("reason", "loop.reason", arguments={"problem": problem}),
            SagaStep("generate", "loop.generate", arguments={"problem": problem, "plan": plan}),
            SagaStep(
                "refine",
                "loop.refine",
                arguments={"problem": problem, "plan": plan, "generated": generated},
            ),
            SagaStep(
                "approve",
                "saga.approval",
                arguments={
                    "approval": APPROVAL,
                    "needed": {"$ref": "steps.refine.result.needs_approval"},
                    "question": {"$ref": "steps.refine.result.question"},
                },
            ),
            SagaStep(
                "deliver",
                "loop.deliver",
                compensation="loop.withdraw",
                arguments={"problem": problem, "plan": plan, "refined": refined},
            ),
        ),
    )


def delivery_question(view: SagaView) -> str | None:
    """Return what a loop waits to hear from a person before it delivers; None if it does not."""
    steps = {step.name: step for step in view.steps}
    approve = steps.get("approve")  # loops of the first version have none
    if approve is None or approve.state is not StepState.EXECUTING:
        return None
    return Progress.model_validate(steps["refine"].result).question or None


def progress_so_far(view: SagaView) -> Progress | None:
    """Return what the steps that are done have found, whether or how the loop has ended."""
    done = view.results.get("refine") or view.results.get("generate")
    return Progress.model_validate(done) if done else None


def _problem_and_plan(arguments: JsonObject) -> tuple[Problem, Plan]:
    return Problem.model_validate(arguments["problem"]), Plan.model_validate(arguments["plan"])


def _json(model: BaseModel) -> JsonValue:
    return cast("JsonValue", model.model_dump(mode="json"))
