"""How deliveries ended, as the arguments of the scripts that record it."""

from collections.abc import Iterator, Sequence

from mcp_orchestrator.queue.encoding import encode_event, to_micros
from mcp_orchestrator.queue.port import Settlement
from mcp_orchestrator.queue.redis_streams.records import compact
from mcp_orchestrator.queue.task import TaskStatus

#: Settlements in one call; Lua's own bound on what a script may unpack is near 8,000.
_LARGEST_CALL = 1000

Call = tuple[str, list[str | int], Sequence[int]]


def settle_calls(settlements: Sequence[Settlement]) -> Iterator[Call]:
    """Yield the calls that record settlements: a script, its arguments, and whose they are.

    Results, which nearly every settlement is, go by a script that does nothing else.
    """
    completed: list[int] = []
    others: list[int] = []
    for place, one in enumerate(settlements):
        (completed if one.status is TaskStatus.COMPLETED else others).append(place)
    for script, arguments_of, whose in (
        ("complete", _complete_arguments, completed),
        ("settle", _settle_arguments, others),
    ):
        for first in range(0, len(whose), _LARGEST_CALL):
            places = whose[first : first + _LARGEST_CALL]
            yield script, arguments_of([settlements[place] for place in places]), places


def _complete_arguments(group: Sequence[Settlement]) -> list[str | int]:
    arguments: list[str | int] = [to_micros(group[0].at), to_micros(group[0].expires_at)]
    for one in group:
        task_id, epoch = one.lease
        result = one.result
        arguments += (task_id, epoch, "" if result is None or result == "null" else result)
    return arguments


def _settle_arguments(group: Sequence[Settlement]) -> list[str | int]:
    arguments: list[str | int] = [to_micros(group[0].at)]
    for one in group:
        arguments += (
            one.lease.task_id,
            one.lease.epoch,
            one.status,
            to_micros(one.expires_at),
            one.error or "",
            "" if one.available_at is None else to_micros(one.available_at),
            "" if one.event is None else compact(encode_event(one.event)),
            int(one.counts),
        )
    return arguments
