"""Dataclasses as JSON columns and back, by their annotations: for what is read and written whole, never searched.

Knows dataclasses, tuples of one type, string-keyed mappings, enums, optional values and plain scalars. A member that a
row from before lacks takes its default.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import StrEnum
from functools import cache
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

StructureT = TypeVar("StructureT")


def to_json(value: Any) -> Any:
    """Return the value as JSON has it; absent members are left out."""
    if is_dataclass(value):
        members = ((field.name, getattr(value, field.name)) for field in fields(value))
        return {name: to_json(member) for name, member in members if member is not None}
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, Mapping):
        return {key: to_json(member) for key, member in value.items()}
    if isinstance(value, tuple):
        return [to_json(member) for member in value]
    return value


def from_json(kind: type[StructureT], tree: Mapping[str, Any], **known: Any) -> StructureT:
    """Return the structure; `known` are members that stand in columns of their own."""
    hints: Mapping[str, Any] = _hints(kind)  # type: ignore[arg-type]
    given = {name: _read(hints[name], tree[name]) for name in hints if name in tree}
    return kind(**known, **given)


@cache
def _hints(kind: type) -> Mapping[str, Any]:
    return get_type_hints(kind)


def _read(annotation: Any, value: Any) -> Any:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        annotation = next(part for part in parts if part is not type(None))
        origin, parts = get_origin(annotation), get_args(annotation)
    if origin is tuple:
        return tuple(_read(parts[0], member) for member in value)
    if origin is not None and issubclass(origin, Mapping):
        return {key: _read(parts[1], member) for key, member in value.items()}
    if isinstance(annotation, type) and is_dataclass(annotation):
        return from_json(annotation, value)
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return annotation(value)
    return value
