"""A user's pack in a real server: its tools, prompts and signals, and what a bad one does."""

from pathlib import Path

import anyio
import mcp_types

from tests.integration.test_cli import run
from tests.services.orchestrator import call, connect, refusal

BAD = """
from mcp_orchestrator.packs import Pack

pack = Pack("bad", description="Half of it is wrong.")


class Odd:
    pass


@pack.tool()
async def odd(value: Odd) -> Odd:
    '''Take what no schema describes.'''
    return value


@pack.tool()
async def explode(text: str) -> str:
    '''Fail with a secret in the error.'''
    raise RuntimeError("secret-" + text)
"""


async def test_a_pack_brings_tools_prompts_and_signals(tmp_path: Path) -> None:
    packs = tmp_path / "packs"
    made = await anyio.to_thread.run_sync(
        run, tmp_path, "pack", "new", "shop", "--folder", str(packs)
    )
    assert made.returncode == 0, made.stderr
    (packs / "bad.py").write_text(BAD)
    async with connect("stdio-modern", tmp_path, {"MCP_ORCHESTRATOR_PACKS": str(packs)}) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert {"shop_price", "bad_explode", "loop_start"} <= names
        assert "bad_odd" not in names
        assert await call(client, "shop_price", {"item": "chair"}) == {"result": 9.5}
        assert "secret" not in await refusal(client, "bad_explode", {"text": "x"})
        prompt = await client.get_prompt("shop_compare", {"items": "chairs"})
        assert isinstance(prompt.messages[0].content, mcp_types.TextContent)
        assert "shop_price" in prompt.messages[0].content.text
        order = {"name": "shop.ordered", "payload": {"order": "7"}}
        published = await call(client, "signal_publish", order)
        (outcome,) = published["outcomes"]
        task = {"task_id": outcome["id"], "wait_seconds": 20}
        assert (await call(client, "queue_get_task", task))["result"] == "parcel of 7"


def test_the_command_line_lists_and_checks_packs(tmp_path: Path) -> None:
    packs = tmp_path / "packs"
    packs.mkdir()
    assert run(tmp_path, "pack", "check").returncode == 0
    (packs / "broken.py").write_text("raise RuntimeError('boom')")
    listed = run(tmp_path, "pack", "list", "--packs", str(packs))
    assert "travel.reserve_hotel" in listed.stdout
    assert "boom" in listed.stdout
    checked = run(tmp_path, "pack", "check", "--packs", str(packs))
    assert checked.returncode == 1
    assert "boom" in checked.stdout
