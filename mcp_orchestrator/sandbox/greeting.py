"""The first exchange with every guest: its modules in, its view of the walls out."""

import marshal
from functools import cache, lru_cache
from importlib.resources import files

from pydantic import ValidationError

from mcp_orchestrator.errors import SandboxUnavailableError
from mcp_orchestrator.sandbox import layers
from mcp_orchestrator.sandbox.guest import frames
from mcp_orchestrator.sandbox.layers import GuestFacts

_PACKAGE = "mcp_orchestrator.sandbox.guest"
#: In the order in which they import one another; after the supervisor, what few runs need.
_MODULES = (
    "frames", "json_text", "signals", "walls", "capture", "artifacts", "program", "supervisor",
    "isolation", "nursery", "assertions", "report", "pytest_cases", "unittest_cases", "reached",
    "cases", "session",
)  # fmt: skip


def _source(name: str) -> str:
    return files(_PACKAGE).joinpath(f"{name}.py").read_text(encoding="utf-8")


@cache
def bootstrap() -> str:
    """Return the text to give to ``python -I -c``."""
    return _source("bootstrap")


@cache
def sources_frame() -> bytes:
    """Return the frame with the guest's modules as text."""
    sources = [(f"{_PACKAGE}.{name}", _source(name)) for name in _MODULES]
    return frames.pack(frames.MODULES, marshal.dumps(sources, frames.MARSHAL_VERSION))


@lru_cache(maxsize=16)
def _understood(payload: bytes) -> GuestFacts:
    """Read a guest's facts; all guests of one profile say the same."""
    return GuestFacts.model_validate_json(payload)


class GuestModules:
    """The guest's modules for one interpreter: sources at first, compiled once a guest has.

    What a guest hands back is only ever loaded by guests of the same interpreter, and is taken
    before any foreign code has run in it.
    """

    def __init__(self) -> None:
        self._compiled: bytes | None = None

    def frame(self) -> bytes:
        """Return the frame that the bootstrap waits for."""
        return self._compiled or sources_frame()

    def learn(self, payload: bytes) -> None:
        """Keep what a guest compiled."""
        self._compiled = frames.pack(frames.COMPILED, payload)


class Greeting:
    """What a guest says before it takes its request.

    Args:
        modules: learns from it.
        backend: the back end's name, for errors.
        own_kernel: the guest runs on a kernel of its own, which takes the filter's place.
    """

    def __init__(self, modules: GuestModules, backend: str, *, own_kernel: bool = False) -> None:
        self._own_kernel = own_kernel
        self._modules = modules
        self._backend = backend
        self._reader = frames.FrameReader()

    def feed(self, data: bytes) -> GuestFacts | None:
        """Take bytes; returns the facts once they are complete.

        Raises:
            SandboxUnavailableError: a wall does not stand, or the greeting makes no sense.
        """
        try:
            for kind, payload in self._reader.feed(data):
                if kind == frames.COMPILED:
                    self._modules.learn(payload)
                elif kind == frames.HELLO:
                    facts = _understood(payload)
                    if facts.own_kernel is not self._own_kernel:  # a guest cannot say so itself
                        facts = facts.model_copy(update={"own_kernel": self._own_kernel})
                    return self._check(facts)
        except (frames.FrameError, ValidationError) as error:
            raise SandboxUnavailableError(
                f"A {self._backend} sandbox greeted in an unknown way.",
                remedy="See that its Python is 3.10 or later and starts without printing.",
            ) from error
        return None

    def _check(self, facts: GuestFacts) -> GuestFacts:
        if missing := layers.fallen(facts):
            raise SandboxUnavailableError(
                f"{self._backend} started, but these walls do not stand: {', '.join(missing)}.",
                remedy="Nothing is run without them; use the other back end, or another kernel.",
            )
        return facts
