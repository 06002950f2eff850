"""Every operation, both protocols, against botocore: its serializer feeds our reader, its parser eats our answers."""

import re
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest
from botocore import xform_name
from botocore.awsrequest import HeadersDict
from botocore.parsers import JSONParser, RpcV2CBORParser
from botocore.serialize import JSONSerializer, RpcV2CBORSerializer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fanlight.api import types
from fanlight.api.dispatch import GeneratedNames
from fanlight.api.protocol.operations import CBOR, JSON, OperationCodec, compile_operations
from fanlight.api.spec import appstream_model, attribute_name

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


@cache
def params(shape: Any) -> st.SearchStrategy[Any]:  # noqa: PLR0911 - one line for each kind of shape
    """Generate what a caller of botocore may pass for this shape, within all constraints of the model."""
    metadata = shape.metadata
    least, most = metadata.get("min", 0), metadata.get("max")
    match shape.type_name:
        case "structure":
            required = {name: params(shape.members[name]) for name in shape.required_members}
            optional = {name: params(target) for name, target in shape.members.items() if name not in required}
            return st.fixed_dictionaries(required, optional=optional)
        case "list":
            return st.lists(params(shape.member), min_size=least, max_size=min(most or 3, least + 2))
        case "map":
            return st.dictionaries(params(shape.key), params(shape.value), min_size=least, max_size=least + 2)
        case "string":
            return _strings(metadata, least, most)
        case "boolean":
            return st.booleans()
        case "timestamp":
            return st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001
                lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000)
            )
    bits = 63 if shape.type_name == "long" else 31
    return st.integers(metadata.get("min", -(1 << bits)), metadata.get("max", (1 << bits) - 1))


def _strings(metadata: Any, least: int, most: int | None) -> st.SearchStrategy[str]:
    if "enum" in metadata:
        return st.sampled_from(metadata["enum"])
    if "pattern" not in metadata:
        return st.text(
            st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=least, max_size=most or 20
        )
    if r"\p{" in metadata["pattern"]:
        return st.text("aZ09é字_-", min_size=least, max_size=10).filter(bool)
    pattern = re.compile(metadata["pattern"].removesuffix("$").replace("(?<!\\.)", ""), re.ASCII)

    def is_legal(text: str) -> bool:
        """What was cut off at the greatest length may be no match any more."""
        return len(text) >= least and pattern.fullmatch(text) is not None and not text.endswith((".", "\n"))

    return st.from_regex(pattern, fullmatch=True).map(lambda text: text[:most]).filter(is_legal)


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
