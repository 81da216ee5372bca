"""Limits that processes keep together, on every database, before a provider that throttles."""

import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import pytest
from sqlalchemy import insert

from mcp_orchestrator.agents import (
    CallLimits,
    DeepSeekModel,
    FileLimits,
    LimitSettings,
    Message,
    ModelRequest,
    ProviderHttp,
    deepseek,
)
from mcp_orchestrator.agents.retries import RetryPolicy
from mcp_orchestrator.agents.shared_limits import SharedLimits
from mcp_orchestrator.clock import Clock, SystemClock
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database, open_engine
from mcp_orchestrator.store.schema.ledger import provider_slots
from tests.services.provider_server import (
    Answer,
    ProviderServer,
    Received,
    chat_completion,
    provider_server,
    raw,
    reply,
)
from tests.services.skipping_clock import SkippingClock

ASK = ModelRequest((Message("user", "hello"),))


@pytest.fixture
async def committer(database: Database) -> AsyncIterator[GroupCommitter]:
    async with GroupCommitter(database) as running:
        yield running


class Strict:
    """A provider that refuses whoever is one too many, and remembers how many it had at once."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.now = 0
        self.highest = 0
        self.refused = 0

    def respond(self, _: Received) -> Answer:
        if self.now >= self.most:
            self.refused += 1
            return raw(b"{}", status=429)
        self.now += 1
        self.highest = max(self.highest, self.now)
        answer = reply(chat_completion("ok"))
        answer.wait = self._work
        return answer

    async def _work(self) -> None:
        await anyio.sleep(0.02)
        self.now -= 1


async def ask_from_two_processes(
    server: ProviderServer, database: Database, url: str, settings: LimitSettings, calls: int
) -> int:
    """Ask through two pools that share nothing but the database; return how many were answered."""
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        other = open_engine(url)
        stack.push_async_callback(other.close)
        shared: list[CallLimits] = []
        for opened in (database, other):
            committer = await stack.enter_async_context(GroupCommitter(opened))
            shared.append(SharedLimits("deepseek", opened, committer, clock, settings))
        return await ask_through(server, shared, calls, clock)


async def test_two_processes_together_stay_below_the_limit(
    database: Database, database_url: str
) -> None:
    strict = Strict(most=4)
    settings = LimitSettings(concurrency=4, poll=0.02)
    async with provider_server(strict.respond) as server:
        assert await ask_from_two_processes(server, database, database_url, settings, 30) == 30
    assert strict.refused == 0
    assert 1 < strict.highest <= 4


async def test_bursts_of_429_make_the_limits_adapt_and_nothing_fails(
    database: Database, database_url: str
) -> None:
    strict = Strict(most=3)
    settings = LimitSettings(concurrency=64, poll=0.02, pause=0.05)
    async with provider_server(strict.respond) as server:
        assert await ask_from_two_processes(server, database, database_url, settings, 60) == 60
    assert strict.refused > 0
    assert strict.refused < 120, "far fewer than asking all the time would have brought"


async def test_limits_halve_once_a_burst_and_grow_with_success(
    database: Database, committer: GroupCommitter
) -> None:
    clock = SkippingClock()
    limits = SharedLimits("p", database, committer, clock, LimitSettings(concurrency=16))
    for _ in range(5):
        await limits.throttled(10)
    assert await limits.allowed() == 8
    before = clock.seconds
    async with limits.slot():
        assert clock.seconds - before >= 10, "everybody waits for the pause to end"
    assert await limits.allowed() == 8 + 1 / 8
    for _ in range(200):
        async with limits.slot():
            pass
    assert await limits.allowed() == 16


async def test_so_many_a_minute(database: Database, committer: GroupCommitter) -> None:
    clock = SystemClock()
    limits = SharedLimits("p", database, committer, clock, LimitSettings(per_minute=60))
    before = clock.monotonic()
    for _ in range(8):
        async with limits.slot():
            pass
    assert clock.monotonic() - before > 1.8, "six at once, then one a second"


async def test_the_slot_of_a_process_that_died_is_free_again(
    database: Database, committer: GroupCommitter
) -> None:
    clock = SkippingClock()
    limits = SharedLimits(
        "p", database, committer, clock, LimitSettings(concurrency=1, lease=60)
    )  # fmt: skip
    dead = {"id": "dead", "provider": "p", "expires_at": clock.now()}
    await committer.submit(lambda c: c.execute(insert(provider_slots).values(dead)))
    async with limits.slot():
        pass


async def test_an_error_inside_leaves_as_it_was_and_a_cancel_frees_the_slot(
    database: Database, committer: GroupCommitter
) -> None:
    settings = LimitSettings(concurrency=1)
    limits = SharedLimits("p", database, committer, SystemClock(), settings)
    with pytest.raises(KeyError):
        async with limits.slot():
            raise KeyError
    with anyio.move_on_after(0.1):
        async with limits.slot():
            await anyio.sleep_forever()
    with anyio.fail_after(5):
        async with limits.slot():
            pass


async def ask_through(
    server: ProviderServer, shared: Sequence[CallLimits], calls: int, clock: Clock
) -> int:
    """Ask through a pool for each of some limits; return how many calls were answered."""
    answered = 0
    async with AsyncExitStack() as stack:
        models: list[DeepSeekModel] = []
        for limits in shared:
            http = ProviderHttp(
                deepseek.ACCOUNT, base_url=server.base_url, clock=clock, limits=limits,
                retries=RetryPolicy(first_wait=0.02, longest_wait=0.2),
            )  # fmt: skip
            models.append(DeepSeekModel(await stack.enter_async_context(http), clock=clock))

        async def ask(number: int) -> None:
            nonlocal answered
            await models[number % len(models)].ask(ASK)
            answered += 1

        async with anyio.create_task_group() as tasks:
            for number in range(calls):
                tasks.start_soon(ask, number)
    return answered


def two_on(file: Path, settings: LimitSettings) -> tuple[FileLimits, FileLimits]:
    """Return limits as two processes have them: locks are between open files, not processes."""
    return FileLimits(file, SystemClock(), settings), FileLimits(file, SystemClock(), settings)


async def test_two_on_one_file_together_stay_below_the_limit(tmp_path: Path) -> None:
    strict = Strict(most=4)
    shared = two_on(tmp_path / "new" / "p.json", LimitSettings(concurrency=4, poll=0.02))
    async with provider_server(strict.respond) as server:
        assert await ask_through(server, shared, 30, SystemClock()) == 30
    assert strict.refused == 0
    assert 1 < strict.highest <= 4


async def test_bursts_of_429_make_limits_in_a_file_adapt(tmp_path: Path) -> None:
    strict = Strict(most=3)
    shared = two_on(tmp_path / "p.json", LimitSettings(concurrency=64, poll=0.02, pause=0.05))
    async with provider_server(strict.respond) as server:
        assert await ask_through(server, shared, 60, SystemClock()) == 60
    assert 0 < strict.refused < 120


async def test_limits_in_a_file_keep_to_pauses_and_rates(tmp_path: Path) -> None:
    clock = SkippingClock()  # a short lease, because its renewals move this clock on
    settings = LimitSettings(concurrency=16, per_minute=60, lease=0.03)
    limits = FileLimits(tmp_path / "p.json", clock, settings)
    for _ in range(5):
        await limits.throttled(10)
    assert await limits.allowed() == 8
    before = clock.seconds
    for _ in range(30):
        async with limits.slot():
            pass
    assert 33 <= clock.seconds - before <= 35, "10 s of pause, six at once, then one a second"
    with pytest.raises(KeyError):
        async with limits.slot():
            raise KeyError


async def test_a_slot_in_a_file_outlives_its_process_by_a_lease_at_most(tmp_path: Path) -> None:
    file, settings = tmp_path / "p.json", LimitSettings(concurrency=1)
    dying = [sys.executable, "-c", DYING, str(file)]
    assert (await anyio.run_process(dying, check=False)).returncode == -signal.SIGKILL
    assert '"slots":{"' in file.read_text()
    clock = SkippingClock()
    clock.seconds += (SystemClock().now() - clock.now()).total_seconds()
    before = clock.seconds
    async with FileLimits(file, clock, settings).slot():
        assert 0 < clock.seconds - before < settings.lease + 1
    with anyio.move_on_after(0.1):
        async with FileLimits(file, SystemClock(), settings).slot():
            await anyio.sleep_forever()
    with anyio.fail_after(5):
        async with FileLimits(file, SystemClock(), settings).slot():
            pass


DYING = """
import os, signal, sys
from pathlib import Path
import anyio
from mcp_orchestrator.agents import FileLimits, LimitSettings
from mcp_orchestrator.clock import Clock, SystemClock

async def main():
    async with FileLimits(Path(sys.argv[1]), SystemClock(), LimitSettings(concurrency=1)).slot():
        os.kill(os.getpid(), signal.SIGKILL)

anyio.run(main)
"""


@pytest.mark.parametrize("content", ["", "nonsense", '{"allowed": "many"}', "{}\n{"])
async def test_a_file_that_holds_no_limits_begins_anew(content: str, tmp_path: Path) -> None:
    file = tmp_path / "p.json"
    file.write_text(content + " " * 5000)
    limits = FileLimits(file, SystemClock(), LimitSettings(concurrency=7))
    async with limits.slot():
        assert await limits.allowed() == 7
