"""The tools, resources and prompts that the official suite asks every server for.

They are put on our own server object, in the tests only; what they return is prescribed.
"""

import asyncio
import base64
import warnings
from typing import Any, cast

import mcp_types as types
from mcp import MCPDeprecationWarning
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.prompts.base import Message, UserMessage
from mcp.shared.exceptions import MCPError

PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQ"
    "DwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)
WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA="
Caller = Context[Any, Any]
Asked = types.InputRequiredResult


def _form(message: str, **properties: str) -> types.ElicitRequest:
    schema = {
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in properties.items()},
        "required": list(properties),
    }
    params = types.ElicitRequestFormParams.model_validate(
        {"message": message, "requestedSchema": schema}
    )
    return types.ElicitRequest(params=params)


def _sample(text: str, most: int) -> types.CreateMessageRequest:
    message = types.SamplingMessage(role="user", content=types.TextContent(text=text))
    return types.CreateMessageRequest(
        params=types.CreateMessageRequestParams(messages=[message], max_tokens=most)
    )


def _answer(context: Caller, key: str) -> dict[str, Any] | None:
    """Return a client's answer to one question, or None if there is no good one."""
    given = (context.input_responses or {}).get(key)
    if given is None:
        return None
    return given.model_dump(by_alias=True, mode="json")


def _content(context: Caller, key: str, field: str) -> Any:
    answer = _answer(context, key) or {}
    if answer.get("action") != "accept":
        return None
    return cast("dict[str, Any]", answer.get("content") or {}).get(field)


def register(server: MCPServer[None]) -> None:
    """Put everything on a server."""
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    _contents(server)
    _back_channel(server)
    _input_required(server)
    _resources(server)
    _prompts(server)
    core = server._lowlevel_server  # pyright: ignore[reportPrivateUsage]  # no public way in

    async def set_level(ctx: Any, params: types.SetLevelRequestParams) -> types.EmptyResult:
        return types.EmptyResult()

    core.add_request_handler("logging/setLevel", types.SetLevelRequestParams, set_level)


def _contents(server: MCPServer[None]) -> None:  # noqa: C901 - one small function a fixture
    image = types.ImageContent(data=PNG, mime_type="image/png")

    @server.tool()
    def test_simple_text() -> str:
        """Return a text."""
        return "This is a simple text response for testing."

    @server.tool()
    def test_image_content() -> types.CallToolResult:
        """Return an image."""
        return types.CallToolResult(content=[image])

    @server.tool()
    def test_audio_content() -> types.CallToolResult:
        """Return a sound."""
        sound = types.AudioContent(data=WAV, mime_type="audio/wav")
        return types.CallToolResult(content=[sound])

    def embedded(uri: str, mime_type: str, text: str) -> types.EmbeddedResource:
        contents = types.TextResourceContents(uri=uri, mime_type=mime_type, text=text)
        return types.EmbeddedResource(resource=contents)

    @server.tool()
    def test_embedded_resource() -> types.CallToolResult:
        """Return a resource."""
        text = "This is an embedded resource content."
        return types.CallToolResult(
            content=[embedded("test://embedded-resource", "text/plain", text)]
        )

    @server.tool()
    def test_multiple_content_types() -> types.CallToolResult:
        """Return some of each."""
        json_text = '{"test":"data","value":123}'
        return types.CallToolResult(
            content=[
                types.TextContent(text="Multiple content types test:"),
                image,
                embedded("test://mixed-content-resource", "application/json", json_text),
            ]
        )

    @server.tool()
    def test_error_handling() -> str:
        """Fail."""
        raise ToolError("This tool intentionally returns an error for testing")

    @server.tool()
    async def test_tool_with_progress(context: Caller) -> str:
        """Tell how far it is."""
        for done in (0, 50, 100):
            await context.report_progress(done, 100)
            await asyncio.sleep(0.05)
        return "done"

    @server.tool()
    async def test_tool_with_logging(context: Caller) -> str:
        """Log three lines."""
        for line in ("started", "processing data", "completed"):
            verb = "processing data" if line == "processing data" else f"execution {line}"
            await context.log("info", f"Tool {verb}")  # pyright: ignore[reportDeprecated]  # the old era's
            await asyncio.sleep(0.05)
        return "done"


def _back_channel(server: MCPServer[None]) -> None:
    @server.tool()
    async def test_sampling(prompt: str, context: Caller) -> str:
        """Ask the client's model."""
        message = types.SamplingMessage(role="user", content=types.TextContent(text=prompt))
        result = await context.session.create_message([message], max_tokens=100)  # pyright: ignore[reportDeprecated]  # the old era's
        return f"LLM response: {getattr(result.content, 'text', '')}"

    @server.tool()
    async def test_elicitation(message: str, context: Caller) -> str:
        """Ask the user."""
        schema = {
            "type": "object",
            "properties": {
                "username": {"type": "string", "description": "User's response"},
                "email": {"type": "string", "description": "User's email address"},
            },
            "required": ["username", "email"],
        }
        result = await context.session.elicit_form(message, schema, context.request_id)
        return f"User response: action={result.action}, content={result.content}"

    async def elicit(context: Caller, properties: dict[str, Any]) -> str:
        schema = {"type": "object", "properties": properties}
        result = await context.session.elicit_form("Please fill in", schema, context.request_id)
        return f"Elicitation completed: action={result.action}, content={result.content}"

    @server.tool()
    async def test_elicitation_sep1034_defaults(context: Caller) -> str:
        """Ask with defaults."""
        states = ["active", "inactive", "pending"]
        return await elicit(
            context,
            {
                "name": {"type": "string", "default": "John Doe"},
                "age": {"type": "integer", "default": 30},
                "score": {"type": "number", "default": 95.5},
                "status": {"type": "string", "enum": states, "default": "active"},
                "verified": {"type": "boolean", "default": True},
            },
        )

    @server.tool()
    async def test_elicitation_sep1330_enums(context: Caller) -> str:
        """Ask for choices of every kind."""
        plain = ["option1", "option2", "option3"]
        ordinals = ("First", "Second", "Third")
        titled = [{"const": f"value{n}", "title": f"{w} Option"} for n, w in enumerate(ordinals, 1)]
        choices = [
            {"const": f"value{n}", "title": f"{w} Choice"} for n, w in enumerate(ordinals, 1)
        ]
        return await elicit(
            context,
            {
                "untitledSingle": {"type": "string", "enum": plain},
                "titledSingle": {"type": "string", "oneOf": titled},
                "legacyEnum": {
                    "type": "string",
                    "enum": ["opt1", "opt2", "opt3"],
                    "enumNames": ["Option One", "Option Two", "Option Three"],
                },
                "untitledMulti": {"type": "array", "items": {"type": "string", "enum": plain}},
                "titledMulti": {"type": "array", "items": {"anyOf": choices}},
            },
        )


def _input_required(server: MCPServer[None]) -> None:  # noqa: C901 - likewise
    name = _form("What is your name?", name="string")
    roots = types.ListRootsRequest()

    def ask(state: str | None = None, **questions: Any) -> Asked:
        return Asked(input_requests=questions, request_state=state)

    @server.tool(structured_output=False)
    def test_input_required_result_elicitation(context: Caller) -> str | Asked:
        """Ask for a name."""
        given = _content(context, "user_name", "name")
        return f"Hello, {given}!" if isinstance(given, str) else ask(user_name=name)

    @server.tool(structured_output=False)
    def test_input_required_result_sampling(context: Caller) -> str | Asked:
        """Ask the model."""
        answer = _answer(context, "capital_question")
        if answer is None:
            return ask(capital_question=_sample("What is the capital of France?", 100))
        return str(answer.get("content"))

    @server.tool(structured_output=False)
    def test_input_required_result_list_roots(context: Caller) -> str | Asked:
        """Ask for the roots."""
        answer = _answer(context, "client_roots")
        return ask(client_roots=roots) if answer is None else str(answer.get("roots"))

    @server.tool(structured_output=False)
    def test_input_required_result_request_state(context: Caller) -> str | Asked:
        """Ask with a state."""
        if context.request_state == "confirming" and _answer(context, "confirm"):
            return "state-ok"
        return ask("confirming", confirm=_form("Please confirm", ok="boolean"))

    @server.tool(structured_output=False)
    def test_input_required_result_tampered_state(context: Caller) -> str | Asked:
        """Ask with a state that nobody may change."""
        if context.request_state == "sealed" and _answer(context, "confirm"):
            return "state-ok"
        return ask("sealed", confirm=_form("Please confirm", ok="boolean"))

    @server.tool(structured_output=False)
    def test_input_required_result_multiple_inputs(context: Caller) -> str | Asked:
        """Ask three things at a time."""
        if all(_answer(context, key) for key in ("user_name", "greeting", "client_roots")):
            return "all answered"
        greeting = _sample("Generate a greeting", 50)
        return ask("three", user_name=name, greeting=greeting, client_roots=roots)

    @server.tool(structured_output=False)
    def test_input_required_result_multi_round(context: Caller) -> str | Asked:
        """Ask twice."""
        if context.request_state == "round-2" and _answer(context, "step2"):
            return "both answered"
        if context.request_state == "round-1" and _answer(context, "step1"):
            return ask(
                "round-2", step2=_form("Step 2: What is your favorite color?", color="string")
            )
        return ask("round-1", step1=_form("Step 1: What is your name?", name="string"))

    @server.tool(structured_output=False)
    def test_input_required_result_capabilities(context: Caller) -> str | Asked:
        """Ask only what the client can answer."""
        able = context.client_capabilities
        questions: dict[str, Any] = {}
        if able is not None and able.sampling is not None:
            questions["capital_question"] = _sample("What is the capital of France?", 100)
        if able is not None and able.elicitation is not None:
            questions["user_name"] = name
        if not questions or context.input_responses:
            return "nothing to ask"
        return ask(None, **questions)

    @server.tool(structured_output=False)
    def test_missing_capability(context: Caller) -> str:
        """Need sampling."""
        able = context.client_capabilities
        if able is None or able.sampling is None:
            raise MCPError(
                code=types.MISSING_REQUIRED_CLIENT_CAPABILITY,
                message="This tool needs sampling",
                data={"requiredCapabilities": {"sampling": {}}},
            )
        return "sampling is there"

    @server.tool(structured_output=False)
    async def test_logging_tool(context: Caller) -> str:
        """Log a line."""
        await context.log("info", "a line")  # pyright: ignore[reportDeprecated]  # the old era's
        return "logged"


def _resources(server: MCPServer[None]) -> None:
    @server.resource("test://static-text", description="A text.", mime_type="text/plain")
    def static_text() -> str:
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", description="An image.", mime_type="image/png")
    def static_binary() -> bytes:
        return base64.b64decode(PNG)

    @server.resource("test://watched-resource", description="Watched.", mime_type="text/plain")
    def watched() -> str:
        return "Watched."

    @server.resource("test://template/{id}/data", mime_type="application/json")
    def template(id: str) -> str:  # noqa: A002 - the suite's word
        """Return data of an id."""
        return f'{{"id":"{id}","templateTest":true,"data":"Data for ID: {id}"}}'


def _prompts(server: MCPServer[None]) -> None:
    @server.prompt()
    def test_simple_prompt() -> str:
        """Say something simple."""
        return "This is a simple prompt for testing."

    @server.prompt()
    def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
        """Say the arguments."""
        return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"

    @server.prompt()
    def test_prompt_with_embedded_resource(resourceUri: str) -> list[Message]:  # noqa: N803 - the suite's word
        """Embed a resource."""
        contents = types.TextResourceContents(
            uri=resourceUri,
            mime_type="text/plain",
            text="Embedded resource content for testing.",
        )
        return [
            UserMessage(types.EmbeddedResource(resource=contents)),
            UserMessage("Please process the embedded resource above."),
        ]

    @server.prompt()
    def test_prompt_with_image() -> list[Message]:
        """Show an image."""
        return [
            UserMessage(types.ImageContent(data=PNG, mime_type="image/png")),
            UserMessage("Please analyze the image above."),
        ]

    @server.prompt()
    def test_input_required_result_prompt(context: Caller) -> list[Message] | Asked:
        """Ask for the context."""
        given = _content(context, "user_context", "context")
        if given is None:
            question = _form("What context should the prompt use?", context="string")
            return Asked(input_requests={"user_context": question})
        return [UserMessage(f"Context: {given}")]
