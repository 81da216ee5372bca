"""The official conformance suite: fetched once by npm, kept, and run by the Node of a package."""

import json
import subprocess
from pathlib import Path

from tests.services.foreign_clients import node_with

VERSION = "0.2.0-alpha.12"
_PACKAGE = "@modelcontextprotocol/conformance"


def find_suite() -> list[str]:
    """Return the command line that runs the suite; fetches it where it is not there yet.

    Raises:
        ServiceMissingError: Node or the package cannot be had.
    """
    node, folder = node_with(f"{_PACKAGE}@{VERSION}")
    program = folder / "node_modules" / _PACKAGE / "dist" / "index.js"
    return [node, str(program)]


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
