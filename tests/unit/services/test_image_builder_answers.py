"""The image builder operations as clients see them: whole answers, error codes, and members that are refused by name."""

import base64
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from service_rig import HERE, NOW, SAMPLE_ARN, Rig

from fanlight.api.appstream.handlers import appstream_service
from fanlight.api.dispatch import Dispatcher, Outcome
from fanlight.api.protocol.errors import WireError
from fanlight.api.protocol.operations import JSON
from fanlight.domain.access_keys import Caller
from fanlight.domain.errors import UrlRefused
from fanlight.domain.fleet_errors import FleetError, FleetErrorCause
from fanlight.domain.image_builders import (
    ImageBuilder,
    ImageBuilderEvent,
    ImageBuilderState,
    StateChangeCode,
    StateChangeReason,
)
from fanlight.domain.networks import NetworkInterface
from fanlight.services.agent_versions import AgentVersions

Call = Callable[..., Awaitable[dict[str, Any]]]
ARN = "arn:aws:appstream:us-east-1:000000000000:image-builder/workshop"
WORKSHOP: dict[str, Any] = {"Name": "workshop", "InstanceType": "stream.standard.medium", "ImageName": "Sample"}


@pytest.fixture
def call(rig: Rig) -> Call:
    dispatcher = Dispatcher(appstream_service(), rig.services, is_strict=True)
    caller = Caller("AKIA", HERE.account_id, HERE.region, "request")

    async def do(operation: str, **members: Any) -> dict[str, Any]:
        answer = await dispatcher.dispatch(JSON, operation, json.dumps(members).encode(), caller, Outcome())
        return json.loads(answer or b"{}")

    return do


async def refusal(attempt: Awaitable[Any]) -> tuple[str, str]:
    with pytest.raises(WireError) as raised:
        await attempt
    return raised.value.code, raised.value.message


async def change(rig: Rig, event: ImageBuilderEvent, **members: Any) -> ImageBuilder:
    from dataclasses import replace

    async with rig.transactions.begin(write=True) as work:
        builder = await work.image_builders.get(HERE, "workshop")
        after = await work.image_builders.save(replace(builder.after(event, NOW), **members))
        await work.commit()
    return after


async def test_an_image_builder_is_answered_whole(call: Call, rig: Rig) -> None:
    wanted = {
        "Name": "workshop",
        "Arn": ARN,
        "ImageArn": SAMPLE_ARN,
        "InstanceType": "stream.standard.medium",
        "Platform": "UBUNTU_PRO_2404",
        "State": "PENDING",
        "CreatedTime": NOW.timestamp(),
        "EnableDefaultInternetAccess": True,
        "ImageBuilderErrors": [],
        "AccessEndpoints": [],
        "LatestAppstreamAgentVersion": "TRUE",
        "DisplayName": "Our workshop",
        "Description": "where images are made",
        "VpcConfig": {"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]},
        "RootVolumeConfig": {"VolumeSizeInGb": 200},
        "DisableIMDSV1": False,
    }
    created = await call(
        "CreateImageBuilder",
        **WORKSHOP,
        DisplayName="Our workshop",
        Description="where images are made",
        EnableDefaultInternetAccess=True,
        VpcConfig={"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]},
        RootVolumeConfig={"VolumeSizeInGb": 200},
        DisableIMDSV1=False,
        Tags={"team": "cad"},
        AppstreamAgentVersion="LATEST",
    )
    version = created["ImageBuilder"].pop("AppstreamAgentVersion")
    assert version.startswith("simulated-")
    assert created == {"ImageBuilder": wanted}
    described = await call("DescribeImageBuilders", Names=["workshop"])
    assert described == {"ImageBuilders": [{**wanted, "AppstreamAgentVersion": version}]}
    assert await call("ListTagsForResource", ResourceArn=ARN) == {"Tags": {"team": "cad"}}
    assert rig.woken[-1][0] == "image_builder"


async def test_what_happened_to_it_is_told(call: Call, rig: Rig) -> None:
    await call("CreateImageBuilder", **WORKSHOP)
    await change(
        rig,
        ImageBuilderEvent.START_FAILED,
        reason=StateChangeReason(StateChangeCode.INTERNAL_ERROR, "It did not start."),
        errors=(FleetError(FleetErrorCause.BOOT_FAILED, "It did not start.", NOW),),
        network_interface=NetworkInterface(interface_id="eni-0a7b000002", address="10.123.0.2", subnet_id=""),
    )
    (builder,) = (await call("DescribeImageBuilders"))["ImageBuilders"]
    assert builder["State"] == "FAILED"
    assert builder["StateChangeReason"] == {"Code": "INTERNAL_ERROR", "Message": "It did not start."}
    assert builder["NetworkAccessConfiguration"] == {"EniPrivateIpAddress": "10.123.0.2", "EniId": "eni-0a7b000002"}
    assert builder["ImageBuilderErrors"] == [
        {
            "ErrorCode": "FLEET_INSTANCE_PROVISIONING_FAILURE",
            "ErrorMessage": "It did not start.",
            "ErrorTimestamp": NOW.timestamp(),
        }
    ]


@pytest.mark.parametrize(
    ("members", "code", "text"),
    [
        ({"IamRoleArn": "arn:aws:iam::000000000000:role/x"}, "OperationNotPermittedException", "IamRoleArn"),
        ({"DomainJoinInfo": {"DirectoryName": "corp"}}, "OperationNotPermittedException", "DomainJoinInfo"),
        ({"SoftwaresToInstall": ["Office"]}, "OperationNotPermittedException", "SoftwaresToInstall"),
        ({"SoftwaresToUninstall": ["Office"]}, "OperationNotPermittedException", "SoftwaresToUninstall"),
        ({"VpcConfig": {"SubnetIds": ["a", "b"]}}, "InvalidParameterCombinationException", "one subnet"),
        ({"VpcConfig": {"SecurityGroupIds": ["a"]}}, "InvalidParameterCombinationException", "no subnet"),
        ({"RootVolumeConfig": {"VolumeSizeInGb": 199}}, "InvalidParameterCombinationException", "VolumeSizeInGb"),
        ({"AppstreamAgentVersion": "06-19-2019"}, "ResourceNotAvailableException", "06-19-2019"),
        ({"ImageName": "Nothing"}, "ResourceNotFoundException", "Nothing"),
        ({"InstanceType": "stream.graphics.g5.xlarge"}, "OperationNotPermittedException", "g5"),
        (
            {"AccessEndpoints": [{"EndpointType": "STREAMING", "VpceId": "vpce-1"}]},
            "OperationNotPermittedException",
            "vpce-1",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_what_cannot_be_honoured_is_refused_in_words(
    call: Call, members: dict[str, Any], code: str, text: str
) -> None:
    answered = await refusal(call("CreateImageBuilder", **(WORKSHOP | members)))
    assert answered[0] == code
    assert text in answered[1]
    assert await call("DescribeImageBuilders") == {"ImageBuilders": []}


async def test_names_are_unique_and_a_missing_one_is_not_found(call: Call) -> None:
    await call("CreateImageBuilder", **WORKSHOP)
    assert (await refusal(call("CreateImageBuilder", **WORKSHOP)))[0] == "ResourceAlreadyExistsException"
    for operation in ("StartImageBuilder", "StopImageBuilder", "DeleteImageBuilder", "CreateImageBuilderStreamingURL"):
        assert (await refusal(call(operation, Name="other")))[0] == "ResourceNotFoundException"
    assert (await refusal(call("DescribeImageBuilders", Names=["workshop", "other"])))[0] == "ResourceNotFoundException"


async def test_pages_go_by_name(call: Call) -> None:
    for name in ("c", "a", "b"):
        await call("CreateImageBuilder", **(WORKSHOP | {"Name": name}))
    first = await call("DescribeImageBuilders", MaxResults=2)
    assert [one["Name"] for one in first["ImageBuilders"]] == ["a", "b"]
    second = await call("DescribeImageBuilders", MaxResults=2, NextToken=first["NextToken"])
    assert [one["Name"] for one in second["ImageBuilders"]] == ["c"]
    assert "NextToken" not in second


async def test_an_update_changes_the_texts_alone(call: Call) -> None:
    created = (await call("CreateImageBuilder", **WORKSHOP))["ImageBuilder"]
    updated = await call(
        "UpdateImageBuilder", Name="workshop", DisplayName="New", AttributesToDelete=["AGENT_ACCESS_CONFIG"]
    )
    assert updated["ImageBuilder"] == {**created, "DisplayName": "New"}
    again = await call("UpdateImageBuilder", Name="workshop", Description="More")
    assert again["ImageBuilder"] == {**created, "DisplayName": "New", "Description": "More"}
    code, text = await refusal(
        call("UpdateImageBuilder", Name="workshop", AgentAccessConfig={"ScreenshotsUploadEnabled": True})
    )
    assert code == "OperationNotPermittedException"
    assert "AgentAccessConfig" in text


async def test_states_that_refuse_an_operation_answer_with_its_own_errors(call: Call) -> None:
    await call("CreateImageBuilder", **WORKSHOP)
    codes = {
        "StartImageBuilder": "ResourceNotAvailableException",
        "StopImageBuilder": "OperationNotPermittedException",
        "DeleteImageBuilder": "OperationNotPermittedException",
        "CreateImageBuilderStreamingURL": "OperationNotPermittedException",
    }
    for operation, code in codes.items():
        answered = await refusal(call(operation, Name="workshop"))
        assert answered[0] == code
        assert "PENDING" in answered[1]


async def test_the_states_that_are_asked_for_show_in_the_answer(call: Call, rig: Rig) -> None:
    await call("CreateImageBuilder", **WORKSHOP)
    await change(rig, ImageBuilderEvent.AGENT_READY)
    assert (await call("StopImageBuilder", Name="workshop"))["ImageBuilder"]["State"] == "STOPPING"
    await change(rig, ImageBuilderEvent.INSTANCE_STOPPED)
    assert (await call("StartImageBuilder", Name="workshop"))["ImageBuilder"]["State"] == "PENDING"
    await change(rig, ImageBuilderEvent.AGENT_READY)
    assert (await call("DeleteImageBuilder", Name="workshop"))["ImageBuilder"]["State"] == "DELETING"
    code, _ = await refusal(call("UpdateImageBuilder", Name="workshop", DisplayName="late"))
    assert code == "OperationNotPermittedException"


async def test_a_streaming_url_says_what_the_service_s_says(call: Call, rig: Rig) -> None:
    await call("CreateImageBuilder", **WORKSHOP)
    await change(rig, ImageBuilderEvent.AGENT_READY)
    answer = await call("CreateImageBuilderStreamingURL", Name="workshop")
    expires = int((NOW + timedelta(hours=1)).timestamp())
    assert answer["Expires"] == expires
    query = {name: values[0] for name, values in parse_qs(urlsplit(answer["StreamingURL"]).query).items()}
    assert json.loads(base64.b64decode(query["parameters"])) == {
        "type": "ADMIN",
        "expires": str(expires),
        "awsAccountId": "000000000000",
        "userId": "admin",
        "catalogSource": "image-builder/workshop",
        "fleetRef": "image-builder/workshop",
        "region": "us-east-1",
    }
    grant = await rig.services.sessions.redeem(query["parameters"], query["signature"])
    assert (grant.image_builder_name, grant.user_id, grant.scope) == ("workshop", "admin", HERE)
    with pytest.raises(UrlRefused):
        await rig.services.sessions.redeem(query["parameters"][:-4] + "AAAA", query["signature"])


@pytest.mark.parametrize("validity", [0, 604_801])
async def test_a_validity_outside_its_range_is_refused(call: Call, rig: Rig, validity: int) -> None:
    await call("CreateImageBuilder", **WORKSHOP)
    await change(rig, ImageBuilderEvent.AGENT_READY)
    answered = await refusal(call("CreateImageBuilderStreamingURL", Name="workshop", Validity=validity))
    assert answered == ("ValidationException", f"Validity is {validity} seconds; it must be between 1 and 604800.")


async def test_another_account_sees_nothing_of_it(call: Call, rig: Rig) -> None:
    await call("CreateImageBuilder", **WORKSHOP)
    stranger = Dispatcher(appstream_service(), rig.services, is_strict=True)
    caller = Caller("AKIB", "111111111111", HERE.region, "request")
    answer = await stranger.dispatch(JSON, "DescribeImageBuilders", b"{}", caller, Outcome())
    assert json.loads(answer or b"{}") == {"ImageBuilders": []}
    body = json.dumps({"Name": "workshop"}).encode()
    with pytest.raises(WireError, match="workshop"):
        await stranger.dispatch(JSON, "DeleteImageBuilder", body, caller, Outcome())


def test_agent_versions_are_found_by_name_day_and_latest() -> None:
    versions = AgentVersions(lambda: "02-01-2026-bb", lambda: ("01-01-2026-aa", "02-01-2026-bb", "02-01-2026-cc"))
    assert versions.resolve(None) == versions.resolve("LATEST") == versions.resolve("02-01-2026") == "02-01-2026-bb"
    assert versions.resolve("01-01-2026") == versions.resolve("01-01-2026-aa") == "01-01-2026-aa"


def test_every_state_has_a_way_out_but_the_last() -> None:
    from fanlight.domain.image_builders import IMAGE_BUILDER

    left = {state for state, _ in IMAGE_BUILDER.table}
    ends = {ImageBuilderState.DELETING, ImageBuilderState.PENDING_QUALIFICATION}  # the row itself goes
    assert set(IMAGE_BUILDER.table.values()) - left == ends
