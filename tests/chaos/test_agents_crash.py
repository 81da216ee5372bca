"""A process that is killed in the middle of a model call loses no money and no answer."""

import subprocess
import sys
from collections.abc import AsyncIterator

import anyio
import pytest

from mcp_orchestrator.agents import (
    Allowance,
    BudgetRules,
    DeepSeekModel,
    LedgeredModel,
    Message,
    ModelReply,
    ModelRequest,
    ProviderHttp,
    SamplingMailbox,
    SamplingModel,
    Usage,
    deepseek,
)
from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.errors import BudgetExceededError
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database
from mcp_orchestrator.store.ledger import Ledger, Outcome
from tests.services.provider_server import Answer, provider_server

ASK = ModelRequest((Message("user", "x"),), saga_id="s", purpose="p", max_tokens=10)

PROCESS = """
import sys, anyio
from mcp_orchestrator.agents import *
from mcp_orchestrator.agents import deepseek
from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import open_engine
from mcp_orchestrator.store.ledger import Ledger

async def main(kind, database_url, base_url):
    clock, database = SystemClock(), open_engine(database_url)
    ask = ModelRequest((Message("user", "x"),), saga_id="s", purpose="p", max_tokens=10)
    async with GroupCommitter(database) as committer:
        if kind == "sampling":
            mailbox = SamplingMailbox(database, committer, clock)
            await SamplingModel(mailbox).ask(ask)
        async with ProviderHttp(deepseek.ACCOUNT, base_url=base_url, clock=clock) as http:
            ledger = Ledger(database, committer, clock)
            await LedgeredModel(DeepSeekModel(http, clock=clock), ledger, clock=clock).ask(ask)

anyio.run(main, *sys.argv[1:])
"""


@pytest.fixture
async def committer(database: Database) -> AsyncIterator[GroupCommitter]:
    async with GroupCommitter(database) as running:
        yield running


async def test_a_call_that_was_killed_stays_in_the_ledger_and_counts(
    database: Database, database_url: str, committer: GroupCommitter
) -> None:
    clock = SystemClock()
    ledger = Ledger(database, committer, clock)
    async with provider_server() as server:
        server.queue(Answer(wait=anyio.sleep_forever))
        command = [sys.executable, "-c", PROCESS, "ledger", database_url, server.base_url]
        async with await anyio.open_process(command, stdout=subprocess.DEVNULL) as process:
            await server.asked.wait()
            process.kill()
        (entry,) = await ledger.entries(saga_id="s")
        assert entry.outcome is Outcome.PENDING
        assert (await ledger.totals()).reserved_tokens == 18
        async with ProviderHttp(deepseek.ACCOUNT, base_url=server.base_url, clock=clock) as http:
            rules = BudgetRules(per_saga=Allowance(calls=1))
            model = LedgeredModel(
                DeepSeekModel(http, clock=clock), ledger, clock=clock, rules=rules
            )
            with pytest.raises(BudgetExceededError, match="1 of 1 calls"):
                await model.ask(ASK)
        assert server.count() == 1


async def test_a_question_outlives_the_process_that_posted_it(
    database: Database, database_url: str, committer: GroupCommitter
) -> None:
    mailbox = SamplingMailbox(database, committer, SystemClock())
    command = [sys.executable, "-c", PROCESS, "sampling", database_url, ""]
    async with await anyio.open_process(command, stdout=subprocess.DEVNULL) as process:
        taken = await mailbox.pending("s", wait=30)
        process.kill()
    assert taken is not None
    reply = ModelReply("yes", "", (), Usage(), "client", "m", 0.0, None, "stop")
    await mailbox.answer(taken, reply)
    assert await SamplingModel(mailbox, timeout=5).ask(ASK) == reply
    assert await mailbox.pending("s", wait=0) is None
