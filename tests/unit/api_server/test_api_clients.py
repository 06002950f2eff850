"""boto3 as it is, against the listener, in both protocols: the paths that scripts take."""

import asyncio
import json
import re
from typing import Any

import pytest
from botocore.exceptions import ClientError

from fanlight.api.appstream.handlers import appstream_registry

FLEET = {
    "Name": "cad",
    "ImageName": "sample",
    "InstanceType": "stream.standard.small",
    "FleetType": "ON_DEMAND",
    "ComputeCapacity": {"DesiredInstances": 1},
}
# Not built, or in want of one of several members.
REFUSED_EVEN_WHEN_EMPTY = {"GetExportImageTask", *appstream_registry().not_built, "UpdateFleet"}
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


async def call(client: Any, operation: str, **arguments: Any) -> Any:
    """Call boto3 in a thread, because the server lives in this loop."""
    return await asyncio.to_thread(getattr(client, operation), **arguments)


async def refusal(client: Any, operation: str, **arguments: Any) -> tuple[str, str, int]:
    with pytest.raises(ClientError) as caught:
        await call(client, operation, **arguments)
    answer = caught.value.response
    assert UUID.fullmatch(answer["ResponseMetadata"]["RequestId"])
    return answer["Error"]["Code"], answer["Error"]["Message"], answer["ResponseMetadata"]["HTTPStatusCode"]


async def test_a_fleet_is_made_found_started_and_deleted(api: Any, protocol: str) -> None:
    client = api.client()
    created = (await call(client, "create_fleet", **FLEET))["Fleet"]
    assert (created["Name"], created["State"], created["MaxUserDurationInSeconds"]) == ("cad", "STOPPED", 57600)
    assert created["CreatedTime"].tzinfo is not None
    described = await call(client, "describe_fleets", Names=["cad"])
    assert described["Fleets"] == [created]
    assert UUID.fullmatch(described["ResponseMetadata"]["RequestId"])
    await call(client, "start_fleet", Name="cad")
    assert (await call(client, "describe_fleets"))["Fleets"][0]["State"] == "STARTING"
    content_type = described["ResponseMetadata"]["HTTPHeaders"]["content-type"]
    assert content_type == {"json": "application/x-amz-json-1.1"}.get(protocol, "application/cbor")


async def test_regions_and_their_fleets_are_apart(api: Any, protocol: str) -> None:
    await call(api.client(), "create_fleet", **FLEET)
    assert (await call(api.client(region_name="eu-west-1"), "describe_fleets"))["Fleets"] == []
    code, message, status = await refusal(api.client(region_name="ap-south-1"), "describe_fleets")
    assert (code, status) == ("InvalidSignatureException", 403)
    assert "eu-west-1, us-east-1" in message


async def test_a_declared_error_is_an_exception_of_the_client(api: Any, protocol: str) -> None:
    client = api.client()
    with pytest.raises(client.exceptions.ResourceNotFoundException) as caught:
        await call(client, "delete_fleet", Name="none")
    assert "none" in caught.value.response["Error"]["Message"]
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


async def test_a_broken_constraint_is_a_validation_exception(api: Any, protocol: str) -> None:
    code, message, status = await refusal(api.client(), "create_stack", Name="no spaces")
    assert (code, status) == ("ValidationException", 400)
    assert message == (
        "1 validation error detected: Value 'no spaces' at 'name' failed to satisfy constraint: "
        "Member must satisfy regular expression pattern: ^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,100}$"
    )


@pytest.mark.parametrize(
    ("operation", "arguments", "code"),
    [
        ("describe_entitlements", {"StackName": "s"}, "OperationNotPermittedException"),
        ("describe_directory_configs", {}, "UnsupportedOperation"),
    ],
)
async def test_an_operation_not_built_says_why(
    api: Any, protocol: str, operation: str, arguments: dict[str, Any], code: str
) -> None:
    answer = await refusal(api.client(), operation, **arguments)
    assert (answer[0], answer[2]) == (code, 400)
    assert "is not available: Fanlight " in answer[1]


async def test_a_wrong_secret_and_an_unknown_key_are_told_apart(api: Any, protocol: str) -> None:
    from api_server_rig import KEY, temporary

    wrong = api.client(key=temporary(KEY, secret_access_key="guess"))
    assert (await refusal(wrong, "describe_fleets"))[0] == "InvalidSignatureException"
    unknown = api.client(key=temporary(KEY, access_key_id="AKIDNOBODY"))
    assert (await refusal(unknown, "describe_fleets"))[0] == "UnrecognizedClientException"


async def test_every_operation_of_the_model_answers_its_client(api: Any, protocol: str) -> None:
    """Ninety calls with the least input that boto3 lets through: each succeeds or is refused by a 4xx with a code."""
    client = api.client(parameter_validation=False)
    for name in client.meta.service_model.operation_names:
        shape = client.meta.service_model.operation_model(name).input_shape
        method = next(m for m, o in client.meta.method_to_api_mapping.items() if o == name)
        if shape.required_members or name in REFUSED_EVEN_WHEN_EMPTY:
            code, _, status = await refusal(client, method)
            assert code, name
            assert 400 <= status < 500, name
        else:
            await call(client, method)


async def test_the_audit_log_names_who_what_and_how_it_ended_and_no_secret(api: Any, protocol: str) -> None:
    client = api.client()
    await call(client, "create_stack", Name="studio")
    await call(client, "create_fleet", **FLEET)
    await call(client, "associate_fleet", FleetName="cad", StackName="studio")
    answer = await refusal(
        client,
        "create_streaming_url",
        StackName="studio",
        FleetName="cad",
        UserId="eve",
        SessionContext="context-token",
    )
    text = api.audit_file.read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["operation"] for line in lines] == [
        "CreateStack",
        "CreateFleet",
        "AssociateFleet",
        "CreateStreamingURL",
    ]
    last = lines[-1]
    assert UUID.fullmatch(last.pop("request_id"))
    assert last.pop("duration_in_ms") > 0
    assert last.pop("time").endswith("+00:00")
    assert last == {
        "kind": "api",
        "service": "appstream",
        "operation": "CreateStreamingURL",
        "protocol": {"json": "json-1.1"}.get(protocol, "rpc-v2-cbor"),
        "account_id": "000000000000",
        "access_key_id": "AKIDFANLIGHT",
        "region": "us-east-1",
        "source_address": "127.0.0.1",
        "status": 400,
        "error_code": answer[0],
        "resources": {"StackName": "studio", "FleetName": "cad", "UserId": "eve"},
    }
    assert "context-token" not in text
    assert "secret" not in text
    assert api.audit_file.stat().st_mode & 0o777 == 0o600
