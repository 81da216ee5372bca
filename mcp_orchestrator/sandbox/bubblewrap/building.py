"""Making the virtual environments that bubblewrap's profiles are."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from anyio import to_thread

from mcp_orchestrator.errors import SandboxUnavailableError

#: What the profile ``data`` has.
DATA_PACKAGES: Final = ("numpy>=2.3", "pandas>=2.3", "matplotlib>=3.10", "pytest>=9.0", "coverage")
_LONGEST_COMPLAINT = 500


async def build_environment(folder: Path, packages: Sequence[str]) -> str:
    """Make a virtual environment with the server's own Python, or add packages to one.

    Args:
        folder: where; its name is the profile's.
        packages: what pip is asked for.

    Returns:
        The folder's path.

    Raises:
        SandboxUnavailableError: venv or pip failed, in pip's own words.
    """

    def build() -> str:
        if not (folder / "bin" / "python").exists():
            _run([sys.executable, "-m", "venv", str(folder)])
        pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
        _run([*pip, "install", "--quiet", *packages])
        return str(folder)

    return await to_thread.run_sync(build)


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        complaint = (done.stderr or done.stdout).strip()[-_LONGEST_COMPLAINT:]
        raise SandboxUnavailableError(
            f"The profile could not be made: {complaint}",
            remedy="Make a virtual environment by other means, and name its folder in the setting "
            "sandbox_profiles.",
        )
