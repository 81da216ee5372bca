"""Definitions kept under a name and a version, on both databases."""

import pytest

from mcp_orchestrator.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    UnknownNameError,
)
from mcp_orchestrator.saga import (
    Action,
    JsonObject,
    JsonValue,
    SagaDefinition,
    SagaEngine,
    SagaState,
    SagaStep,
    StepHandle,
)
from mcp_orchestrator.store.commits import GroupCommitter
from mcp_orchestrator.store.engine import Database

WAIT = SagaStep("wait", "saga.wait_for_signal", arguments={"signal": "go"})


class Catalog:
    """One action, which returns what it gets."""

    def names(self) -> list[str]:
        return ["say"]

    def action(self, name: str) -> Action:
        if name != "say":
            raise UnknownNameError("action", name, self.names())
        return self.say

    async def say(self, arguments: JsonObject, handle: StepHandle) -> JsonValue:
        return arguments["text"]


def saying(version: str, word: str) -> SagaDefinition:
    return SagaDefinition(
        "greeting", version, (WAIT, SagaStep("say", "say", arguments={"text": word}))
    )


def engine(database: Database, committer: GroupCommitter) -> SagaEngine:
    return SagaEngine(database, committer, Catalog(), runner_id="t")


async def test_a_running_saga_keeps_the_version_it_started_with(
    database: Database, committer: GroupCommitter
) -> None:
    async with engine(database, committer) as first:
        await first.definitions.register(saying("1", "hello"))
        old = await first.start(await first.definitions.find("greeting"), {})
    async with engine(database, committer) as second:  # another process, after an upgrade
        await second.definitions.register(saying("2", "good day"))
        new = await second.start(await second.definitions.find("greeting"), {})
        again = await second.start(await second.definitions.find("greeting", "1"), {})
        said: list[JsonValue] = []
        for saga in (old, new, again):
            await second.signal(saga.saga_id, "go")
            view = await second.wait_for(saga.saga_id, 60)
            assert view.state is SagaState.COMPLETED
            said.append(view.output)
        assert said == ["hello", "good day", "hello"]
        listed = await second.definitions.list_all()
        assert [(one.name, one.version) for one in listed] == [("greeting", "2"), ("greeting", "1")]


async def test_a_version_never_changes(database: Database, committer: GroupCommitter) -> None:
    definitions = engine(database, committer).definitions
    await definitions.register(saying("1", "hello"))
    await definitions.register(saying("1", "hello"))
    with pytest.raises(ConflictError, match="other steps"):
        await definitions.register(saying("1", "good day"))
    assert await definitions.find("greeting") == saying("1", "hello")


async def test_what_cannot_be_registered_or_found_is_said(
    database: Database, committer: GroupCommitter
) -> None:
    definitions = engine(database, committer).definitions
    with pytest.raises(InvalidInputError, match=r"\$\.steps\[0\]\.action"):
        await definitions.register(SagaDefinition("x", "1", (SagaStep("s", "shout"),)))
    with pytest.raises(InvalidInputError, match="functions"):
        await definitions.register(SagaDefinition("x", "1", (SagaStep("s", Catalog().say),)))
    assert await definitions.list_all() == []
    await definitions.register(saying("1", "hello"))
    with pytest.raises(NotFoundError, match="Its versions are: 1"):
        await definitions.find("greeting", "9")
    with pytest.raises(NotFoundError, match="nobody"):
        await definitions.find("nobody")
