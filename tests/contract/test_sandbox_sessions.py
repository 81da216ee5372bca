"""Sandboxes that keep state for one owner, and for nobody else."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import anyio
import pytest

from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.errors import InvalidInputError, LimitExceededError, NotFoundError
from mcp_orchestrator.sandbox import (
    ExecutionRequest,
    ExecutionResult,
    Limits,
    RunStatus,
    Sandbox,
    open_sandbox,
)
from tests.sandbox_fixtures import FEARLESS


async def say(
    sandbox: Sandbox, session: str, code: str, owner: str | None = None, **more: Any
) -> ExecutionResult:
    request = replace(ExecutionRequest(code, owner=owner), **more)
    return await sandbox.run(request, session_id=session)


async def test_variables_files_and_imports_stay(sandbox: Sandbox) -> None:
    view = await sandbox.open_session()
    session = view.session_id
    first = await say(sandbox, session, "import math\nx = 41\nopen('f', 'w').write('kept')")
    assert (first.status, first.exit_code) == (RunStatus.OK, 0), first
    assert [artifact.path for artifact in first.artifacts] == ["f"]
    second = await say(
        sandbox, session, "x += 1\nprint(x, math.pi > 3, open('f').read(), input())", stdin="in"
    )
    assert second.stdout == "42 True kept in\n"
    assert second.artifacts == ()
    await sandbox.close_session(session)
    with pytest.raises(NotFoundError):
        await say(sandbox, session, "print(x)")


async def test_an_error_is_shown_and_the_session_goes_on(sandbox: Sandbox) -> None:
    session = (await sandbox.open_session()).session_id
    await say(sandbox, session, "def divide(a):\n    return a / 0")
    failed = await say(sandbox, session, "y = 1\ndivide(y)")
    assert (failed.status, failed.exit_code) == (RunStatus.ERROR, 1)
    assert failed.stderr.splitlines()[-1] == "ZeroDivisionError: division by zero"
    assert 'run-1.py", line 2, in divide' in failed.stderr
    assert "return a / 0" in failed.stderr
    left = await say(sandbox, session, "import sys; sys.exit(y + 6)")
    assert left.exit_code == 7
    assert (await say(sandbox, session, "print(y)")).stdout == "1\n"
    await sandbox.close_session(session)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("while True: pass", RunStatus.TIMEOUT),
        ("import os; os._exit(4)", RunStatus.ERROR),
        ("import os; os.kill(os.getpid(), 9)", RunStatus.KILLED),
        ("x = bytearray(400 << 20)", RunStatus.OUT_OF_MEMORY),
    ],
)
async def test_what_kills_the_program_ends_the_session(
    sandbox: Sandbox, code: str, status: RunStatus
) -> None:
    session = (await sandbox.open_session()).session_id
    limits = replace(Limits(), wall_seconds=0.7)
    result = await say(sandbox, session, code, limits=limits)
    assert result.status is status, result
    if status is not RunStatus.OUT_OF_MEMORY:  # a MemoryError leaves the interpreter alive
        with pytest.raises(NotFoundError, match="sandbox_open"):
            await say(sandbox, session, "1")


async def test_nothing_runs_between_two_runs(sandbox: Sandbox) -> None:
    session = (await sandbox.open_session()).session_id
    code = (
        "import threading\nn = 0\n"
        "def count():\n    global n\n    while True: n += 1\n"
        "threading.Thread(target=count, daemon=True).start()\n"
    )
    await say(sandbox, session, code)
    before = int((await say(sandbox, session, "import time; time.sleep(.2); print(n)")).stdout)
    await anyio.sleep(1.0)
    after = int((await say(sandbox, session, "print(n)")).stdout)
    assert before > 0
    assert after < before * 2  # a second of counting would be five times as much
    await sandbox.close_session(session)


async def test_a_session_is_its_owners_alone(sandbox: Sandbox) -> None:
    session = (await sandbox.open_session(owner="ann")).session_id
    await say(sandbox, session, "secret = 7", owner="ann")
    for other in ("bob", None):
        with pytest.raises(NotFoundError):
            await say(sandbox, session, "print(secret)", owner=other)
        with pytest.raises(NotFoundError):
            await sandbox.close_session(session, owner=other)
    fresh = (await sandbox.open_session(owner="ann")).session_id
    assert "NameError" in (await say(sandbox, fresh, "secret", owner="ann")).stderr
    await sandbox.close_session(session, owner="ann")
    await sandbox.close_session(fresh, owner="ann")


async def test_a_session_speaks_python_only(sandbox: Sandbox) -> None:
    session = (await sandbox.open_session()).session_id
    with pytest.raises(InvalidInputError):
        await say(sandbox, session, "echo", language="bash")
    await sandbox.close_session(session)


async def test_cancelling_a_run_ends_the_session(sandbox: Sandbox) -> None:
    session = (await sandbox.open_session()).session_id
    with anyio.move_on_after(0.3):
        await say(sandbox, session, "import time; time.sleep(60)")
    with pytest.raises(NotFoundError):
        sandbox.session(session)


class AheadClock(SystemClock):
    """The machine's clock, moved on by the long waits instead of waiting."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.ahead)

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead

    async def sleep(self, seconds: float) -> None:
        if seconds < 15:
            await super().sleep(seconds)
        else:
            self.ahead += seconds
            await anyio.sleep(0.001)


@pytest.fixture
async def clock() -> AheadClock:
    return AheadClock()


@pytest.fixture
async def few(clock: AheadClock) -> AsyncIterator[Sandbox]:
    opened = await open_sandbox(
        "bubblewrap", clock=clock, risk_policy=FEARLESS, sessions=2, session_idle_seconds=60
    )
    yield opened
    await opened.close()


async def test_there_are_only_so_many_and_idle_ones_make_room(
    few: Sandbox, clock: AheadClock
) -> None:
    first = await few.open_session()
    second = await few.open_session()
    with pytest.raises(LimitExceededError, match="sandbox_close"):
        await few.open_session()
    clock.ahead += 50
    await say(few, first.session_id, "1")
    clock.ahead += 20
    await few.open_session()
    assert few.session(first.session_id).idle_until > first.idle_until
    with pytest.raises(NotFoundError):
        few.session(second.session_id)


async def test_idle_sessions_and_workers_go_without_being_asked(few: Sandbox) -> None:
    session = (await few.open_session()).session_id
    assert len(few.pool) > 0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(few.tend)
        with anyio.fail_after(10):
            while len(few.pool):  # noqa: ASYNC110 — what is awaited has no event
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    with pytest.raises(NotFoundError):
        few.session(session)
    assert (await few.run(ExecutionRequest("print(1)"))).stdout == "1\n"
