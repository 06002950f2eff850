"""Every operation, both protocols, against botocore: its serializer feeds our reader, its parser eats our answers."""

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore import xform_name
from botocore.awsrequest import HeadersDict
from botocore.parsers import JSONParser, RpcV2CBORParser
from botocore.serialize import JSONSerializer, RpcV2CBORSerializer
from hypothesis import HealthCheck, given, settings

from fanlight.api import types
from fanlight.api.aws_services import GeneratedNames
from fanlight.api.protocol.operations import CBOR, JSON, OperationCodec, compile_operations
from fanlight.api.spec import appstream_model, attribute_name
from random_requests import params

MODEL = appstream_model()
OPERATIONS = {name: MODEL.operation_model(name) for name in sorted(MODEL.operation_names)}
PROTOCOLS = {
    "json": (compile_operations(JSON, OPERATIONS, GeneratedNames(types), attribute_name), JSONSerializer, JSONParser),
    "cbor": (
        compile_operations(CBOR, OPERATIONS, GeneratedNames(types), attribute_name),
        RpcV2CBORSerializer,
        RpcV2CBORParser,
    ),
}
SETTINGS = settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))


def typed(value: Any, shape: Any, name: str = "") -> Any:
    """Build the typed twin of botocore's dictionaries, by the rules of the types' docstring and nothing of the reader."""
    match shape.type_name:
        case "structure":
            cls = getattr(types, name or shape.name)
            return cls(**{xform_name(member): typed(item, shape.members[member]) for member, item in value.items()})
        case "list":
            return tuple(typed(item, shape.member) for item in value)
        case "map":
            return {key: typed(item, shape.value) for key, item in value.items()}
        case "string" if shape.enum:
            return getattr(types, shape.name)(value)
    return value


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", OPERATIONS)
def test_requests_arrive_as_botocore_sends_them(name: str, protocol: str) -> None:
    codecs, serializer, _ = PROTOCOLS[protocol]
    operation = OPERATIONS[name]

    @SETTINGS
    @given(params(operation.input_shape))
    def check(given_params: dict[str, Any]) -> None:
        body = serializer().serialize_to_request(given_params, operation)["body"]
        assert codecs[name].read_request(body) == typed(given_params, operation.input_shape)

    check()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", OPERATIONS)
def test_results_arrive_at_botocore_as_handlers_give_them(name: str, protocol: str) -> None:
    codecs, _, parser = PROTOCOLS[protocol]
    operation = OPERATIONS[name]

    @SETTINGS
    @given(params(operation.output_shape))
    def check(expected: dict[str, Any]) -> None:
        result = typed(expected, operation.output_shape, f"{name}Result")
        assert parsed(codecs[name], parser, operation, result) == expected

    check()


def parsed(codec: OperationCodec, parser: Any, operation: Any, result: Any) -> Any:
    answer = {"status_code": 200, "headers": HeadersDict({}), "body": codec.write_result(result), "context": {}}
    found = parser().parse(answer, operation.output_shape)
    found.pop("ResponseMetadata")
    return found


def test_an_absent_member_is_neither_null_nor_empty_on_the_wire() -> None:
    codec = PROTOCOLS["json"][0]["DescribeFleets"]
    assert codec.write_result(types.DescribeFleetsResult()) == b"{}"
    assert codec.write_result(types.DescribeFleetsResult(fleets=())) == b'{"Fleets":[]}'
    assert PROTOCOLS["cbor"][0]["StopFleet"].write_result(types.StopFleetResult()) == b"\xa0"


def test_null_members_and_members_no_model_knows_are_as_good_as_absent() -> None:
    codec = PROTOCOLS["json"][0]["DescribeFleets"]
    assert codec.read_request(b'{"NextToken":null,"Colour":"red"}') == types.DescribeFleetsRequest()
    assert codec.read_request(b"") == types.DescribeFleetsRequest()


def test_timestamps_are_seconds_with_milliseconds_in_json_and_tagged_in_cbor() -> None:
    at = datetime(2020, 5, 25, 8, 33, 15, 645678, tzinfo=UTC)
    stack = types.Stack(name="cad", created_time=at)
    result = types.CreateStackResult(stack=stack)
    assert b'"CreatedTime":1590395595.646' in PROTOCOLS["json"][0]["CreateStack"].write_result(result)
    whole = types.CreateStackResult(stack=types.Stack(name="cad", created_time=at.replace(microsecond=0)))
    encoded = PROTOCOLS["cbor"][0]["CreateStack"].write_result(whole)
    assert b"kCreatedTime\xc1\x1a\x5e\xcb\x82\xcb" in encoded
