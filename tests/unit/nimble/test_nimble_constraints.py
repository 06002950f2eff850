"""Every constraint of the model, for clients check few of them: each member of each request, as it must not be."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from fanlight.api.aws_services import GeneratedNames
from fanlight.api.protocol.errors import WireError
from fanlight.api.protocol.operations import REST, compile_operations
from fanlight.api.protocol.rest_json import RestRequest
from fanlight.api.protocol.validate import translate_pattern
from fanlight.api.spec import attribute_name
from fanlight.api.spec.nimble_model import nimble_model
from fanlight.api.types import nimble as types

MODEL = nimble_model()
OPERATIONS = {name: MODEL.operation_model(name) for name in MODEL.operation_names}
CODECS = compile_operations(REST, OPERATIONS, GeneratedNames(types), attribute_name)
TEXTS = ("a", "abc", "A", "ami-1", "2021-03-31", "$HOME/x", "C:\\x", "arn:x", "Ab", "a b/c", "é!", "\\", "1")


def fits(shape: Any, text: str) -> bool:
    said = shape.metadata
    is_known = text in shape.enum if shape.enum else True
    is_spelled = re.search(translate_pattern(said["pattern"]), text) is not None if "pattern" in said else True
    return is_known and is_spelled and said.get("min", 0) <= len(text) <= said.get("max", len(text))


def right(shape: Any) -> Any:
    """Return the smallest value that the model allows."""
    match shape.type_name:
        case "structure":
            names = shape.required_members or (list(shape.members)[:1] if shape.is_tagged_union else [])
            return {name: right(shape.members[name]) for name in names}
        case "list":
            return [right(shape.member)] * max(1, shape.metadata.get("min", 0))  # a query cannot say an empty one
        case "map":
            return {}
        case "integer":
            return shape.metadata.get("min", 1)
    return shape.enum[0] if shape.enum else next(text for text in TEXTS if fits(shape, text))


def wrong(shape: Any) -> Iterator[Any]:
    """Yield a value for each constraint of the shape itself that it breaks."""
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    match shape.type_name:
        case "string":
            yield from [text for text in TEXTS if not fits(shape, text)][:1]
            yield from ["a" * (most + 1)] if most else []
            yield from [""] if least else []
        case "integer":
            yield from [least - 1] if least is not None else []
            yield from [most + 1] if most is not None else []
        case "list":
            yield from [[right(shape.member)] * (most + 1)] if most else []
            yield from [[]] if least else []


def cases(shape: Any, path: tuple[str, ...] = (), above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the path of each member below a structure, and a value that breaks a constraint there."""
    for name, member in shape.members.items():
        here = (*path, name)
        for value in wrong(member):
            yield here, value
        inner, wrapped = member, False
        if inner.type_name == "list":
            inner, wrapped = inner.member, True
            for value in wrong(inner):
                yield here, [value]
        if inner.type_name == "structure" and inner.name not in above:
            for deeper, value in cases(inner, (), (*above, inner.name)):
                filled = put(right(inner), deeper, value, inner)
                yield here, [filled] if wrapped else filled


def put(tree: Any, path: tuple[str, ...], value: Any, shape: Any) -> Any:
    """Return the tree with a value at a path; of a union it stays the only member."""
    kept = {} if getattr(shape, "is_tagged_union", False) else tree
    return {**kept, path[0]: value} if len(path) == 1 else {**kept, path[0]: put({}, path[1:], value, None)}


def request_of(name: str, tree: dict[str, Any]) -> RestRequest:
    """Spell a request as clients do."""
    labels, query, headers, body = [], [], [], {}
    for member, value in tree.items():
        said = OPERATIONS[name].input_shape.members[member].serialization
        spelled = said.get("name", member)
        match said.get("location"):
            case "uri":
                labels.append((spelled, quote(str(value), safe="")))
            case "querystring":
                query += [
                    f"{spelled}={quote(str(one), safe='')}" for one in (value if isinstance(value, list) else [value])
                ]
            case "header":
                headers.append((spelled, value))
            case _:
                body[member] = value
    return RestRequest(tuple(labels), "&".join(query), tuple(headers), json.dumps(body).encode())


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_the_model_allows_is_read_and_nothing_else(name: str) -> None:
    shape, read = OPERATIONS[name].input_shape, CODECS[name].read_request
    least = right(shape)
    read(request_of(name, least))
    for member in shape.required_members:
        if shape.members[member].serialization.get("location") != "uri":
            with pytest.raises(WireError, match=re.escape("Member must not be null")):
                read(request_of(name, {key: value for key, value in least.items() if key != member}))
    for path, value in cases(shape):
        if value == [] and shape.members[path[0]].serialization.get("location") == "querystring":
            continue  # an empty list has no spelling there
        with pytest.raises(WireError) as refused:
            read(request_of(name, {**least, path[0]: value}))
        assert REST.spelled(refused.value).code == "ValidationException", (path, value)


def test_there_is_something_wrong_with_nearly_every_request() -> None:
    """Or the test above would say nothing."""
    counted = {name: sum(1 for _ in cases(OPERATIONS[name].input_shape)) for name in OPERATIONS}
    assert sum(counted.values()) > 200
    assert counted["CreateLaunchProfile"] > 40
