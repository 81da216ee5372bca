"""JSON without the ``json`` module, whose import would cost each guest some milliseconds."""

from __future__ import annotations

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
from _json import encode_basestring_ascii

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def dumps(value: Any) -> str:
    """Return the JSON text of a value made of the plain types.

    Raises:
        TypeError: something in it is not of a plain type.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return encode_basestring_ascii(value)
    if isinstance(value, (list, tuple)):
        return "[" + ",".join([dumps(each) for each in value]) + "]"
    if isinstance(value, dict):
        pairs = [f"{encode_basestring_ascii(key)}:{dumps(each)}" for key, each in value.items()]
        return "{" + ",".join(pairs) + "}"
    raise TypeError(f"{type(value).__name__} has no JSON form")
