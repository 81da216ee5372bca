"""Taking a saga back to a step and letting it go forward again, on both databases."""

import pytest

from mcp_orchestrator.errors import ConflictError, InvalidInputError
from mcp_orchestrator.saga import (
    NO_RETRY,
    EventType,
    JsonObject,
    JsonValue,
    Order,
    SagaDefinition,
    SagaEngine,
    SagaState,
    SagaStep,
    SagaView,
    StepHandle,
    StepState,
)
from mcp_orchestrator.saga.catalog import NoActions
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database

WHY = Order("the price was wrong", "ann")


class Shop:
    """Three steps that all work; what they do and undo is written down."""

    def __init__(self) -> None:
        self.effects: list[str] = []
        self.paid: list[JsonValue] = []
        self.undo_works = True

    async def act(self, arguments: JsonObject, handle: StepHandle) -> JsonValue:
        async def pay() -> JsonValue:
            self.paid.append(arguments["price"])
            return arguments["price"]

        price = await handle.memo(f"pay {handle.step_name}", pay)
        self.effects.append(f"{handle.step_name} {price} {handle.idempotency_key.count(':')}")
        return price

    async def undo(self, arguments: JsonObject, handle: StepHandle) -> JsonValue:
        given = arguments["arguments"]
        assert isinstance(given, dict)
        self.effects.append(f"undo {handle.step_name} {given['price']}")
        if not self.undo_works:
            raise OSError("cannot")
        return None

    def definition(self) -> SagaDefinition:
        price: JsonObject = {"price": {"$ref": "input.price"}}
        steps = (
            SagaStep("a", self.act, self.undo, arguments=price),
            SagaStep("b", self.act, self.undo, arguments=price, compensation_retry=NO_RETRY),
            SagaStep("c", self.act, arguments=price),
            SagaStep("d", self.act, self.undo, arguments=price),
        )
        return SagaDefinition("shop", "1", steps)


async def run(engine: SagaEngine, shop: Shop) -> SagaView:
    started = await engine.start(shop.definition(), {"price": 5})
    view = await engine.wait_for(started.saga_id, 60)
    shop.effects.clear()
    return view


async def test_a_saga_is_rewound_with_another_input_and_undone_with_the_old_one(
    engine: SagaEngine,
) -> None:
    shop = Shop()
    done = await run(engine, shop)
    plan = await engine.by_hand.preview_rewind(done.saga_id, "b")
    assert (plan.runs, plan.compensates) == (["b", "c", "d"], ["d", "b"])
    assert shop.effects == []
    await engine.by_hand.rewind(done.saga_id, WHY, to_step="b", new_input={"price": 7})
    view = await engine.wait_for(done.saga_id, 60)
    assert (view.state, view.error) == (SagaState.COMPLETED, None)
    assert shop.effects == ["undo d 5", "undo b 5", "b 7 2", "c 7 2", "d 7 2"]
    assert (view.results, view.input) == ({"a": 5, "b": 7, "c": 7, "d": 7}, {"price": 7})
    events = await engine.audit(done.saga_id)
    asked = next(event for event in events if event.event_type is EventType.MANUAL_REWIND)
    assert asked.event_data == {
        "reason": WHY.reason, "by": "ann", "to_step": "b", "input": {"price": 7}
    }  # fmt: skip
    assert [event.event_type for event in events].count(EventType.REWOUND) == 1
    assert await engine.verify_audit(done.saga_id) == []


async def test_memos_of_a_step_that_was_rewound_are_made_anew_and_the_others_kept(
    engine: SagaEngine,
) -> None:
    shop = Shop()
    done = await run(engine, shop)
    for price in (7, 9):
        await engine.by_hand.rewind(done.saga_id, WHY, to_step="d", new_input={"price": price})
        await engine.wait_for(done.saga_id, 60)
    assert shop.paid == [5, 5, 5, 5, 7, 9]


async def test_what_cannot_be_undone_ends_the_rewinding_with_a_list_for_a_person(
    engine: SagaEngine,
) -> None:
    shop = Shop()
    done = await run(engine, shop)
    shop.undo_works = False
    await engine.by_hand.rewind(done.saga_id, WHY, to_step="b")
    view = await engine.wait_for(done.saga_id, 60)
    assert view.state is SagaState.FAILED
    assert view.error == "It could not be rewound: undoing b, d failed."
    assert [task["step"] for task in view.needs_person] == ["d", "b"]
    assert view.steps[0].state is StepState.COMPLETED
    shop.undo_works = True
    await engine.by_hand.rewind(done.saga_id, WHY, to_step="b")  # what failed is undone once more
    view = await engine.wait_for(done.saga_id, 60)
    assert (view.state, view.needs_person) == (SagaState.COMPLETED, [])


async def test_a_rewinding_that_is_not_possible_changes_nothing(engine: SagaEngine) -> None:
    done = await run(engine, Shop())
    with pytest.raises(InvalidInputError, match="No step"):
        await engine.by_hand.rewind(done.saga_id, WHY, to_step="nowhere")
    with pytest.raises(InvalidInputError, match="reason"):
        await engine.by_hand.rewind(done.saga_id, Order(" "), to_step="b")
    assert await engine.get(done.saga_id) == done


async def test_a_rewinding_goes_on_where_its_process_stopped(database: Database) -> None:
    shop = Shop()
    async with GroupCommitter(database) as committer:
        async with SagaEngine(database, committer, NoActions(), runner_id="one") as first:
            done = await run(first, shop)
        idle = SagaEngine(database, committer, NoActions(), runner_id="by hand")
        idle.admit(shop.definition())
        view = await idle.by_hand.rewind(done.saga_id, WHY, to_step="b", new_input={"price": 7})
        assert view.state is SagaState.COMPENSATING
        with pytest.raises(ConflictError):
            await idle.by_hand.rewind(done.saga_id, WHY, to_step="a")
        async with SagaEngine(database, committer, NoActions(), runner_id="two") as second:
            second.admit(shop.definition())
            view = await second.wait_for(done.saga_id, 60)
    assert (view.state, view.input) == (SagaState.COMPLETED, {"price": 7})
    assert shop.effects == ["undo d 5", "undo b 5", "b 7 2", "c 7 2", "d 7 2"]
