"""The gauges of the whole store: open and held sagas, the trail's verification."""

from prometheus_client import CollectorRegistry
from sqlalchemy import update

from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.runtime.store_metrics import StoreMetrics
from mcp_orchestrator.saga import (
    JsonObject,
    JsonValue,
    SagaDefinition,
    SagaEngine,
    SagaState,
    SagaStep,
    StepHandle,
)
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.schema.sagas import saga_checkpoints


async def works(arguments: JsonObject, handle: StepHandle) -> JsonValue:
    return None


DONE = SagaDefinition("done", "1", (SagaStep("a", works),))
WAITS = SagaDefinition(
    "waits", "1", (SagaStep("ask", "saga.wait_for_signal", arguments={"signal": "go"}),)
)


async def test_open_sagas_are_counted_and_those_at_rest_are_not_stuck(
    database: Database, engine: SagaEngine
) -> None:
    registry = CollectorRegistry()
    metrics = StoreMetrics(registry, database, SystemClock())
    done, waits = await engine.start(DONE, {}), await engine.start(WAITS, {})
    await engine.wait_for(done.saga_id, 60)
    await metrics.show_sagas()
    assert registry.get_sample_value("saga_open", {"state": "running"}) == 1
    assert registry.get_sample_value("saga_held") == 0
    await engine.signal(waits.saga_id, "go")
    assert (await engine.wait_for(waits.saga_id, 60)).state is SagaState.COMPLETED
    await metrics.show_sagas()
    assert registry.get_sample_value("saga_open", {"state": "running"}) == 0
    assert registry.get_sample_value("saga_oldest_unchanged_seconds") == 0


async def test_a_forged_trail_is_a_fault(database: Database, engine: SagaEngine) -> None:
    registry = CollectorRegistry()
    metrics = StoreMetrics(registry, database, SystemClock())
    saga = await engine.start(DONE, {})
    await engine.wait_for(saga.saga_id, 60)
    assert await metrics.verify() == 0
    assert registry.get_sample_value("audit_faults") == 0
    async with database.write() as connection:
        await connection.execute(update(saga_checkpoints).values(audit_hash="0" * 64))
    assert await metrics.verify() == 1
    assert registry.get_sample_value("audit_faults") == 1
    verified = registry.get_sample_value("audit_verified_timestamp_seconds")
    assert verified is not None
    assert abs(SystemClock().now().timestamp() - verified) < 3600
