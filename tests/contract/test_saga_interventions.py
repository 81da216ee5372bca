"""What a person can do by hand, on both databases; and what a saga does when a runner is lost."""

import anyio
import pytest

from mcp_orchestrator.errors import BusinessRefusalError, ConflictError, InvalidInputError
from mcp_orchestrator.saga import (
    NO_RETRY,
    EventType,
    JsonObject,
    JsonValue,
    Order,
    SagaConfig,
    SagaDefinition,
    SagaEngine,
    SagaOrchestrator,
    SagaState,
    SagaStep,
    SagaView,
    StepHandle,
    StepState,
)
from mcp_orchestrator.saga.catalog import NoActions
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database
from tests.services.waiting import until

WHY = Order("the bank is open again", "ann")


class Shop:
    """Three steps, of which the second works only when it is told so."""

    def __init__(self) -> None:
        self.effects: list[str] = []
        self.keys: list[str] = []
        self.works = False
        self.undo_works = True

    async def first(self, arguments: JsonObject, handle: StepHandle) -> JsonValue:
        self.effects.append("first")
        self.keys.append(handle.idempotency_key)
        return 1

    async def second(self, arguments: JsonObject, handle: StepHandle) -> JsonValue:
        self.effects.append("second")
        if not self.works:
            raise BusinessRefusalError("closed")
        return 2

    async def undo(self, arguments: JsonObject, handle: StepHandle) -> JsonValue:
        self.effects.append(f"undo {handle.step_name}")
        if not self.undo_works:
            raise OSError("cannot")
        return None

    def definition(self) -> SagaDefinition:
        steps = (
            SagaStep("first", self.first, self.undo, retry=NO_RETRY),
            SagaStep("second", self.second, self.undo, retry=NO_RETRY),
        )
        return SagaDefinition("shop", "1", steps)


async def run(engine: SagaEngine, definition: SagaDefinition) -> SagaView:
    started = await engine.start(definition, {})
    return await engine.wait_for(started.saga_id, 20)


async def test_a_failed_saga_is_retried_with_new_keys_for_what_was_undone(
    engine: SagaEngine,
) -> None:
    shop = Shop()
    failed = await run(engine, shop.definition())
    assert failed.state is SagaState.FAILED
    preview = await engine.by_hand.preview_retry(failed.saga_id, {})
    assert (preview.runs, preview.compensates) == (["first", "second"], [])
    shop.works = True
    await engine.by_hand.retry(failed.saga_id, WHY)
    view = await engine.wait_for(failed.saga_id, 20)
    assert (view.state, view.error) == (SagaState.COMPLETED, None)
    assert shop.effects == ["first", "second", "undo first", "first", "second"]
    assert shop.keys == [f"{view.saga_id}:first", f"{view.saga_id}:first:1"]
    manual = [
        event
        for event in await engine.audit(view.saga_id)
        if event.event_type is EventType.MANUAL_RETRY
    ]
    assert [event.event_data for event in manual] == [{"reason": WHY.reason, "by": "ann"}]
    assert await engine.verify_audit(view.saga_id) == []


async def test_a_step_is_skipped_with_a_result(engine: SagaEngine) -> None:
    shop = Shop()
    failed = await run(engine, shop.definition())
    preview = await engine.by_hand.preview_retry(failed.saga_id, {"second": 2})
    assert (preview.runs, preview.skips) == (["first"], ["second"])
    await engine.by_hand.retry(failed.saga_id, WHY, skip={"second": {"by": "hand"}})
    view = await engine.wait_for(failed.saga_id, 20)
    assert (view.state, view.output) == (SagaState.COMPLETED, {"by": "hand"})
    assert shop.effects.count("second") == 1


async def test_a_completed_saga_is_compensated_by_hand(engine: SagaEngine) -> None:
    shop = Shop()
    shop.works = True
    done = await run(engine, shop.definition())
    preview = await engine.by_hand.preview_compensate(done.saga_id)
    assert preview.compensates == ["second", "first"]
    await engine.by_hand.compensate(done.saga_id, WHY)
    view = await engine.wait_for(done.saga_id, 20)
    assert view.state is SagaState.ABORTED
    assert shop.effects == ["first", "second", "undo second", "undo first"]


async def test_a_compensation_that_failed_is_tried_again_by_hand(engine: SagaEngine) -> None:
    shop = Shop()
    shop.undo_works = False
    stuck = await run(engine, shop.definition())
    assert [entry["step"] for entry in stuck.needs_person] == ["first"]
    shop.undo_works = True
    await engine.by_hand.compensate(stuck.saga_id, WHY)
    view = await engine.wait_for(stuck.saga_id, 20)
    assert (view.state, view.needs_person) == (SagaState.FAILED, [])
    assert view.compensated_steps == ["first"]


async def test_a_list_for_a_person_is_resolved(engine: SagaEngine) -> None:
    shop = Shop()
    shop.undo_works = False
    stuck = await run(engine, shop.definition())
    view = await engine.by_hand.resolve(stuck.saga_id, WHY)
    assert (view.state, view.needs_person) == (SagaState.FAILED, [])
    with pytest.raises(ConflictError):
        await engine.by_hand.resolve(stuck.saga_id, WHY)


async def test_what_makes_no_sense_is_refused_and_changes_nothing(engine: SagaEngine) -> None:
    shop = Shop()
    shop.works = True
    done = await run(engine, shop.definition())
    with pytest.raises(ConflictError):
        await engine.by_hand.retry(done.saga_id, WHY)
    with pytest.raises(InvalidInputError):
        await engine.by_hand.compensate(done.saga_id, Order("  "))
    shop.works = False
    failed = await run(engine, shop.definition())
    with pytest.raises(InvalidInputError):
        await engine.by_hand.retry(failed.saga_id, WHY, skip={"third": 1})
    assert await engine.get(done.saga_id) == done
    assert await engine.get(failed.saga_id) == failed


async def test_after_a_pivot_a_saga_only_goes_forward(engine: SagaEngine) -> None:
    shop = Shop()
    steps = (
        SagaStep("first", shop.first, shop.undo, pivot=True),
        SagaStep("second", shop.second, shop.undo, retry=NO_RETRY),
    )
    held = await run(engine, SagaDefinition("pivot", "1", steps))
    assert held.state is SagaState.RUNNING
    assert "point of no return" in (held.held_reason or "")
    shop.works = True
    await engine.by_hand.resolve(held.saga_id, WHY)
    view = await engine.wait_for(held.saga_id, 20)
    assert (view.state, view.needs_person) == (SagaState.COMPLETED, [])
    assert shop.effects == ["first", "second", "second"]


async def lose_runner(
    database: Database, committer: GroupCommitter, definition: SagaDefinition, entered: anyio.Event
) -> str:
    """Start a saga and stop its runner in the middle of a step."""
    async with SagaEngine(database, committer, NoActions(), runner_id="lost") as engine:
        started = await engine.start(definition, {})
        await entered.wait()
    return started.saga_id


@pytest.mark.parametrize("happened", [True, False])
async def test_an_uncertain_step_is_probed(
    database: Database, committer: GroupCommitter, *, happened: bool
) -> None:
    entered, calls = anyio.Event(), list[int]()

    async def act(arguments: JsonObject, handle: StepHandle) -> JsonValue:
        calls.append(handle.attempt)
        entered.set()
        if len(calls) == 1:
            await anyio.sleep_forever()
        return "acted"

    async def probe(arguments: JsonObject, handle: StepHandle) -> JsonValue:
        return {"happened": happened, "result": "probed"}

    definition = SagaDefinition("probed", "1", (SagaStep("s", act, probe=probe),))
    saga_id = await lose_runner(database, committer, definition, entered)
    async with SagaEngine(database, committer, NoActions(), runner_id="next") as engine:
        engine.admit(definition)
        view = await engine.wait_for(saga_id, 20)
    assert view.state is SagaState.COMPLETED
    assert view.output == ("probed" if happened else "acted")
    assert calls == ([1] if happened else [1, 2])


@pytest.mark.parametrize("happened", [True, False])
async def test_an_uncertain_step_is_held_for_a_person(
    database: Database, committer: GroupCommitter, *, happened: bool
) -> None:
    entered, calls = anyio.Event(), list[str]()

    async def act(arguments: JsonObject, handle: StepHandle) -> JsonValue:
        calls.append(handle.idempotency_key)
        entered.set()
        if len(calls) == 1:
            await anyio.sleep_forever()
        return "acted"

    definition = SagaDefinition("held", "1", (SagaStep("s", act, on_uncertain="hold"),))
    saga_id = await lose_runner(database, committer, definition, entered)
    async with SagaEngine(database, committer, NoActions(), runner_id="next") as engine:
        engine.admit(definition)
        held = await engine.wait_for(saga_id, 20)
        assert held.held_reason is not None
        assert held.state is SagaState.RUNNING
        assert held.steps[0].state is StepState.EXECUTING
        assert len(calls) == 1
        said: dict[str, JsonValue] = {"s": "it did"} if happened else {}
        await engine.by_hand.resolve(saga_id, WHY, happened=said)
        view = await engine.wait_for(saga_id, 20)
    assert (view.state, view.needs_person) == (SagaState.COMPLETED, [])
    assert view.output == ("it did" if happened else "acted")
    assert len(set(calls)) == 1


async def test_a_held_saga_can_be_aborted(database: Database, committer: GroupCommitter) -> None:
    entered = anyio.Event()

    async def act(arguments: JsonObject, handle: StepHandle) -> JsonValue:
        entered.set()
        return await anyio.sleep_forever()

    definition = SagaDefinition("held", "1", (SagaStep("s", act, on_uncertain="hold"),))
    saga_id = await lose_runner(database, committer, definition, entered)
    async with SagaEngine(database, committer, NoActions(), runner_id="next") as engine:
        engine.admit(definition)
        assert (await engine.wait_for(saga_id, 20)).held_reason is not None
        await engine.abort(saga_id, "no longer wanted")

        async def aborted() -> bool:
            return (await engine.get(saga_id)).state is SagaState.ABORTED

        await until(aborted)


async def test_an_abort_reaches_a_saga_in_another_process(
    database: Database, committer: GroupCommitter
) -> None:
    entered, left = anyio.Event(), anyio.Event()

    async def act(arguments: JsonObject, handle: StepHandle) -> JsonValue:
        entered.set()
        try:
            return await anyio.sleep_forever()
        finally:
            left.set()

    definition = SagaDefinition("far", "1", (SagaStep("s", act),))
    stranger = SagaEngine(database, committer, NoActions(), runner_id="stranger")
    async with SagaEngine(database, committer, NoActions(), runner_id="holder") as engine:
        started = await engine.start(definition, {})
        await entered.wait()
        await stranger.abort(started.saga_id, "by another process")
        with anyio.fail_after(20):
            await left.wait()
            view = await engine.wait_for(started.saga_id, 20)
    assert view.state is SagaState.ABORTED


async def test_the_python_interface_executes_and_resumes(database: Database) -> None:
    shop = Shop()
    shop.works = True
    orchestrator = SagaOrchestrator(
        shop.definition().steps, SagaConfig(saga_type="shop", user_id="ann"), database
    )
    result = await orchestrator.execute({"order": 7})
    assert result.status is SagaState.COMPLETED
    assert result.context == {"order": 7, "first": 1, "second": 2}
    assert await orchestrator.resume(result.saga_id) == result


async def test_the_python_interface_resumes_what_was_cancelled(database: Database) -> None:
    entered, calls = anyio.Event(), list[int]()

    async def act(arguments: JsonObject, handle: StepHandle) -> JsonValue:
        calls.append(handle.attempt)
        entered.set()
        if len(calls) == 1:
            await anyio.sleep_forever()
        return {"done": True}

    orchestrator = SagaOrchestrator([SagaStep("s", act)], SagaConfig(saga_type="cut"), database)
    async with anyio.create_task_group() as tasks:
        given: JsonObject = {}
        tasks.start_soon(orchestrator.execute, given)
        await entered.wait()
        tasks.cancel_scope.cancel()
    async with GroupCommitter(database) as committer:
        idle = SagaEngine(database, committer, NoActions(), runner_id="look")
        [left] = await idle.list_sagas()
    assert (left.state, left.lease_owner) == (SagaState.RUNNING, None)
    result = await orchestrator.resume(left.saga_id)
    assert (result.status, result.context, calls) == (SagaState.COMPLETED, {"done": True}, [1, 2])
