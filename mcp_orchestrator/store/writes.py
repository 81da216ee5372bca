"""What callers ask to be written, and writing a group of it in one transaction."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Connection

T = TypeVar("T")
Given = TypeVar("Given")
#: Work done inside the transaction. It may run twice (a failed group is replayed one by one), and
#: on SQLite in another thread, so it touches nothing but the connection it is given.
Unit: TypeAlias = Callable[[Connection], T]
#: Writes of the same kind, done for many callers in a few statements; the outcomes are in the
#: order of the items, and an exception among them is raised to that item's caller alone. What
#: holds for a unit holds for it, too.
Batch: TypeAlias = Callable[[Connection, Sequence[Given]], Sequence[T | Exception]]


@dataclass(eq=False, slots=True)
class UnitItem:
    """One caller's unit.

    Attributes:
        unit: what it writes.
        done: what the caller awaits.
        outcome: what the unit returned, or why it could not.
    """

    unit: Unit[Any]
    done: "asyncio.Future[object]"
    outcome: object = None


@dataclass(eq=False, slots=True)
class BatchItem:
    """One caller's part of a batch.

    Attributes:
        batch: the function that writes it.
        item: what it writes.
        done: what the caller awaits.
        outcome: what the function answered, or why it could not.
    """

    batch: Batch[Any, Any]
    item: object
    done: "asyncio.Future[object]"
    outcome: object = None


Item = UnitItem | BatchItem


def write_items(connection: Connection, group: Sequence[Item]) -> None:
    """Write a group, items of the same batch together, and keep the outcomes."""
    batches: dict[Batch[Any, Any], list[BatchItem]] = {}
    for item in group:
        if isinstance(item, UnitItem):
            item.outcome = item.unit(connection)
        else:
            batches.setdefault(item.batch, []).append(item)
    for batch, members in batches.items():
        outcomes = batch(connection, [member.item for member in members])
        for member, outcome in zip(members, outcomes, strict=True):
            member.outcome = outcome
