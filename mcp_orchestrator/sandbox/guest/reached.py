"""Which lines of the given program its tests reached, measured by the coverage package."""
# pyright: reportUnknownMemberType=false
# Its import takes longer than most tests, so it is only done when it is asked for.
# ruff: noqa: PLC0415

import sys
from typing import Any

from mcp_orchestrator.sandbox.guest.pytest_cases import SITE
from mcp_orchestrator.sandbox.guest.report import Reporter

#: Without its extension in C the package measures too, only slower.
_EXPECTED_WARNINGS = ["no-ctracer", "no-data-collected", "module-not-measured"]


class ReachedLines:
    """Measures one file from now on.

    Args:
        path: the file.

    Raises:
        ImportError: this interpreter has no coverage package.
    """

    def __init__(self, path: str) -> None:
        if SITE not in sys.path:
            sys.path.append(SITE)
        from coverage import Coverage

        self._path = path
        self._coverage: Any = Coverage(data_file=None, include=[path], config_file=False)
        self._coverage.set_option("run:disable_warnings", _EXPECTED_WARNINGS)
        self._coverage.start()

    def tell(self, reporter: Reporter) -> None:
        """Stop, and report the statements and those that were not reached."""
        self._coverage.stop()
        _, statements, _, missing, _ = self._coverage.analysis2(self._path)
        reporter.reached(len(statements), missing)


def measure(path: str) -> ReachedLines | None:
    """Start to measure a file; None where the package is not there."""
    try:
        return ReachedLines(path)
    except ImportError:
        return None
