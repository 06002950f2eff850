"""Members of requests that Fanlight cannot honour yet.

Nothing is accepted and ignored: a member that asks for something is refused by name. Clients also send members that
ask for nothing ({}, false, an empty list); those mean what their absence means.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass

from fanlight.api.spec import attribute_name
from fanlight.domain.errors import NotSupported


def refuse(*members: tuple[str, object, str]) -> None:
    """Raise NotSupported for the first (member, value, because) whose value asks for something."""
    for member, value, because in members:
        if asks_for_something(value):
            raise NotSupported(f"{member} is not supported: {because}")


def value_at(request: object, member: str) -> object:
    """Return the value of a member by its wire name, dotted for a member of a structure; None where one is absent."""
    value = request
    for name in member.split("."):
        value = None if value is None else getattr(value, attribute_name(name))
    return value


def asks_for_something(value: object) -> bool:
    """Return whether a value differs from absence. A number always does: 0 is a wish too."""
    if value is None or value is False or value == "":
        return False
    if isinstance(value, Mapping):
        return any(asks_for_something(inner) for inner in value.values())
    if is_dataclass(value):
        return any(asks_for_something(getattr(value, field.name)) for field in fields(value))
    if isinstance(value, Iterable) and not isinstance(value, str):
        return any(True for _ in value)
    return True
