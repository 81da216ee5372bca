"""The main job, shown end to end through a real MCP client.

A small real model on loopback answers; nothing is canned: if it does not solve the problem, the
demo says so and fails.
"""

import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, cast

import anyio
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from rich.console import Console
from rich.panel import Panel
from rich.syntax import Syntax

from mcp_orchestrator.demo.local_model import INSTALL, MODEL, is_installed, local_model
from mcp_orchestrator.hosts import host_named, install_command

PROBLEM: Final = (
    "Write a function price_range(prices) that returns the difference between the highest and the"
    " lowest price in a list. The list holds at least one price; prices may be negative."
)
TESTS: Final = """\
assert price_range([3, 9, 4]) == 6
assert price_range([5]) == 0
assert price_range([-1, 1]) == 2
assert price_range([7, 7, 7]) == 0
"""
_PRIMES: Final = """\
found = [n for n in range(2, 20_000) if all(n % d for d in range(2, int(n**0.5) + 1))]
print(len(found), "primes below 20000, the largest is", found[-1])
"""
_TRIP: Final = [
    {
        "name": "flight",
        "action": "travel.reserve_flight",
        "arguments": {"origin": "ZRH", "destination": {"$ref": "input.city"}},
    },
    {
        "name": "hotel",
        "action": "travel.reserve_hotel",
        "arguments": {"city": {"$ref": "input.city"}, "nights": 4},
    },
    {
        "name": "payment",
        "action": "travel.charge_card",
        "arguments": {
            "flight_price": {"$ref": "steps.flight.result.price"},
            "hotel_price": {"$ref": "steps.hotel.result.price"},
            "limit": 500,
        },
    },
]
_BUDGET: Final = {"model_calls": 24, "reply_tokens": 320, "seconds": 150}
_LONGEST_SECONDS: Final = 170

Result = dict[str, Any]


async def run_demo(console: Console, keep: Path | None) -> int:
    """Run the demo.

    Args:
        console: where it is shown.
        keep: folder for the demo's data; a temporary one, removed afterwards, where None.

    Returns:
        0 when the program was solved and everything else was seen to work, else 1.
    """
    if not is_installed():
        console.print(f"The demo's model is not installed. Run:\n    {INSTALL}")
        return 1
    with ExitStack() as stack:
        folder = keep or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="mcp-orchestrator-demo-"))
        )
        folder.mkdir(parents=True, exist_ok=True)
        log = stack.enter_context((folder / "server.log").open("w", encoding="utf-8"))
        console.print(f"[bold]1.[/] Starting a small real model ({MODEL}) on this machine …")
        with anyio.move_on_after(_LONGEST_SECONDS):
            async with local_model() as base_url:
                parameters = _server(folder, base_url)
                console.print("[bold]2.[/] Starting the server over stdio and connecting to it …")
                async with Client(stdio_client(parameters, errlog=log)) as client:
                    return await _Show(console, client).run()
    console.print(f"[red]Not finished within {_LONGEST_SECONDS} s.[/]")
    return 1


def _server(folder: Path, base_url: str) -> StdioServerParameters:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", "mcp_orchestrator", "serve", "--data-dir", str(folder)],
        env={
            **kept,
            "DEEPSEEK_API_KEY": "not-needed-on-loopback",
            "DEEPSEEK_BASE_URL": base_url,
            "DEEPSEEK_MODEL": MODEL,
            "MCP_ORCHESTRATOR_LOOP_CONCURRENCY": "1",
        },
        cwd=folder,
    )


class _Show:
    """The acts of the demo, on one connected client."""

    def __init__(self, console: Console, client: Client) -> None:
        self._console = console
        self._client = client

    async def run(self) -> int:
        tools = await self._client.list_tools()
        self._console.print(f"   connected; it offers {len(tools.tools)} tools.")
        task_id = await self._queue()
        loop = await self._solve()
        saga_fine = await self._undo()
        task_fine = await self._look_at_task(task_id)
        return self._conclude(loop, fine=saga_fine and task_fine)

    async def _queue(self) -> str:
        self._console.print("\n[bold]3.[/] Queueing a task; it is worked on in the background:")
        task = await self._call(
            "queue_add_task",
            {"task_type": "sandbox.execute", "payload": {"code": _PRIMES}, "priority": "LOW"},
        )
        self._console.print(f"   task {task['task_id']} is {task['status']}.")
        return str(task["task_id"])

    async def _solve(self) -> Result:
        self._console.print("\n[bold]4.[/] Asking for a program:")
        self._console.print(Panel(PROBLEM, width=92))
        loop = await self._call(
            "loop_start",
            {
                "problem": PROBLEM,
                "tests": TESTS,
                "candidates": 10,
                "budget": _BUDGET,
                "wait_seconds": 45,
            },
        )
        while loop["state"] in ("idle", "running"):
            loop = await self._call("loop_get", {"loop_id": loop["loop_id"], "wait_seconds": 45})
        return loop

    async def _undo(self) -> bool:
        self._console.print(
            "\n[bold]5.[/] A saga whose third step fails (the card's limit is 500 euros):"
        )
        saga = await self._call(
            "saga_start",
            {"name": "trip", "steps": _TRIP, "input": {"city": "Lisbon"}, "wait_seconds": 20},
        )
        saga = await self._call("saga_get", {"saga_id": saga["saga_id"], "include_audit": True})
        for step in saga["steps"]:
            self._console.print(
                f"   {step['name']:<8} {step['state']}", highlight=False, soft_wrap=True
            )
        self._console.print(
            f"   {saga['error']}\n   Its audit trail:", highlight=False, soft_wrap=True
        )
        for line in saga["audit"]:
            self._console.print(f"     {line}", highlight=False, soft_wrap=True, markup=False)
        states = [step["state"] for step in saga["steps"]]
        return saga["state"] == "failed" and states == ["compensated", "compensated", "failed"]

    async def _look_at_task(self, task_id: str) -> bool:
        self._console.print("\n[bold]6.[/] The queued task, meanwhile:")
        task = await self._call("queue_get_task", {"task_id": task_id, "wait_seconds": 20})
        printed = task["result"]["stdout"].strip() if task["result"] else task["error"]
        self._console.print(f"   {task['status']}: {printed}", highlight=False, soft_wrap=True)
        return task["status"] == "completed"

    def _conclude(self, loop: Result, *, fine: bool) -> int:
        self._console.print("\n[bold]7.[/] What each attempt did:")
        for number, line in enumerate(loop["attempts"], 1):
            self._console.print(
                f"   {number}. {line}", highlight=False, soft_wrap=True, markup=False
            )
        if loop["error"]:
            self._console.print(
                f"   {loop['error']}", highlight=False, soft_wrap=True, markup=False
            )
        if not loop["solved"]:
            self._console.print(f"[red]Not solved:[/] {loop['stop_reason'] or loop['error']}.")
            return 1
        self._console.print("\n[bold green]The program that was delivered:[/]")
        self._console.print(Syntax(loop["code"], "python", background_color="default"))
        passed = len(TESTS.splitlines())
        self._console.print(
            f"[green]It passes all {passed} tests.[/] Spent: {loop['spent']}.", soft_wrap=True
        )
        if not fine:
            self._console.print("[red]But the saga or the task did not end as it should have.[/]")
            return 1
        self._console.print(
            "\nConnect Claude Desktop to this server:\n"
            f"    {install_command(host_named('claude-desktop'))}", highlight=False, soft_wrap=True,
        )  # fmt: skip
        return 0

    async def _call(self, tool: str, arguments: dict[str, object]) -> Result:
        result = await self._client.call_tool(tool, arguments, progress_callback=self._progress)
        if result.is_error:
            text = " ".join(getattr(block, "text", "") for block in result.content)
            raise RuntimeError(f"{tool}: {text}")
        return cast("Result", result.structured_content)

    async def _progress(
        self,
        progress: float,  # noqa: ARG002 - called by these names; only the words are shown
        total: float | None,  # noqa: ARG002 - the same
        message: str | None,
    ) -> None:
        if message:
            self._console.print(f"   · {message}", highlight=False, soft_wrap=True, markup=False)
