"""Packs: what a user's functions become, and what a broken file does."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from mcp_orchestrator.errors import ConfigurationError, InvalidInputError, UnknownNameError
from mcp_orchestrator.packs import Pack, Registry, StepHandle, TaskContext, load_packs
from mcp_orchestrator.packs.loader import default_folder
from mcp_orchestrator.packs.signature import TypedFunction


class Room(BaseModel):
    city: str
    nights: int


class Handle:
    """Stands where a step handle stands."""


async def reserve(city: str, handle: Handle, nights: int = 1) -> Room:
    """Reserve a room."""
    assert isinstance(handle, Handle)
    return Room(city=city, nights=nights)


async def test_arguments_are_checked_and_the_result_is_json() -> None:
    function = TypedFunction("hotel.reserve", reserve, Handle)
    assert await function({"city": "Oslo", "nights": 2}, Handle()) == {"city": "Oslo", "nights": 2}
    assert function.argument_names == ({"city"}, {"city", "nights"})
    assert function.description == "Reserve a room."


@pytest.mark.parametrize(
    ("arguments", "named"),
    [({}, "city"), ({"city": "Oslo", "nights": "many"}, "nights"), ({"city": "Oslo", "x": 1}, "x")],
)
async def test_a_wrong_argument_is_named(arguments: dict[str, str | int], named: str) -> None:
    function = TypedFunction("hotel.reserve", reserve, Handle)
    with pytest.raises(InvalidInputError, match=named):
        await function({**arguments}, Handle())


def test_a_function_that_cannot_be_called_later_is_refused() -> None:
    def not_async(city: str) -> str:
        return city

    pack = Pack("bad", description="")
    with pytest.raises(ConfigurationError, match="not async"):
        pack.action()(not_async)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigurationError, match="annotation"):
        exec("async def untyped(city): ...\npack.action()(untyped)", {"pack": pack})


def test_steps_and_tasks_are_checked_before_anything_is_written() -> None:
    registry = Registry()
    pack = Pack("hotel", description="")

    @pack.action(compensation="hotel.cancel")
    async def reserve_room(city: str, step: StepHandle) -> str:
        return city + step.saga_id

    @pack.handler()
    async def clean(room: int, task: TaskContext) -> str:
        return f"{room}{task.task_id}"

    registry.add_pack(pack)
    assert (reserve_room.__name__, clean.__name__) == ("reserve_room", "clean")
    assert registry.compensation_of("hotel.reserve_room") == "hotel.cancel"
    registry.check_step(
        "hotel.reserve_room", {"city": {"$ref": "input.city"}}, "$.steps[0].arguments"
    )
    with pytest.raises(InvalidInputError, match=r"\$\.steps\[0\]\.arguments\.city: missing"):
        registry.check_step("hotel.reserve_room", {}, "$.steps[0].arguments")
    with pytest.raises(InvalidInputError, match="no such argument"):
        registry.check_task("hotel.clean", {"room": 1, "floor": 2})
    with pytest.raises(UnknownNameError, match=r"hotel\.clean"):
        registry.check_task("hotel.paint", {})
    with pytest.raises(ConfigurationError, match="registered already"):
        registry.add_pack(pack)


def test_a_broken_pack_is_reported_and_the_others_are_loaded(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('boom')")
    (tmp_path / "empty.py").write_text("x = 1")
    (tmp_path / "fine").mkdir()
    (tmp_path / "fine" / "__init__.py").write_text(
        "from mcp_orchestrator.packs import Pack\npack = Pack('fine', description='works')\n"
    )
    loaded = load_packs([tmp_path, tmp_path / "missing"], Registry(), tmp_path / "data")
    errors = {each.path.name: each.error for each in loaded if each.error}
    assert set(errors) == {"broken.py", "empty.py"}
    assert "boom" in errors["broken.py"]
    assert "no `pack`" in errors["empty.py"]
    assert [each.pack.name for each in loaded if each.pack] == ["fine"]


def test_the_packs_of_this_repository_load(tmp_path: Path) -> None:
    folder = default_folder()
    assert folder is not None
    registry = Registry()
    loaded = load_packs([folder], registry, tmp_path)
    assert [each.error for each in loaded] == [None] * len(loaded)
    assert "travel.reserve_hotel" in registry.names()
