"""What Prometheus is told: the names and labels that dashboards rely on."""

from collections import defaultdict
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry

from mcp_orchestrator.errors import BusinessRefusalError
from mcp_orchestrator.saga import (
    JsonObject,
    JsonValue,
    RetryPolicy,
    SagaDefinition,
    SagaEngine,
    SagaMetrics,
    SagaStep,
    StepHandle,
)
from mcp_orchestrator.saga.catalog import NoActions
from mcp_orchestrator.saga.checkpoint import SagaRecord
from mcp_orchestrator.saga.events import EventType, SagaEvent
from mcp_orchestrator.saga.metrics import MOST_CHILDREN, MOST_VALUES, Bounded
from mcp_orchestrator.saga.progress import begin
from mcp_orchestrator.store.chain import GENESIS
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database

#: Each metric as it is scraped, with its labels; the histograms by their name alone.
NAMES = {
    "saga_started_total": {"saga_type"},
    "saga_completed_total": {"saga_type"},
    "saga_failed_total": {"saga_type", "failure_reason"},
    "saga_aborted_total": {"saga_type"},
    "saga_running_current": {"saga_type"},
    "saga_duration_seconds": {"saga_type", "status"},
    "saga_step_executed_total": {"saga_type", "step_name"},
    "saga_step_failed_total": {"saga_type", "step_name", "error_type"},
    "saga_step_retry_total": {"saga_type", "step_name"},
    "saga_step_duration_seconds": {"saga_type", "step_name", "status"},
    "saga_compensation_executed_total": {"saga_type", "step_name"},
    "saga_compensation_failed_total": {"saga_type", "step_name", "error_type"},
    "saga_compensation_duration_seconds": {"saga_type", "step_name", "status"},
    "saga_checkpoint_saved_total": {"saga_type"},
    "saga_checkpoint_loaded_total": {"saga_type"},
    "saga_checkpoint_save_duration_seconds": {"saga_type"},
    "saga_audit_log_written_total": {"saga_type", "event_type"},
    "saga_audit_log_write_duration_seconds": {"event_type"},
}


def scraped(registry: CollectorRegistry) -> dict[str, set[str]]:
    """Return every metric that a scrape shows, with its labels."""
    found: dict[str, set[str]] = {}
    for metric in registry.collect():
        for sample in metric.samples:
            if not sample.name.endswith("_created"):
                name = metric.name if metric.type == "histogram" else sample.name
                found[name] = set(sample.labels) - {"le"}
    return found


async def works(arguments: JsonObject, handle: StepHandle) -> JsonValue:
    if handle.attempt == 1:
        raise OSError("hiccup")
    return None


async def refuses(arguments: JsonObject, handle: StepHandle) -> JsonValue:
    raise BusinessRefusalError("no")


QUICK = RetryPolicy(max_attempts=2, first_delay=0.001)


async def test_everything_is_counted_under_its_name(database: Database) -> None:
    registry = CollectorRegistry()
    metrics = SagaMetrics(registry)
    good = SagaDefinition("good", "1", (SagaStep("a", works, retry=QUICK),))
    steps = (
        SagaStep("a", works, works, retry=QUICK),
        SagaStep("b", works, refuses, retry=QUICK),
        SagaStep("c", refuses),
    )
    bad = SagaDefinition("bad", "1", steps)
    sleeps = SagaStep("nap", "saga.sleep", arguments={"seconds": 3600})
    long = SagaDefinition("long", "1", (sleeps,))
    async with (
        GroupCommitter(database) as committer,
        SagaEngine(
            database, committer, NoActions(), runner_id="test", metrics=metrics
        ) as engine,
    ):  # fmt: skip
        for definition in (good, bad, long):
            view = await engine.start(definition, {})
            await engine.wait_for(view.saga_id, 20 if definition is not long else 0.05)
        await engine.abort(view.saga_id, "enough")
        await engine.wait_for(view.saga_id, 20)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    assert value("saga_started_total", saga_type="good") == 1
    assert value("saga_completed_total", saga_type="good") == 1
    reason = "compensation_failed"
    assert value("saga_failed_total", saga_type="bad", failure_reason=reason) == 1
    assert value("saga_aborted_total", saga_type="long") == 1
    assert value("saga_running_current", saga_type="good") == 0
    assert value("saga_step_retry_total", saga_type="bad", step_name="a") == 1
    assert value("saga_compensation_executed_total", saga_type="bad", step_name="a") == 1
    assert scraped(registry) == NAMES


def test_labels_from_users_are_bounded() -> None:
    label = Bounded(2)
    assert [label(value) for value in ("a", "b", "c", "a")] == ["a", "b", "other", "a"]


def test_no_flood_of_names_makes_the_metrics_explode() -> None:
    """Types, steps and errors without end: neither a label nor their product grows for ever."""
    registry = CollectorRegistry()
    metrics = SagaMetrics(registry)
    now = datetime(2030, 1, 1, tzinfo=UTC)
    for number in range(3 * MOST_CHILDREN):
        step = SagaStep(f"step{number % 61}", works, works)
        definition = SagaDefinition(f"type{number % 251}", "1", (step,))
        record = SagaRecord(
            f"s{number}", definition, begin(definition, {}), None, None, 1, 1, GENESIS
        )
        events = [
            SagaEvent(kind, now, 0, {"error_type": f"Error{number}"}, "x", duration_ms=1.0)
            for kind in EventType
        ]
        metrics.written(record, events, 0.001)
    for metric in registry.collect():
        values = defaultdict[str, set[str]](set)
        for sample in metric.samples:
            for name, value in sample.labels.items():
                values[name].add(value)
        children = {tuple(sorted(s.labels.items())) for s in metric.samples if "le" not in s.labels}
        assert len(children) <= MOST_CHILDREN + 200
        assert all(len(found) <= MOST_VALUES + 1 for found in values.values())
