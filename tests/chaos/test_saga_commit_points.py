"""A saga's process is killed before and after every COMMIT that it makes, each once."""

import multiprocessing
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from anyio import to_thread
from sqlalchemy import update

from mcp_orchestrator.saga import EventType, SagaDefinition, SagaEngine
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.schema.sagas import saga_runners
from tests.chaos import commit_fuse
from tests.chaos.saga_expectations import check_saga, definition
from tests.chaos.saga_process import Outside

#: Both sides of every COMMIT of whoever takes over; else one side of each, by turns.
IS_LONG = "SAGA_CRASHES" in os.environ
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass
class Stage:
    """A database, a file of effects, and processes that die at a COMMIT.

    Attributes:
        database: where the sagas are.
        effects: what their steps did.
        context: makes processes quickly: each is forked from one that has imported everything.
    """

    database: Database
    effects: Path
    context: ForkServerContext

    async def run(self, saga: SagaDefinition, key: str, length: int, *, before: bool) -> bool:
        """Run a saga in a process of its own, and tell whether that was killed."""
        url = self.database.engine.url.render_as_string(hide_password=False)
        given = (url, str(self.effects), saga, key, length, before)
        process = self.context.Process(target=commit_fuse.run_saga, args=given)
        process.start()
        await to_thread.run_sync(process.join)
        assert process.exitcode in {0, -signal.SIGKILL}
        await self._expire_leases()
        return process.exitcode != 0

    async def _expire_leases(self) -> None:
        """Let the time pass until others may take over from the dead."""
        async with self.database.write() as connection:
            await connection.execute(update(saga_runners).values(lease_until=LONG_AGO))

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.effects.read_text().splitlines()]


@pytest.fixture
def stage(database: Database, tmp_path: Path) -> Stage:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.chaos.commit_fuse"])
    return Stage(database, tmp_path / "effects", context)


@pytest.fixture
async def engine(database: Database, tmp_path: Path) -> AsyncIterator[SagaEngine]:
    """An engine that shows sagas, and runs none."""
    async with GroupCommitter(database) as committer:
        yield SagaEngine(database, committer, Outside(str(tmp_path / "unused")), runner_id="test")


async def check(
    stage: Stage, engine: SagaEngine, saga: SagaDefinition, key: str, died: int
) -> None:
    """Check everything that holds for a saga whose runners died so often."""
    view = await engine.start(saga, {}, idempotency_key=key)
    history = [line for line in stage.lines() if line[1] == view.saga_id]
    await check_saga(engine, stage.database, view.saga_id, history, [saga])
    for word in ("did", "undid"):
        for name in {line[2] for line in history}:
            times = sum(line[0] == word and line[2] == name for line in history)
            assert times <= 1 + died, f"{key}: {name} {word} {times} times"
    events = await engine.audit(view.saga_id)
    owners = [(event.epoch, event.runner_id) for event in events]
    assert owners == sorted(owners, key=lambda owner: owner[0])
    assert len(set(owners)) == len({epoch for epoch, _ in owners}), "two owners at a time"
    assert sum(event.event_type is EventType.TAKEOVER for event in events) <= died


@pytest.mark.timeout(300)
async def test_a_saga_survives_a_death_at_each_of_its_commits(
    stage: Stage, engine: SagaEngine
) -> None:
    """Every step, memo and compensation, and the end; each death once, before and after."""
    saga = definition("bad", "act", "refuse")
    length, died = 0, True
    while died:
        length += 1
        for before in (True, False):
            key = f"commit {length} {'before' if before else 'after'}"
            died = await stage.run(saga, key, length, before=before)
            assert not (died and await stage.run(saga, key, 0, before=False))
            await check(stage, engine, saga, key, int(died))
    assert length > 14  # a lease, the start, two memos, six steps with a retry, four stages undone


@pytest.mark.timeout(300)
async def test_whoever_takes_over_may_die_at_each_of_its_commits(
    stage: Stage, engine: SagaEngine
) -> None:
    """Another process goes on from the middle of a saga, and dies on the way to its end."""
    saga = definition("good", "act")
    length, died = 0, True
    while died:
        length += 1
        for before in (True, False) if IS_LONG else (length % 2 == 0,):
            key = f"takeover {length} {'before' if before else 'after'}"
            assert await stage.run(saga, key, 4, before=True)
            died = await stage.run(saga, key, length, before=before)
            assert not (died and await stage.run(saga, key, 0, before=False))
            await check(stage, engine, saga, key, 1 + died)
    assert length > 6
