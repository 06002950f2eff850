"""From the decoded body to a typed request, checking everything the model says on the way.

`compile_reader` turns a shape into a closure once, at the start, so that a request does not walk the model. A value of
the wrong type ends the reading at once (SerializationException); broken constraints are gathered, so that the caller
hears of all of them (`validate.refuse`). Members that no model knows are ignored, as all services of this protocol do;
null is the same as absent.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol

from fanlight.api.protocol.errors import not_serializable
from fanlight.api.protocol.validate import Constraint, constraints_of, fault, missing, wire_path

Reader = Callable[[Any, str, list[str]], Any]
"""(decoded value, path for texts, faults found so far) → typed value; raises WireError on a wrong type."""

INTEGER_BITS = {"byte": 8, "short": 16, "integer": 32, "long": 64}
_TYPE_NAMES = {str: "STRING_VALUE", bool: "BOOLEAN_VALUE", int: "NUMBER_VALUE", float: "DECIMAL_VALUE"}


class Scalars(Protocol):
    """How one protocol spells what JSON and CBOR do not have in common. Each raises ValueError on a wrong value."""

    def read_timestamp(self, value: Any, timestamp_format: str | None) -> datetime: ...
    def read_blob(self, value: Any) -> bytes: ...
    def read_float(self, value: Any) -> float: ...


class Names(Protocol):
    """What the wire code must be told, because it knows no service."""

    def attribute(self, member: str) -> str:
        """Return the Python name of a wire member."""
        ...

    def structure(self, shape: str) -> Callable[..., Any]:
        """Return what builds the structure of this name from keyword arguments."""
        ...

    def enum(self, shape: str) -> Callable[[str], Any]: ...

    def is_sensitive(self, structure: str, member: str, shape: Any) -> bool: ...


class ReaderCompiler:
    """Compiles the readers of one protocol. Shapes that contain themselves are resolved when first read."""

    def __init__(self, names: Names, scalars: Scalars) -> None:
        self._names, self._scalars = names, scalars
        self._structures: dict[tuple[str, bool], Reader] = {}

    def compile(self, shape: Any, *, is_sensitive: bool = False) -> Reader:
        """Return the reader of a botocore shape."""
        is_sensitive = is_sensitive or bool(shape.metadata.get("sensitive"))
        match shape.type_name:
            case "structure":
                return self._structure(shape, is_sensitive=is_sensitive)
            case "list":
                return self._list(shape, is_sensitive=is_sensitive)
            case "map":
                return self._map(shape, is_sensitive=is_sensitive)
            case _:
                return _checked(self._scalar(shape), constraints_of(shape), self._result(shape), is_sensitive)

    def _result(self, shape: Any) -> Callable[[Any], Any] | None:
        return self._names.enum(shape.name) if shape.metadata.get("enum") else None

    def _scalar(self, shape: Any) -> Callable[[Any, str], Any]:
        kind = shape.type_name
        if kind == "string":
            return read_string
        if kind == "boolean":
            return read_boolean
        if kind in INTEGER_BITS:
            return integer_reader(INTEGER_BITS[kind])
        if kind == "timestamp":
            spelled = shape.serialization.get("timestampFormat")
            return _guarded(lambda value: self._scalars.read_timestamp(value, spelled), "Timestamp")
        if kind == "blob":
            return _guarded(self._scalars.read_blob, "Blob")
        return _guarded(self._scalars.read_float, "Double")

    def _structure(self, shape: Any, *, is_sensitive: bool) -> Reader:
        if shape.metadata.get("document"):
            return lambda value, _path, _faults: value
        key = (shape.name, is_sensitive)
        if key not in self._structures:
            # Placed before its members are compiled, so that a shape that contains itself finds it.
            self._structures[key] = lambda value, path, faults: self._structures[key](value, path, faults)  # noqa: PLW0108
            self._structures[key] = self._compile_structure(shape, is_sensitive=is_sensitive)
        return self._structures[key]

    def _compile_structure(self, shape: Any, *, is_sensitive: bool) -> Reader:
        build = self._names.structure(shape.name)
        required = set(shape.required_members)
        members = tuple(
            (
                target.serialization.get("name", member),
                self._names.attribute(member),
                wire_path(member),
                self.compile(target, is_sensitive=is_sensitive or self._names.is_sensitive(shape.name, member, target)),
                member in required,
            )
            for member, target in shape.members.items()
        )

        def read(value: Any, path: str, faults: list[str]) -> Any:
            if type(value) is not dict:
                raise wrong_type(value, "structure", path)
            found: dict[str, Any] = {}
            prefix = f"{path}." if path else ""
            for wire, attribute, label, read_member, is_required in members:
                item = value.get(wire)
                if item is not None:
                    found[attribute] = read_member(item, prefix + label, faults)
                elif is_required:
                    faults.append(missing(prefix + label))
            # With a fault the request is refused, so an incomplete structure is never built.
            return None if faults else build(**found)

        return read

    def _list(self, shape: Any, *, is_sensitive: bool) -> Reader:
        own = constraints_of(shape)
        inner = shape.member
        if inner.type_name not in ("structure", "list", "map"):
            return self._list_of_scalars(shape, own, is_sensitive=is_sensitive)
        read_item = self.compile(inner, is_sensitive=is_sensitive)

        def read(value: Any, path: str, faults: list[str]) -> Any:
            if type(value) is not list:
                raise wrong_type(value, "list", path)
            _check(value, own, path, faults, is_sensitive=is_sensitive)
            items = []
            for position, item in enumerate(value, 1):
                where = f"{path}.{position}.member"
                if item is None:
                    faults.append(missing(where))
                else:
                    items.append(read_item(item, where, faults))
            return tuple(items)

        return read

    def _list_of_scalars(self, shape: Any, own: tuple[Constraint, ...], *, is_sensitive: bool) -> Reader:
        inner = shape.member
        is_sensitive = is_sensitive or bool(inner.metadata.get("sensitive"))
        read_item, of_item, result = self._scalar(inner), constraints_of(inner), self._result(inner)
        inside = f"Member must satisfy constraint: [{', '.join(constraint.text for constraint in of_item)}]"

        def read(value: Any, path: str, faults: list[str]) -> Any:
            if type(value) is not list:
                raise wrong_type(value, "list", path)
            before = len(faults)
            _check(value, own, path, faults, is_sensitive=is_sensitive)
            faults.extend(missing(f"{path}.{at}.member") for at, item in enumerate(value, 1) if item is None)
            items = [read_item(item, path) for item in value if item is not None]
            if not all(constraint.holds(item) for item in items for constraint in of_item):
                faults.append(fault(value, path, inside, is_sensitive=is_sensitive))
            return tuple(items if result is None or len(faults) > before else map(result, items))

        return read

    def _map(self, shape: Any, *, is_sensitive: bool) -> Reader:
        own, of_key, of_value = constraints_of(shape), constraints_of(shape.key), constraints_of(shape.value)
        read_item = self.compile(shape.value, is_sensitive=is_sensitive)
        is_plain = shape.value.type_name not in ("structure", "list", "map")
        read_plain = self._scalar(shape.value) if is_plain else None
        keys = f"Map keys must satisfy constraint: [{', '.join(constraint.text for constraint in of_key)}]"
        values = f"Map value must satisfy constraint: [{', '.join(constraint.text for constraint in of_value)}]"

        def read(value: Any, path: str, faults: list[str]) -> Any:
            if type(value) is not dict:
                raise wrong_type(value, "map", path)
            _check(value, own, path, faults, is_sensitive=is_sensitive)
            names = [read_string(key, path) for key in value]
            if not all(constraint.holds(name) for name in names for constraint in of_key):
                faults.append(fault(value, path, keys, is_sensitive=is_sensitive))
            faults.extend(missing(f"{path}.{key}.member") for key, item in value.items() if item is None)
            present = {key: item for key, item in value.items() if item is not None}
            if read_plain is None:
                return {key: read_item(item, f"{path}.{key}.member", faults) for key, item in present.items()}
            items = {key: read_plain(item, path) for key, item in present.items()}
            if not all(constraint.holds(item) for item in items.values() for constraint in of_value):
                faults.append(fault(value, path, values, is_sensitive=is_sensitive))
            return items

        return read


def _checked(
    read_scalar: Callable[[Any, str], Any],
    constraints: tuple[Constraint, ...],
    result: Callable[[Any], Any] | None,
    is_sensitive: bool,  # noqa: FBT001 - private, called in one place
) -> Reader:
    def read(value: Any, path: str, faults: list[str]) -> Any:
        scalar = read_scalar(value, path)
        is_sound = True
        for constraint in constraints:
            if not constraint.holds(scalar):
                is_sound = False
                faults.append(fault(scalar, path, constraint.text, is_sensitive=is_sensitive))
        return result(scalar) if result is not None and is_sound else scalar

    return read


def _check(
    value: Any, constraints: tuple[Constraint, ...], path: str, faults: list[str], *, is_sensitive: bool
) -> None:
    faults.extend(
        fault(value, path, constraint.text, is_sensitive=is_sensitive)
        for constraint in constraints
        if not constraint.holds(value)
    )


def _guarded(convert: Callable[[Any], Any], kind: str) -> Callable[[Any, str], Any]:
    def read(value: Any, path: str) -> Any:
        try:
            return convert(value)
        except (ValueError, OverflowError):
            raise wrong_type(value, kind, path) from None

    return read


def read_string(value: Any, path: str) -> str:
    """Return a string that can be encoded again: a lone surrogate, which JSON can spell, is refused."""
    if type(value) is not str:
        raise wrong_type(value, "String", path)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise not_serializable(f"The value at '{path}' is not valid Unicode.") from None
    return value


def read_boolean(value: Any, path: str) -> bool:
    if type(value) is not bool:
        raise wrong_type(value, "Boolean", path)
    return value


def integer_reader(bits: int) -> Callable[[Any, str], int]:
    """Return a reader of signed integers of this width; a decimal fraction is refused, never cut."""
    least, most = -(1 << (bits - 1)), (1 << (bits - 1)) - 1

    def read(value: Any, path: str) -> int:
        if type(value) is not int:
            raise wrong_type(value, "Integer" if bits <= 32 else "Long", path)  # noqa: PLR2004 - the width of an Integer
        if not least <= value <= most:
            raise not_serializable(f"The number at '{path}' does not fit into {bits} bits.")
        return value

    return read


def wrong_type(value: Any, wanted: str, path: str) -> Exception:
    """Return the refusal of a value that has another type than the model says; the value itself is not echoed."""
    if isinstance(value, Mapping):
        given = "Start of structure or map"
    elif isinstance(value, list):
        given = "Start of list"
    else:
        given = _TYPE_NAMES.get(type(value), "The value given")
    where = f" at '{path}'" if path else " at the top of the request"
    return not_serializable(f"{given} can not be converted to a {wanted}{where}")
