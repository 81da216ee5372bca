"""The actions that every saga can name without anyone registering them, as a catalog tells them."""

from mcp_orchestrator.saga.values import JsonObject
from mcp_orchestrator.saga.waits import APPROVAL, SLEEP, WAIT_FOR_SIGNAL

#: Starts a saga as a part of another and awaits its end; its compensation undoes that saga.
CHILD = "saga.child"
UNDO_CHILD = "saga.undo_child"

#: What the engine itself knows, so that nobody need register it.
ALWAYS_KNOWN = frozenset({SLEEP, WAIT_FOR_SIGNAL, APPROVAL, CHILD, UNDO_CHILD})


def split_arguments(action: object, arguments: JsonObject) -> tuple[JsonObject, JsonObject]:
    """Return the arguments whose references are the saga's own, and those taken as they are.

    A child's definition has references of its own, which point into the child.
    """
    if action != CHILD or "definition" not in arguments:
        return arguments, {}
    own = {name: value for name, value in arguments.items() if name != "definition"}
    return own, {"definition": arguments["definition"]}


BUILT_IN_ACTIONS: dict[str, JsonObject] = {
    SLEEP: {
        "description": "Wait for a time, or until a moment; it survives restarts.",
        "arguments": {
            "type": "object",
            "properties": {
                "seconds": {"type": "number", "minimum": 0},
                "until": {"type": "string", "format": "date-time"},
            },
        },
        "compensation": None,
    },
    WAIT_FOR_SIGNAL: {
        "description": "Wait for a signal, for `timeout` seconds at the most; its value is the"
        " step's result. Without it in time the saga is undone.",
        "arguments": {
            "type": "object",
            "properties": {
                "signal": {"type": "string"},
                "timeout": {"type": "number", "minimum": 0},
            },
            "required": ["signal"],
        },
        "compensation": None,
    },
    APPROVAL: {
        "description": "Wait until a person approves, by `mcp-orchestrator saga approve`, for"
        " `timeout` seconds at the most. A refusal undoes the saga. It asks nobody where `needed`"
        " is false.",
        "arguments": {
            "type": "object",
            "properties": {
                "approval": {"type": "string"},
                "question": {"type": "string"},
                "needed": {"type": "boolean", "default": True},
                "timeout": {"type": "number", "minimum": 0},
            },
            "required": ["approval"],
        },
        "compensation": None,
    },
    CHILD: {
        "description": "Run another saga to its end: a definition and its input. It returns"
        " `saga_id`, `output` and `results`; if the child fails, this saga is undone too.",
        "arguments": {
            "type": "object",
            "properties": {"definition": {"type": "object"}, "input": {"type": "object"}},
            "required": ["definition"],
        },
        "compensation": UNDO_CHILD,
    },
}
