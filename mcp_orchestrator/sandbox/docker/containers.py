"""How a container is confined: every flag in one place."""

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field

from mcp_orchestrator.sandbox.greeting import bootstrap
from mcp_orchestrator.sandbox.request import MEBIBYTE, Limits
from mcp_orchestrator.sandbox.seccomp import docker_profile, load_policy

LABEL = "mcp-orchestrator.sandbox"
OWNER_LABEL = "mcp-orchestrator.sandbox.owner"
_USER = "65534:65534"
_CPUS = 1.0
_SUPERVISOR_BYTES = 16 * MEBIBYTE
_SUPERVISOR_PROCESSES = 2
_SHARED_MEMORY_BYTES = 64 * MEBIBYTE


@dataclass(frozen=True)
class ContainerRequest:
    """What a container is made from.

    Attributes:
        image: the image's name or digest.
        owner: who made it, so that strays of a dead server are known.
        limits: what it may use.
        machine: the engine's processor, such as ``"x86_64"``.
        environment: variables for the guest itself; its program never sees them.
        runtime: by what the engine runs it; None for its own choice.
    """

    image: str
    owner: str
    limits: Limits
    machine: str = platform.machine()
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    runtime: str | None = None


def container_body(request: ContainerRequest) -> Mapping[str, object]:
    """Return the body of the engine's ``POST /containers/create``.

    The image needs nothing but a ``python3``: the guest's own code comes through standard input.
    """
    return {
        "Image": request.image,
        "Entrypoint": [],
        "Cmd": ["python3", "-I", "-B", "-X", "utf8", "-c", bootstrap()],
        "User": _USER,
        "WorkingDir": "/box",
        "Env": [
            "HOME=/box",
            "LANG=C.UTF-8",
            *(f"{name}={value}" for name, value in request.environment.items()),
        ],
        "Hostname": "sandbox",
        "Labels": {LABEL: "1", OWNER_LABEL: request.owner},
        "OpenStdin": True,
        "StdinOnce": True,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": False,
        "NetworkDisabled": True,
        "HostConfig": _host_config(request),
    }


def _host_config(request: ContainerRequest) -> Mapping[str, object]:
    limits = request.limits
    memory = limits.memory_bytes + _SUPERVISOR_BYTES
    profile = json.dumps(docker_profile(load_policy(), request.machine))
    mount = f"rw,noexec,nosuid,nodev,size={limits.disk_bytes}"
    return {
        "NetworkMode": "none",
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges", f"seccomp={profile}"],
        "PidsLimit": limits.processes + _SUPERVISOR_PROCESSES,
        "Memory": memory,
        "MemorySwap": memory,  # memory and swap together: no swap
        "NanoCpus": int(_CPUS * 1e9),
        "Ulimits": [
            {"Name": "nofile", "Soft": 256, "Hard": 256},
            {"Name": "core", "Soft": 0, "Hard": 0},
        ],
        "Tmpfs": {
            "/tmp": f"{mount},mode=1777",
            "/box": f"{mount},mode=0755,uid=65534,gid=65534",
        },
        "ShmSize": min(limits.disk_bytes, _SHARED_MEMORY_BYTES),
        "IpcMode": "private",
        "LogConfig": {"Type": "none"},
        "Init": False,  # the supervisor is process 1, which no other process can touch
        "RestartPolicy": {"Name": "no"},
        **({"Runtime": request.runtime} if request.runtime is not None else {}),
    }
