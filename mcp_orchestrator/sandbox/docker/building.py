"""Making the image that containers are started from, with a registry or without one."""

from pathlib import Path
from typing import Literal

from anyio import to_thread

from mcp_orchestrator.errors import NotFoundError
from mcp_orchestrator.sandbox.docker.engine import DockerEngine

#: The stages of our Dockerfile: Python and pytest, or numpy, pandas and matplotlib besides.
Profile = Literal["plain", "data"]


async def build_image(
    tag: str,
    *,
    docker_host: str | None = None,
    profile: Profile = "plain",
    folder: Path | None = None,
    root: Path | None = None,
    base: str | None = None,
) -> str:
    """Make the sandbox's image and return its digest.

    Args:
        tag: the image's name.
        docker_host: the engine's URL; None for ``DOCKER_HOST`` or the usual socket.
        profile: which packages it has; not for a root file system, which has its own.
        folder: a folder with a Dockerfile; ours by default.
        root: a packed root file system (tar) to import instead, where no registry is reached.
        base: an image with Python and pip to start from; None for the Dockerfile's choice.

    Raises:
        NotFoundError: the Dockerfile or the file is missing.
        SandboxUnavailableError: no engine answers, or it could not make the image.
    """

    def build() -> str:
        if root is not None and not root.is_file():
            raise NotFoundError(f"There is no file {root}.", remedy="Pack one with tar.")
        source = folder or _own_folder()
        engine = DockerEngine(docker_host)
        try:
            if root is not None:
                return engine.import_image(root, tag)
            stage = profile if folder is None else None
            return engine.build_image(source, tag, stage, base=base)
        finally:
            engine.close()

    return await to_thread.run_sync(build)


def _own_folder() -> Path:
    """Return where our Dockerfile is: in the installed package, or in a checkout."""
    here = Path(__file__).resolve()
    for candidate in (here.parent / "image", here.parents[3] / "deploy" / "sandbox"):
        if (candidate / "Dockerfile").is_file():
            return candidate
    raise NotFoundError("The sandbox's Dockerfile is missing.", remedy="Give one by --folder.")
