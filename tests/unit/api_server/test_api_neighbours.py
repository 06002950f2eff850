"""The other services of the listener, asked by boto3 as it is, and junk that names them."""

import asyncio
from typing import Any
from xml.etree import ElementTree as ET

import aiohttp
import pytest
from api_server_rig import KEY, temporary
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from fanlight.api.catalogue import aws_services
from fanlight.api.errors import ALWAYS_ANSWERED, wire_code
from fanlight.api.protocol.errors import COMMON_STATUS
from fanlight.api.spec import NEIGHBOURS

FORM = "application/x-www-form-urlencoded; charset=utf-8"


async def call(client: Any, operation: str, **arguments: Any) -> Any:
    answer = await asyncio.to_thread(getattr(client, operation), **arguments)
    assert len(answer["ResponseMetadata"]["RequestId"]) == 36
    return answer


async def refusal(client: Any, operation: str, **arguments: Any) -> tuple[str, str, int]:
    with pytest.raises(ClientError) as caught:
        await call(client, operation, **arguments)
    answer = caught.value.response
    assert len(answer["ResponseMetadata"]["RequestId"]) == 36
    return answer["Error"]["Code"], answer["Error"]["Message"], answer["ResponseMetadata"]["HTTPStatusCode"]


async def test_sts_says_who_signs(api: Any) -> None:
    who = await call(api.client(service="sts"), "get_caller_identity")
    assert (who["Account"], who["UserId"]) == ("000000000000", "AKIDFANLIGHT")
    assert who["Arn"] == "arn:aws:iam::000000000000:user/AKIDFANLIGHT"


async def test_ec2_lists_the_configured_regions(api: Any) -> None:
    client = api.client(service="ec2")
    everywhere = (await call(client, "describe_regions"))["Regions"]
    assert [region["RegionName"] for region in everywhere] == ["us-east-1", "eu-west-1"]
    assert everywhere[1] == {
        "RegionName": "eu-west-1",
        "Endpoint": "ec2.eu-west-1.amazonaws.com",
        "OptInStatus": "opt-in-not-required",
    }
    some = await call(client, "describe_regions", RegionNames=["eu-west-1"], AllRegions=True)
    assert some["Regions"] == everywhere[1:]
    filtered = await call(
        client, "describe_regions", Filters=[{"Name": "opt-in-status", "Values": ["opt-in-not-required", "opted-in"]}]
    )
    assert filtered["Regions"] == everywhere
    none = await call(client, "describe_regions", Filters=[{"Name": "region-name", "Values": ["ap-south-1"]}])
    assert none["Regions"] == []


async def test_ec2_refuses_what_it_would_refuse(api: Any) -> None:
    client = api.client(service="ec2")
    code, message, status = await refusal(client, "describe_regions", RegionNames=["mars-1"])
    assert (code, status) == ("InvalidParameterValue", 400)
    assert "mars-1" in message
    assert (await refusal(client, "describe_regions", Filters=[{"Name": "x", "Values": ["y"]}]))[0] == (
        "InvalidParameterValue"
    )
    assert (await refusal(client, "describe_regions", DryRun=True))[::2] == ("DryRunOperation", 412)


@pytest.mark.parametrize(
    ("service", "operation", "arguments"),
    [("sts", "get_session_token", {}), ("ec2", "describe_instances", {})],
)
async def test_another_operation_of_a_neighbour_is_refused_by_name(
    api: Any, service: str, operation: str, arguments: dict[str, Any]
) -> None:
    code, message, status = await refusal(api.client(service=service), operation, **arguments)
    assert (code, status) == ("UnsupportedOperation", 400)
    assert "Fanlight answers of" in message


@pytest.mark.parametrize(
    ("service", "wrong_secret", "unknown_key"),
    [("sts", "SignatureDoesNotMatch", "InvalidClientTokenId"), ("ec2", "AuthFailure", "AuthFailure")],
)
async def test_bad_credentials_are_refused_in_the_words_of_the_service(
    api: Any, service: str, wrong_secret: str, unknown_key: str
) -> None:
    operation = {"sts": "get_caller_identity", "ec2": "describe_regions"}[service]
    wrong = api.client(service=service, key=temporary(KEY, secret_access_key="guess"))
    assert (await refusal(wrong, operation))[0] == wrong_secret
    unknown = api.client(service=service, key=temporary(KEY, access_key_id="AKIDNOBODY"))
    assert (await refusal(unknown, operation))[0] == unknown_key


def signed(api: Any, body: bytes, service: str, **headers: str) -> dict[str, str]:
    request = AWSRequest("POST", api.url + "/", {"Content-Type": FORM, **headers}, body)
    SigV4Auth(Credentials(KEY.access_key_id, KEY.secret_access_key), service, "us-east-1").add_auth(request)
    return dict(request.headers.items())


async def code_of(api: Any, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
    async with aiohttp.ClientSession() as http, http.post(api.url, data=body, headers=headers) as answer:
        root = ET.fromstring(await answer.text())  # the codes of forms come in XML, whatever the form was
        return answer.status, next(e.text or "" for e in root.iter() if e.tag == "Code")


@pytest.mark.parametrize(
    ("service", "body", "expected"),
    [
        ("sts", b"Action=GetCallerIdentity&Version=2011-06-15&Tag.x.y=1", None),
        ("sts", b"Action=Nothing&Version=2011-06-15", (400, "InvalidAction")),
        ("sts", b"Action=GetCallerIdentity&Version=1999-01-01", (400, "InvalidAction")),
        ("sts", b"", (400, "InvalidAction")),
        ("sts", b"\xff\xfe%ff&&&=", (400, "MalformedInput")),
        ("ec2", b"Action=DescribeRegions&RegionName.x=1", (400, "InvalidParameterValue")),
        ("ec2", b"Action=DescribeRegions&DryRun=perhaps", (400, "InvalidParameterValue")),
        ("s3", b"Action=ListBuckets", (400, "InvalidAction")),
    ],
)
async def test_junk_in_a_form_gets_a_code(
    api: Any, service: str, body: bytes, expected: tuple[int, str] | None
) -> None:
    headers = signed(api, body, service)
    if expected is None:
        async with aiohttp.ClientSession() as http, http.post(api.url, data=body, headers=headers) as answer:
            assert answer.status == 200
    else:
        assert await code_of(api, body, headers) == expected


async def test_a_form_without_a_signature_is_refused(api: Any) -> None:
    body = b"Action=GetCallerIdentity"
    assert await code_of(api, body, {"Content-Type": FORM}) == (403, "MissingAuthenticationToken")
    claimed = {"Content-Type": FORM, "Authorization": "AWS4-HMAC-SHA256 Credential=a/b/us-east-1/sts/aws4_request"}
    assert (await code_of(api, body, claimed))[0] == 403


async def test_a_signature_for_one_service_does_not_open_another(api: Any) -> None:
    headers = signed(api, b"{}", "sts", **{"X-Amz-Target": "PhotonAdminProxyService.DescribeFleets"})
    async with aiohttp.ClientSession() as http, http.post(api.url, data=b"{}", headers=headers) as answer:
        assert answer.status == 403
        assert (await answer.json(content_type=None))["__type"] == "InvalidSignatureException"


@pytest.mark.parametrize("service", aws_services()[1:-1], ids=lambda service: service.name)
def test_neighbours_build_what_they_promise_and_raise_what_their_clients_know(service: Any) -> None:
    assert tuple(sorted(service.registry.built)) == NEIGHBOURS[service.name]
    service.registry.verify_complete(frozenset(service.model.operation_names))
    for name, operation in service.registry.built.items():
        for error in (*operation.raises, *ALWAYS_ANSWERED):
            assert wire_code(error, service.declared(name), service.codes) != "InternalFailure"
    known = {*COMMON_STATUS, *service.unmodelled_codes, *(shape.name for shape in service.model.error_shapes)}
    for codes in service.codes.values():
        assert set(codes) <= known


async def test_a_stranger_s_form_is_not_read(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """To grow a form into a tree takes a hundred times as long as to send it, and everybody would wait meanwhile."""
    read: list[bytes] = []
    monkeypatch.setattr("fanlight.api.routes.action_of", lambda body: read.append(body) or "GetCallerIdentity")
    body = b"Action=GetCallerIdentity"
    headers = signed(api, body, "sts")
    for strange in ({"Content-Type": FORM, **headers, "Authorization": headers["Authorization"][:-4] + "0000"},):
        assert (await code_of(api, body, strange))[0] == 403
    assert read == []
