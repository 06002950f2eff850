"""What a request may not be, in the words AWS uses: types, lengths, ranges, patterns, enums, and all faults at once."""

import json
import time
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanlight.api import types
from fanlight.api.aws_services import GeneratedNames
from fanlight.api.protocol.errors import WireError
from fanlight.api.protocol.operations import CBOR, JSON, compile_operations
from fanlight.api.protocol.validate import constraints_of
from fanlight.api.spec import appstream_model, attribute_name

MODEL = appstream_model()
OPERATIONS = {name: MODEL.operation_model(name) for name in MODEL.operation_names}
CODECS = {
    wire.NAME: compile_operations(wire, OPERATIONS, GeneratedNames(types), attribute_name) for wire in (JSON, CBOR)
}
FLEET = {"Name": "cad", "InstanceType": "stream.standard.small"}


def refusal(operation: str, body: bytes, wire: str = "json-1.1") -> WireError:
    with pytest.raises(WireError) as caught:
        CODECS[wire][operation].read_request(body)
    return caught.value


def code_of(operation: str, body: bytes, wire: str) -> str | None:
    """Return the code of the refusal, or None for a request that is accepted; any other exception escapes."""
    try:
        CODECS[wire][operation].read_request(body)
    except WireError as error:
        error.message.encode()
        return error.code
    return None


def validation(operation: str, **members: Any) -> str:
    """Return the text of the ValidationException; the two protocols must agree on it."""
    in_json = refusal(operation, json.dumps(members).encode())
    in_cbor = refusal(operation, cbor2.dumps(members), "rpc-v2-cbor")
    assert (in_json.code, in_json.status) == (in_cbor.code, in_cbor.status) == ("ValidationException", 400)
    assert in_json.message == in_cbor.message
    return in_json.message


def test_a_missing_required_member_is_null() -> None:
    assert validation("DeleteFleet") == (
        "1 validation error detected: Value null at 'name' failed to satisfy constraint: Member must not be null"
    )


def test_all_faults_are_named_at_once() -> None:
    assert validation("CreateFleet", Name="-bad", FleetType="SOMETIMES", Description="d" * 257) == (
        "4 validation errors detected: "
        "Value '-bad' at 'name' failed to satisfy constraint: "
        "Member must satisfy regular expression pattern: ^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,100}$; "
        "Value null at 'instanceType' failed to satisfy constraint: Member must not be null; "
        "Value 'SOMETIMES' at 'fleetType' failed to satisfy constraint: "
        "Member must satisfy enum value set: [ALWAYS_ON, ON_DEMAND, ELASTIC]; "
        f"Value '{'d' * 257}' at 'description' failed to satisfy constraint: "
        "Member must have length less than or equal to 256"
    )


def test_lengths_and_ranges_say_which_way() -> None:
    assert validation("DeleteFleet", Name="") == (
        "1 validation error detected: Value '' at 'name' failed to satisfy constraint: "
        "Member must have length greater than or equal to 1"
    )
    assert validation("DescribeImages", MaxResults=26).endswith(
        "Value '26' at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to 25"
    )
    assert validation("DescribeImages", MaxResults=-1).endswith(
        "Value '-1' at 'maxResults' failed to satisfy constraint: Member must have value greater than or equal to 0"
    )


def test_nested_members_are_found_by_their_path() -> None:
    settings_given = [{"Action": "CLIPBOARD_COPY_FROM_LOCAL_DEVICE", "Permission": "ENABLED"}, {"Action": "DANCE"}]
    assert validation("CreateStack", Name="s", UserSettings=settings_given) == (
        "2 validation errors detected: Value 'DANCE' at 'userSettings.2.member.action' failed to satisfy constraint: "
        f"Member must satisfy enum value set: [{', '.join(types.Action)}]; "
        "Value null at 'userSettings.2.member.permission' failed to satisfy constraint: Member must not be null"
    )


def test_elements_of_a_list_of_strings_are_judged_together() -> None:
    message = validation("CreateFleet", **FLEET, VpcConfig={"SecurityGroupIds": ["sg-1", ""]})
    assert message == (
        "1 validation error detected: Value '[sg-1, ]' at 'vpcConfig.securityGroupIds' failed to satisfy constraint: "
        "Member must satisfy constraint: [Member must have length greater than or equal to 1, "
        r"Member must satisfy regular expression pattern: [^\x00]*]"
    )


def test_maps_are_judged_by_keys_values_and_size() -> None:
    arn = "arn:aws:appstream:us-east-1:000000000000:fleet/cad"
    assert "Map keys must satisfy constraint" in validation("TagResource", ResourceArn=arn, Tags={"aws:x": "1"})
    assert "Map value must satisfy constraint" in validation("TagResource", ResourceArn=arn, Tags={"a": "é!"})
    assert validation("TagResource", ResourceArn=arn, Tags={}) == (
        "1 validation error detected: Value '{}' at 'tags' failed to satisfy constraint: "
        "Member must have length greater than or equal to 1"
    )
    assert CODECS["json-1.1"]["TagResource"].read_request(
        json.dumps({"ResourceArn": arn, "Tags": {"Größe / 寸": "x y", "empty": ""}}).encode()
    ).tags == {"Größe / 寸": "x y", "empty": ""}


@pytest.mark.parametrize(
    ("operation", "members", "secret"),
    [
        (
            "CreateDirectoryConfig",
            {
                "DirectoryName": "d",
                "OrganizationalUnitDistinguishedNames": [],
                "ServiceAccountCredentials": {"AccountName": "admin", "AccountPassword": "hunter2" * 20},
            },
            "hunter2",
        ),
        ("CreateUser", {"UserName": "eve adams", "AuthenticationType": "USERPOOL"}, "eve"),
        (
            "CreateStreamingURL",
            {"StackName": "s", "FleetName": "f", "UserId": "u1", "SessionContext": "tok\0en"},
            "en'",
        ),
    ],
)
def test_secrets_are_not_echoed(operation: str, members: dict[str, Any], secret: str) -> None:
    message = validation(operation, **members)
    assert secret not in message
    assert "Value at '" in message


def test_a_long_value_is_not_echoed_whole() -> None:
    assert len(validation("DescribeStacks", NextToken="x" * 5000 + "\0")) < 1000


def test_a_trailing_newline_is_not_part_of_a_name() -> None:
    assert "regular expression" in validation("CreateStack", Name="cad\n")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"Names":"cad"}', "STRING_VALUE can not be converted to a list at 'names'"),
        (b'{"Names":[1]}', "NUMBER_VALUE can not be converted to a String at 'names'"),
        (b'{"Names":{"a":1}}', "Start of structure or map can not be converted to a list at 'names'"),
        (b'{"Names":[["a"]]}', "Start of list can not be converted to a String at 'names'"),
        (b'{"NextToken":true}', "BOOLEAN_VALUE can not be converted to a String at 'nextToken'"),
        (b"[]", "Start of list can not be converted to a structure at the top of the request"),
        (b"null", "The value given can not be converted to a structure at the top of the request"),
        (b'{"NextToken":"\\ud800"}', "The value at 'nextToken' is not valid Unicode."),
        (b'{"Names":["a"],"Names":["b"]}', "The request body is not valid JSON: a name occurs twice in one object."),
        (b'{"NextToken":NaN}', "The request body is not valid JSON: NaN is not JSON."),
        (b'{"NextToken":', "The request body is not valid JSON: Expecting value at character 13."),
        (b'{"NextToken":"\xff"}', "The request body is not valid UTF-8."),
        (b"[" * 100_000, "The request body is nested too deeply."),
        (b'{"a":' * 100_000, "The request body is nested too deeply."),
        (b'{"NextToken":' + b"9" * 5000 + b"}", "The request body is not valid JSON: a number is too long."),
    ],
)
def test_bodies_of_the_wrong_form_are_serialization_errors(body: bytes, text: str) -> None:
    error = refusal("DescribeStacks", body)
    assert (error.code, error.status, error.message) == ("SerializationException", 400, text)


@pytest.mark.parametrize("value", ["5", 5.0, 5.5, True, [5], 1 << 31, -(1 << 31) - 1, 1 << 70, 10**400])
def test_a_number_must_be_an_integer_that_fits(value: Any) -> None:
    for wire, body in (
        ("json-1.1", json.dumps({"MaxResults": value})),
        ("rpc-v2-cbor", cbor2.dumps({"MaxResults": value})),
    ):
        raw = body.encode() if isinstance(body, str) else body
        assert refusal("DescribeImages", raw, wire).code == "SerializationException"


@pytest.mark.parametrize(
    "body",
    [
        b"\xa0\x00",
        b"\xff",
        b"\x81" * 100_000,
        b"\xbb" + b"\xff" * 8,
        b"\x7b\x7f" + b"\xff" * 7,
        b"\xa2\x65Names\x80\x65Names\x80",
        b"\xa1\x01\x02",
        b"\xa1\x69NextToken\x61\xff",
        b"\xd8\x1c\x81\xd8\x1d\x00",
        cbor2.dumps({"NextToken": cbor2.CBORTag(35, "(a+)+$")}),
        cbor2.dumps({"NextToken": cbor2.CBORTag(2, b"\xff" * 1000)}),
        cbor2.dumps({"NextToken": b"bytes"}),
        cbor2.dumps({"NextToken": cbor2.undefined}),
        cbor2.dumps([]),
    ],
)
def test_broken_and_foreign_cbor_is_a_serialization_error(body: bytes) -> None:
    assert refusal("DescribeStacks", body, "rpc-v2-cbor").code == "SerializationException"


def test_definite_and_indefinite_cbor_are_the_same() -> None:
    read = CODECS["rpc-v2-cbor"]["DescribeStacks"].read_request
    assert read(b"\xbf\x65Names\x9f\x7f\x61c\x62ad\xff\xff\xff") == read(cbor2.dumps({"Names": ["cad"]}))


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["", "x" * 400, "ENABLED"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def _near_misses(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """An operation, and something under the names of its members, at two levels."""
    name = draw(st.sampled_from(sorted(OPERATIONS)))
    shape = OPERATIONS[name].input_shape

    def members(structure: Any, depth: int) -> st.SearchStrategy[Any]:
        if structure.type_name != "structure" or depth == 0:
            return _values
        optional = {key: members(target, depth - 1) | _values for key, target in structure.members.items()}
        return st.fixed_dictionaries({}, optional=optional)

    return name, draw(members(shape, 3))


@settings(max_examples=150, deadline=None)
@given(_near_misses())
def test_no_value_of_any_type_anywhere_gets_more_than_a_refusal(case: tuple[str, dict[str, Any]]) -> None:
    name, tree = case
    for wire, body in (("json-1.1", json.dumps(tree).encode()), ("rpc-v2-cbor", cbor2.dumps(tree))):
        assert code_of(name, body, wire) in (None, "SerializationException", "ValidationException")


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(CODECS)), st.binary(max_size=200))
def test_no_bytes_get_more_than_a_refusal(wire: str, body: bytes) -> None:
    assert code_of("DescribeStacks", body, wire) in (None, "SerializationException", "ValidationException")


PATTERNS = sorted(name for name in MODEL.shape_names if "pattern" in MODEL.shape_for(name).metadata)


@pytest.mark.parametrize("name", PATTERNS)
def test_no_pattern_takes_an_attackers_time(name: str) -> None:
    """A megabyte that almost matches, in many ways, is judged in moments."""
    *_, pattern = constraints_of(MODEL.shape_for(name))
    for part in ("a", ".", ",", " ", "*", "0", ":", "a.", "a,", "-", "arn:aws:", "a ", "0.", "http://"):
        started = time.process_time()
        pattern.holds((part * 1_000_000)[:1_000_000] + "\n")
        assert time.process_time() - started < 0.5, part
