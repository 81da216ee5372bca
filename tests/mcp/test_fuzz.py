"""Every tool, called with what its own schema allows and with what it does not."""

import math
import sqlite3
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import anyio
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, Tool

from tests.services.orchestrator import connect, text_of
from tests.services.schema_values import JSON, values_of

#: The same examples in every run: a failure that comes and goes would stop everybody's work.
FUZZ = settings(
    max_examples=20, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much,
                           HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)  # fmt: skip
#: Far more than any call takes; a call that hangs is found, a slow machine is not.
PATIENCE = 60
Arguments = dict[str, Any]


class Caller:
    """A client of a real server, called from a test that is not async."""

    def __init__(self, portal: BlockingPortal, client: Client, database: Path) -> None:
        self._portal = portal
        self._client = client
        self._database = database
        self.tools = {tool.name: tool for tool in portal.call(client.list_tools).tools}

    def call(self, tool: str, arguments: Arguments) -> CallToolResult | MCPError:
        """Return what the tool answers, or the protocol's own refusal."""

        async def in_time() -> CallToolResult | MCPError:
            with anyio.fail_after(PATIENCE):
                try:
                    return await self._client.call_tool(tool, arguments)
                except MCPError as error:
                    return error

        return self._portal.call(in_time)

    def rows(self) -> dict[str, int]:
        """Return how many rows each table has that a client's call may add to."""
        database = sqlite3.connect(self._database)
        try:
            names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            return {
                name: database.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]
                for (name,) in names.fetchall()
                if "worker" not in name and "runner" not in name and "lease" not in name
            }
        finally:
            database.close()


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Generator[Caller]:
    folder = tmp_path_factory.mktemp("fuzz")
    # no task is worked on meanwhile, so that only the calls write
    quiet = {"MCP_ORCHESTRATOR_EMBEDDED_WORKER": "false"}
    with ExitStack() as stack:
        portal = stack.enter_context(start_blocking_portal())
        client = stack.enter_context(
            portal.wrap_async_context_manager(connect("stdio-modern", folder, quiet))
        )
        yield Caller(portal, client, folder / "orchestrator.db")


def without_waiting(tool: Tool) -> dict[str, Any]:
    """Return a tool's own schema, but that it does not ask to be kept waiting."""
    schema = tool.input_schema
    properties = {
        name: {"const": 0} if name.startswith("wait") else field
        for name, field in schema.get("properties", {}).items()
    }
    return {**schema, "properties": properties, "additionalProperties": False}


def broken(tool: Tool) -> st.SearchStrategy[Arguments]:
    """Return arguments that a tool's schema forbids: a wrong type, a missing or a strange one."""
    schema = without_waiting(tool)
    properties: dict[str, Any] = schema["properties"]
    required: list[str] = schema.get("required", [])
    typed = [name for name, field in properties.items() if wrong_values(field)]
    ways: list[st.SearchStrategy[Arguments]] = []
    if typed:
        ways.append(
            st.sampled_from(typed).flatmap(
                lambda name: st.tuples(
                    values_of(schema), st.sampled_from(wrong_values(properties[name]))
                ).map(lambda pair: {**pair[0], name: pair[1]})
            )
        )
    if required:
        ways.append(
            st.sampled_from(required).flatmap(
                lambda name: values_of(schema).map(
                    lambda valid: {key: value for key, value in valid.items() if key != name}
                )
            )
        )
    return st.one_of(ways)


def wrong_values(field: dict[str, Any]) -> list[Any]:
    """Return values that a field forbids, none of which could be taken for one that it allows."""
    kinds = field.get("type")
    if "const" in field or not isinstance(kinds, (str, list)):
        return []
    allowed = {kinds} if isinstance(kinds, str) else set(cast("list[str]", kinds))
    examples: dict[str, Any] = {
        "object": {"a": {"b": []}}, "array": [[{}]], "string": "\ud7ff nonsense",
        "null": None, "boolean": {"true": 1},
    }  # fmt: skip
    numbers = {"integer", "number"}
    wrong = [value for kind, value in examples.items() if kind not in allowed]
    if allowed & numbers and "maximum" in field:
        wrong.append(field["maximum"] + 1)
    if "enum" in field:
        wrong.append("NO SUCH VALUE")
    if "string" in allowed:
        wrong.append(math.pi)
    return wrong


def checked(answer: CallToolResult | MCPError) -> str:
    """Return what the model reads, which in an error is never a traceback."""
    text = str(answer) if isinstance(answer, MCPError) else text_of(answer)
    if isinstance(answer, MCPError) or answer.is_error:
        assert "Traceback" not in text
    return text


def names_of_tools(caller: Caller) -> list[str]:
    return sorted(caller.tools)


@FUZZ
@given(data=st.data())
def test_what_a_schema_allows_is_answered(caller: Caller, data: st.DataObject) -> None:
    for name in names_of_tools(caller):
        arguments = data.draw(values_of(without_waiting(caller.tools[name])), label=name)
        answer = caller.call(name, arguments)
        text = checked(answer)
        assert isinstance(answer, CallToolResult), text
        assert text or not answer.is_error


@FUZZ
@given(data=st.data())
def test_what_a_schema_forbids_is_refused_and_changes_nothing(
    caller: Caller, data: st.DataObject
) -> None:
    before = caller.rows()
    for name in names_of_tools(caller):
        tool = caller.tools[name]
        if not tool.input_schema.get("properties"):
            continue
        arguments = data.draw(broken(tool), label=name)
        answer = caller.call(name, arguments)
        assert checked(answer)
        assert isinstance(answer, MCPError) or answer.is_error, (name, arguments)
    assert caller.rows() == before


@FUZZ
@given(arguments=st.dictionaries(st.text(max_size=12), JSON, max_size=4))
def test_nonsense_is_refused_in_words(caller: Caller, arguments: Arguments) -> None:
    for name, tool in caller.tools.items():
        if tool.input_schema.get("required"):
            answer = caller.call(name, arguments)
            assert checked(answer)
            assert isinstance(answer, MCPError) or answer.is_error
