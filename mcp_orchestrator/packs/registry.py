"""The registry: every action and task handler that this process can run, by name."""

from collections.abc import Mapping
from typing import cast

from pydantic import JsonValue

from mcp_orchestrator.errors import ConfigurationError, InvalidInputError, UnknownNameError
from mcp_orchestrator.packs.pack import Pack
from mcp_orchestrator.packs.signature import JsonObject, TypedFunction
from mcp_orchestrator.queue import TaskContext, TaskHandler
from mcp_orchestrator.saga import Action, StepHandle


class Registry:
    """Actions and handlers of all packs, and of the program's own parts."""

    def __init__(self) -> None:
        self._actions: dict[str, Action] = {}
        self._compensations: dict[str, str] = {}
        self._probes: dict[str, str] = {}
        self._handlers: dict[str, TaskHandler] = {}

    def add_pack(self, pack: Pack) -> None:
        """Take over everything a pack registers, or nothing.

        Raises:
            ConfigurationError: another pack has a name already.
        """
        taken = (pack.actions.keys() & self._actions.keys()) | (
            pack.handlers.keys() & self._handlers.keys()
        )
        if taken:
            raise ConfigurationError(
                f"Pack {pack.name}: {min(taken)} is registered already.",
                remedy="Give the pack another name.",
            )
        self._actions.update(pack.actions)
        self._compensations.update(pack.compensations)
        self._probes.update(pack.probes)
        self._handlers.update(pack.handlers)

    def add_action(self, name: str, action: Action) -> None:
        """Register one action of the program's own."""
        self._actions[name] = action

    def add_handler(self, name: str, handler: TaskHandler) -> None:
        """Register one task handler of the program's own."""
        self._handlers[name] = handler

    def action(self, name: str) -> Action:
        """Return an action.

        Raises:
            UnknownNameError: there is none of that name.
        """
        try:
            return self._actions[name]
        except KeyError:
            raise UnknownNameError("action", name, self.names()) from None

    def names(self) -> list[str]:
        """Return the names of all actions."""
        return sorted(self._actions)

    def compensation_of(self, name: str) -> str | None:
        """Return the action that undoes another by default, if it declares one."""
        return self._compensations.get(name)

    def probe_of(self, name: str) -> str | None:
        """Return the action that finds out whether another happened, if it declares one."""
        return self._probes.get(name)

    @property
    def handlers(self) -> Mapping[str, TaskHandler]:
        """Return all task handlers by task type."""
        return self._handlers

    def check_task(self, task_type: str, payload: JsonObject) -> None:
        """Refuse a task that no worker could run.

        Raises:
            UnknownNameError: no handler has that type.
            InvalidInputError: an argument of the handler is missing or unknown.
        """
        handler = self._handlers.get(task_type)
        if handler is None:
            raise UnknownNameError("task type", task_type, sorted(self._handlers))
        if isinstance(handler, TypedFunction):
            _check_names(cast("TypedFunction[TaskContext]", handler), payload, "payload")

    def check_step(self, action: str, arguments: Mapping[str, JsonValue], path: str) -> None:
        """Refuse a step whose arguments do not fit its action; references count as given.

        Args:
            action: the action's name.
            arguments: the step's arguments, references unresolved.
            path: the JSON path of the arguments, for the error.

        Raises:
            UnknownNameError: there is no such action.
            InvalidInputError: an argument is missing or unknown.
        """
        function = self.action(action)
        if isinstance(function, TypedFunction):
            _check_names(cast("TypedFunction[StepHandle]", function), arguments, path)

    def catalog(self) -> dict[str, JsonObject]:
        """Describe every action: what it does, its arguments, what undoes it."""
        described: dict[str, JsonObject] = {}
        for name, action in sorted(self._actions.items()):
            if isinstance(action, TypedFunction):
                described[name] = {
                    "description": action.description,
                    "arguments": action.schema,
                    "compensation": self._compensations.get(name),
                }
        return described


def _check_names(
    function: TypedFunction[StepHandle] | TypedFunction[TaskContext],
    arguments: Mapping[str, JsonValue],
    path: str,
) -> None:
    required, known = function.argument_names
    for missing in sorted(required - arguments.keys()):
        raise InvalidInputError(
            f"{path}.{missing}: missing argument of {function.name}.",
            remedy=f"It takes: {', '.join(sorted(known))}.",
        )
    for unknown in sorted(arguments.keys() - known):
        raise InvalidInputError(
            f"{path}.{unknown}: {function.name} has no such argument.",
            remedy=f"It takes: {', '.join(sorted(known)) or 'none'}.",
        )
