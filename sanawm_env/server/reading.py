"""`read_message`: a request, read strictly from JSON."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, get_type_hints

from sanawm_env.server.errors import ServerError
from sanawm_env.server.protocol import MESSAGES, Message, is_finite

__all__ = ["read_message"]

_LONGEST_TEXT = 4096
_WIRE_NAMES = {"source": "from"}
_REQUIRED = {"session", "action", "snapshot"}
"""Fields that must be there where their default is empty, which a dataclass that inherits defaults has to give."""
_HINTS = {kind: get_type_hints(kind) for kind in MESSAGES.values()}
_NAMES = {
    int: "a whole number",
    str: "a text",
    float: "a finite number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
}


def read_message(head: dict[str, Any]) -> Message:
    """The request of a JSON object.

    Raises:
        ServerError: `unknown-type`; or `malformed`: a field that is missing, unknown, or of another type.
    """
    kind = MESSAGES.get(head["type"]) if isinstance(head.get("type"), str) else None
    if kind is None:
        raise ServerError("unknown-type", f"a message's type is one of {', '.join(MESSAGES)}.")
    given = {name: value for name, value in head.items() if name != "type"}
    values: dict[str, Any] = {}
    for each in fields(kind):
        name = _WIRE_NAMES.get(each.name, each.name)
        if name in given:
            values[each.name] = _checked(kind, each.name, name, given.pop(name))
        elif (each.name in _REQUIRED and each.default == "") or each.default_factory is list:
            raise ServerError("malformed", f"{kind.type} needs {name!r}.")
    if given:
        known = [_WIRE_NAMES.get(each.name, each.name) for each in fields(kind)]
        unknown = str(next(iter(given)))[:60]
        raise ServerError("malformed", f"{kind.type} has no field {unknown!r}; it has {', '.join(known)}.")
    return kind(**values)


def _checked(kind: type[Message], field_name: str, name: str, value: Any) -> Any:
    wanted = _HINTS[kind][field_name]
    allowed = getattr(wanted, "__args__", (wanted,)) if not hasattr(wanted, "__origin__") else (wanted,)
    plain = tuple(getattr(each, "__origin__", each) for each in allowed)
    if isinstance(value, bool):
        good = bool in plain
    elif float in plain and is_finite(value):
        return float(value)
    elif isinstance(value, int):
        good = int in plain and abs(value) <= (1 << 63) - 1
    elif isinstance(value, str):
        good = str in plain and len(value) <= _LONGEST_TEXT
    else:
        good = (value is None and type(None) in plain) or isinstance(
            value, tuple(t for t in plain if t in (list, dict))
        )
    if good and field_name == "id" and isinstance(value, str):
        good = len(value) <= 64
    if not good:
        names = " or ".join("null" if each is type(None) else _NAMES.get(each, str(each)) for each in plain)
        raise ServerError("malformed", f"{kind.type}: {name!r} must be {names}.")
    return value
