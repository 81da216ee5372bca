"""What is wrong with a pack that loads."""

import inspect

from mcp_orchestrator.packs.pack import Pack


def findings(pack: Pack, known_actions: set[str]) -> list[str]:
    """Return what a pack's author should mend, a sentence each.

    Args:
        pack: a pack that was loaded.
        known_actions: the names of all actions of all packs.
    """
    found = [
        f"{action}: its compensation {compensation} is not registered."
        for action, compensation in pack.compensations.items()
        if compensation not in known_actions
    ]
    said = {name: inspect.getdoc(each) for name, each in {**pack.tools, **pack.prompts}.items()}
    said |= {name: each.description for name, each in {**pack.actions, **pack.handlers}.items()}
    found += [
        f"{name}: a model reads its docstring, and there is none."
        for name, text in said.items()
        if not text
    ]
    if not said:
        found.append("It registers nothing: add an action, a handler, a tool or a prompt.")
    return found
