"""The one door to the Docker SDK: typed, blocking, used from worker threads."""

import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

import docker
import requests
from docker.errors import APIError, DockerException, NotFound
from docker.utils import kwargs_from_env

from mcp_orchestrator.errors import ConfigurationError, SandboxUnavailableError
from mcp_orchestrator.sandbox.docker.containers import LABEL

_SECONDS = 30
_CONNECT_SECONDS = 10
#: What our Dockerfile calls the image that it starts from.
BASE_ARGUMENT = "PYTHON_IMAGE"
_BUILD_SECONDS = 900
_FAULTS = (DockerException, requests.exceptions.RequestException, OSError)
_NO_ENGINE = "Start Docker and let this user reach it, or set DOCKER_HOST; else use bubblewrap."


class _Client(Protocol):
    """What we use of the SDK's low-level client, which has no types of its own."""

    base_url: str
    api_version: str

    def version(self) -> dict[str, Any]: ...
    def info(self) -> dict[str, Any]: ...
    def inspect_image(self, image: str) -> dict[str, Any]: ...
    def create_container_from_config(self, config: Mapping[str, object]) -> dict[str, Any]: ...
    def start(self, container: str) -> None: ...
    def remove_container(self, container: str, *, v: bool, force: bool) -> None: ...
    def inspect_container(self, container: str) -> dict[str, Any]: ...
    def containers(self, **options: object) -> list[dict[str, Any]]: ...
    def build(self, **options: object) -> Any: ...
    def import_image(self, **options: object) -> str: ...
    def close(self) -> None: ...


class DockerEngine:
    """A Docker engine.

    Args:
        url: where it listens; None for ``DOCKER_HOST`` or the usual socket.

    Raises:
        SandboxUnavailableError: nothing answers there.
    """

    def __init__(self, url: str | None = None) -> None:
        options: dict[str, Any] = {"base_url": url} if url else dict(kwargs_from_env())
        if options.get("tls"):
            raise ConfigurationError(
                "Docker over TLS is not supported by the sandbox.",
                remedy="Use a unix socket, or a tunnel that ends on this machine.",
            )
        self.url: str = options.get("base_url") or "unix:///var/run/docker.sock"
        try:
            self._knock()
            client = docker.APIClient(base_url=self.url, version="auto", timeout=_SECONDS)
            self._client = cast("_Client", client)
            about = self._client.version()
        except _FAULTS as error:
            raise SandboxUnavailableError(
                f"No Docker engine answers at {self.url}.", remedy=_NO_ENGINE
            ) from error
        self.version = str(about.get("Version", "unknown"))
        self.machine = _machine(str(about.get("Arch", "")))

    @property
    def api_version(self) -> str:
        """The version of the protocol spoken."""
        return self._client.api_version

    def image_digest(self, image: str) -> str:
        """Return an image's content digest, by which it is then run.

        Raises:
            SandboxUnavailableError: the engine does not have it.
        """
        try:
            return str(self._client.inspect_image(image)["Id"])
        except NotFound as error:
            raise SandboxUnavailableError(
                f"The Docker engine has no image {image!r}.",
                remedy="Make it: `mcp-orchestrator sandbox build`; nothing is pulled by itself.",
            ) from error
        except _FAULTS as error:
            raise self._unavailable(error) from error

    def runtimes(self) -> Sequence[str]:
        """Return the names of the runtimes that the engine offers."""
        try:
            return sorted(dict(self._client.info().get("Runtimes") or {}))
        except _FAULTS as error:
            raise self._unavailable(error) from error

    def create(self, body: Mapping[str, object]) -> str:
        """Create a container and return its id."""
        try:
            self._knock()
            return str(self._client.create_container_from_config(body)["Id"])
        except _FAULTS as error:
            raise self._unavailable(error) from error

    def start(self, container: str) -> None:
        """Start a container."""
        try:
            self._client.start(container)
        except _FAULTS as error:
            raise self._unavailable(error) from error

    def remove(self, container: str) -> None:
        """Kill and remove a container; one that is gone already is no error."""
        with suppress(NotFound):
            try:
                self._knock()
                self._client.remove_container(container, v=True, force=True)
            except APIError as error:
                if error.status_code != requests.codes.conflict:  # its removal is under way
                    raise self._unavailable(error) from error
            except (requests.exceptions.RequestException, OSError) as error:
                raise self._unavailable(error) from error

    def was_out_of_memory(self, container: str) -> bool:
        """Tell whether the kernel ended a container's first process for its memory."""
        try:
            self._knock()
            state = self._client.inspect_container(container)["State"]
        except _FAULTS:
            return False  # it has gone; then nothing is known
        return bool(state.get("OOMKilled"))

    def labelled(self) -> Sequence[tuple[str, Mapping[str, str]]]:
        """Return id and labels of every sandbox container, running or not, whoever made it."""
        try:
            self._knock()
            found = self._client.containers(all=True, filters={"label": LABEL})
        except _FAULTS as error:
            raise self._unavailable(error) from error
        return [(str(each["Id"]), dict(each.get("Labels") or {})) for each in found]

    def build_image(
        self, folder: Path, tag: str, target: str | None = None, *, base: str | None = None
    ) -> str:
        """Build an image, or one stage of it, from a Dockerfile's folder and return its digest."""
        lines: list[dict[str, Any]] = []
        options: dict[str, object] = {"rm": True, "decode": True, "timeout": _BUILD_SECONDS}
        if target is not None:
            options["target"] = target
        if base is not None:
            options["buildargs"] = {BASE_ARGUMENT: base}
        try:
            lines.extend(self._client.build(path=str(folder), tag=tag, **options))
        except _FAULTS as error:
            raise self._unavailable(error) from error
        problems = [str(line["error"]) for line in lines if "error" in line]
        if problems:
            raise SandboxUnavailableError(
                f"The image {tag!r} could not be built: {problems[-1].strip()}.",
                remedy="Without a registry, make it from a root file system: --from-root FILE.tar.",
            )
        return self.image_digest(tag)

    def import_image(self, root: Path, tag: str) -> str:
        """Make an image from a root file system packed as a tar file; return its digest."""
        repository, _, version = tag.partition(":")
        try:
            self._client.import_image(src=str(root), repository=repository, tag=version or "latest")
        except _FAULTS as error:
            raise self._unavailable(error) from error
        return self.image_digest(tag)

    def _knock(self) -> None:
        """See that somebody answers: the SDK leaks a socket where nobody does."""
        self.connect().close()

    def connect(self) -> socket.socket:
        """Open a connection of our own to the engine.

        Raises:
            ConfigurationError: the engine is reached by other means than a socket.
            OSError: nothing answers.
        """
        parts = urlsplit(self.url)
        if parts.scheme in {"unix", "http+unix"}:
            family, address = socket.AF_UNIX, parts.path
        elif parts.scheme in {"tcp", "http"} and parts.hostname:
            family, address = socket.AF_INET, (parts.hostname, parts.port or 2375)
        else:
            raise ConfigurationError(
                f"The sandbox cannot reach Docker by {parts.scheme!r}.",
                remedy="Use unix:///path or tcp://host:port.",
            )
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.settimeout(_CONNECT_SECONDS)
        try:
            connection.connect(address)
        except OSError:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Close the connections to the engine."""
        self._client.close()

    def _unavailable(self, error: Exception) -> SandboxUnavailableError:
        words = getattr(error, "explanation", None) or type(error).__name__
        return SandboxUnavailableError(
            f"The Docker engine at {self.url} refused: {words}.", remedy=_NO_ENGINE
        )


def _machine(architecture: str) -> str:
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(architecture, architecture)
