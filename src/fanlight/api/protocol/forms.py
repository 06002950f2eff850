"""What AWS's query protocols send: an HTML form whose keys are paths, `Filters.member.1.Values.member.2=x`.

A form is first grown into a tree by its dots, then read along the shape of the request, so that the cost is that of the
form's size and nothing in a key can lead deeper than the model. The result is the tree that JSON would have been: the
readers hold it against the constraints of the model, as they do for the other protocols.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from fanlight.api.protocol.errors import WireError, not_serializable

MOST_FIELDS = 5000
DEEPEST_KEY = 32  # parts; the deepest shape that is served has a third of that
LONGEST_INTEGER = 20  # digits; Python would parse more, slowly, and no shape holds more
NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
INTEGERS = ("byte", "short", "integer", "long")

Naming = Callable[[Any, str], str]
"""(shape of a member, its name in the model) → its name on the wire."""


class Node:
    """One part of a key: what was given at this very path, and what is below it."""

    __slots__ = ("below", "value")

    def __init__(self) -> None:
        self.value: str | None = None
        self.below: dict[str, Node] = {}


def parse_form(body: bytes) -> Node:
    """Return the tree of a form. Raises SerializationException."""
    root = Node()
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
    except UnicodeDecodeError:
        raise not_serializable("The form is not valid UTF-8.") from None
    except ValueError:
        raise not_serializable(f"The form has more than {MOST_FIELDS} fields.") from None
    for key, value in pairs:
        parts = key.split(".")
        if len(parts) > DEEPEST_KEY:
            raise not_serializable("A key of the form has too many parts.")
        node = root
        for part in parts:
            node = node.below.setdefault(part, Node())
        if node.value is not None:
            raise not_serializable("A key occurs twice in the form.")
        node.value = value
    return root


def action_of(body: bytes) -> str:
    """Return the operation that a form names; empty when it names none. Raises SerializationException."""
    action = parse_form(body).below.get("Action")
    return action.value or "" if action is not None else ""


class FormDecoder:
    """Reads the form of one operation into the tree that the readers expect."""

    def __init__(self, operation: Any, naming: Naming, *, lists_are_flat: bool) -> None:
        self._shape, self._naming, self._lists_are_flat = operation.input_shape, naming, lists_are_flat
        self._version = str(operation.service_model.metadata.get("apiVersion", ""))

    def __call__(self, body: bytes) -> Any:
        """Raises WireError: a form that is none, another version, a value that is not of its type."""
        root = parse_form(body)
        version = root.below.pop("Version", None)
        if self._version and version is not None and version.value != self._version:
            raise WireError("UnknownOperationException", f"This service has the version {self._version} only.")
        root.below.pop("Action", None)
        return {} if self._shape is None else self._structure(self._shape, root)

    def _read(self, shape: Any, node: Node) -> Any:
        match shape.type_name:
            case "structure":
                return self._structure(shape, node)
            case "list":
                return self._list(shape, node)
            case "map":
                return self._map(shape, node)
            case _:
                return None if node.value is None else scalar(shape, node.value)

    def _structure(self, shape: Any, node: Node) -> dict[str, Any]:
        found = {}
        for member, target in shape.members.items():
            name = self._naming(target, member)
            if target.type_name == "list" and self._is_flat(target) and target.member.serialization.get("name"):
                # A flat list goes by the name of its elements, if they have one.
                name = name if self._lists_are_flat else self._naming(target.member, name)
            below = node.below.get(name)
            if below is not None:
                found[target.serialization.get("name", member)] = self._read(target, below)
        return found

    def _list(self, shape: Any, node: Node) -> Any:
        if node.value == "" and not node.below:
            return []
        if not self._is_flat(shape):
            node = node.below.get(shape.member.serialization.get("name", "member"), Node())
        return [self._read(shape.member, item) for _, item in _numbered(node)]

    def _map(self, shape: Any, node: Node) -> Any:
        if not shape.serialization.get("flattened"):
            node = node.below.get("entry", Node())
        key_name = shape.key.serialization.get("name", "key")
        value_name = shape.value.serialization.get("name", "value")
        found: dict[str, Any] = {}
        for _, entry in _numbered(node):
            key, value = entry.below.get(key_name), entry.below.get(value_name)
            if key is None or key.value is None or key.value in found:
                raise not_serializable("A map of the form has an entry without a key, or a key twice.")
            found[key.value] = None if value is None else self._read(shape.value, value)
        return found

    def _is_flat(self, shape: Any) -> bool:
        return self._lists_are_flat or bool(shape.serialization.get("flattened"))


def _numbered(node: Node) -> list[tuple[int, Node]]:
    """Return what stands under numbers, in their order; numbers may have gaps, as clients of old made them."""
    found = []
    for name, below in node.below.items():
        if not (name.isascii() and name.isdigit() and len(name) <= LONGEST_INTEGER):
            raise not_serializable("A list of the form has an element that is not numbered.")
        found.append((int(name), below))
    return sorted(found, key=lambda item: item[0])


def scalar(shape: Any, text: str) -> Any:
    """Return the value that `text` spells; text that spells none stays text, for the reader to refuse."""
    if shape.type_name == "boolean":
        spelled: Mapping[str, bool] = {"true": True, "false": False}
        return spelled.get(text.lower(), text)
    if shape.type_name in INTEGERS:
        digits = text.removeprefix("-")
        return int(text) if digits.isascii() and digits.isdigit() and len(digits) <= LONGEST_INTEGER else text
    if shape.type_name in ("float", "double"):
        try:
            return NOT_FINITE[text] if text in NOT_FINITE else float(text)
        except ValueError:
            return text
    return text
