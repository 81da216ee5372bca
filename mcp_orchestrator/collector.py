"""How often Python looks for cycles of garbage in a process that lives long."""

import gc

#: Objects made and not freed between two looks at the young ones. Python's own 700 makes a look
#: of every second saga, and a fifth of all CPU time goes into finding next to nothing.
_YOUNG = 20_000


def collect_rarely() -> None:
    """Look for cycles less often, and never again among what the imports have made.

    Reference counts free nearly everything at once as before; a cycle waits a little longer.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 20, 100)
