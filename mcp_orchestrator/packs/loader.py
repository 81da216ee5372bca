"""Finding packs in folders and importing them; a broken pack is reported, never fatal."""

import importlib.util
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Final

from mcp_orchestrator.errors import ConfigurationError
from mcp_orchestrator.packs.pack import Pack
from mcp_orchestrator.packs.registry import Registry

_log = logging.getLogger(__name__)
#: The group of entry points by which an installed distribution offers packs.
ENTRY_POINTS: Final = "mcp_orchestrator.packs"


@dataclass(frozen=True)
class LoadedPack:
    """One pack that was found: either the pack, or why it could not be loaded.

    Args:
        origin: its file, or the entry point and the distribution that offers it.
        pack: the pack; None if it could not be loaded.
        error: why not.
    """

    origin: str
    pack: Pack | None
    error: str | None = None


def default_folder() -> Path | None:
    """Return the packs that come with the program: ``tools/`` of a checkout, or the wheel's."""
    package = Path(__file__).resolve().parent.parent
    if (package.parent / "pyproject.toml").exists() and (package.parent / "tools").is_dir():
        return package.parent / "tools"
    bundled = package / "bundled_packs"
    return bundled if bundled.is_dir() else None


def pack_folders(more: Sequence[Path]) -> list[Path]:
    """Return where packs are looked for: those that come with the program, and more."""
    default = default_folder()
    return ([default] if default else []) + list(more)


def load_packs(folders: Sequence[Path], registry: Registry, data_dir: Path) -> list[LoadedPack]:
    """Import every pack of some folders and of installed distributions; register what each holds.

    Args:
        folders: where to look; each holds ``*.py`` files and folders with ``__init__.py``.
        registry: takes the actions and handlers.
        data_dir: each pack gets the folder ``packs/NAME`` below it.
    """
    loaded: list[LoadedPack] = []
    for origin, load in _sources(folders):
        try:
            pack = load()
            pack.folder = data_dir / "packs" / pack.name
            registry.add_pack(pack)
        except Exception as error:  # whatever a user's file does, the server goes on
            _log.warning("Pack %s was not loaded.", origin, exc_info=error)
            loaded.append(LoadedPack(origin, None, f"{type(error).__name__}: {error}"))
        else:
            loaded.append(LoadedPack(origin, pack))
    return loaded


def _sources(folders: Sequence[Path]) -> Iterator[tuple[str, Callable[[], Pack]]]:
    for path in (path for folder in folders for path in _candidates(folder)):
        yield str(path), partial(import_pack, path)
    for point in entry_points(group=ENTRY_POINTS):
        distribution = point.dist.name if point.dist else "an unknown distribution"
        yield f"{point.name} of {distribution}", partial(_load_entry_point, point)


def _load_entry_point(point: EntryPoint) -> Pack:
    return _checked(point.load(), point.value)


def _candidates(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "_")):
            continue
        if path.suffix == ".py":
            yield path
        elif (path / "__init__.py").is_file():
            yield path / "__init__.py"


def import_pack(path: Path) -> Pack:
    """Import one pack.

    Args:
        path: its file, or the ``__init__.py`` of its folder.

    Raises:
        ConfigurationError: it defines no pack; whatever else the file itself raises.
    """
    is_folder = path.name == "__init__.py"
    module_name = f"mcp_orchestrator_packs.{path.parent.name if is_folder else path.stem}"
    spec = importlib.util.spec_from_file_location(
        module_name, path, submodule_search_locations=[str(path.parent)] if is_folder else None
    )
    if spec is None or spec.loader is None:
        raise ConfigurationError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise
    return _checked(getattr(module, "pack", None), str(path))


def _checked(pack: object, origin: str) -> Pack:
    if not isinstance(pack, Pack):
        raise ConfigurationError(
            f"{origin} defines no `pack`.", remedy="Add `pack = Pack(NAME, description=…)`."
        )
    return pack
