"""REST-JSON: the operation is a method and a path; members stand in path, query, headers and a JSON object as body.

The path is split before it is decoded, for a label may hold colons and slashes as `%3A` and `%2F`. What stands in path,
query or header is taken from there alone: a body cannot say it again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from fanlight.api.protocol import json_1_1
from fanlight.api.protocol.errors import WireError, not_serializable
from fanlight.api.protocol.validate import fault, refuse

NAME = "rest-json"
CONTENT_TYPE = "application/json"
NO_CONTENT = 204

Scalars = json_1_1.Scalars
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class RestRequest:
    """What a request says, still undecoded: raw labels of the path by name, raw query, the headers that are members."""

    labels: Pairs
    query: str
    headers: Pairs
    body: bytes

    def __len__(self) -> int:
        return len(self.body) + len(self.query)


@dataclass(frozen=True, slots=True)
class _Template:
    operation: str
    parts: tuple[str, ...]
    """`studios`, or `{studioId}` for a label."""


class Paths:
    """Finds operations by method and raw path."""

    def __init__(self, operations: Mapping[str, Any]) -> None:
        """Take botocore operation models by name."""
        self._templates: dict[tuple[str, int], list[_Template]] = {}
        for name, operation in operations.items():
            parts = tuple(str(operation.http["requestUri"]).split("/"))
            self._templates.setdefault((operation.http["method"], len(parts)), []).append(_Template(name, parts))

    @property
    def starts(self) -> frozenset[str]:
        """Return what paths of these operations begin with: `/2020-08-01/`."""
        return frozenset(f"/{one.parts[1]}/" for templates in self._templates.values() for one in templates)

    def find(self, method: str, raw_path: str) -> tuple[str, Pairs] | None:
        """Return the operation and its labels, which may be empty and are not decoded yet."""
        parts = raw_path.split("/")
        for template in self._templates.get((method, len(parts)), ()):
            pairs = tuple(zip(template.parts, parts, strict=True))
            if all(is_label(wanted) or wanted == given for wanted, given in pairs):
                return template.operation, tuple((wanted[1:-1], given) for wanted, given in pairs if is_label(wanted))
        return None


def is_label(part: str) -> bool:
    return part.startswith("{")


def member_headers(operation: Any) -> tuple[str, ...]:
    """Return the headers of a botocore operation model that are members of its request."""
    return tuple(
        shape.serialization["name"]
        for shape in operation.input_shape.members.values()
        if shape.serialization.get("location") == "header"
    )


def decoder(operation: Any) -> Callable[[RestRequest], Any]:
    """Return what makes one tree of the parts of a request, by the names that the members have on the wire."""
    located: dict[str, dict[str, Any]] = {"uri": {}, "querystring": {}, "header": {}}
    for member, shape in operation.input_shape.members.items():
        if location := shape.serialization.get("location"):
            located[location][shape.serialization.get("name", member)] = shape
    elsewhere = frozenset(name for members in located.values() for name in members)

    def decode(request: RestRequest) -> Any:
        body = json_1_1.decode(request.body)
        if type(body) is not dict:
            return body  # its reader says what is wrong with it
        tree = {name: value for name, value in body.items() if name not in elsewhere}
        tree.update(_labels(request.labels))
        given = _query(request.query)
        for name, shape in located["querystring"].items():
            if name in given:
                tree[name] = _query_value(name, shape, given[name])
        tree.update((name, value) for name, value in request.headers if name in located["header"])
        return tree

    return decode


def _labels(labels: Pairs) -> dict[str, str]:
    if empty := [name for name, value in labels if not value]:
        text = "Member must have length greater than or equal to 1"
        raise refuse([fault("", name, text, is_sensitive=False) for name in empty])
    return {name: decoded(value) for name, value in labels}


def _query(raw: str) -> dict[str, list[str]]:
    """Return all values of each name; a name may be repeated."""
    found: dict[str, list[str]] = {}
    for pair in raw.split("&"):
        name, _, value = pair.partition("=")
        if name:
            found.setdefault(decoded(name), []).append(decoded(value))
    return found


def _query_value(name: str, shape: Any, values: Sequence[str]) -> Any:
    if shape.type_name == "list":
        return list(values)
    if len(values) > 1:
        raise not_serializable(f"'{name}' can be given once only.")
    if shape.type_name == "string":
        return values[0]
    digits = values[0].removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):  # noqa: PLR2004 - more is no 64 bits
        raise not_serializable(f"'{name}' is not an integer.")
    return int(values[0])


def decoded(raw: str) -> str:
    """Return a text of the request line. Raises SerializationException when it is not UTF-8."""
    try:
        return unquote(raw, errors="strict")
    except UnicodeDecodeError:
        raise not_serializable("The path or the query is not valid UTF-8.") from None


def encoder(operation: Any) -> Callable[[Any], bytes]:
    return (lambda _: b"") if operation.http.get("responseCode") == NO_CONTENT else json_1_1.encode


def envelope(operation: Any, body: bytes, request_id: str) -> bytes:  # noqa: ARG001 - the header has the request id
    return body


def spelled(error: WireError) -> WireError:
    return error


def encode_error(error: WireError, shape_id: str, request_id: str = "") -> bytes:  # noqa: ARG001
    """Return the body of a refusal; the header names it, for clients take a `code` in the body for the name."""
    return json_1_1.encode({"message": error.message, **({"context": error.context} if error.context else {})})


def response_headers(error_code: str | None) -> dict[str, str]:
    headers = {"Content-Type": CONTENT_TYPE}
    return headers if error_code is None else {**headers, "x-amzn-ErrorType": error_code}
