"""Memos that a step does not wait for: what it gets, what is kept, and what comes of a failure."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from pydantic import JsonValue

from mcp_orchestrator.codeloop.memos import memos_of
from mcp_orchestrator.runtime import Runtime, open_runtime
from mcp_orchestrator.saga import (
    BusinessRefusalError,
    JsonObject,
    SagaDefinition,
    SagaStep,
    SagaView,
    StepHandle,
)
from mcp_orchestrator.saga.memos import LONGEST_MEMO
from mcp_orchestrator.settings import Settings


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[Runtime]:
    settings = Settings(
        data_dir=tmp_path, sandbox="bubblewrap", sandbox_warm=0, embedded_worker=False
    )
    async with open_runtime(settings) as opened:
        yield opened


async def answer(value: JsonValue) -> JsonValue:
    """Be an operation."""
    await anyio.lowlevel.checkpoint()
    return value


async def refuse() -> JsonValue:
    """Be an operation that fails for good."""
    raise BusinessRefusalError("no")


async def ended(runtime: Runtime) -> SagaView:
    """Run a saga of the one step to its end."""
    definition = SagaDefinition("memos", "1", steps=(SagaStep("only", "test.step"),))
    started = await runtime.sagas.start(definition, {})
    return await runtime.sagas.wait_for(started.saga_id, timeout=60)


async def test_what_an_operation_returned_is_used_at_once_and_kept(runtime: Runtime) -> None:
    operations: list[str] = []

    async def step(_: JsonObject, handle: StepHandle) -> JsonValue:
        async def once() -> JsonValue:
            operations.append("ran")
            return 41

        async with memos_of(handle) as memos:
            first = await memos.run("a", once)
            again = await memos.run("a", once)
            both = [first, again, await memos.run("b", lambda: answer("x"))]
        return [*both, await handle.memo("b", refuse)]

    runtime.registry.add_action("test.step", step)
    view = await ended(runtime)
    assert view.output == [41, 41, "x", "x"], view.error
    assert operations == ["ran"]


async def test_an_error_comes_out_as_it_is(runtime: Runtime) -> None:
    caught: list[str] = []

    async def step(_: JsonObject, handle: StepHandle) -> JsonValue:
        async with memos_of(handle) as memos:
            try:
                await memos.run("a", refuse)
            except BusinessRefusalError as error:
                caught.append(str(error))
            await memos.run("a", refuse)
        return None

    runtime.registry.add_action("test.step", step)
    view = await ended(runtime)
    assert caught == ["no"]
    assert (view.state, view.error) == ("failed", "Step 'only' failed: no")


async def test_what_cannot_be_kept_ends_the_step_though_it_was_used(runtime: Runtime) -> None:
    used: list[int] = []

    async def step(_: JsonObject, handle: StepHandle) -> JsonValue:
        async with memos_of(handle) as memos:
            value = await memos.run("a", lambda: answer("x" * (LONGEST_MEMO + 1)))
            used.append(len(str(value)))
        return "never"

    runtime.registry.add_action("test.step", step)
    view = await ended(runtime)
    assert used[0] == LONGEST_MEMO + 1
    assert view.state == "failed"
    assert "characters" in (view.error or "")
