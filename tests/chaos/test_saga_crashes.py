"""Sagas on real processes that are killed, paused and blocked."""

import os
import random
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import anyio
import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from mcp_orchestrator.saga import (
    EventType,
    SagaDefinition,
    SagaEngine,
    SagaState,
    SagaStep,
    StepState,
)
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.schema.sagas import saga_checkpoints, saga_runners
from tests.chaos.saga_expectations import check_saga, definition
from tests.chaos.saga_process import Outside
from tests.services.postgres_server import PostgresServer
from tests.services.process import stop_process
from tests.services.waiting import until

#: How many sagas the crash test runs; SAGA_CRASHES=2000 for the long one.
SAGAS = int(os.environ.get("SAGA_CRASHES", "60"))
#: One saga writes no fewer lines into the file of effects, however lucky it is.
FEWEST_EFFECTS = 7
#: And none of them has fewer bytes.
SHORTEST_LINE = 45
Process = subprocess.Popen[bytes]


class Stage:
    """A database, a file of effects, and processes that come and go."""

    def __init__(self, database: Database, effects: Path, lease: float) -> None:
        self.url = database.engine.url.render_as_string(hide_password=False)
        self.effects = effects
        self.lease = lease
        self.processes: list[Process] = []
        self._due: dict[Process, int] = {}

    def start(self, fuse: int = 0) -> Process:
        """Start a process; with a fuse it kills itself at its so-manieth effect."""
        command = [
            sys.executable, "-m", "tests.chaos.saga_process",
            self.url, str(self.effects), str(self.lease), str(fuse),
        ]  # fmt: skip
        process = subprocess.Popen(command)
        self.processes.append(process)
        return process

    def start_doomed(self, chance: random.Random, longest: int) -> None:
        """Start a process that will be killed: at an effect by itself, or anywhere by us."""
        effects = chance.randint(1, longest)
        if chance.random() < 0.5:
            self._due[self.start(effects)] = sys.maxsize
        else:
            self._due[self.start()] = self._size() + effects * SHORTEST_LINE

    def kill_doomed(self) -> None:
        """Kill those whose time has come: once there are so many effects, wherever they are."""
        size = self._size()
        for process in self.processes:
            if self._due.get(process, sys.maxsize) <= size:
                process.kill()

    def doomed(self) -> int:
        """Return how many of the living will be killed."""
        return sum(process in self._due for process in self.processes)

    def _size(self) -> int:
        return self.effects.stat().st_size if self.effects.exists() else 0

    def kill(self, process: Process) -> None:
        process.kill()
        process.wait()
        self.processes.remove(process)

    def bury(self) -> list[bool]:
        """Forget the processes that have ended, and say of each whether it was killed."""
        ended = [process for process in self.processes if process.poll() is not None]
        for process in ended:
            self.processes.remove(process)
        return [process.returncode == -signal.SIGKILL for process in ended]

    def open_gate(self) -> None:
        """Let what lingers or blocks return."""
        self.effects.with_name(f"{self.effects.name}.gate").touch()

    def lines(self) -> list[list[str]]:
        text = self.effects.read_text() if self.effects.exists() else ""
        return [line.split() for line in text.splitlines()]

    def saw(self, word: str, saga_id: str) -> bool:
        return any(line[:2] == [word, saga_id] for line in self.lines())


async def leases(database: Database) -> dict[str, datetime]:
    """Return until when each runner holds its lease."""
    async with database.read() as connection:
        rows = await connection.execute(
            select(saga_runners.c.runner_id, saga_runners.c.lease_until)
        )
        return {row[0]: row[1] for row in rows}


@contextmanager
def staged(database: Database, folder: Path, lease: float) -> Generator[Stage]:
    stage = Stage(database, folder / "effects", lease)
    try:
        yield stage
    finally:
        for process in stage.processes:
            process.send_signal(signal.SIGCONT)
            stop_process(process, patience=5)


@pytest.fixture
async def engine(database: Database, tmp_path: Path) -> AsyncIterator[SagaEngine]:
    """An engine that starts and shows sagas, and runs none."""
    async with GroupCommitter(database) as committer:
        yield SagaEngine(database, committer, Outside(str(tmp_path / "unused")), runner_id="test")


async def count_finished(database: Database) -> int:
    query = select(func.count()).where(saga_checkpoints.c.finished_at.is_not(None))
    try:
        async with database.read() as connection:
            return await connection.scalar(query) or 0
    except (DBAPIError, OSError):  # the database is being killed, too
        return 0


async def crash_postgres(server: PostgresServer) -> None:
    """Kill one of PostgreSQL's processes: all of them start anew from the log."""
    query = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
    command = [f"{server.binaries}/psql", "-qXAtc", query, server.url()]
    found = await anyio.run_process(command)
    os.kill(int(found.stdout), signal.SIGKILL)


@pytest.mark.timeout(700 + SAGAS)
async def test_every_saga_survives_processes_that_are_killed(
    database: Database, engine: SagaEngine, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Runners die at chosen effects, or wherever they are; PostgreSQL is killed in between."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - what repeats a failure
    chance = random.Random(seed)
    kinds = [definition("good", "act"), definition("bad", "act", "refuse")]
    ids = [(await engine.start(chance.choice(kinds), {})).saga_id for _ in range(SAGAS)]
    kills = 6 + SAGAS // 20
    longest = FEWEST_EFFECTS * SAGAS // (kills + 4)  # so that every fuse burns down
    with staged(database, tmp_path, lease=1.5) as stage:
        dead = 0
        with anyio.fail_after(600 + SAGAS):
            while dead < kills or await count_finished(database) < SAGAS:
                stage.kill_doomed()
                for killed in stage.bury():  # or it found no database when it began
                    dead += killed
                    if killed and dead % 10 == 3 and not database.is_sqlite:
                        await crash_postgres(request.getfixturevalue("postgres_server"))
                while len(stage.processes) < 2:
                    if dead + stage.doomed() < kills:
                        stage.start_doomed(chance, longest)
                    else:
                        stage.start()
                await anyio.sleep(0.05)
    assert dead == kills
    history = defaultdict[str, list[list[str]]](list)
    for line in stage.lines():
        history[line[1]].append(line)
    for saga_id in ids:
        await check_saga(engine, database, saga_id, history[saga_id], kinds)


async def test_a_paused_process_that_comes_back_is_refused(
    database: Database, engine: SagaEngine, tmp_path: Path
) -> None:
    saga = SagaDefinition("zombie", "1", (SagaStep("s", "linger"), SagaStep("t", "act")))
    view = await engine.start(saga, {})
    with staged(database, tmp_path, lease=0.5) as stage:
        first = stage.start()

        async def lingers() -> bool:
            return stage.saw("lingering", view.saga_id)

        await until(lingers)
        first.send_signal(signal.SIGSTOP)
        stage.open_gate()
        stage.start()
        finished = await engine.wait_for(view.saga_id, 90)
        before = await engine.audit(view.saga_id)
        first.send_signal(signal.SIGCONT)

        async def woke() -> bool:
            return sum(line[0] == "did" and line[2] == "s" for line in stage.lines()) == 2

        await until(woke)
        probe = await engine.start(saga, {})  # the zombie's next work shows that it is through
        await engine.wait_for(probe.saga_id, 90)
    assert finished.state is SagaState.COMPLETED
    assert await engine.get(view.saga_id) == finished
    assert await engine.audit(view.saga_id) == before
    assert [event.event_type for event in before].count(EventType.TAKEOVER) == 1
    assert sum(line[0] == "did" and line[1] == view.saga_id and line[2] == "t"
               for line in stage.lines()) == 1  # fmt: skip
    assert await engine.verify_audit(view.saga_id) == []


async def test_a_blocking_action_does_not_lose_its_saga(
    database: Database, engine: SagaEngine, tmp_path: Path
) -> None:
    saga = SagaDefinition("blocking", "1", (SagaStep("s", "block"),))
    view = await engine.start(saga, {})
    with staged(database, tmp_path, lease=3.0) as stage:
        stage.start()

        async def blocks() -> bool:
            return stage.saw("blocking", view.saga_id)

        await until(blocks)
        stage.start()
        began = await leases(database)

        async def renewed() -> bool:
            """The lease would have run out long ago, and another process looks for such sagas."""
            now = await leases(database)
            owner = (await engine.get(view.saga_id)).lease_owner or ""
            late = now.get(owner, began[owner]) - began[owner]
            return late.total_seconds() > 2 * stage.lease and len(now) == 2

        await until(renewed)
        stage.open_gate()
        finished = await engine.wait_for(view.saga_id, 90)
    assert (finished.state, finished.epoch, finished.takeovers) == (SagaState.COMPLETED, 1, 0)
    assert [line[0] for line in stage.lines()] == ["blocking", "did"]


async def test_a_process_that_ends_politely_hands_its_sagas_on_at_once(
    database: Database, engine: SagaEngine, tmp_path: Path
) -> None:
    saga = SagaDefinition("handed", "1", (SagaStep("s", "linger", "undo"),))
    view = await engine.start(saga, {})
    with staged(database, tmp_path, lease=120) as stage:
        first = stage.start()

        async def lingers() -> bool:
            return stage.saw("lingering", view.saga_id)

        await until(lingers)
        first.send_signal(signal.SIGINT)
        first.wait(60)
        between = await engine.get(view.saga_id)
        stage.open_gate()
        stage.start()
        finished = await engine.wait_for(view.saga_id, 90)
    assert (between.state, between.lease_owner) == (SagaState.RUNNING, None)
    assert between.steps[0].state is StepState.EXECUTING
    assert (finished.state, finished.takeovers) == (SagaState.COMPLETED, 0)
    assert finished.steps[0].attempts == 2


@pytest.mark.timeout(120)
async def test_a_saga_that_kills_its_runners_is_set_aside(
    database: Database, engine: SagaEngine, tmp_path: Path
) -> None:
    saga = SagaDefinition("poison", "1", (SagaStep("s", "linger"),))
    view = await engine.start(saga, {})
    with staged(database, tmp_path, lease=1.0) as stage:
        for times in range(1, 7):
            process = stage.start()

            async def lingers(times: int = times) -> bool:
                return sum(line[0] == "lingering" for line in stage.lines()) >= times

            await until(lingers)
            stage.kill(process)
        stage.start()
        held = await engine.wait_for(view.saga_id, 90)
    assert held.held_reason is not None
    assert "6 times in a row" in held.held_reason
    assert held.state is SagaState.RUNNING
    assert held.lease_owner is None
