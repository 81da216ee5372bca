"""What the saga engine promises, on both databases."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import anyio
import pytest
from sqlalchemy import text

from mcp_orchestrator.errors import (
    BusinessRefusalError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    UnknownNameError,
)
from mcp_orchestrator.saga import (
    NO_RETRY,
    Action,
    EventType,
    JsonObject,
    JsonValue,
    RetryPolicy,
    SagaDefinition,
    SagaEngine,
    SagaState,
    SagaStep,
    SagaView,
    StepHandle,
    StepState,
    explain,
    mermaid,
    parse_definition,
)
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database
from tests.services.waiting import until

FAST = RetryPolicy(max_attempts=3, first_delay=0.001, max_delay=0.01)


@dataclass
class World:
    """The outside: what really happened, in order."""

    effects: list[str] = field(default_factory=list[str])
    actions: dict[str, Action] = field(default_factory=dict[str, Action])

    def action(self, name: str) -> Action:
        if name not in self.actions:
            raise UnknownNameError("action", name, self.names())
        return self.actions[name]

    def names(self) -> list[str]:
        return sorted(self.actions)

    def does(self, name: str, result: JsonValue = None) -> None:
        async def act(arguments: JsonObject, handle: StepHandle) -> JsonValue:
            self.effects.append(name)
            return result if result is not None else {"did": name, "with": arguments}

        self.actions[name] = act

    def fails(self, name: str, error: Exception, times: int = 1000) -> None:
        left = [times]

        async def act(arguments: JsonObject, handle: StepHandle) -> JsonValue:
            self.effects.append(name)
            left[0] -= 1
            if left[0] >= 0:
                raise error
            return name

        self.actions[name] = act


@pytest.fixture
def world() -> World:
    made = World()
    for name in ("a", "b", "c", "undo a", "undo b", "undo c"):
        made.does(name)
    return made


@pytest.fixture
async def engine(
    database: Database, committer: GroupCommitter, world: World
) -> AsyncIterator[SagaEngine]:
    async with SagaEngine(database, committer, world, runner_id="test") as running:
        yield running


def saga(*steps: SagaStep, name: str = "order", version: str = "1") -> SagaDefinition:
    return SagaDefinition(name, version, steps)


def undoable(name: str, retry: RetryPolicy = FAST) -> SagaStep:
    return SagaStep(name, name, compensation=f"undo {name}", retry=retry)


async def run(engine: SagaEngine, definition: SagaDefinition, **given: JsonValue) -> SagaView:
    started = await engine.start(definition, given)
    return await engine.wait_for(started.saga_id, 20)


async def test_steps_run_in_order_and_hand_on_their_results(
    engine: SagaEngine, world: World
) -> None:
    world.does("create", {"id": 7, "items": [{"sku": "x"}]})
    definition = parse_definition(
        {
            "name": "order",
            "steps": [
                {"name": "create", "action": "create"},
                {
                    "name": "pay",
                    "action": "a",
                    "arguments": {
                        "order": {"$ref": "steps.create.result.id"},
                        "first": {"$ref": "steps.create.result.items.0.sku"},
                        "card": {"$ref": "input.card"},
                        "all": [{"$ref": "input"}],
                    },
                },
                {"name": "send", "action": "b"},
            ],
        },
        world,
    )
    view = await run(engine, definition, card="visa")
    assert view.state is SagaState.COMPLETED
    assert world.effects == ["create", "a", "b"]
    assert view.results["pay"] == {
        "did": "a", "with": {"order": 7, "first": "x", "card": "visa", "all": [{"card": "visa"}]},
    }  # fmt: skip
    assert view.output == {
        "did": "b",
        "with": {"card": "visa", "id": 7, "items": [{"sku": "x"}], "did": "a", "with":
                 {"order": 7, "first": "x", "card": "visa", "all": [{"card": "visa"}]}},
    }  # fmt: skip
    assert view.completed_steps == ["create", "pay", "send"]
    assert view.finished_at is not None
    assert view.lease_owner is None


async def test_the_audit_trail_tells_all_and_verifies(engine: SagaEngine) -> None:
    view = await run(engine, saga(undoable("a"), undoable("b")))
    events = await engine.audit(view.saga_id)
    assert [(event.event_type, event.step_name) for event in events] == [
        (EventType.SAGA_START, None),
        (EventType.STEP_START, "a"),
        (EventType.STEP_COMPLETE, "a"),
        (EventType.STEP_START, "b"),
        (EventType.STEP_COMPLETE, "b"),
        (EventType.SAGA_COMPLETE, None),
    ]
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5, 6]
    assert (events[0].state_before, events[1].state_after) == (SagaState.IDLE, SagaState.RUNNING)
    assert events[2].duration_ms is not None
    assert await engine.audit(view.saga_id, after=4, limit=1) == [events[4]]
    assert await engine.verify_audit(view.saga_id) == []


async def test_a_business_refusal_compensates_in_reverse_without_a_retry(
    engine: SagaEngine, world: World
) -> None:
    world.fails("c", BusinessRefusalError("out of stock"))
    view = await run(engine, saga(undoable("a"), undoable("b"), undoable("c")))
    assert view.state is SagaState.FAILED
    assert world.effects == ["a", "b", "c", "undo b", "undo a"]
    assert view.error is not None
    assert "out of stock" in view.error
    assert view.compensated_steps == ["a", "b"]
    assert [step.state for step in view.steps] == [
        StepState.COMPENSATED, StepState.COMPENSATED, StepState.FAILED,
    ]  # fmt: skip
    assert view.needs_person == []


async def test_a_compensation_gets_the_arguments_and_the_result(
    engine: SagaEngine, world: World
) -> None:
    seen: list[tuple[JsonObject, str]] = []

    async def undo(arguments: JsonObject, handle: StepHandle) -> JsonValue:
        seen.append((arguments, handle.idempotency_key))
        return None

    world.actions["undo a"] = undo
    world.fails("b", BusinessRefusalError("no"))
    step = SagaStep("a", "a", "undo a", arguments={"n": {"$ref": "input.n"}})
    view = await run(engine, saga(step, undoable("b")), n=5)
    expected = {"arguments": {"n": 5}, "result": {"did": "a", "with": {"n": 5}}}
    assert seen == [(expected, f"{view.saga_id}:a:compensation")]


async def test_a_technical_error_is_retried_with_the_same_key(
    engine: SagaEngine, world: World
) -> None:
    seen: list[tuple[int, str]] = []

    async def flaky(arguments: JsonObject, handle: StepHandle) -> JsonValue:
        seen.append((handle.attempt, handle.idempotency_key))
        if handle.attempt < 3:
            raise OSError("connection reset")
        return "ok"

    world.actions["flaky"] = flaky
    view = await run(engine, saga(SagaStep("s", "flaky", retry=FAST)))
    assert (view.state, view.retries) == (SagaState.COMPLETED, 2)
    assert seen == [(n, f"{view.saga_id}:s") for n in (1, 2, 3)]
    kinds = [event.event_type for event in await engine.audit(view.saga_id)]
    assert kinds.count(EventType.STEP_RETRY) == 2


async def test_when_the_attempts_are_spent_the_saga_fails(engine: SagaEngine, world: World) -> None:
    world.fails("b", OSError("down"))
    view = await run(engine, saga(undoable("a"), undoable("b")))
    assert view.state is SagaState.FAILED
    assert world.effects == ["a", "b", "b", "b", "undo a"]


async def test_a_failing_compensation_is_retried_and_then_left_to_a_person(
    engine: SagaEngine, world: World
) -> None:
    world.fails("c", BusinessRefusalError("no"))
    world.fails("undo b", OSError("bank is closed"))
    world.fails("undo a", OSError("hiccup"), times=1)
    view = await run(engine, saga(undoable("a"), undoable("b"), undoable("c")))
    assert view.state is SagaState.FAILED
    assert world.effects == ["a", "b", "c", "undo b", "undo b", "undo b", "undo a", "undo a"]
    assert [entry["step"] for entry in view.needs_person] == ["b"]
    assert view.compensated_steps == ["a"]
    assert view.steps[1].compensation_error == "bank is closed"


async def test_a_step_that_takes_too_long_is_cancelled(engine: SagaEngine, world: World) -> None:
    ended: list[str] = []

    async def slow(arguments: JsonObject, handle: StepHandle) -> JsonValue:
        try:
            await anyio.sleep(60)
        finally:
            ended.append("cancelled")
        return None

    world.actions["slow"] = slow
    step = SagaStep("slow", "slow", "undo a", timeout=0.05, retry=NO_RETRY)
    view = await run(engine, saga(step))
    assert view.state is SagaState.FAILED
    assert [entry["step"] for entry in view.needs_person] == ["slow"]
    assert "0.05 s" in (view.error or "")
    assert ended == ["cancelled"]


async def test_a_result_that_is_not_json_fails_the_step(engine: SagaEngine, world: World) -> None:
    async def odd(arguments: JsonObject, handle: StepHandle) -> JsonValue:
        return float("nan")

    world.actions["odd"] = odd
    view = await run(engine, saga(SagaStep("odd", "odd", retry=FAST)))
    assert view.state is SagaState.FAILED
    assert view.steps[0].attempts == 1


async def test_a_result_that_is_too_long_fails_the_step(engine: SagaEngine, world: World) -> None:
    world.does("a", "x" * 1_000_000)
    view = await run(engine, saga(SagaStep("a", "a", retry=NO_RETRY)))
    assert view.state is SagaState.FAILED
    assert "1000000 are allowed" in (view.error or "")


async def test_text_that_databases_dislike_survives(engine: SagaEngine, world: World) -> None:
    awkward = "nul \x00, half a pair \ud800, é, 雪, 1e400"
    world.does("a", {"text": awkward, "big": 10**30, "float": 1.0})
    world.fails("b", BusinessRefusalError(awkward))
    view = await run(engine, saga(undoable("a"), undoable("b")), text=awkward)
    assert view.input == {"text": awkward}
    assert view.results["a"] == {"text": awkward, "big": 10**30, "float": 1.0}
    assert await engine.verify_audit(view.saga_id) == []


async def test_a_memo_runs_once_even_for_callers_at_the_same_time(
    engine: SagaEngine, world: World
) -> None:
    calls: list[int] = []

    async def paid() -> JsonValue:
        calls.append(1)
        await anyio.sleep(0.01)
        return {"answer": 42}

    async def ask(arguments: JsonObject, handle: StepHandle) -> JsonValue:
        answers: list[JsonValue] = []

        async def one() -> None:
            answers.append(await handle.memo("question", paid))

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(one)
        if handle.attempt == 1:
            raise OSError("after paying")
        return answers

    world.actions["ask"] = ask
    view = await run(engine, saga(SagaStep("ask", "ask", retry=FAST)))
    assert view.output == [{"answer": 42}] * 5
    assert len(calls) == 1


async def test_progress_is_part_of_the_trail(engine: SagaEngine, world: World) -> None:
    async def act(arguments: JsonObject, handle: StepHandle) -> JsonValue:
        await handle.report_progress("half way", current=1, total=2)
        await handle.heartbeat()
        return None

    world.actions["a"] = act
    view = await run(engine, saga(SagaStep("a", "a")))
    events = await engine.audit(view.saga_id)
    progress = [event for event in events if event.event_type is EventType.STEP_PROGRESS]
    assert [event.event_data for event in progress] == [
        {"message": "half way", "current": 1, "total": 2}
    ]


async def test_the_same_key_of_the_same_user_is_the_same_saga(
    engine: SagaEngine, world: World
) -> None:
    definition = saga(undoable("a"))
    ids: list[str] = []

    async def start() -> None:
        view = await engine.start(definition, {}, idempotency_key="k", user_id="ann")
        ids.append(view.saga_id)

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(start)
    other = await engine.start(definition, {}, idempotency_key="k", user_id="bob")
    nobody = await engine.start(definition, {}, idempotency_key="k")
    again = await engine.start(definition, {}, idempotency_key="k")
    assert len(set(ids)) == 1
    assert len({ids[0], other.saga_id, nobody.saga_id}) == 3
    assert again.saga_id == nobody.saga_id
    for saga_id in {ids[0], other.saga_id, nobody.saga_id}:
        await engine.wait_for(saga_id, 10)
    assert world.effects == ["a"] * 3


async def test_nothing_is_written_for_bad_input(engine: SagaEngine) -> None:
    with pytest.raises(InvalidInputError, match=r"\$\.steps\[0\]\.action: unknown action 'nope'"):
        await engine.start(saga(SagaStep("x", "nope")), {})
    with pytest.raises(InvalidInputError, match="not JSON"):
        await engine.start(saga(undoable("a")), {"x": float("inf")})
    with pytest.raises(NotFoundError):
        await engine.get("saga_nope")
    with pytest.raises(NotFoundError):
        await engine.audit("saga_nope")
    assert await engine.list_sagas() == []


async def test_waiting_is_bounded_and_gives_the_present_view(
    engine: SagaEngine, world: World
) -> None:
    gate = anyio.Event()

    async def wait(arguments: JsonObject, handle: StepHandle) -> JsonValue:
        await gate.wait()
        return None

    world.actions["a"] = wait
    started = await engine.start(saga(SagaStep("a", "a")), {})
    assert (await engine.wait_for(started.saga_id, 0.05)).state is SagaState.RUNNING
    gate.set()
    assert (await engine.wait_for(started.saga_id, 10)).state is SagaState.COMPLETED


@pytest.mark.parametrize("compensate", [True, False])
async def test_abort_cancels_what_is_in_flight(
    engine: SagaEngine, world: World, *, compensate: bool
) -> None:
    entered, left = anyio.Event(), anyio.Event()

    async def wait(arguments: JsonObject, handle: StepHandle) -> JsonValue:
        entered.set()
        try:
            await anyio.sleep_forever()
        finally:
            left.set()

    world.actions["b"] = wait
    started = await engine.start(saga(undoable("a"), undoable("b")), {})
    await entered.wait()
    await engine.abort(started.saga_id, "changed my mind", compensate=compensate)
    view = await engine.wait_for(started.saga_id, 10)
    assert left.is_set()
    assert view.state is SagaState.ABORTED
    assert view.steps[1].state is StepState.FAILED
    assert world.effects == (["a", "undo a"] if compensate else ["a"])
    unsettled = ["b"] if compensate else ["a", "b"]
    assert [entry["step"] for entry in view.needs_person] == unsettled
    with pytest.raises(ConflictError):
        await engine.abort(started.saga_id, "again")
    kinds = [event.event_type for event in await engine.audit(started.saga_id)]
    assert EventType.ABORT_REQUESTED in kinds
    assert kinds[-1] is (EventType.SAGA_ABORTED if compensate else EventType.ABORT_REQUESTED)


async def test_a_group_runs_together_and_is_compensated_together(
    engine: SagaEngine, world: World
) -> None:
    entered = {name: anyio.Event() for name in "ab"}

    def meets(name: str, other: str) -> Action:
        async def act(arguments: JsonObject, handle: StepHandle) -> JsonValue:
            entered[name].set()
            await entered[other].wait()
            world.effects.append(name)
            return {"from": name}

        return act

    world.actions["a"], world.actions["b"] = meets("a", "b"), meets("b", "a")
    world.fails("c", BusinessRefusalError("no"))
    steps = (
        SagaStep("a", "a", "undo a", group="g"),
        SagaStep("b", "b", "undo b", group="g"),
        SagaStep("c", "c"),
    )
    view = await run(engine, saga(*steps))
    assert view.state is SagaState.FAILED
    assert sorted(world.effects[:2]) == ["a", "b"]
    assert sorted(world.effects[3:]) == ["undo a", "undo b"]


async def test_one_of_a_group_fails_and_the_others_are_undone(
    engine: SagaEngine, world: World
) -> None:
    world.fails("b", BusinessRefusalError("no"))
    steps = [SagaStep(n, n, f"undo {n}", group="g", retry=FAST) for n in ("a", "b", "c")]
    view = await run(engine, saga(*steps))
    assert view.state is SagaState.FAILED
    assert sorted(world.effects) == ["a", "b", "c", "undo a", "undo c"]


async def test_a_saga_sleeps_and_waits_for_a_signal_without_a_process(
    engine: SagaEngine, world: World
) -> None:
    steps = (
        SagaStep("nap", "saga.sleep", arguments={"seconds": 0.05}),
        SagaStep("paid", "saga.wait_for_signal", arguments={"signal": "paid", "timeout": 60}),
        SagaStep("a", "a", arguments={"by": {"$ref": "steps.paid.result.by"}}),
    )
    started = await engine.start(saga(*steps), {})

    async def parked() -> bool:
        view = await engine.get(started.saga_id)
        return view.current_step_index == 1 and view.lease_owner is None

    await until(parked)
    await engine.signal(started.saga_id, "other", 1)
    await engine.signal(started.saga_id, "paid", {"by": "ann"})
    view = await engine.wait_for(started.saga_id, 10)
    assert view.state is SagaState.COMPLETED
    assert view.output == {"did": "a", "with": {"by": "ann"}}


async def test_a_signal_that_does_not_come_fails_the_saga(engine: SagaEngine) -> None:
    wait = SagaStep("w", "saga.wait_for_signal", arguments={"signal": "s", "timeout": 0.05})
    view = await run(engine, saga(undoable("a"), wait))
    assert view.state is SagaState.FAILED
    assert view.compensated_steps == ["a"]


async def test_sagas_are_listed_and_searched(engine: SagaEngine, world: World) -> None:
    world.fails("b", BusinessRefusalError("100% OUT of stock"))
    good = await run(engine, saga(undoable("a")))
    bad = await run(engine, saga(undoable("b"), name="refused"))
    assert [view.saga_id for view in await engine.list_sagas()] == [bad.saga_id, good.saga_id]
    assert [v.saga_id for v in await engine.list_sagas(SagaState.FAILED)] == [bad.saga_id]
    assert [v.saga_id for v in await engine.list_sagas(saga_type="order")] == [good.saga_id]
    assert [v.saga_id for v in await engine.list_sagas(error="100% out")] == [bad.saga_id]
    assert await engine.list_sagas(user_id="ann") == []


async def test_many_sagas_at_once(engine: SagaEngine, world: World) -> None:
    views: list[SagaView] = []

    async def one() -> None:
        views.append(await run(engine, saga(undoable("a"), undoable("b"), undoable("c"))))

    async with anyio.create_task_group() as tasks:
        for _ in range(200):
            tasks.start_soon(one)
    assert {view.state for view in views} == {SagaState.COMPLETED}
    assert len(world.effects) == 600


async def test_a_saga_explains_itself(engine: SagaEngine, world: World) -> None:
    world.fails("c", BusinessRefusalError("no"))
    world.fails("undo b", OSError("stuck"))
    done = await run(engine, saga(undoable("a")))
    failed = await run(engine, saga(undoable("a"), undoable("c")))
    stuck = await run(engine, saga(undoable("a"), undoable("b"), undoable("c")))
    wait = SagaStep("paid", "saga.wait_for_signal", arguments={"signal": "paid"})
    nap = SagaStep("nap", "saga.sleep", arguments={"seconds": 3600})
    waiting, asleep = await engine.start(saga(wait), {}), await engine.start(saga(nap), {})
    for view in (waiting, asleep):

        async def parked(saga_id: str = view.saga_id) -> bool:
            return (await engine.get(saga_id)).lease_owner is None

        await until(parked)
    assert explain(done).advice == "There is nothing to do."
    assert "retry it" in explain(failed).advice
    assert "listed for b" in explain(stuck).advice
    assert "waits for a signal in 'paid'" in explain(await engine.get(waiting.saga_id)).why
    sleeping = explain(await engine.get(asleep.saga_id))
    assert "sleeps in 'nap'" in sleeping.why
    assert sleeping.when is not None
    for view in (waiting, asleep):
        await engine.abort(view.saga_id, "enough")


async def test_a_saga_is_drawn(engine: SagaEngine) -> None:
    steps = [SagaStep(n, n, group="g" if n != "c" else None) for n in ("a", "b", "c")]
    assert mermaid(await run(engine, saga(*steps))) == (
        "flowchart LR\n"
        '    s0["a<br/>completed"]\n    style s0 fill:#b2f2bb\n'
        '    s1["b<br/>completed"]\n    style s1 fill:#b2f2bb\n'
        '    s2["c<br/>completed"]\n    style s2 fill:#b2f2bb\n'
        "    s0 --> s2\n    s1 --> s2\n"
    )


async def test_no_secret_reaches_the_audit_trail(
    engine: SagaEngine, world: World, database: Database
) -> None:
    key = "sk-abcdefgh12345678"
    world.does("a", {"api_key": "hunter2", "pin": "0815", "note": f"uses {key}"})
    world.fails("b", BusinessRefusalError(f"{key} was refused"))
    definition = SagaDefinition("secret", "1", (undoable("a"), undoable("b")), redact=("PIN",))
    view = await run(engine, definition, password="hunter2", pin="0815")
    assert view.results["a"] == {"api_key": "hunter2", "pin": "0815", "note": f"uses {key}"}
    assert key not in (view.error or "")
    async with database.read() as connection:
        rows = (await connection.execute(text("SELECT * FROM saga_audit_logs"))).all()
    written = "\n".join(str(tuple(row)) for row in rows)
    assert "was refused" in written
    for secret in (key, "hunter2", "0815"):
        assert secret not in written
