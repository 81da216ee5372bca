"""The actions that this process can run: those registered, and those of its own definitions."""

from collections.abc import Mapping

from pydantic import JsonValue

from mcp_orchestrator.saga.definition import SagaDefinition
from mcp_orchestrator.saga.parsing import parse_definition
from mcp_orchestrator.saga.step import Action, ActionCatalog


class NoActions:
    """A catalog without actions, for definitions made of functions."""

    def action(self, name: str) -> Action:
        """Refuse; KeyError would be a fault of ours."""
        raise KeyError(name)

    def names(self) -> list[str]:
        """Return no names."""
        return []


class KnownActions:
    """A catalog, together with the functions of definitions that were started here.

    Args:
        catalog: the registered actions.
    """

    def __init__(self, catalog: ActionCatalog) -> None:
        self._catalog = catalog
        self._built_in: dict[str, Action] = {}
        self._bound: dict[str, Action] = {}
        self._definitions: dict[str, SagaDefinition] = {}

    def find(self, name: str) -> Action:
        """Return an action.

        Raises:
            UnknownNameError: nobody registered it.
        """
        return self._bound.get(name) or self._built_in.get(name) or self._catalog.action(name)

    def add_built_in(self, actions: Mapping[str, Action]) -> None:
        """Add actions of the engine's own, which every process has."""
        self._built_in.update(actions)

    def admit(self, definition: SagaDefinition) -> None:
        """Check a definition and its actions, and remember its own functions.

        Raises:
            InvalidInputError: an action is not registered, or whoever takes its sagas over could
                not read the definition back; the message has the JSON path.
        """
        if self._definitions.get(definition.content_hash) is definition:
            return
        definition.check_actions(self._catalog)
        parse_definition(definition.body)
        self._bound.update(definition.bound_actions)
        self._definitions[definition.content_hash] = definition

    def definition(self, content_hash: str, body: JsonValue) -> SagaDefinition:
        """Return a stored definition."""
        known = self._definitions.get(content_hash)
        if known is None:
            known = self._definitions[content_hash] = parse_definition(body)
        return known

    def can_run(self, definition: SagaDefinition) -> bool:
        """Tell whether this process has every action of a definition."""
        known = {*self._bound, *self._catalog.names()}
        return all(name in known for _, name in definition.action_names())
