"""The built-in actions that only wait: they hold no process while they do, and survive restarts.

``saga.sleep``            ``{"seconds": 3600}`` or ``{"until": "2030-01-01T00:00:00+00:00"}``
``saga.wait_for_signal``  ``{"signal": "paid", "timeout": 86400}``; its result is the signal's body
``saga.approval``         ``{"approval": "budget", "question": "May it?", "timeout": 86400}``; its
                          result is who approved and why, and a refusal compensates; with
                          ``"needed": false``, as a reference may say, it asks nobody
"""

from datetime import datetime, timedelta
from typing import TypeGuard

from pydantic import JsonValue

from mcp_orchestrator.errors import BusinessRefusalError, InvalidInputError
from mcp_orchestrator.saga.values import JsonObject

SLEEP = "saga.sleep"
WAIT_FOR_SIGNAL = "saga.wait_for_signal"
APPROVAL = "saga.approval"
#: A decision is a signal whose name begins so; nothing but an approval can be sent by that name.
APPROVAL_PREFIX = "approval:"

#: What each wait takes.
_KNOWN = {
    SLEEP: {"seconds", "until"},
    WAIT_FOR_SIGNAL: {"signal", "timeout"},
    APPROVAL: {"approval", "question", "timeout", "needed"},
}


def is_wait(action: object) -> TypeGuard[str]:
    """Tell whether an action is one of the built-in waits."""
    return isinstance(action, str) and action in _KNOWN


def awaited_signal(name: str, arguments: JsonObject) -> str | None:
    """Return the name of the signal that ends a wait; None for a sleep."""
    if name == SLEEP:
        return None
    if name == APPROVAL:
        return f"{APPROVAL_PREFIX}{arguments.get('approval')}"
    return str(arguments.get("signal"))


def check_wait(name: str, arguments: JsonObject | None, location: str) -> None:
    """Check a wait's arguments as far as they stand there before the saga runs.

    Raises:
        InvalidInputError: the message has the JSON path.
    """
    arguments = arguments or {}
    allowed = _KNOWN[name]
    for key in arguments:
        if key not in allowed:
            raise InvalidInputError(
                f"{location}.{key}: {name} does not know it.",
                remedy=f"It takes {' and '.join(sorted(allowed))}.",
            )
    if name == SLEEP and len(arguments) != 1:
        raise InvalidInputError(f"{location}: {name} takes either seconds or until.")
    for wait, key in ((WAIT_FOR_SIGNAL, "signal"), (APPROVAL, "approval")):
        if name == wait and not isinstance(arguments.get(key), str):
            raise InvalidInputError(f"{location}.{key}: {name} needs the {key}'s name as text.")


def wait_deadline(name: str, arguments: JsonObject, now: datetime) -> datetime | None:
    """Return when a wait is over by itself; None for one that has no time-out.

    Args:
        name: the built-in action.
        arguments: its arguments, references already replaced.
        now: when it began.

    Raises:
        InvalidInputError: a number or a date is not one.
    """
    if name == SLEEP and "until" in arguments:
        return _moment(arguments["until"])
    seconds = arguments.get("seconds" if name == SLEEP else "timeout")
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or seconds < 0:
        raise InvalidInputError(f"{name} needs a number of seconds, not {seconds!r}.")
    try:
        return now + timedelta(seconds=seconds)
    except OverflowError as error:
        raise InvalidInputError(f"{name} cannot wait {seconds!r} seconds.") from error


def is_waiting(
    name: str,
    arguments: JsonObject,
    context: JsonObject,
    wake_at: datetime | None,
    now: datetime,
) -> bool:
    """Tell whether a wait that has begun is not over yet."""
    signal = awaited_signal(name, arguments)
    if _is_waived(name, arguments) or (signal is not None and signals_in(context, signal)):
        return False
    if wake_at is not None:
        return now < wake_at
    return signal is not None  # a sleep without an end is a fault, found when it runs


def end_of_wait(name: str, arguments: JsonObject, context: JsonObject) -> JsonValue:
    """Return the result of a wait that is over: a signal's body, nothing for a sleep.

    Raises:
        BusinessRefusalError: the signal did not come in time, or a person refused.
    """
    signal = awaited_signal(name, arguments)
    if signal is None:
        return None
    if _is_waived(name, arguments):
        return {"approved": True, "reason": "no approval was needed"}
    waiting = signals_in(context, signal)
    if not waiting:
        raise BusinessRefusalError(f"The signal {signal!r} did not come in time.")
    decision = waiting[0]
    if name == APPROVAL and not (isinstance(decision, dict) and decision.get("approved") is True):
        told = decision if isinstance(decision, dict) else {}
        raise BusinessRefusalError(f"{told.get('by') or 'A person'} refused: {told.get('reason')}")
    return decision


def _is_waived(name: str, arguments: JsonObject) -> bool:
    return name == APPROVAL and arguments.get("needed") is False


def signals_in(context: JsonObject, name: str) -> list[JsonValue]:
    """Return the bodies of the signals of a name that no step has taken yet."""
    signals = context.get("signals")
    waiting = signals.get(name) if isinstance(signals, dict) else None
    return waiting if isinstance(waiting, list) else []


def _moment(text: JsonValue) -> datetime:
    remedy = "Write it as 2030-01-01T00:00:00+00:00."
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise InvalidInputError(f"{SLEEP}: {text!r} is no date.", remedy=remedy) from error
    if moment.tzinfo is None:
        raise InvalidInputError(f"{SLEEP}: {text!r} has no time zone.", remedy=remedy)
    return moment
