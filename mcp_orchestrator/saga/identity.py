"""The ids of sagas: unlike each other, and in the order of time."""

import os
from datetime import datetime

#: Bytes of chance in an id: as many as no two sagas of one millisecond will ever share.
_CHANCE = 10


def new_saga_id(now: datetime) -> str:
    """Return an id that sorts after those of every earlier millisecond.

    So the indexes of a store with millions of sagas grow at their end, where the database has
    the pages at hand, and not at a random place for every row. The layout is that of UUID
    version 7 without its version bits (RFC 9562, section 5.7).

    Args:
        now: the present moment.
    """
    milliseconds = int(now.timestamp() * 1000)
    return f"saga_{milliseconds:012x}{os.urandom(_CHANCE).hex()}"
