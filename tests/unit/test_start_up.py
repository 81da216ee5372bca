"""What a server does not import at start: each of these would delay the first answer."""

import subprocess
import sys

import pytest

PROGRAM = "import sys, mcp_orchestrator.cli; sys.exit(sys.argv[1] in sys.modules)"


@pytest.mark.parametrize("package", ["alembic", "redis", "asyncpg"])
def test_what_most_starts_do_not_need_is_not_imported(package: str) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM, package], check=True)
