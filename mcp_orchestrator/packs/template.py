"""A first pack, for its author to change."""

from pathlib import Path
from typing import Final

from mcp_orchestrator.errors import ConflictError
from mcp_orchestrator.packs.pack import Pack

_PACK: Final = '''\
"""{title}: say here what the pack is for."""

from mcp_orchestrator.packs import BusinessRefusalError, Pack, StepHandle, TaskContext

pack = Pack("{name}", description="Say in one sentence what it is for.")


@pack.action(compensation="{name}.give_back")
async def take(item: str, count: int, step: StepHandle) -> dict[str, object]:
    """Take goods out of stock: a step of a saga."""
    if count > 10:
        raise BusinessRefusalError("Only ten are left.")  # undo the saga, do not retry
    return {{"item": item, "count": count, "key": step.idempotency_key}}


@pack.compensation()
async def give_back(arguments: dict[str, object], result: dict[str, object] | None) -> str:
    """Undo `take`: harmless when run twice, or when nothing was taken."""
    return "nothing was taken" if result is None else f"gave back {{arguments['count']}}"


@pack.on_signal("{name}.ordered")
async def pack_parcel(order: str, task: TaskContext) -> str:
    """Work on a queued task, or on a signal of this name, in the background."""
    await task.report_progress("wrapping", current=1, total=1)
    return f"parcel of {{order}}"


@pack.tool()
async def price(item: str) -> float:
    """Say what an item costs, in euros: a tool that models call."""
    return 9.5 if item else 0.0


@pack.prompt()
def compare(items: str) -> str:
    """Compare prices: a prompt that people pick."""
    return f"Compare the prices of {{items}} with the tool {name}_price."
'''


def write_template(folder: Path, name: str) -> Path:
    """Write a first pack and return its file.

    Args:
        folder: where packs are kept.
        name: the pack's name, an identifier.

    Raises:
        ConfigurationError: the name is none.
        ConflictError: the file is there already.
    """
    Pack(name, description="")  # refuses a name that is none
    path = folder / f"{name}.py"
    if path.exists():
        raise ConflictError(f"{path} is there already.", remedy="Choose another name.")
    folder.mkdir(parents=True, exist_ok=True)
    text = _PACK.format(name=name, title=name.replace("_", " ").capitalize())
    path.write_text(text, encoding="utf-8")
    return path
