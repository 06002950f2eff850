"""botocore's published protocol vectors: what its clients send we read, what we send its clients read."""

import base64
import json
import math
from copy import deepcopy
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import cbor2
import pytest
from api_rig import load_vectors
from botocore.awsrequest import HeadersDict
from botocore.model import OperationModel, ServiceModel
from botocore.parsers import JSONParser, RpcV2CBORParser
from botocore.utils import parse_timestamp

from fanlight.api.protocol.errors import WireError
from fanlight.api.protocol.operations import CBOR, JSON, OperationCodec, Wire, compile_operations

WIRES: dict[str, tuple[Wire, Any]] = {"json": (JSON, JSONParser), "smithy-rpc-v2-cbor": (CBOR, RpcV2CBORParser)}
# Behaviour of clients alone: what they add, compress or leave out before anything reaches a server.
NOT_FOR_SERVERS = {
    "SDKAppliedContentEncoding_awsJson1_1",
    "SDKAppendsGzipAndIgnoresHttpProvidedEncoding_awsJson1_1",
    "serializes_string_shapes_with_jsonvalue_trait",  # a trait that AppStream does not use
}


class Plain:
    """Members keep their wire names and structures are dictionaries, so that results compare with the vectors."""

    def attribute(self, member: str) -> str:
        return member

    def structure(self, _: str) -> Any:
        return dict

    def enum(self, _: str) -> Any:
        return str

    def is_sensitive(self, *_: Any) -> bool:
        return False


def cases(direction: str) -> list[Any]:
    found = []
    for name in ("json", "smithy-rpc-v2-cbor", "smithy-rpc-v2-cbor-non-query-compatible"):
        if (direction, name) == ("output", "smithy-rpc-v2-cbor-non-query-compatible"):
            continue  # botocore has no such file
        for suite in load_vectors(f"protocols/{direction}/{name}.json"):
            found += [
                pytest.param(suite, case, id=f"{name}-{case['id']}")
                for case in suite["cases"]
                if case["id"] not in NOT_FOR_SERVERS
            ]
    return found


def codec_of(suite: Any, case: Any) -> tuple[OperationCodec, OperationModel, Wire, Any]:
    description = {**deepcopy(suite), "operations": {case["given"]["name"]: case}}
    operation = OperationModel(case["given"], ServiceModel(description))
    wire, parser = WIRES[suite["metadata"]["protocol"]]
    codec = compile_operations(wire, {"it": operation}, Plain(), lambda member: member)["it"]
    return codec, operation, wire, parser


def comparable(value: Any) -> Any:
    """Bring what we read and what the vectors spell to one form: times as seconds, bytes as text, tuples as lists."""
    if isinstance(value, dict):
        return {key: comparable(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [comparable(item) for item in value]
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, float) and not math.isfinite(value):
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
    return value


@pytest.mark.parametrize(("suite", "case"), cases("input"))
def test_we_read_what_clients_send(suite: Any, case: Any) -> None:
    codec, operation, wire, _ = codec_of(suite, case)
    text = case["serialized"].get("body", "")
    body = base64.b64decode(text) if wire is CBOR else text.encode()
    request = codec.read_request(body)
    assert comparable(request or {}) == comparable(case["params"])
    assert (request is None) == (operation.input_shape is None)


@pytest.mark.parametrize(("suite", "case"), [c for c in cases("output") if "error" not in c.values[1]])
def test_clients_read_what_we_send(suite: Any, case: Any) -> None:
    """From the expected result to our bytes, and through botocore's parser back to the expected result."""
    codec, operation, _, parser = codec_of(suite, case)
    if operation.output_shape is None:
        assert codec.write_result(None) in (b"{}", b"\xa0")
        return
    result = typed(case["result"], operation.output_shape)
    headers = HeadersDict(case["response"].get("headers", {}))
    answer = {"status_code": 200, "headers": headers, "body": codec.write_result(result), "context": {}}
    parsed = parser(timestamp_parser=lambda value: parse_timestamp(value).timestamp()).parse(
        answer, operation.output_shape
    )
    parsed.pop("ResponseMetadata")
    assert comparable(parsed) == comparable(case["result"])


def typed(value: Any, shape: Any) -> Any:  # noqa: PLR0911 - one line for each kind of shape
    """Build from a vector what a handler would return: objects with attributes, times, bytes and floats."""
    if value is None:
        return None
    match shape.type_name:
        case "structure":
            if shape.metadata.get("document"):
                return value
            given = {name: typed(value.get(name), target) for name, target in shape.members.items()}
            return SimpleNamespace(**given)
        case "list":
            return [typed(item, shape.member) for item in value]
        case "map":
            return {key: typed(item, shape.value) for key, item in value.items()}
        case "timestamp":
            return datetime.fromtimestamp(value, UTC)
        case "blob":
            return value.encode()
        case "float" | "double":
            return float(value)
    return value


@pytest.mark.parametrize(("suite", "case"), [c for c in cases("output") if "errorMessage" in c.values[1]])
def test_our_errors_are_spelled_as_in_the_vectors(suite: Any, case: Any) -> None:
    """Code and text of the published error answers stand in ours under the same members."""
    _, _, wire, _ = codec_of(suite, case)
    text = case["response"]["body"]
    published = cbor2.loads(base64.b64decode(text)) if wire is CBOR else json.loads(text)
    error = WireError(case["errorCode"], case["errorMessage"], status=400)
    ours = wire.decode(wire.encode_error(error, published["__type"], ""))
    assert ours == {**published, "message": case["errorMessage"]}
