"""From a typed result to the tree that a protocol encodes: wire names, absent members left out.

Compiled once per shape, as the readers are. Members go out in alphabetical order, as the real service sends them.
"""

from collections.abc import Callable
from datetime import datetime
from operator import attrgetter
from typing import Any, Protocol

Writer = Callable[[Any], Any]


class ScalarWriters(Protocol):
    """How one protocol spells what JSON and CBOR do not have in common."""

    def write_timestamp(self, value: datetime, timestamp_format: str | None) -> Any: ...
    def write_blob(self, value: bytes) -> Any: ...
    def write_float(self, value: float) -> Any: ...


class WriterCompiler:
    """Compiles the writers of one protocol; `attribute` gives the Python name of a wire member."""

    def __init__(self, attribute: Callable[[str], str], scalars: ScalarWriters) -> None:
        self._attribute, self._scalars = attribute, scalars
        self._structures: dict[str, Writer] = {}

    def compile(self, shape: Any) -> Writer | None:
        """Return the writer of a botocore shape; None when its values go out as they are."""
        match shape.type_name:
            case "structure":
                return None if shape.metadata.get("document") else self._structure(shape)
            case "list":
                return _list_writer(self.compile(shape.member))
            case "map":
                return _map_writer(self.compile(shape.value))
            case _:
                return self._scalar(shape)

    def _scalar(self, shape: Any) -> Writer | None:
        match shape.type_name:
            case "timestamp":
                spelled = shape.serialization.get("timestampFormat")
                return lambda value: self._scalars.write_timestamp(value, spelled)
            case "blob":
                return self._scalars.write_blob
            case "float" | "double":
                return self._scalars.write_float
            case "string" if shape.metadata.get("enum"):
                return str.__str__  # the plain value of a StrEnum: encoders are quicker with exact types
            case _:
                return None

    def _structure(self, shape: Any) -> Writer:
        if shape.name not in self._structures:
            # Placed before its members are compiled, so that a shape that contains itself finds it.
            self._structures[shape.name] = lambda value: self._structures[shape.name](value)  # noqa: PLW0108
            self._structures[shape.name] = self._compile_structure(shape)
        return self._structures[shape.name]

    def _compile_structure(self, shape: Any) -> Writer:
        members = tuple(
            (target.serialization.get("name", member), attrgetter(self._attribute(member)), self.compile(target))
            for member, target in sorted(shape.members.items())
        )

        def write(value: Any) -> dict[str, Any]:
            tree: dict[str, Any] = {}
            for wire, get, write_member in members:
                item = get(value)
                if item is not None:
                    tree[wire] = item if write_member is None else write_member(item)
            return tree

        return write


def _list_writer(item: Writer | None) -> Writer:
    return list if item is None else lambda values: [item(value) for value in values]


def _map_writer(item: Writer | None) -> Writer:
    return dict if item is None else lambda values: {key: item(value) for key, value in values.items()}
