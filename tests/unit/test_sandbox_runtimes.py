"""gVisor where the engine offers it; the choice and its consequences, without an engine."""

import json

import pytest

from mcp_orchestrator.errors import SandboxUnavailableError
from mcp_orchestrator.sandbox.docker.containers import ContainerRequest, container_body
from mcp_orchestrator.sandbox.docker.runtimes import choose_runtime
from mcp_orchestrator.sandbox.greeting import Greeting, GuestModules
from mcp_orchestrator.sandbox.guest import frames
from mcp_orchestrator.sandbox.guest.json_text import dumps
from mcp_orchestrator.sandbox.layers import walls
from mcp_orchestrator.sandbox.request import Limits

FACTS = {
    "python": "3.13.0", "process_id": 1, "user_id": 65534, "seccomp_mode": 0,
    "no_new_privileges": True, "capabilities": 0, "interfaces": ["lo"], "root_read_only": True,
    "kernel_settings_read_only": True,
}  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "offered", "chosen"),
    [
        ("auto", ["io.containerd.runc.v2", "runc"], None),
        ("auto", ["runc", "runsc"], "runsc"),
        ("runc", ["runc", "runsc"], "runc"),
        ("kata", ["kata", "runsc"], "kata"),
    ],
)
def test_gvisor_is_taken_where_it_is_offered(
    wanted: str, offered: list[str], chosen: str | None
) -> None:
    assert choose_runtime(wanted, offered) == chosen


def test_a_runtime_that_is_not_there_is_refused() -> None:
    with pytest.raises(SandboxUnavailableError, match=r"no runtime 'runsc'; it has: runc.*auto"):
        choose_runtime("runsc", ["runc"])


@pytest.mark.parametrize("runtime", [None, "runsc"])
def test_the_container_asks_for_it(runtime: str | None) -> None:
    request = ContainerRequest("sha256:x", "me", Limits(), "x86_64", runtime=runtime)
    body = json.dumps(container_body(request))
    assert ('"Runtime": "runsc"' in body) == (runtime is not None)


def test_its_kernel_takes_the_place_of_the_filter() -> None:
    hello = frames.pack(frames.HELLO, dumps(FACTS).encode())
    facts = Greeting(GuestModules(), "docker", own_kernel=True).feed(hello)
    assert facts is not None
    assert walls(facts)["own-kernel"]
    with pytest.raises(SandboxUnavailableError, match="system-call-filter"):
        Greeting(GuestModules(), "docker").feed(hello)


def test_a_guest_cannot_say_so_itself() -> None:
    lying = frames.pack(frames.HELLO, dumps({**FACTS, "own_kernel": True}).encode())
    with pytest.raises(SandboxUnavailableError):
        Greeting(GuestModules(), "docker").feed(lying)
