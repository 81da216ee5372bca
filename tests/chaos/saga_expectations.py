"""What holds for every saga in the end, however often its runners and its database died."""

from mcp_orchestrator.saga import (
    AuditEvent,
    EventType,
    RetryPolicy,
    SagaDefinition,
    SagaEngine,
    SagaState,
    SagaStep,
    SagaView,
)
from mcp_orchestrator.saga.events import SagaEvent
from mcp_orchestrator.saga.evolution import evolve
from mcp_orchestrator.saga.progress import begin
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.sagas import read_memos

QUICK = RetryPolicy(max_attempts=5, first_delay=0.001, max_delay=0.01)


def definition(name: str, *last: str) -> SagaDefinition:
    steps = [
        SagaStep("one", "act", "undo", retry=QUICK),
        SagaStep("two", "buy", "undo", retry=QUICK),
        SagaStep("left", "fail", "undo", retry=QUICK, group="pair"),
        SagaStep("right", "act", "undo", retry=QUICK, group="pair"),
        *(SagaStep(action, action, "undo", retry=QUICK) for action in last),
    ]
    return SagaDefinition(name, "1", tuple(steps))


async def check_saga(
    engine: SagaEngine,
    database: Database,
    saga_id: str,
    effects: list[list[str]],
    kinds: list[SagaDefinition],
) -> None:
    view = await engine.get(saga_id)
    events = await engine.audit(saga_id)
    assert await engine.verify_audit(saga_id) == []
    did = [line[2] for line in effects if line[0] == "did"]
    undid = [line[2] for line in effects if line[0] == "undid"]
    names = [step.name for step in view.steps if step.name != "refuse"]
    assert set(did) == set(names)
    if view.saga_type == "good":
        assert view.state is SagaState.COMPLETED
        assert undid == []
    else:
        assert view.state is SagaState.FAILED
        assert view.compensated_steps == names
        assert view.needs_person == []
        firsts = [name for name in dict.fromkeys(undid) if name not in {"left", "right"}]
        assert firsts == ["act", "two", "one"]
        last_did = max(i for i, line in enumerate(effects) if line[0] == "did")
        assert last_did < min(i for i, line in enumerate(effects) if line[0] == "undid")
    async with database.read() as connection:
        memos = await read_memos(connection, saga_id)
    for name, receipt in memos.items():
        paid = [line[3] for line in effects if line[0] == "paid" and line[2] == name]
        assert paid[-1] == receipt, "a memo whose result was recorded ran again"
    ends = {EventType.SAGA_COMPLETE, EventType.SAGA_FAILED}
    assert [event.event_type in ends for event in events].count(True) == 1
    which = next(kind for kind in kinds if kind.name == view.saga_type)
    assert_fold_gives_the_row(which, view, events)


def assert_fold_gives_the_row(
    which: SagaDefinition, view: SagaView, events: list[AuditEvent]
) -> None:
    progress = begin(which, view.input)
    for event in events:
        assert progress.state is event.state_before
        progress = evolve(
            progress,
            SagaEvent(
                event.event_type, event.timestamp, event.step_index, event.event_data,
                event.error_message,
            ),
        )  # fmt: skip
        assert progress.state is event.state_after
    assert progress.state is view.state
    assert progress.retries == view.retries
    assert [(s.name, s.state, s.attempts) for s in progress.steps] == [
        (s.name, s.state, s.attempts) for s in view.steps
    ]
