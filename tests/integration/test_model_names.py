"""What a start finds out about the configured model."""

import logging
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from pydantic import SecretStr

from mcp_orchestrator.runtime import model_names, open_runtime
from mcp_orchestrator.settings import Settings
from tests.services.provider_server import Answer, Received, provider_server, reply


class Listener(logging.Handler):
    """Hears the first line of a log."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[logging.LogRecord] = []
        self.spoken = anyio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record)
        self.spoken.set()


@pytest.fixture
def listener() -> Iterator[Listener]:
    log, listener = logging.getLogger(model_names.__name__), Listener()
    before = log.level
    log.setLevel(logging.INFO)
    log.addHandler(listener)
    yield listener
    log.removeHandler(listener)
    log.setLevel(before)


@pytest.mark.parametrize(
    ("model", "level", "words"),
    [
        ("gpt-9", "ERROR", "Set DEEPSEEK_MODEL to one of: deepseek-flash, deepseek-v4-pro."),
        ("deepseek-flash", "INFO", "model deepseek-flash (listed)"),
    ],
)
async def test_a_start_asks_for_the_models_and_names_those_there_are(
    model: str, level: str, words: str, tmp_path: Path, listener: Listener
) -> None:
    def respond(received: Received) -> Answer:
        assert (received.method, received.path) == ("GET", "/models")
        return reply({"data": [{"id": "deepseek-flash"}, {"id": "deepseek-v4-pro"}]})

    async with provider_server(respond) as provider:
        settings = Settings(
            data_dir=tmp_path, sandbox="bubblewrap", sandbox_warm=0, embedded_worker=False,
            deepseek_api_key=SecretStr("test-key"), deepseek_base_url=provider.base_url,
            deepseek_model=model,
        )  # fmt: skip
        async with open_runtime(settings):
            with anyio.fail_after(60):
                await listener.spoken.wait()
        assert len(provider.requests) == 1
    (record,) = listener.heard
    assert record.levelname == level
    assert words in record.getMessage()
