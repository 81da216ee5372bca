"""kill -9 while Perplexity works on a background run: it is gone on with, not begun again."""

from pathlib import Path

import anyio

from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import open_engine, sqlite_url
from mcp_orchestrator.store.ledger import Ledger, LedgerEntry, Outcome
from tests.services.orchestrator import call, connect, doomed_client, until_ended
from tests.services.programmer import ANALYSIS, PROBLEM, RIGHT, TESTS, programmer, provider_settings
from tests.services.provider_server import (
    Answer,
    ProviderServer,
    Received,
    agent_run,
    provider_server,
    reply,
)

LOOP = {"problem": PROBLEM, "tests": TESTS, "candidates": 1}


class Researcher:
    """Runs that are finished when they are told to be; programs at once."""

    def __init__(self) -> None:
        self.finished = False
        self.looked_at = anyio.Event()
        self._program = programmer(RIGHT)

    def __call__(self, received: Received) -> Answer:
        if "/v1/responses" not in received.path:
            return self._program(received)
        if received.path.endswith("/cancel"):
            return reply(agent_run(status="cancelled"))
        if received.method == "GET":
            self.looked_at.set()
        done = self.finished and received.method == "GET"
        return reply(agent_run(ANALYSIS, status="completed" if done else "in_progress"))


def settings_for(provider: ProviderServer) -> dict[str, str]:
    return provider_settings(provider.base_url, perplexity=True) | {
        "MCP_ORCHESTRATOR_PERPLEXITY_EFFORT": "high",
        "MCP_ORCHESTRATOR_SAGA_LEASE_SECONDS": "1",
    }


async def analysis_entries(folder: Path) -> tuple[LedgerEntry, ...]:
    database = open_engine(sqlite_url(folder / "orchestrator.db"))
    async with GroupCommitter(database) as committer:
        entries = await Ledger(database, committer, SystemClock()).entries()
    await database.close()
    return tuple(entry for entry in entries if entry.provider == "perplexity")


async def test_a_background_run_outlives_the_process_that_began_it(tmp_path: Path) -> None:
    researcher = Researcher()
    async with provider_server(researcher) as provider:
        settings = settings_for(provider)
        loop_id = ""
        async with doomed_client(tmp_path, settings) as client:
            loop_id = (await call(client, "loop_start", LOOP))["loop_id"]
            with anyio.fail_after(60):
                await researcher.looked_at.wait()
        (pending,) = await analysis_entries(tmp_path)
        assert pending.outcome is Outcome.PENDING
        researcher.finished = True
        async with connect("http-handshake", tmp_path, settings) as client:
            loop = await until_ended(client, loop_id)
        assert loop["solved"], loop
        assert provider.count("POST", "/v1/responses") == 1
        assert provider.count("POST", "/cancel") == 0
    (entry,) = await analysis_entries(tmp_path)
    assert entry.entry_id == pending.entry_id, "paid for once, and entered once"
    assert (entry.outcome, entry.spent.output_tokens) == (Outcome.ANSWERED, 50)


async def test_a_loop_that_is_aborted_stops_paying(tmp_path: Path) -> None:
    researcher = Researcher()
    async with provider_server(researcher) as provider:
        async with connect("http-handshake", tmp_path, settings_for(provider)) as client:
            loop_id = (await call(client, "loop_start", LOOP))["loop_id"]
            with anyio.fail_after(60):
                await researcher.looked_at.wait()
            await call(client, "saga_abort", {"saga_id": loop_id, "reason": "no longer wanted"})
            loop = await until_ended(client, loop_id)
            asked = len(provider.requests)
        assert loop["state"] == "aborted"
        assert provider.count("POST", "/cancel") == 1, "the vendor stops billing"
        assert len(provider.requests) == asked, "and nothing is asked any more"
        assert provider.count("POST", "/chat/completions") == 0


async def test_an_abort_in_the_middle_of_a_program_hangs_up(tmp_path: Path) -> None:
    answered = programmer(RIGHT)
    writing = anyio.Event()

    def respond(received: Received) -> Answer:
        if "Do not write the program" in received.prompt:
            return answered(received)
        writing.set()
        return Answer(wait=anyio.sleep_forever)

    async with provider_server(respond) as provider:
        settings = provider_settings(provider.base_url)
        async with connect("http-handshake", tmp_path, settings) as client:
            many = LOOP | {"candidates": 4}
            loop_id = (await call(client, "loop_start", many))["loop_id"]
            with anyio.fail_after(60):
                await writing.wait()
                while provider.count("POST") < 5:  # an analysis and four candidates
                    provider.asked = anyio.Event()
                    await provider.asked.wait()
                await call(client, "saga_abort", {"saga_id": loop_id, "reason": "stop"})
                loop = await until_ended(client, loop_id)
                while provider.hang_ups < 4:
                    provider.hung_up = anyio.Event()
                    await provider.hung_up.wait()
        assert loop["state"] == "aborted"
        assert provider.count("POST") == 5
