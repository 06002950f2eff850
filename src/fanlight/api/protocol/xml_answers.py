"""What AWS's query protocols answer: XML, written along the shape of the result.

Only what XML 1.0 can hold is written; a character that it cannot becomes U+FFFD, or no client could read the answer.
"""

import math
import re
from collections.abc import Callable
from typing import Any
from xml.sax.saxutils import escape

_UNWRITABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
Write = Callable[[Any], str]
"""The tree of a value → the XML inside its element."""


def text(value: str) -> str:
    return escape(_UNWRITABLE.sub("\ufffd", value), {"\r": "&#xD;"})


def element(name: str, inside: str, namespace: str = "") -> str:
    return f'<{name} xmlns="{namespace}">{inside}</{name}>' if namespace else f"<{name}>{inside}</{name}>"


class XmlWriter:
    """Compiles the writers of one operation's result; a shape that contains itself is resolved when first written."""

    def __init__(self) -> None:
        self._structures: dict[str, Write] = {}

    def compile(self, shape: Any) -> Write:
        match shape.type_name:
            case "structure":
                return self._structure(shape)
            case "list":
                return self._list(shape)
            case "map":
                return self._map(shape)
            case _:
                return _scalar

    def _structure(self, shape: Any) -> Write:
        if shape.name not in self._structures:
            self._structures[shape.name] = lambda value: self._structures[shape.name](value)  # noqa: PLW0108
            members = [self._member(name, target) for name, target in sorted(shape.members.items())]

            def write(tree: Any) -> str:
                return "".join(put(tree[name]) for name, put in members if name in tree)

            self._structures[shape.name] = write
        return self._structures[shape.name]

    def _member(self, member: str, target: Any) -> tuple[str, Write]:
        """Return the name of a member in the tree, and what writes it with its element or elements."""
        name = target.serialization.get("name", member)
        if target.serialization.get("flattened") and target.type_name == "list":
            inner, each = self.compile(target.member), target.member.serialization.get("name", name)
            return name, lambda items: "".join(element(each, inner(item)) for item in items)
        if target.serialization.get("flattened") and target.type_name == "map":
            entry = self._entry(target)
            return name, lambda items: "".join(element(name, entry(pair)) for pair in items.items())
        inner = self.compile(target)
        return name, lambda value: element(name, inner(value))

    def _list(self, shape: Any) -> Write:
        inner, each = self.compile(shape.member), shape.member.serialization.get("name", "member")
        return lambda items: "".join(element(each, inner(item)) for item in items)

    def _map(self, shape: Any) -> Write:
        entry = self._entry(shape)
        return lambda items: "".join(element("entry", entry(pair)) for pair in items.items())

    def _entry(self, shape: Any) -> Callable[[tuple[str, Any]], str]:
        key, value = shape.key.serialization.get("name", "key"), shape.value.serialization.get("name", "value")
        inner = self.compile(shape.value)
        return lambda pair: element(key, text(pair[0])) + element(value, inner(pair[1]))


def _scalar(value: Any) -> str:
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    return text(str(value))
