"""Servers that several tests share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from mcp import Client

from tests.services.orchestrator import connect
from tests.services.programmer import provider_settings


@pytest.fixture(scope="module")
async def bad_input_client(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[tuple[Client, Path]]:
    """Give a client whose server has a provider, so that only the input can be wrong."""
    folder = tmp_path_factory.mktemp("bad-input")
    settings = provider_settings("http://127.0.0.1:9")
    async with connect("stdio-handshake", folder, settings) as client:
        yield client, folder
