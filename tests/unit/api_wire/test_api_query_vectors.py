"""botocore's protocol vectors for forms and XML: what its clients send we read, what we send its clients read."""

from copy import deepcopy
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from api_rig import load_vectors
from botocore.awsrequest import HeadersDict
from botocore.model import OperationModel, ServiceModel
from botocore.parsers import EC2QueryParser, QueryParser
from botocore.utils import parse_timestamp
from hypothesis import given, settings
from hypothesis import strategies as st
from test_api_vectors import Plain, comparable, typed

from fanlight.api.aws_services import AwsService, GeneratedNames
from fanlight.api.catalogue import aws_services
from fanlight.api.protocol.errors import WireError
from fanlight.api.protocol.operations import EC2, QUERY, OperationCodec, Wire, compile_operations
from fanlight.api.spec import attribute_name

WIRES: dict[str, tuple[Wire, Any]] = {"query": (QUERY, QueryParser), "ec2": (EC2, EC2QueryParser)}
# botocore's own ignore list: its parser does not read these, or its serializer does not send them.
NOT_OF_BOTOCORE = {
    "QueryFlattenedListArgWithXmlName",
    "QueryXmlLists",
    "Ec2Lists",
    "Ec2XmlLists",
    "Ec2TimestampsInput",
    "Ec2QueryEndpointTraitWithHostLabel",
}
# Nothing on the wire tells an empty map or list from none.
LOST_ON_THE_WIRE = {"QueryEmptyQueryMaps", "Ec2EmptyQueryLists"}
# Clients compress bodies only for operations that ask for it; no service here does.
NOT_FOR_SERVERS = {"SDKAppliedContentEncoding", "SDKAppendsGzipAndIgnoresHttpProvidedEncoding"}


def cases(direction: str) -> list[Any]:
    return [
        pytest.param(suite, case, id=f"{name}-{case['id']}")
        for name in WIRES
        for suite in load_vectors(f"protocols/{direction}/{name}.json")
        for case in suite["cases"]
        if case["id"] not in NOT_OF_BOTOCORE | LOST_ON_THE_WIRE
        and case["id"].partition("_")[0] not in NOT_FOR_SERVERS
        and "idempotency" not in str(case["given"].get("input", "")).lower()
        and "IdempotencyTokenAutoFill" not in case["given"]["name"]
    ]


def codec_of(suite: Any, case: Any) -> tuple[OperationCodec, OperationModel, Wire, Any]:
    description = {**deepcopy(suite), "operations": {case["given"]["name"]: case["given"]}}
    operation = OperationModel(case["given"], ServiceModel(description), case["given"]["name"])
    wire, parser = WIRES[suite["metadata"]["protocol"]]
    codec = compile_operations(wire, {"it": operation}, Plain(), lambda member: member)["it"]
    return codec, operation, wire, parser


@pytest.mark.parametrize(("suite", "case"), cases("input"))
def test_we_read_what_clients_send(suite: Any, case: Any) -> None:
    codec, _, _, _ = codec_of(suite, case)
    body = case["serialized"].get("body", "")
    request = codec.read_request(body.encode())
    assert comparable(request or {}) == comparable(case["params"])


@pytest.mark.parametrize(("suite", "case"), [c for c in cases("output") if "error" not in c.values[1]])
def test_clients_read_what_we_send(suite: Any, case: Any) -> None:
    codec, operation, _, parser = codec_of(suite, case)
    result = None if operation.output_shape is None else typed(case["result"], operation.output_shape)
    body = codec.seal(codec.write_result(result), "a-request-id")
    answer = {"status_code": 200, "headers": HeadersDict({}), "body": body, "context": {}}
    parsed = parser(timestamp_parser=lambda value: parse_timestamp(value).timestamp()).parse(
        answer, operation.output_shape
    )
    assert parsed.pop("ResponseMetadata")["RequestId"] == "a-request-id"
    assert comparable(parsed) == comparable(case["result"])


@pytest.mark.parametrize("wire", [QUERY, EC2], ids=["query", "ec2"])
def test_a_refusal_is_read_by_its_clients(wire: Wire) -> None:
    parser = {"query": QueryParser, "ec2": EC2QueryParser}[wire.NAME]()
    body = wire.encode_error(WireError("Some.Code", "<no> & \x01 ümlaut", status=400), "", "a-request-id")
    parsed = parser.parse({"status_code": 400, "headers": HeadersDict({}), "body": body, "context": {}}, None)
    assert parsed["Error"]["Code"] == "Some.Code"
    assert parsed["Error"]["Message"] == "<no> & \ufffd ümlaut"
    assert parsed["ResponseMetadata"]["RequestId"] == "a-request-id"


def neighbours() -> list[AwsService[Any]]:
    return [service for service in aws_services() if service.form_wire]


KEYS = st.lists(
    st.sampled_from(["Filter", "RegionName", "Value", "member", "1", "2", "", "entry", "Action", "-1", "9" * 30, "é"]),
    min_size=1,
    max_size=40,
).map(".".join)


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.lists(st.tuples(KEYS, st.text(max_size=5)), max_size=8)))
def test_junk_is_read_or_refused_and_nothing_else(junk: Any) -> None:
    from urllib.parse import urlencode

    body = junk if isinstance(junk, bytes) else urlencode(junk, errors="surrogatepass").encode()
    for service in neighbours():
        wire = service.form_wire
        assert wire is not None
        operations = {name: service.model.operation_model(name) for name in service.registry.built}
        for codec in compile_operations(wire, operations, GeneratedNames(service.types), attribute_name).values():
            refused: WireError | None = None
            try:
                codec.read_request(body)
            except WireError as error:
                refused = wire.spelled(error)
            if refused is not None:
                ET.fromstring(wire.encode_error(refused, "", "id"))
                assert refused.status < 500


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (b"a=" + b"&b=1" * 6000, "fields"),
        (b".".join([b"x"] * 40) + b"=1", "too many parts"),
        (b"RegionName.1=a&RegionName.1=b", "twice"),
        (b"RegionName.x=a", "not numbered"),
        (b"DryRun=maybe", "Boolean"),
        (b"%ff=1", "UTF-8"),
        (b"Version=1999-01-01", "version"),
    ],
)
def test_a_form_that_is_none_is_refused_in_words(form: bytes, words: str) -> None:
    (service,) = [service for service in aws_services() if service.name == "ec2"]
    operations = {"DescribeRegions": service.model.operation_model("DescribeRegions")}
    codec = compile_operations(EC2, operations, GeneratedNames(service.types), attribute_name)["DescribeRegions"]
    with pytest.raises(WireError, match=words):
        codec.read_request(form)
