"""Sagas as steps of sagas, on both databases."""

from collections.abc import AsyncIterator

import anyio
import pytest

from mcp_orchestrator.errors import BusinessRefusalError, InvalidInputError, UnknownNameError
from mcp_orchestrator.saga import (
    Action,
    JsonObject,
    JsonValue,
    SagaEngine,
    SagaState,
    SagaView,
    StepHandle,
    parse_definition,
)
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database

INNER: JsonObject = {
    "name": "inner",
    "steps": [
        {"name": "x", "action": "do", "compensation": "undo"},
        {
            "name": "y",
            "action": "do",
            "compensation": "undo",
            "arguments": {"got": {"$ref": "steps.x.result"}, "n": {"$ref": "input.n"}},
        },
    ],
}


class World:
    """What happened outside, in order."""

    def __init__(self) -> None:
        self.effects: list[str] = []
        self.reached = anyio.Event()

    def names(self) -> list[str]:
        return ["do", "undo", "refuse", "stay"]

    def action(self, name: str) -> Action:
        if name not in self.names():
            raise UnknownNameError("action", name, self.names())
        act: Action = getattr(self, name)
        return act

    async def do(self, arguments: JsonObject, handle: StepHandle) -> JsonValue:
        self.effects.append(f"do {handle.step_name}")
        return {"args": arguments}

    async def undo(self, arguments: JsonObject, handle: StepHandle) -> JsonValue:
        self.effects.append(f"undo {handle.step_name}")
        return None

    async def refuse(self, arguments: JsonObject, handle: StepHandle) -> JsonValue:
        raise BusinessRefusalError("no")

    async def stay(self, arguments: JsonObject, handle: StepHandle) -> JsonValue:
        self.reached.set()
        await anyio.sleep_forever()


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def engine(
    database: Database, committer: GroupCommitter, world: World
) -> AsyncIterator[SagaEngine]:
    async with SagaEngine(database, committer, world, runner_id="test") as running:
        yield running


def parent(inner: JsonObject, *more: JsonObject) -> JsonObject:
    child: JsonObject = {"definition": inner, "input": {"n": {"$ref": "input.number"}}}
    steps: list[JsonValue] = [{"name": "child", "action": "saga.child", "arguments": child}]
    return {"name": "outer", "steps": [*steps, *more]}


async def run(engine: SagaEngine, world: World, document: JsonObject) -> SagaView:
    started = await engine.start(parse_definition(document, world), {"number": 5}, user_id="u")
    return await engine.wait_for(started.saga_id, 30)


async def child_of(engine: SagaEngine, view: SagaView) -> SagaView:
    children = await engine.list_sagas(saga_type="inner")
    (child,) = (one for one in children if one.parent_saga_id == view.saga_id)
    return child


async def test_a_child_runs_once_and_hands_its_results_on(engine: SagaEngine, world: World) -> None:
    use: JsonObject = {
        "name": "use", "action": "do", "arguments": {"y": {"$ref": "steps.child.result.output"}}
    }  # fmt: skip
    view = await run(engine, world, parent(INNER, use))
    assert view.state is SagaState.COMPLETED
    assert world.effects == ["do x", "do y", "do use"]
    child = await child_of(engine, view)
    assert (child.input, child.user_id) == ({"n": 5}, "u")
    assert view.output == {"args": {"y": {"args": {"got": {"args": {"n": 5}}, "n": 5}}}}


async def test_undoing_a_parent_reaches_its_child(engine: SagaEngine, world: World) -> None:
    view = await run(engine, world, parent(INNER, {"name": "no", "action": "refuse"}))
    assert view.state is SagaState.FAILED
    assert view.compensated_steps == ["child"]
    assert world.effects == ["do x", "do y", "undo y", "undo x"]
    child = await child_of(engine, view)
    assert child.state is SagaState.ABORTED
    assert child.compensated_steps == ["x", "y"]
    reasons = [event.event_data.get("reason") for event in await engine.audit(child.saga_id)]
    assert f"Its parent {view.saga_id} is undone." in reasons


async def test_a_child_that_fails_fails_its_parent(engine: SagaEngine, world: World) -> None:
    steps = INNER["steps"]
    assert isinstance(steps, list)
    failing: JsonObject = {**INNER, "steps": [*steps, {"name": "z", "action": "refuse"}]}
    view = await run(engine, world, parent(failing))
    assert view.state is SagaState.FAILED
    assert view.error is not None
    assert "'z' failed: no" in view.error
    assert world.effects == ["do x", "do y", "undo y", "undo x"]


async def test_aborting_a_parent_aborts_the_child_in_flight(
    engine: SagaEngine, world: World
) -> None:
    staying: JsonObject = {"name": "inner", "steps": [
        {"name": "x", "action": "do", "compensation": "undo"}, {"name": "s", "action": "stay"},
    ]}  # fmt: skip
    started = await engine.start(parse_definition(parent(staying), world), {"number": 1})
    with anyio.fail_after(20):
        await world.reached.wait()
    await engine.abort(started.saga_id, "enough")
    view = await engine.wait_for(started.saga_id, 20)
    child = await engine.wait_for((await child_of(engine, view)).saga_id, 20)
    assert (view.state, child.state) == (SagaState.ABORTED, SagaState.ABORTED)
    assert world.effects == ["do x", "undo x"]


async def test_another_process_finds_the_child_that_was_started(
    database: Database, world: World
) -> None:
    staying: JsonObject = {"name": "inner", "steps": [{"name": "s", "action": "stay"}]}
    async with GroupCommitter(database) as committer:
        async with SagaEngine(database, committer, world, runner_id="one") as first:
            started = await first.start(parse_definition(parent(staying), world), {"number": 1})
            with anyio.fail_after(20):
                await world.reached.wait()
        other = World()
        other.stay = other.do  # type: ignore[method-assign]
        async with SagaEngine(database, committer, other, runner_id="two") as second:
            view = await second.wait_for(started.saga_id, 30)
            assert view.state is SagaState.COMPLETED
            await child_of(second, view)  # exactly one


def test_a_child_that_is_wrong_is_refused_before_anything_runs(world: World) -> None:
    wrong: JsonObject = {"name": "inner", "steps": [{"name": "x"}]}
    with pytest.raises(InvalidInputError, match=r"\$\.steps\[0\]\.action"):
        parse_definition(parent(wrong), world)


async def test_a_parent_that_waits_leaves_its_place_to_its_child(
    database: Database, world: World
) -> None:
    deep: JsonObject = {"name": "leaf", "steps": [{"name": "x", "action": "do"}]}
    for level in range(3):
        child: JsonObject = {"name": "c", "action": "saga.child", "arguments": {"definition": deep}}
        deep = {"name": f"level {level}", "steps": [child]}
    async with (
        GroupCommitter(database) as committer,
        SagaEngine(database, committer, world, runner_id="narrow", max_concurrent=1) as engine,
    ):
        started = await engine.start(parse_definition(deep), {})
        done = await engine.wait_for(started.saga_id, 90)
    assert done.state is SagaState.COMPLETED
    assert world.effects == ["do x"]
