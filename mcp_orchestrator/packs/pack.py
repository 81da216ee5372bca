"""What a pack's author writes against."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from pydantic import JsonValue

from mcp_orchestrator.agents import CacheStatistics, FunctionCache
from mcp_orchestrator.clock import Clock, SystemClock
from mcp_orchestrator.errors import ConfigurationError
from mcp_orchestrator.packs.signature import TypedFunction
from mcp_orchestrator.queue import TaskContext, TaskPriority
from mcp_orchestrator.queue.signals import SignalRule, StartTask
from mcp_orchestrator.saga import StepHandle

F = TypeVar("F", bound=Callable[..., Awaitable[object]])
P = TypeVar("P", bound=Callable[..., str])
A = ParamSpec("A")
R = TypeVar("R")


class Pack:
    """A named collection of saga actions, task handlers, signal routes, MCP tools and prompts.

    Args:
        name: short and unique; it prefixes every name the pack registers.
        description: one sentence for people and models.
        clock: says when cached answers expire; the machine's own by default.
    """

    def __init__(self, name: str, *, description: str, clock: Clock | None = None) -> None:
        if not name.isidentifier():
            raise ConfigurationError(
                f"Pack name {name!r} is not an identifier.", remedy="Use letters, digits and _."
            )
        self.name = name
        self.description = description
        self.actions: dict[str, TypedFunction[StepHandle]] = {}
        self.compensations: dict[str, str] = {}
        self.probes: dict[str, str] = {}
        self.handlers: dict[str, TypedFunction[TaskContext]] = {}
        self.tools: dict[str, Callable[..., Awaitable[object]]] = {}
        self.long_tools: set[str] = set()
        self.rules: list[SignalRule] = []
        self.prompts: dict[str, Callable[..., str]] = {}
        self._folder: Path | None = None
        self._cache = FunctionCache(clock or SystemClock())

    @property
    def folder(self) -> Path:
        """Return the folder where the pack may keep its own files."""
        if self._folder is None:
            raise ConfigurationError(f"Pack {self.name} is not loaded yet.")
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder

    @folder.setter
    def folder(self, folder: Path) -> None:
        self._folder = folder

    def action(
        self,
        *,
        name: str | None = None,
        compensation: str | None = None,
        probe: str | None = None,
    ) -> Callable[[F], F]:
        """Register a saga action; the model sees its docstring and its annotations.

        Args:
            name: the name after the pack's; the function's own by default.
            compensation: full name of the action that undoes it, used when a step names none.
            probe: full name of the action that finds out whether it happened, likewise.
        """

        def register(function: F) -> F:
            full = self._full_name(name, function)
            self.actions[full] = TypedFunction(full, function, StepHandle)
            if compensation is not None:
                self.compensations[full] = compensation
            if probe is not None:
                self.probes[full] = probe
            return function

        return register

    def compensation(self, *, name: str | None = None) -> Callable[[F], F]:
        """Register an action that undoes another.

        It may name any of ``arguments`` (what the step was called with), ``result`` (what it
        returned, or None when that is not known) and a ``StepHandle``. It must bear being run
        twice, and being run for a step whose effect never happened.
        """

        def register(function: F) -> F:
            full = self._full_name(name, function)
            self.actions[full] = TypedFunction(full, function, StepHandle, takes_more=True)
            return function

        return register

    def probe(self, *, name: str | None = None) -> Callable[[F], F]:
        """Register an action that finds out whether another had its effect.

        It may name any of the action's own arguments and a ``StepHandle``, and returns
        ``{"happened": bool, "result": …}``. It must change nothing.
        """
        return self.compensation(name=name)

    def handler(self, *, name: str | None = None) -> Callable[[F], F]:
        """Register a handler for queued tasks of the type ``pack.name``."""

        def register(function: F) -> F:
            full = self._full_name(name, function)
            self.handlers[full] = TypedFunction(full, function, TaskContext)
            return function

        return register

    def on_signal(
        self,
        pattern: str,
        *,
        where: dict[str, JsonValue] | None = None,
        priority: TaskPriority = TaskPriority.NORMAL,
        name: str | None = None,
    ) -> Callable[[F], F]:
        """Register a handler that works on every signal of some names; its payload is the task's.

        Args:
            pattern: of the signal's name, with ``*``, ``?`` and ``[…]``.
            where: dotted paths into the payload and the values each may have.
            priority: of the tasks.
            name: the name after the pack's; the function's own by default.
        """

        def register(function: F) -> F:
            full = self._full_name(name, function)
            target = StartTask(task_type=full, priority=priority.name)
            rule = SignalRule(name=full, pattern=pattern, where=where or {}, target=target)
            registered = self.handler(name=name)(function)
            self.rules.append(rule)
            return registered

        return register

    def prompt(self, *, name: str | None = None) -> Callable[[P], P]:
        """Register an MCP prompt called ``pack_name``: a function of texts that returns a text."""

        def register(function: P) -> P:
            self.prompts[f"{self.name}_{name or function.__name__}"] = function
            return function

        return register

    def tool(self, *, name: str | None = None, long: bool = False) -> Callable[[F], F]:
        """Register an MCP tool called ``pack_name``; its docstring is its description.

        Args:
            name: the name after the pack's; the function's own by default.
            long: it may take longer than a host waits. Its calls are then queued: clients that
                know MCP tasks get one, others an answer or, after 50 s, the id of the task. It
                may be called again after a crash.
        """

        def register(function: F) -> F:
            full = self._full_name(name, function).replace(".", "_")
            self.tools[full] = function
            if long:
                self.long_tools.add(full)
            return function

        return register

    def cached(self, *, time_to_live: float = 300.0) -> Callable[[Callable[A, R]], Callable[A, R]]:
        """Answer equal arguments of a function once, in this process; async or not.

        Concurrent calls with the same arguments run it once. Its signature stays as it is, so it
        may be a tool as well: put ``@pack.tool()`` above. What raises is not kept.

        Args:
            time_to_live: seconds an answer is good for.
        """
        return self._cache.cached_for(time_to_live)

    def invalidates(
        self, *functions: Callable[..., object]
    ) -> Callable[[Callable[A, R]], Callable[A, R]]:
        """Forget what cached functions answered when the decorated one has succeeded.

        Args:
            functions: those that ``cached`` of this pack decorated; none means all.

        Raises:
            InvalidInputError: one of them was not.
        """
        return self._cache.invalidates(*functions)

    @property
    def cache_statistics(self) -> CacheStatistics:
        """What this process found in the pack's cache."""
        return self._cache.statistics

    def _full_name(self, name: str | None, function: Callable[..., Awaitable[object]]) -> str:
        return f"{self.name}.{name or function.__name__}"
