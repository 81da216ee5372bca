"""The sandbox through MCP: artifacts, whole outputs, sessions, scores, progress."""

import base64
import json
import struct
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import BlobResourceContents, ImageContent, ResourceLink, TextResourceContents

from tests.services.orchestrator import Teller, call, connect, refusal

TOOLS = {
    "sandbox_execute", "sandbox_run_tests", "sandbox_check_risk", "sandbox_open", "sandbox_close",
}  # fmt: skip
#: Some of these are not shown to clients unless asked for.
EVERY_TOOL = {"MCP_ORCHESTRATOR_TOOLSETS": "all"}
HOSTILE = "import os, ctypes, socket\nexec(input())\nos.system('rm -rf /')\n"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


PIXEL = (
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress(b"\x00\xff\x00\x00"))
    + chunk(b"IEND", b"")
)


@pytest.fixture(scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    folder: Path = tmp_path_factory.mktemp("sandbox")
    async with connect("stdio-handshake", folder, EVERY_TOOL) as connected:
        yield connected


async def text_at(client: Client, uri: str) -> str:
    content = (await client.read_resource(uri)).contents[0]
    assert isinstance(content, TextResourceContents)
    return content.text


async def test_the_toolset_is_complete(client: Client) -> None:
    assert {tool.name for tool in (await client.list_tools()).tools} >= TOOLS
    templates = (await client.list_resource_templates()).resource_templates
    assert {template.uri_template for template in templates} >= {
        "run://{run_id}", "run://{run_id}/stdout", "run://{run_id}/artifacts/{+path}",
    }  # fmt: skip


async def test_images_come_inline_and_files_as_resources(client: Client) -> None:
    code = (
        "import os, sys\n"
        "data = open('in.bin', 'rb').read()\n"
        "os.makedirs('out')\n"
        "open('plot.png', 'wb').write(data)\n"
        "open('out/a b.csv', 'w').write(sys.argv[1])\n"
    )
    arguments = {
        "code": code,
        "files_base64": {"in.bin": base64.b64encode(PIXEL).decode()},
        "arguments": ["x,y"],
    }
    result = await client.call_tool("sandbox_execute", arguments)
    assert not result.is_error, result
    images = [block for block in result.content if isinstance(block, ImageContent)]
    links = [block for block in result.content if isinstance(block, ResourceLink)]
    assert [base64.b64decode(image.data) for image in images] == [PIXEL]
    assert [link.name for link in links] == ["out/a b.csv"]
    assert result.structured_content is not None
    found = {each["path"]: each["resource"] for each in result.structured_content["artifacts"]}
    content = (await client.read_resource(found["out/a b.csv"])).contents[0]
    assert isinstance(content, BlobResourceContents)
    assert base64.b64decode(content.blob) == b"x,y"
    picture = (await client.read_resource(found["plot.png"])).contents[0]
    assert isinstance(picture, BlobResourceContents)
    assert base64.b64decode(picture.blob) == PIXEL
    whole = json.loads(await text_at(client, result.structured_content["resource"]))
    assert [each["path"] for each in whole["artifacts"]] == ["out/a b.csv", "plot.png"]
    assert whole["status"] == "ok"


async def test_a_cut_output_can_be_read_whole(client: Client) -> None:
    code = "for n in range(30000): print(f'{n:06}')"
    run = await call(client, "sandbox_execute", {"code": code})
    assert run["truncated"]
    assert await text_at(client, run["stdout_resource"]) == "".join(
        f"{n:06}\n" for n in range(30000)
    )
    short = await call(client, "sandbox_execute", {"code": "print('short')"})
    assert short["stdout_resource"] is None
    assert await text_at(client, f"{short['resource']}/stdout") == "short\n"


@pytest.mark.parametrize(
    "path", ["", "/stdout", "/artifacts/x", "/artifacts/..%2f..%2fetc%2fpasswd"]
)
async def test_an_unknown_run_is_not_found(client: Client, path: str) -> None:
    with pytest.raises(MCPError):
        await client.read_resource(f"run://run-nothing{path}")


async def test_output_streams_while_the_program_runs(client: Client) -> None:
    teller = Teller()
    code = (
        "import sys, time\n"
        "print('first', flush=True); time.sleep(.2); print('second', file=sys.stderr)"
    )
    await call(client, "sandbox_execute", {"code": code}, progress=teller)
    assert "".join(teller.messages).startswith("first\n")
    assert any("second" in message for message in teller.messages)


async def test_a_session_keeps_its_state(client: Client) -> None:
    session = (await call(client, "sandbox_open", {}))["session_id"]
    await call(client, "sandbox_execute", {"code": "x = 20", "session_id": session})
    run = await call(client, "sandbox_execute", {"code": "print(x + 1)", "session_id": session})
    assert run["stdout"] == "21\n"
    assert (await call(client, "sandbox_close", {"session_id": session}))["closed"]
    again = {"code": "print(x)", "session_id": session}
    assert "sandbox_open" in await refusal(client, "sandbox_execute", again)


async def test_risk_is_told_without_running(client: Client) -> None:
    bad = await call(client, "sandbox_check_risk", {"code": HOSTILE})
    assert (bad["decision"], bad["score"] >= 60) == ("refuse", True)
    assert any(line.startswith("line 2: ") for line in bad["findings"])
    good = await call(client, "sandbox_check_risk", {"code": "print(sum(range(10)))"})
    assert (good["decision"], good["score"], good["findings"]) == ("run", 0, [])


async def test_only_the_operator_decides_who_may_run_risky_programs(
    client: Client, tmp_path: Path
) -> None:
    refused = await call(client, "sandbox_execute", {"code": HOSTILE})
    assert refused["status"] == "refused"
    risky = {"code": "import ctypes, socket, pickle\nprint(1)", "allow_risky": True}
    assert "sandbox_allow_risky" in await refusal(client, "sandbox_execute", risky)
    allowed = {"MCP_ORCHESTRATOR_SANDBOX_ALLOW_RISKY": "true"}
    async with connect("stdio-modern", tmp_path, allowed) as other:
        assert (await call(other, "sandbox_execute", risky))["stdout"] == "1\n"


async def test_bad_base64_is_refused(client: Client) -> None:
    arguments = {"code": "1", "files_base64": {"a": "***"}}
    assert "base64" in await refusal(client, "sandbox_execute", arguments)
