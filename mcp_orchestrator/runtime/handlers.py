"""Task handlers of the program's own: what can be queued without any pack."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import cast

from pydantic import JsonValue, TypeAdapter

from mcp_orchestrator.errors import InvalidInputError
from mcp_orchestrator.queue import TaskContext, TaskHandler
from mcp_orchestrator.sandbox import PLAIN, ExecutionRequest, ExecutionResult, Limits, Sandbox

_Result = TypeAdapter(ExecutionResult)
#: Files may be large and need not be text; they are read by run://{id}/artifacts/{path}.
_CONTENTS = {"artifacts": {"__all__": {"content"}}}


def chosen_handlers(
    handlers: Mapping[str, TaskHandler], patterns: Sequence[str]
) -> dict[str, TaskHandler]:
    """Return the handlers of the types that match a pattern; all of them where there is none."""
    return {
        name: handler
        for name, handler in handlers.items()
        if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
    }


def sandbox_handler(sandbox: Sandbox) -> TaskHandler:
    """Return the handler of `sandbox.execute`: run Python in the background."""

    async def execute(payload: dict[str, JsonValue], context: TaskContext) -> JsonValue:
        code = payload.get("code")
        if not isinstance(code, str):
            raise InvalidInputError("payload.code: a string is needed.")
        seconds = payload.get("timeout_seconds", 60)
        if not isinstance(seconds, int | float) or seconds <= 0:
            raise InvalidInputError("payload.timeout_seconds: a positive number is needed.")
        request = ExecutionRequest(
            code=code,
            stdin=str(payload.get("stdin", "")),
            limits=Limits(wall_seconds=float(seconds)),
            task_id=context.task_id,
            profile=str(payload.get("profile", PLAIN)),
        )
        result = await sandbox.run(request)
        plain = _Result.dump_python(result, mode="json", exclude=_CONTENTS)
        return cast("JsonValue", plain)

    return execute
