"""Finding packs in folders and importing them; a broken pack is reported, never fatal."""

import importlib.util
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mcp_orchestrator.errors import ConfigurationError
from mcp_orchestrator.packs.pack import Pack
from mcp_orchestrator.packs.registry import Registry

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedPack:
    """One pack that was found: either the pack, or why it could not be loaded."""

    path: Path
    pack: Pack | None
    error: str | None = None


def default_folder() -> Path | None:
    """Return the packs that come with the program: ``tools/`` of a checkout, or the wheel's."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package.parent / "tools", package / "bundled_packs"):
        if folder.is_dir() and (
            folder.name != "tools" or (package.parent / "pyproject.toml").exists()
        ):
            return folder
    return None


def pack_folders(more: Sequence[Path]) -> list[Path]:
    """Return where packs are looked for: those that come with the program, and more."""
    default = default_folder()
    return ([default] if default else []) + list(more)


def load_packs(folders: Sequence[Path], registry: Registry, data_dir: Path) -> list[LoadedPack]:
    """Import every pack of some folders and register what it holds.

    Args:
        folders: where to look; each holds ``*.py`` files and folders with ``__init__.py``.
        registry: takes the actions and handlers.
        data_dir: each pack gets the folder ``packs/NAME`` below it.
    """
    loaded: list[LoadedPack] = []
    for path in (path for folder in folders for path in _candidates(folder)):
        try:
            pack = _import_pack(path)
            pack.folder = data_dir / "packs" / pack.name
            registry.add_pack(pack)
        except Exception as error:  # whatever a user's file does, the server goes on
            _log.warning("Pack %s was not loaded.", path, exc_info=error)
            loaded.append(LoadedPack(path, None, f"{type(error).__name__}: {error}"))
        else:
            loaded.append(LoadedPack(path, pack))
    return loaded


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


def _import_pack(path: Path) -> Pack:
    name = path.parent.name if path.name == "__init__.py" else path.stem
    module_name = f"mcp_orchestrator_packs.{name}"
    is_folder = path.name == "__init__.py"
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
    pack = getattr(module, "pack", None)
    if not isinstance(pack, Pack):
        raise ConfigurationError(
            f"{path} defines no `pack`.", remedy="Add `pack = Pack(NAME, description=…)`."
        )
    return pack
