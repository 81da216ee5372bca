"""One sample, best of n, and the loop: solved problems at equal calls, with a small real model.

All three ask the same model in the same first form, and the same tests decide about all three. Best
of n asks that form again and again, first at temperature 0.2 as the single sample does, then at
0.8, and stops at the first that passes, as the loop does. BENCH_PROBLEMS, BENCH_CALLS and
BENCH_SEED change what is measured.

The loop's overhead is what it adds to its calls: with a provider that answers at once, loops and
the same calls made bare (an HTTP request, a test run) take turns.
"""

import json
import os
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import anyio

from benchmarks.loop.confidence import mcnemar, wilson
from benchmarks.loop.problems import Task, choose
from mcp_orchestrator.agents import (
    DeepSeekModel,
    Message,
    ModelRequest,
    ProviderHttp,
    deepseek,
)
from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.codeloop import LoopResult, extract_code, first_question, loop_definition
from mcp_orchestrator.collector import collect_rarely
from mcp_orchestrator.demo.local_model import MODEL, local_model
from mcp_orchestrator.runtime import Runtime, open_runtime
from mcp_orchestrator.saga import JsonObject
from mcp_orchestrator.sandbox import TestRequest
from mcp_orchestrator.settings import Settings
from tests.services import scripted_coder
from tests.services.provider_server import provider_server
from tests.services.scripted_coder import ScriptedCoder

PROBLEMS = int(os.environ.get("BENCH_PROBLEMS", "40"))
CALLS = int(os.environ.get("BENCH_CALLS", "6"))
SEED = int(os.environ.get("BENCH_SEED", "2026"))
REPLY_TOKENS = 112
AT_ONCE = 4
#: One core is left to what is measured: the engine's threads spin, and wait for the slowest.
THREADS = max((os.cpu_count() or 2) - 1, 1)
OVERHEAD_LOOPS = 24
_PATIENCE = 3600.0


@dataclass(frozen=True)
class Outcome:
    """What came of one problem."""

    solved: bool
    calls: int


@dataclass(frozen=True)
class Contest:
    """What one contestant achieved."""

    outcomes: Sequence[Outcome]
    seconds: float

    @property
    def solved(self) -> int:
        return sum(outcome.solved for outcome in self.outcomes)

    @property
    def calls(self) -> int:
        return sum(outcome.calls for outcome in self.outcomes)


Solver = Callable[[Runtime, Task], Awaitable[Outcome]]


async def samples(runtime: Runtime, task: Task, most: int) -> Outcome:
    """Ask for a program again and again until one passes."""
    coder = runtime.roles.configured_coder
    assert coder is not None
    problem = task.problem(calls=most, candidates=1, reply_tokens=REPLY_TOKENS)
    for number in range(most):
        request = ModelRequest(
            messages=first_question(problem),
            max_tokens=REPLY_TOKENS,
            temperature=0.2 if number == 0 else 0.8,
            seed=number,
        )
        code = extract_code((await coder.ask(request)).text)
        report = await runtime.sandbox.run_tests(TestRequest(code=code, tests=task.tests))
        if report.all_passed:
            return Outcome(solved=True, calls=number + 1)
    return Outcome(solved=False, calls=most)


async def one_sample(runtime: Runtime, task: Task) -> Outcome:
    return await samples(runtime, task, 1)


async def best_of_n(runtime: Runtime, task: Task) -> Outcome:
    return await samples(runtime, task, CALLS)


async def our_loop(runtime: Runtime, task: Task) -> Outcome:
    problem = task.problem(calls=CALLS, candidates=max(CALLS - 1, 1), reply_tokens=REPLY_TOKENS)
    result = await run_loop(runtime, cast("JsonObject", problem.model_dump(mode="json")))
    return Outcome(result.solved, result.spend.model_calls)


async def run_loop(runtime: Runtime, given: JsonObject) -> LoopResult:
    started = await runtime.sagas.start(loop_definition(), given)
    view = await runtime.sagas.wait_for(started.saga_id, _PATIENCE)
    return LoopResult.model_validate(view.output)


async def compete(runtime: Runtime, tasks: Sequence[Task], solver: Solver) -> Contest:
    """Let a contestant solve every problem, a few at a time."""
    outcomes: dict[int, Outcome] = {}
    room = anyio.CapacityLimiter(AT_ONCE)
    began = time.perf_counter()

    async def solve(index: int) -> None:
        async with room:
            outcomes[index] = await solver(runtime, tasks[index])

    async with anyio.create_task_group() as group:
        for index in range(len(tasks)):
            group.start_soon(solve, index)
    seconds = time.perf_counter() - began
    return Contest([outcomes[index] for index in range(len(tasks))], seconds)


@asynccontextmanager
async def runtime_on(base_url: str, model: str) -> AsyncGenerator[Runtime]:
    """Open everything on a folder of its own; loops ask for one program at a time."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            data_dir=Path(folder), sandbox="bubblewrap", deepseek_base_url=base_url,
            deepseek_model=model, loop_concurrency=1, embedded_worker=False,
            sandbox_risk_refuse=101, loop_approval_risk=101, log_level="ERROR",
        )  # fmt: skip
        async with open_runtime(settings) as runtime:
            yield runtime


async def measure_overhead() -> float:
    """Return the milliseconds that the loop adds to each of its model calls; the median."""
    coder = ScriptedCoder(right=0.0, repairs=0.0, seed=SEED)
    clock, added = SystemClock(), list[float]()
    async with (
        provider_server(coder) as server,
        runtime_on(server.base_url, "deepseek-flash") as runtime,
        ProviderHttp(deepseek.OTHER_ACCOUNT, base_url=server.base_url, clock=clock) as http,
    ):
        bare = DeepSeekModel(http, clock=clock)
        for number in range(1, OVERHEAD_LOOPS + 1):
            given: JsonObject = {
                "problem": scripted_coder.problem(number),
                "tests": scripted_coder.tests(number),
                "analyse": False,
                "small_changes": 0,
            }
            began = time.perf_counter()
            result = await run_loop(runtime, given)
            looped = time.perf_counter()
            await make_bare_calls(runtime, bare, result)
            ended = time.perf_counter()
            added.append((looped - began - (ended - looped)) / result.spend.model_calls)
    return statistics.median(added[2:]) * 1000  # the first ones open connections


async def make_bare_calls(runtime: Runtime, model: DeepSeekModel, result: LoopResult) -> None:
    """Do what a loop did without a loop: ask as often, and test the same programs."""
    question = (Message("user", result.tests),)
    for attempt in result.attempts:
        await model.ask(ModelRequest(question, max_tokens=REPLY_TOKENS))
        await runtime.sandbox.run_tests(TestRequest(code=attempt.code, tests=result.tests))


def show(name: str, contest: Contest) -> None:
    low, high = wilson(contest.solved, len(contest.outcomes))
    print(
        f"{name:<12}{contest.solved:>4} of {len(contest.outcomes)}  ({low:.0%} to {high:.0%})"
        f"{contest.calls:>8} calls{contest.seconds:>9.1f} s",
        flush=True,
    )


async def main() -> None:
    tasks = choose(PROBLEMS, SEED)
    collect_rarely()  # as `serve` does
    overhead = await measure_overhead()
    print(f"overhead of the loop: {overhead:.2f} ms a model call", flush=True)
    print(f"{MODEL}, {PROBLEMS} problems, at most {CALLS} calls each, seed {SEED}", flush=True)
    found: dict[str, Contest] = {}
    solvers: dict[str, Solver] = {
        "one sample": one_sample, "best of n": best_of_n, "our loop": our_loop,
    }  # fmt: skip
    async with (
        local_model(threads=THREADS, context=8192, parallel=AT_ONCE) as url,
        runtime_on(url, MODEL) as runtime,
    ):
        for name, solver in solvers.items():
            found[name] = await compete(runtime, tasks, solver)
            show(name, found[name])
    loop = found["our loop"].outcomes
    for name in ("one sample", "best of n"):
        other = found[name].outcomes
        ours = sum(a.solved and not b.solved for a, b in zip(loop, other, strict=True))
        theirs = sum(b.solved and not a.solved for a, b in zip(loop, other, strict=True))
        p = mcnemar(ours, theirs)
        print(f"only our loop {ours}, only {name} {theirs} (McNemar, exact: p = {p:.3f})")
    ratios = {
        "solved_single": found["one sample"].solved,
        "solved_best_of_n": found["best of n"].solved,
        "solved_loop": found["our loop"].solved,
        "calls_per_problem": CALLS,
        "overhead_ms_per_call": round(overhead, 2),
    }
    print(f"RATIOS {json.dumps(ratios)}")


if __name__ == "__main__":
    anyio.run(main)
