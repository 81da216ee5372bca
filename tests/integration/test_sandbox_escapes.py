"""Every escape, on both back ends; a failure names the layer that did not hold."""

from mcp_orchestrator.sandbox import ExecutionRequest, Sandbox
from mcp_orchestrator.sandbox.escapes import attempts
from mcp_orchestrator.sandbox.selftest import selftest


def test_there_are_at_least_a_hundred_attempts() -> None:
    names = [attempt.name for attempt in attempts("/x", "x86_64")]
    assert len(names) >= 100
    assert len(set(names)) == len(names)


async def test_every_attempt_is_held(sandbox: Sandbox) -> None:
    failures: list[str] = []
    async for outcome in selftest(sandbox):
        if not outcome.held:
            tried = outcome.attempt
            failures.append(f"{tried.layer}: {tried.name}: {outcome.detail}")
    assert not failures, "\n".join(failures)


async def test_the_next_run_works_after_all_of_them(sandbox: Sandbox) -> None:
    assert (await sandbox.run(ExecutionRequest("print('fine')"))).stdout == "fine\n"
