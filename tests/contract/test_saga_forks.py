"""Forks, edited inputs and approvals, on both databases."""

import pytest

from mcp_orchestrator.errors import (
    BusinessRefusalError,
    ConflictError,
    InvalidInputError,
)
from mcp_orchestrator.saga import (
    NO_RETRY,
    Action,
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
    explain,
)
from tests.services.waiting import until

WHY = Order("the price was wrong", "ann")


class Shop:
    """Buys, and pays unless it costs too much."""

    def __init__(self) -> None:
        self.effects: list[str] = []

    async def buy(self, arguments: JsonObject, handle: StepHandle) -> JsonValue:
        self.effects.append("buy")
        return {"order": 7}

    async def pay(self, arguments: JsonObject, handle: StepHandle) -> JsonValue:
        price = arguments["price"]
        if not isinstance(price, int) or price > 10:
            raise BusinessRefusalError("too dear")
        self.effects.append(f"pay {price} for {arguments['order']}")
        return price

    async def undo(self, arguments: JsonObject, handle: StepHandle) -> JsonValue:
        self.effects.append(f"undo {handle.step_name}")
        return None

    def definition(self, *between: SagaStep) -> SagaDefinition:
        steps = (
            SagaStep("buy", self.buy, self.undo, retry=NO_RETRY),
            *between,
            SagaStep("pay", self.pay, self.undo, retry=NO_RETRY),
        )
        return SagaDefinition("shop", "1", steps)


async def run(engine: SagaEngine, definition: SagaDefinition, price: int) -> SagaView:
    started = await engine.start(definition, {"price": price})
    return await engine.wait_for(started.saga_id, 20)


async def test_a_failed_saga_is_retried_with_another_input(engine: SagaEngine) -> None:
    shop = Shop()
    failed = await run(engine, shop.definition(), 99)
    assert failed.state is SagaState.FAILED
    await engine.by_hand.retry(failed.saga_id, WHY, new_input={"price": 3})
    view = await engine.wait_for(failed.saga_id, 20)
    assert (view.state, view.input) == (SagaState.COMPLETED, {"price": 3})
    assert shop.effects == ["buy", "undo buy", "buy", "pay 3 for 7"]
    events = await engine.audit(failed.saga_id)
    (retried,) = (e for e in events if e.event_type is EventType.MANUAL_RETRY)
    assert retried.event_data["input"] == {"price": 3}
    assert await engine.verify_audit(failed.saga_id) == []


async def test_a_fork_takes_over_results_and_leaves_the_first_saga_alone(
    engine: SagaEngine,
) -> None:
    shop = Shop()
    done = await run(engine, shop.definition(), 5)
    plan = await engine.by_hand.preview_fork(done.saga_id, "pay")
    assert (plan.runs, plan.skips) == (["pay"], ["buy"])
    forked = await engine.by_hand.fork(done.saga_id, WHY, from_step="pay", new_input={"price": 6})
    view = await engine.wait_for(forked.saga_id, 20)
    assert view.state is SagaState.COMPLETED
    assert shop.effects == ["buy", "pay 5 for 7", "pay 6 for 7"]
    assert await engine.get(done.saga_id) == done
    events = await engine.audit(forked.saga_id)
    assert events[1].event_type is EventType.FORKED
    assert events[1].event_data["forked_from"] == done.saga_id
    assert await engine.verify_audit(forked.saga_id) == []


async def test_a_fork_that_fails_does_not_undo_what_is_not_its_own(engine: SagaEngine) -> None:
    shop = Shop()
    done = await run(engine, shop.definition(), 5)
    order: JsonObject = {"price": 99}
    forked = await engine.by_hand.fork(done.saga_id, WHY, from_step="pay", new_input=order)
    view = await engine.wait_for(forked.saga_id, 20)
    assert view.state is SagaState.FAILED
    assert shop.effects == ["buy", "pay 5 for 7"]


async def test_a_fork_needs_the_results_before_it(engine: SagaEngine) -> None:
    shop = Shop()
    never = SagaStep("never", "saga.approval", arguments={"approval": "x"})
    definition = shop.definition(never)
    started = await engine.start(definition, {"price": 1})
    with pytest.raises(ConflictError):  # it runs
        await engine.by_hand.fork(started.saga_id, WHY, from_step="pay")
    await engine.abort(started.saga_id, "enough")
    await engine.wait_for(started.saga_id, 20)
    with pytest.raises(ConflictError, match="'never'"):
        await engine.by_hand.fork(started.saga_id, WHY, from_step="pay")
    with pytest.raises(InvalidInputError):
        await engine.by_hand.fork(started.saga_id, WHY, from_step="nothing")


def asking(shop: Shop) -> SagaDefinition:
    question: JsonObject = {"approval": "budget", "question": "May it cost that much?"}
    return shop.definition(SagaStep("ask", "saga.approval", arguments=question))


async def waits(engine: SagaEngine, saga_id: str) -> None:
    async def asks() -> bool:
        return "approval" in explain(await engine.get(saga_id)).why

    await until(asks)


async def test_a_person_approves_and_the_saga_goes_on(engine: SagaEngine) -> None:
    shop = Shop()
    started = await engine.start(asking(shop), {"price": 2})
    await waits(engine, started.saga_id)
    with pytest.raises(InvalidInputError, match="no approval"):
        await engine.signal(started.saga_id, "approval:budget", {"approved": True})
    with pytest.raises(InvalidInputError, match="reason"):
        await engine.approve(started.saga_id, "budget", Order(" "))
    await engine.approve(started.saga_id, "budget", Order("it is cheap", "ann"))
    view = await engine.wait_for(started.saga_id, 20)
    assert view.state is SagaState.COMPLETED
    assert view.results["ask"] == {"approved": True, "by": "ann", "reason": "it is cheap"}
    kinds = [event.event_type for event in await engine.audit(started.saga_id)]
    assert EventType.APPROVAL in kinds


async def test_a_person_refuses_and_the_saga_is_undone(engine: SagaEngine) -> None:
    shop = Shop()
    started = await engine.start(asking(shop), {"price": 2})
    await waits(engine, started.saga_id)
    await engine.approve(started.saga_id, "budget", Order("not now", "bob"), approved=False)
    view = await engine.wait_for(started.saga_id, 20)
    assert view.state is SagaState.FAILED
    assert "bob refused: not now" in (view.error or "")
    assert shop.effects == ["buy", "undo buy"]


async def test_probes_tell_what_the_store_believes_wrongly(engine: SagaEngine) -> None:
    shop = Shop()

    def found(happened: bool) -> Action:
        async def probe(arguments: JsonObject, handle: StepHandle) -> JsonValue:
            assert handle.idempotency_key.endswith(f":{handle.step_name}")
            return {"happened": happened}

        return probe

    async def broken(arguments: JsonObject, handle: StepHandle) -> JsonValue:
        raise OSError("no answer")

    probes = {"kept": found(True), "lost": found(False), "silent": broken}
    steps = tuple(SagaStep(name, shop.buy, probe=probe) for name, probe in probes.items())
    done = await run(engine, SagaDefinition("probed", "1", (*steps, SagaStep("s", shop.buy))), 1)
    findings = await engine.by_hand.reconcile(done.saga_id, WHY)
    assert [(f.step, f.happened, f.agrees) for f in findings] == [
        ("kept", True, True), ("lost", False, False), ("silent", None, False),
    ]  # fmt: skip
    assert findings[2].error == "no answer"
    after = await engine.get(done.saga_id)
    assert (after.state, after.steps) == (done.state, done.steps)
    event = (await engine.audit(done.saga_id))[-1]
    assert event.event_type is EventType.RECONCILED
    assert event.event_data["happened"] == {"kept": True, "lost": False, "silent": None}
