"""No key is set: the client's own model answers, in both protocol eras."""

from pathlib import Path
from typing import Any

import mcp_types
import pytest

from tests.services.orchestrator import Way, call, connect, refusal, until_ended
from tests.services.programmer import PROBLEM, RIGHT, TESTS, answer_to


class ClientModel:
    """The client's side of sampling; it remembers what it was asked."""

    def __init__(self) -> None:
        self.prompts: list[str] = []

    async def __call__(
        self, _context: Any, params: mcp_types.CreateMessageRequestParams
    ) -> mcp_types.CreateMessageResult:
        blocks = [message.content for message in params.messages]
        text = "\n".join([params.system_prompt or "", *(getattr(b, "text", "") for b in blocks)])
        self.prompts.append(text)
        return mcp_types.CreateMessageResult(
            role="assistant",
            model="the-clients-own",
            content=mcp_types.TextContent(type="text", text=answer_to(text)),
        )


WAYS: tuple[Way, ...] = ("stdio-handshake", "stdio-modern", "http-handshake", "http-modern")


@pytest.mark.parametrize("way", WAYS)
async def test_a_whole_loop_runs_on_the_clients_model(way: Way, tmp_path: Path) -> None:
    model = ClientModel()
    async with connect(way, tmp_path, {}, sampling_callback=model) as client:
        arguments = {"problem": PROBLEM, "tests": TESTS, "candidates": 1}
        started = await call(client, "loop_start", arguments)
        loop = await until_ended(client, started["loop_id"])
    assert loop["solved"], loop
    assert loop["code"] == RIGHT
    assert len(model.prompts) == 3  # analysis, candidate, repair: none was asked twice


@pytest.mark.parametrize("way", WAYS)
async def test_single_questions_go_to_the_clients_model(way: Way, tmp_path: Path) -> None:
    model = ClientModel()
    async with connect(way, tmp_path, {}, sampling_callback=model) as client:
        answer = await call(client, "reasoning_ask", {"question": "Why? Do not write the program."})
        assert answer["spent"]["model"] == "the-clients-own"
        written = await call(client, "codegen_generate", {"problem": PROBLEM})
        assert written["code"].startswith("def add")
        failure = {"code": written["code"], "failure": "add(1, 2) gave -1", "problem": PROBLEM}
        assert (await call(client, "codegen_fix", failure))["code"] == RIGHT
    assert len(model.prompts) == 3


@pytest.mark.parametrize("way", ["stdio-handshake", "http-modern"])
async def test_neither_key_nor_sampling_is_refused_with_the_remedy(
    way: Way, tmp_path: Path
) -> None:
    async with connect(way, tmp_path, {}) as client:
        for tool, arguments in (
            ("loop_start", {"problem": PROBLEM, "tests": TESTS}),
            ("reasoning_ask", {"question": "Why?"}),
            ("codegen_generate", {"problem": PROBLEM}),
            ("codegen_fix", {"code": "x", "failure": "y"}),
        ):
            text = await refusal(client, tool, arguments)
            assert "DEEPSEEK_API_KEY" in text, text
            assert "sampling" in text
        assert list((tmp_path / "loops").glob("*")) == []
