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
    described = {**pack.tools, **pack.prompts}
    found += [
        f"{name}: a model reads its docstring, and there is none."
        for name, function in described.items()
        if not inspect.getdoc(function)
    ]
    typed = {**pack.actions, **pack.handlers}
    found += [
        f"{name}: a model reads its docstring, and there is none."
        for name, function in typed.items()
        if not function.description
    ]
    if not typed and not described:
        found.append("It registers nothing: add an action, a handler, a tool or a prompt.")
    return found
