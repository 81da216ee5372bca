"""Packs: what a user's functions become, and what a broken file does."""

import inspect
import sys
from pathlib import Path
from typing import cast

import pytest
from pydantic import BaseModel

from mcp_orchestrator.errors import (
    ConfigurationError,
    ConflictError,
    InvalidInputError,
    UnknownNameError,
)
from mcp_orchestrator.packs import Pack, Registry, StepHandle, TaskContext, load_packs
from mcp_orchestrator.packs.checking import findings
from mcp_orchestrator.packs.loader import default_folder, import_pack
from mcp_orchestrator.packs.signature import TypedFunction
from mcp_orchestrator.packs.template import write_template
from tests.services.skipping_clock import SkippingClock


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
        pack.action()(not_async)  # pyright: ignore[reportArgumentType]  # the mistake itself
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
    errors = {Path(each.origin).name: each.error for each in loaded if each.error}
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


def test_the_template_is_a_pack_with_nothing_wrong(tmp_path: Path) -> None:
    path = write_template(tmp_path, "shop")
    pack = import_pack(path)
    assert findings(pack, set(pack.actions)) == []
    assert set(pack.actions) == {"shop.take", "shop.give_back"}
    assert set(pack.handlers) == {"shop.pack_parcel"}
    assert [(rule.pattern, rule.name) for rule in pack.rules] == [
        ("shop.ordered", "shop.pack_parcel")
    ]
    assert (set(pack.tools), set(pack.prompts)) == ({"shop_price"}, {"shop_compare"})
    with pytest.raises(ConflictError, match="there already"):
        write_template(tmp_path, "shop")
    with pytest.raises(ConfigurationError, match="not an identifier"):
        write_template(tmp_path, "../shop")


def test_what_is_wrong_with_a_pack_is_said() -> None:
    pack = Pack("odd", description="")
    assert "registers nothing" in findings(pack, set())[0]

    @pack.action(compensation="odd.missing")
    async def act(city: str) -> str:
        return city

    @pack.tool()
    async def look(city: str) -> str:
        return city

    assert act.__name__ != look.__name__
    said = " ".join(findings(pack, set(pack.actions)))
    for part in ("odd.missing is not registered", "odd_look: a model", "odd.act: a model"):
        assert part in said


def test_installed_distributions_offer_packs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "offered_pack.py").write_text(
        "from mcp_orchestrator.packs import Pack\npack = Pack('offered', description='x')\n"
    )
    facts = tmp_path / "offered-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: offered\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(
        "[mcp_orchestrator.packs]\ngood = offered_pack:pack\nbad = offered_pack:nothing\n"
    )
    monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])
    loaded = {each.origin: each for each in load_packs([], Registry(), tmp_path / "data")}
    good = loaded["good of offered"].pack
    assert good is not None
    assert good.name == "offered"
    assert "nothing" in (loaded["bad of offered"].error or "")


async def test_a_pack_caches_what_its_functions_answer_and_keeps_their_signatures() -> None:
    clock = SkippingClock()
    pack = Pack("rates", description="", clock=clock)
    asked: list[str] = []

    @pack.tool()
    @pack.cached(time_to_live=60)
    async def rate(currency: str) -> float:
        """Say what a currency is worth."""
        asked.append(currency)
        return 1.5

    @pack.cached()
    def double(amount: int) -> int:
        return amount * 2

    @pack.handler()
    @pack.invalidates(rate)
    async def refresh(currency: str, task: TaskContext) -> str:
        return currency

    registry = Registry()
    registry.add_pack(pack)
    assert inspect.signature(pack.tools["rates_rate"]) == inspect.signature(rate)
    assert [await rate("CHF"), await rate("CHF"), double(2), double(2)] == [1.5, 1.5, 4, 4]
    assert asked == ["CHF"]
    assert await refresh("CHF", cast("TaskContext", None)) == "CHF"
    await rate("CHF")
    clock.seconds += 60
    await rate("CHF")
    assert asked == ["CHF"] * 3
    assert pack.cache_statistics.hit_rate == 2 / 6
    with pytest.raises(InvalidInputError, match="refresh is not cached here"):
        pack.invalidates(refresh)
