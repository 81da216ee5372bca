"""Sandboxes for the tests: real ones, one for each back end."""

from collections.abc import AsyncIterator

import pytest

from mcp_orchestrator.clock import SystemClock
from mcp_orchestrator.sandbox import RiskPolicy, Sandbox, open_sandbox

#: Tests look at the walls, so no score may keep a program from reaching them.
FEARLESS = RiskPolicy(strict_from=101, refuse_from=101)


@pytest.fixture(scope="module", params=["bubblewrap"])
async def sandbox(request: pytest.FixtureRequest) -> AsyncIterator[Sandbox]:
    """A sandbox of each back end that refuses nothing by its score."""
    opened = await open_sandbox("bubblewrap", clock=SystemClock(), risk_policy=FEARLESS)
    yield opened
    await opened.close()


@pytest.fixture(scope="module")
async def bubblewrap() -> AsyncIterator[Sandbox]:
    """A bubblewrap sandbox that refuses nothing by its score."""
    opened = await open_sandbox("bubblewrap", clock=SystemClock(), risk_policy=FEARLESS)
    yield opened
    await opened.close()
