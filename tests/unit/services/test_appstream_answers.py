"""The operations as clients see them: whole answers, error codes, and members that are refused by name.

Requests go through the real dispatcher in the JSON protocol; it fails on errors that an operation does not declare.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest.mock import ANY

import pytest
from service_rig import HERE, NOW, OTHER_ACCOUNT, SAMPLE_ARN, Rig, grant, query_of

from fanlight.api.appstream.handlers import appstream_service
from fanlight.api.dispatch import Dispatcher, Outcome
from fanlight.api.protocol.errors import WireError
from fanlight.api.protocol.operations import JSON
from fanlight.api.spec import appstream_model
from fanlight.domain.access_keys import Caller
from fanlight.domain.fleet_errors import FleetError, FleetErrorCause
from fanlight.domain.images import Image, ImageError, ImageFailure, ImageState
from fanlight.domain.networks import NetworkInterface
from fanlight.domain.streaming_sessions import SessionEvent

Call = Callable[..., Awaitable[dict[str, Any]]]
SECONDS = NOW.timestamp()
ARN = "arn:aws:appstream:us-east-1:000000000000"


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


FLEET: dict[str, Any] = {
    "Name": "cad",
    "InstanceType": "stream.standard.medium",
    "ImageName": "Sample",
    "ComputeCapacity": {"DesiredInstances": 2},
}
STACK: dict[str, Any] = {"Name": "design"}


async def test_a_fleet_is_answered_whole(call: Call, rig: Rig) -> None:
    wanted = {
        "Arn": f"{ARN}:fleet/cad",
        "ComputeCapacityStatus": {"Available": 0, "Desired": 2, "InUse": 0, "Running": 0},
        "CreatedTime": SECONDS,
        "DisconnectTimeoutInSeconds": 900,
        "EnableDefaultInternetAccess": False,
        "FleetErrors": [],
        "FleetType": "ALWAYS_ON",
        "IdleDisconnectTimeoutInSeconds": 0,
        "ImageArn": SAMPLE_ARN,
        "ImageName": "Sample",
        "InstanceType": "stream.standard.medium",
        "MaxUserDurationInSeconds": 57600,
        "Name": "cad",
        "Platform": "UBUNTU_PRO_2404",
        "State": "STOPPED",
        "StreamView": "APP",
    }
    assert await call("CreateFleet", **FLEET) == {"Fleet": wanted}
    assert await call("DescribeFleets") == {"Fleets": [wanted]}
    updated = {**wanted, "DisplayName": "", "IdleDisconnectTimeoutInSeconds": 70}
    assert await call("UpdateFleet", Name="cad", DisplayName="", IdleDisconnectTimeoutInSeconds=70) == {
        "Fleet": updated
    }
    await rig.apply("cad", errors=(FleetError(FleetErrorCause.IMAGE_UNKNOWN, "The image is gone.", NOW),))
    failed = {**updated, "FleetErrors": [{"ErrorCode": "IMAGE_NOT_FOUND", "ErrorMessage": "The image is gone."}]}
    assert await call("DescribeFleets", Names=["cad"]) == {"Fleets": [failed]}
    assert await call("StartFleet", Name="cad") == {}
    assert await call("DescribeFleets") == {"Fleets": [{**updated, "State": "STARTING"}]}
    assert await call("StopFleet", Name="cad") == {}
    assert await call("DescribeFleets") == {"Fleets": [{**updated, "State": "STOPPING"}]}


async def test_a_stack_is_answered_whole(call: Call) -> None:
    permissions = {
        "CLIPBOARD_COPY_FROM_LOCAL_DEVICE": "ENABLED",
        "CLIPBOARD_COPY_TO_LOCAL_DEVICE": "ENABLED",
        "FILE_UPLOAD": "ENABLED",
        "FILE_DOWNLOAD": "ENABLED",
        "PRINTING_TO_LOCAL_DEVICE": "ENABLED",
        "DOMAIN_PASSWORD_SIGNIN": "ENABLED",
        "DOMAIN_SMART_CARD_SIGNIN": "DISABLED",
        "AUTO_TIME_ZONE_REDIRECTION": "DISABLED",
        "SMART_CARD_REDIRECTION": "DISABLED",
    }

    lengths = {
        "CLIPBOARD_COPY_FROM_LOCAL_DEVICE": {"MaximumLength": 20_971_520},
        "CLIPBOARD_COPY_TO_LOCAL_DEVICE": {"MaximumLength": 20_971_520},
    }

    def answer(**changes: Any) -> dict[str, Any]:
        return {
            "Arn": f"{ARN}:stack/design",
            "Name": "design",
            "CreatedTime": SECONDS,
            "StorageConnectors": [],
            "StackErrors": [],
            "UserSettings": [
                {"Action": action, "Permission": state, **lengths.get(action, {})}
                for action, state in permissions.items()
            ],
            "ApplicationSettings": {"Enabled": False},
            "AccessEndpoints": [],
            "EmbedHostDomains": [],
            "StreamingExperienceSettings": {"PreferredProtocol": "TCP"},
            **changes,
        }

    assert await call("CreateStack", **STACK) == {"Stack": answer()}
    assert await call("DescribeStacks", Names=["design"]) == {"Stacks": [answer()]}
    permissions["FILE_UPLOAD"] = permissions["CLIPBOARD_COPY_TO_LOCAL_DEVICE"] = "DISABLED"
    lengths = {"CLIPBOARD_COPY_FROM_LOCAL_DEVICE": {"MaximumLength": 100}}
    upload = [
        {"Action": "FILE_UPLOAD", "Permission": "DISABLED"},
        {"Action": "CLIPBOARD_COPY_TO_LOCAL_DEVICE", "Permission": "DISABLED"},
        {"Action": "CLIPBOARD_COPY_FROM_LOCAL_DEVICE", "Permission": "ENABLED", "MaximumLength": 100},
    ]
    changed = answer(RedirectURL="https://a.example", Description="d")
    assert await call(
        "UpdateStack", Name="design", UserSettings=upload, RedirectURL="https://a.example", Description="d"
    ) == {"Stack": changed}
    assert await call("DescribeStacks") == {"Stacks": [changed]}
    assert await call("DeleteStack", Name="design") == {}
    assert await call("DescribeStacks") == {"Stacks": []}


async def test_every_member_of_a_stack_comes_back_and_can_be_taken_away(call: Call) -> None:
    members: dict[str, Any] = {
        "DisplayName": "Design",
        "Description": "For drawing",
        "RedirectURL": "https://intranet.example.org/apps",
        "FeedbackURL": "https://intranet.example.org/say",
        "EmbedHostDomains": ["portal.example.org", "intranet.example.org"],
        "StreamingExperienceSettings": {"PreferredProtocol": "UDP"},
        "ContentRedirection": {"HostToClient": {"Enabled": False, "AllowedUrls": ["https://example.org/*"], "DeniedUrls": []}},
        "StorageConnectorAuthentication": "REUSE_CREDENTIALS",
    }  # fmt: skip
    settings = {"Enabled": True, "SettingsGroup": "design/2026"}
    bucket = {"S3BucketName": "appstream-app-settings-us-east-1-000000000000-09fb161df2"}
    made = (await call("CreateStack", **STACK, **members, ApplicationSettings=settings))["Stack"]
    assert {name: made[name] for name in members} == members
    assert made["ApplicationSettings"] == {**settings, **bucket}
    assert await call("DescribeStacks") == {"Stacks": [made]}
    assert await call("UpdateStack", Name="design") == {"Stack": made}
    assert (await call("UpdateStack", Name="design", EmbedHostDomains=["a.example.org", "a.example.org"]))["Stack"] == {
        **made,
        "EmbedHostDomains": ["a.example.org"],
    }

    off = {"Enabled": False}
    bare = (
        await call("UpdateStack", Name="design", ApplicationSettings=off, AttributesToDelete=list(EVERY_ATTRIBUTE))
    )["Stack"]
    gone = {name: value for name, value in made.items() if name not in members}
    assert bare == {
        **gone,
        "DisplayName": "Design",
        "Description": "For drawing",
        "ApplicationSettings": off,
        "EmbedHostDomains": [],
        "StreamingExperienceSettings": {"PreferredProtocol": "TCP"},
    }


EVERY_ATTRIBUTE = appstream_model().shape_for("StackAttribute").enum


async def test_urls_and_sessions_are_answered_whole(call: Call, pair: Rig) -> None:
    url = await call("CreateStreamingURL", StackName="design", FleetName="cad", UserId="ada", Validity=30)
    assert url == {"StreamingURL": url["StreamingURL"], "Expires": SECONDS + 30}
    redeemed = await pair.services.sessions.redeem(*query_of(url["StreamingURL"]))
    assert redeemed == grant(expires_at=NOW + timedelta(seconds=30))
    opened = await pair.services.sessions.open_session(grant(), "Editor")
    pending = {
        "Id": opened.session_id,
        "UserId": "ada",
        "StackName": "design",
        "FleetName": "cad",
        "State": "PENDING",
        "ConnectionState": "NOT_CONNECTED",
        "MaxExpirationTime": SECONDS + 57600,
        "AuthenticationType": "API",
        "InstanceDrainStatus": "NOT_APPLICABLE",
    }
    assert await call("DescribeSessions", StackName="design", FleetName="cad") == {"Sessions": [pending]}
    async with pair.transactions.begin(write=True) as work:
        started = replace(opened.after(SessionEvent.STARTED), started_at=NOW, instance_id="i-1", connected_since=NOW)
        started = replace(started, network_interface=NetworkInterface(interface_id="eni-1", address="10.140.0.2"))
        await work.sessions.save(started)
        await work.commit()
    active = {
        **pending,
        "State": "ACTIVE",
        "ConnectionState": "CONNECTED",
        "StartTime": SECONDS,
        "InstanceId": "i-1",
        "NetworkAccessConfiguration": {"EniPrivateIpAddress": "10.140.0.2", "EniId": "eni-1"},
    }
    assert await call("DescribeSessions", StackName="design", FleetName="cad", Limit=1) == {"Sessions": [active]}
    assert await call("ExpireSession", SessionId="lost") == {}
    assert await call("ExpireSession", SessionId=opened.session_id) == {}


async def test_an_image_that_is_made_shared_and_deleted_is_answered(call: Call, pair: Rig) -> None:
    failed = Image(
        image_id="0123456789abcdef0123456789abcdef",
        scope=HERE,
        name="Cad",
        store_ref="img-1",
        state=ImageState.FAILED,
        failure=ImageFailure.IMAGE_COPY_FAILURE,
        failure_message="The disk is full.",
        errors=(ImageError("INTERNAL_SERVICE_ERROR", "No space left.", NOW),),
        image_builder_name="workbench",
        created_at=NOW,
    )
    async with pair.transactions.begin(write=True) as work:
        await work.images.add(failed)
        available = Image(
            image_id="2", scope=HERE, name="Fine", store_ref="img-2", created_at=NOW, agent_version="LATEST"
        )
        await work.images.add(available)
        await work.commit()
    (answered,) = (await call("DescribeImages", Names=["Cad"]))["Images"]
    assert (
        answered["State"],
        answered["StateChangeReason"],
        answered["ImageErrors"],
        answered["ImageBuilderName"],
    ) == (
        "FAILED",
        {"Code": "IMAGE_COPY_FAILURE", "Message": "The disk is full."},
        [{"ErrorCode": "INTERNAL_SERVICE_ERROR", "ErrorMessage": "No space left.", "ErrorTimestamp": SECONDS}],
        "workbench",
    )
    account = "1" * 12
    shared = {"Name": "Fine", "SharedAccountId": account}
    assert await call("UpdateImagePermissions", **shared, ImagePermissions={"allowFleet": True}) == {}
    assert await call("DescribeImagePermissions", Name="Fine") == {
        "Name": "Fine",
        "SharedImagePermissionsList": [
            {"sharedAccountId": account, "imagePermissions": {"allowFleet": True, "allowImageBuilder": False}}
        ],
    }
    (answered,) = (await call("DescribeImages", Names=["Fine"]))["Images"]
    assert (answered["ImageSharedWithOthers"], answered["LatestAppstreamAgentVersion"]) == ("TRUE", "TRUE")
    assert "ImagePermissions" not in answered
    assert await call("DeleteImagePermissions", **shared) == {}
    assert (await call("DeleteImage", Name="Fine"))["Image"]["State"] == "AVAILABLE"
    (answered,) = (await call("DescribeImages", Names=["Fine"]))["Images"]
    assert answered["State"] == "DELETING"


async def test_an_image_is_answered_whole(call: Call) -> None:
    assert await call("DescribeImages", Type="PUBLIC") == {
        "Images": [
            {
                "Name": "Sample",
                "Arn": SAMPLE_ARN,
                "BaseImageArn": "arn:aws:appstream:us-east-1::image/Base",
                "DisplayName": "Sample image",
                "State": "AVAILABLE",
                "Visibility": "PUBLIC",
                "ImageBuilderSupported": True,
                "Platform": "UBUNTU_PRO_2404",
                "Description": "Two applications",
                "Applications": [
                    {
                        "Name": "Editor",
                        "DisplayName": "Text editor",
                        "IconURL": ANY,
                        "LaunchPath": "/usr/bin/editor",
                        "LaunchParameters": "",
                        "Enabled": True,
                        "Metadata": {},
                        "WorkingDirectory": "",
                        "Description": "",
                    },
                    {
                        "Name": "Hidden",
                        "DisplayName": "Hidden",
                        "LaunchPath": "/usr/bin/hidden",
                        "LaunchParameters": "",
                        "Enabled": False,
                        "Metadata": {},
                        "WorkingDirectory": "",
                        "Description": "",
                    },
                ],
                "CreatedTime": SECONDS,
                "PublicBaseImageReleasedDate": SECONDS,
                "AppstreamAgentVersion": "0.1.0",
                "LatestAppstreamAgentVersion": "FALSE",
                "ImageErrors": [],
                "SupportedInstanceFamilies": ["General Purpose", "Compute Optimized", "Memory Optimized"],
                "DynamicAppProvidersEnabled": "DISABLED",
                "ImageSharedWithOthers": "FALSE",
                "ManagedSoftwareIncluded": False,
                "ImageType": "NATIVE",
            }
        ]
    }


async def test_associations_and_tags_are_answered_whole(call: Call) -> None:
    await call("CreateFleet", **FLEET, Tags={"Team": "cad"})
    await call("CreateStack", **STACK)
    assert await call("AssociateFleet", StackName="design", FleetName="cad") == {}
    assert await call("ListAssociatedFleets", StackName="design") == {"Names": ["cad"]}
    assert await call("ListAssociatedStacks", FleetName="cad") == {"Names": ["design"]}
    assert await call("ListAssociatedStacks", FleetName="lost") == {"Names": []}
    assert await call("DisassociateFleet", StackName="design", FleetName="cad") == {}
    assert await call("ListTagsForResource", ResourceArn=f"{ARN}:fleet/cad") == {"Tags": {"Team": "cad"}}
    assert await call("ListTagsForResource", ResourceArn=f"{ARN}:stack/design") == {"Tags": {}}
    assert await call("TagResource", ResourceArn=f"{ARN}:stack/design", Tags={"a": "b"}) == {}
    assert await call("UntagResource", ResourceArn=f"{ARN}:stack/design", TagKeys=["a", "x"]) == {}
    assert await call("DeleteFleet", Name="cad") == {}


@pytest.mark.parametrize(
    ("operation", "members", "code"),
    [
        ("DescribeFleets", {"Names": ["lost"]}, "ResourceNotFoundException"),
        ("DescribeStacks", {"Names": ["lost"]}, "ResourceNotFoundException"),
        ("DescribeImages", {"Names": ["lost"]}, "ResourceNotFoundException"),
        ("DescribeFleets", {"NextToken": "x"}, "ValidationException"),
        ("DescribeImages", {"NextToken": "x"}, "InvalidParameterCombinationException"),
        ("ListAssociatedFleets", {"StackName": "x", "NextToken": "x"}, "ValidationException"),
        ("CreateFleet", FLEET, "ResourceAlreadyExistsException"),
        ("CreateStack", STACK, "ResourceAlreadyExistsException"),
        ("CreateFleet", {**FLEET, "Name": "b", "ImageName": "Lost"}, "ResourceNotFoundException"),
        ("CreateFleet", {**FLEET, "Name": "b", "DisconnectTimeoutInSeconds": 1}, "InvalidParameterCombinationException"),
        ("UpdateFleet", {}, "InvalidParameterCombinationException"),
        ("UpdateFleet", {"Name": "cad", "Description": "x"}, "ResourceInUseException"),
        ("DeleteFleet", {"Name": "cad"}, "ResourceInUseException"),
        ("DeleteStack", {"Name": "design"}, "ResourceInUseException"),
        ("AssociateFleet", {"StackName": "design", "FleetName": "lost"}, "ResourceNotFoundException"),
        ("CreateStreamingURL", {"StackName": "x", "FleetName": "cad", "UserId": "ada"}, "ResourceNotFoundException"),
        ("DescribeSessions", {"StackName": "a", "FleetName": "b", "UserId": "ada"}, "InvalidParameterCombinationException"),
        ("ListTagsForResource", {"ResourceArn": f"{ARN}:fleet/lost"}, "ResourceNotFoundException"),
    ],
)  # fmt: skip
async def test_refusals_have_the_codes_of_their_operations(
    call: Call, pair: Rig, operation: str, members: dict[str, Any], code: str
) -> None:
    assert (await refusal(call(operation, **members)))[0] == code
    assert pair.woken == []


async def test_refusals_about_made_images_have_the_codes_of_their_operations(call: Call, pair: Rig) -> None:
    theirs = Image(
        image_id="theirs",
        scope=OTHER_ACCOUNT,
        name="Theirs",
        store_ref="img-1",
        image_builder_supported=True,
        created_at=NOW,
    )
    own = replace(theirs, image_id="own", scope=HERE, name="Own", state=ImageState.PENDING)
    async with pair.transactions.begin(write=True) as work:
        await work.images.add(theirs)
        await work.images.add(own)
        await work.commit()
    sharing = pair.services.image_sharing
    await sharing.update(OTHER_ACCOUNT, "Theirs", HERE.account_id, allow_image_builder=True)
    arn = f"arn:aws:appstream:us-east-1:{OTHER_ACCOUNT.account_id}:image/Theirs"
    by_arn = {**FLEET, "Name": "b", "ImageArn": arn}
    del by_arn["ImageName"]
    share = {"SharedAccountId": "1" * 12, "ImagePermissions": {"allowFleet": True}}
    for operation, members, code in (
        ("CreateFleet", by_arn, "OperationNotPermittedException"),
        ("UpdateFleet", {"Name": "cad", "ImageArn": arn}, "OperationNotPermittedException"),
        ("DeleteImage", {"Name": "Sample"}, "OperationNotPermittedException"),
        ("DeleteImage", {"Name": "Theirs"}, "ResourceNotFoundException"),
        ("DeleteImage", {"Name": "Own"}, "ResourceInUseException"),
        ("UpdateImagePermissions", {"Name": "Own", **share}, "ResourceNotAvailableException"),
        ("UpdateImagePermissions", {"Name": "Sample", **share}, "ResourceNotAvailableException"),
        ("UpdateImagePermissions", {"Name": "Theirs", **share}, "ResourceNotFoundException"),
        ("UpdateImagePermissions", {**share, "Name": "Own", "SharedAccountId": "1"}, "ValidationException"),
        ("DeleteImagePermissions", {"Name": "Own", "SharedAccountId": "1" * 12}, "ResourceNotFoundException"),
        ("DescribeImagePermissions", {"Name": "Sample"}, "ResourceNotFoundException"),
        ("DescribeImagePermissions", {"Name": "Own", "NextToken": "x"}, "ValidationException"),
    ):
        assert (await refusal(call(operation, **members)))[0] == code, operation


async def test_a_stopped_fleet_gives_no_url_in_the_code_that_clients_know(call: Call, pair: Rig) -> None:
    asked = {"StackName": "design", "FleetName": "cad", "UserId": "ada"}
    await call("StopFleet", Name="cad")
    assert (await refusal(call("CreateStreamingURL", **asked)))[0] == "ResourceNotAvailableException"
    assert (await refusal(call("StartFleet", Name="cad")))[0] == "OperationNotPermittedException"
    await pair.services.associations.disassociate(HERE, "design", "cad")
    assert (await refusal(call("CreateStreamingURL", **asked)))[0] == "OperationNotPermittedException"


async def test_a_multi_session_fleet_has_its_capacity_in_sessions(call: Call) -> None:
    await call("CreateFleet", **{**FLEET, "MaxSessionsPerInstance": 5, "ComputeCapacity": {"DesiredSessions": 12}})
    (fleet,) = (await call("DescribeFleets"))["Fleets"]
    assert fleet["MaxSessionsPerInstance"] == 5
    assert fleet["ComputeCapacityStatus"] == {
        "Desired": 3, "Running": 0, "InUse": 0, "Available": 0, "DesiredUserSessions": 12, "AvailableUserSessions": 0,
        "ActiveUserSessions": 0, "ActualUserSessions": 0, "Draining": 0, "DrainModeActiveUserSessions": 0,
        "DrainModeUnusedUserSessions": 0,
    }  # fmt: skip
    code, message = await refusal(call("UpdateFleet", Name="cad", ComputeCapacity={"DesiredInstances": 2}))
    assert code == "InvalidParameterCombinationException"
    assert message.startswith("The capacity of a multi-session fleet is given in sessions.")
    await call("UpdateFleet", Name="cad", ComputeCapacity={"DesiredSessions": 4})
    assert (await call("DescribeFleets"))["Fleets"][0]["ComputeCapacityStatus"]["Desired"] == 1


async def test_a_session_that_is_not_there_cannot_be_drained(call: Call) -> None:
    code, message = await refusal(call("DrainSessionInstance", SessionId="00000000-0000-4000-8000-000000000000"))
    assert (code, "session" in message) == ("ResourceNotFoundException", True)


# ── Members that are not built ────────────────────────────────────────────────────────────────────────────────────────

NOT_BUILT_OF_FLEETS: list[tuple[str, Any]] = [
    ("DomainJoinInfo", {"DirectoryName": "corp.example"}),
    ("IamRoleArn", "arn:aws:iam::000000000000:role/x"),
    ("UsbDeviceFilterStrings", ["0xA,0xB,*,*,*,*,1,0"]),
]


@pytest.mark.parametrize(("member", "value"), NOT_BUILT_OF_FLEETS)
async def test_a_fleet_refuses_what_is_not_built_by_name(call: Call, member: str, value: Any) -> None:
    code, message = await refusal(call("CreateFleet", **FLEET, **{member: value}))
    assert (code, message.startswith(f"{member} is not supported: ")) == ("OperationNotPermittedException", True)
    await call("CreateFleet", **FLEET)
    code, message = await refusal(call("UpdateFleet", Name="cad", **{member: value}))
    assert (code, message.startswith(f"{member} is not supported: ")) == ("OperationNotPermittedException", True)
    assert (await call("DescribeFleets"))["Fleets"][0]["Name"] == "cad"


@pytest.mark.parametrize(
    ("member", "value"), [("MaxConcurrentSessions", 0), ("SessionScriptS3Location", {"S3Bucket": "bucket"})]
)
async def test_what_belongs_to_elastic_fleets_is_a_wrong_combination(call: Call, member: str, value: Any) -> None:
    wanted = ("InvalidParameterCombinationException", f"{member} belongs to ELASTIC fleets. Leave it out.")
    assert await refusal(call("CreateFleet", **FLEET, **{member: value})) == wanted
    await call("CreateFleet", **FLEET)
    assert await refusal(call("UpdateFleet", Name="cad", **{member: value})) == wanted


@pytest.mark.parametrize(
    ("changes", "code", "text"),
    [
        ({"FleetType": "ELASTIC"}, "OperationNotPermittedException", "FleetType ELASTIC is not supported yet: it comes later"),
        ({"ComputeCapacity": {"DesiredSessions": 2}}, "InvalidParameterCombinationException", "DesiredSessions belongs to multi-session fleets. "),
        ({"ComputeCapacity": {"DesiredSessions": 2, "DesiredInstances": 1}}, "InvalidParameterCombinationException", "DesiredInstances and DesiredSessions exclude"),
        ({"ComputeCapacity": {}}, "InvalidParameterCombinationException", "ComputeCapacity is empty. Give DesiredInstances."),
        ({"ComputeCapacity": None}, "InvalidParameterCombinationException", "ComputeCapacity is missing. Give DesiredInstances."),
        ({"RootVolumeConfig": {"VolumeSizeInGb": 199}}, "InvalidParameterCombinationException", "RootVolumeConfig.VolumeSizeInGb is 199; it must be between 200 and 500."),
        ({"RootVolumeConfig": {"VolumeSizeInGb": 501}}, "InvalidParameterCombinationException", "RootVolumeConfig.VolumeSizeInGb is 501; "),
        ({"MaxSessionsPerInstance": 1}, "InvalidParameterCombinationException", "MaxSessionsPerInstance is 1; it must be between 2 and 50."),
        ({"MaxSessionsPerInstance": 51}, "InvalidParameterCombinationException", "MaxSessionsPerInstance is 51; "),
        ({"VpcConfig": {"SecurityGroupIds": ["sg-1"]}}, "InvalidParameterCombinationException", "VpcConfig names security groups and no subnet."),
        ({"VpcConfig": {"SubnetIds": ["a"], "SecurityGroupIds": list("123456")}}, "ValidationException", ""),
    ],
)  # fmt: skip
async def test_a_fleet_is_refused_for_what_does_not_fit(
    call: Call, changes: dict[str, Any], code: str, text: str
) -> None:
    found_code, message = await refusal(call("CreateFleet", **{**FLEET, **changes}))
    assert (found_code, message.startswith(text)) == (code, True)
    assert await call("DescribeFleets") == {"Fleets": []}


async def test_members_of_a_fleet_come_back_as_they_were_given_and_go_when_they_are_deleted(call: Call) -> None:
    given = {
        "VpcConfig": {"SubnetIds": ["subnet-1", "subnet-2"], "SecurityGroupIds": ["sg-1"]},
        "RootVolumeConfig": {"VolumeSizeInGb": 200},
        "DisableIMDSV1": True,
    }
    made = (await call("CreateFleet", **FLEET, **given))["Fleet"]
    assert {name: made[name] for name in given} == given
    assert (await call("DescribeFleets"))["Fleets"] == [made]

    async def update(**members: Any) -> dict[str, Any]:
        return dict((await call("UpdateFleet", Name="cad", **members))["Fleet"])

    half = await update(VpcConfig={"SubnetIds": ["subnet-3"]})
    assert half["VpcConfig"] == {"SubnetIds": ["subnet-3"], "SecurityGroupIds": ["sg-1"]}
    ungrouped = await update(AttributesToDelete=["VPC_CONFIGURATION_SECURITY_GROUP_IDS", "IAM_ROLE_ARN"])
    assert ungrouped["VpcConfig"] == {"SubnetIds": ["subnet-3"], "SecurityGroupIds": []}
    assert "VpcConfig" not in await update(DeleteVpcConfig=True)
    assert "RootVolumeConfig" not in await update(AttributesToDelete=["VOLUME_CONFIGURATION"])
    grown = await update(RootVolumeConfig={"VolumeSizeInGb": 500}, DisableIMDSV1=False)
    assert (grown["RootVolumeConfig"], grown["DisableIMDSV1"]) == ({"VolumeSizeInGb": 500}, False)
    assert await refusal(
        call("UpdateFleet", Name="cad", VpcConfig={"SubnetIds": ["a"]}, AttributesToDelete=["VPC_CONFIGURATION"])
    ) == ("InvalidParameterCombinationException", "VpcConfig is given and to be deleted at once. Do one of the two.")
    assert (await call("DescribeFleets"))["Fleets"] == [grown]


async def test_members_that_ask_for_nothing_mean_nothing(call: Call) -> None:
    """Terraform sends an empty DomainJoinInfo, others send false and empty lists."""
    empties = {
        "VpcConfig": {"SubnetIds": [], "SecurityGroupIds": []},
        "DomainJoinInfo": {},
        "UsbDeviceFilterStrings": [],
        "RootVolumeConfig": {},
        "DisableIMDSV1": False,
        "Description": "",
    }
    made = (await call("CreateFleet", **FLEET, **empties))["Fleet"]
    assert (made["Description"], made["DisableIMDSV1"], "VpcConfig" in made) == ("", False, False)
    deletions = {"DeleteVpcConfig": True, "AttributesToDelete": ["VPC_CONFIGURATION", "DOMAIN_JOIN_INFO"]}
    assert (await call("UpdateFleet", Name="cad", **empties, **deletions))["Fleet"] == made
    stack = {
        "StorageConnectors": [],
        "ApplicationSettings": {"Enabled": False, "SettingsGroup": ""},
        "StreamingExperienceSettings": {"PreferredProtocol": "TCP"},
        "ContentRedirection": {"HostToClient": {"Enabled": False}},
    }
    made = (await call("CreateStack", **STACK, **stack))["Stack"]
    assert made["ContentRedirection"] == stack["ContentRedirection"]
    deletions = {"DeleteStorageConnectors": True, "AttributesToDelete": ["STORAGE_CONNECTORS", "THEME_NAME"]}
    assert (await call("UpdateStack", Name="design", **stack, **deletions))["Stack"] == made


AGENT_ACCESS = {
    "Settings": [{"AgentAction": "COMPUTER_VISION", "Permission": "ENABLED"}],
    "ScreenResolution": "W_1280xH_720",
    "ScreenImageFormat": "PNG",
}


@pytest.mark.parametrize(
    ("member", "value", "text"),
    [
        (
            "StorageConnectors",
            [{"ConnectorType": "HOMEFOLDERS"}, {"ConnectorType": "GOOGLE_DRIVE", "Domains": ["example.org"]}],
            "StorageConnectors: GOOGLE_DRIVE is not supported: ",
        ),
        (
            "StorageConnectorAuthentication",
            "FORCE_REAUTHENTICATION",
            "StorageConnectorAuthentication FORCE_REAUTHENTICATION is not supported: ",
        ),
        ("AccessEndpoints", [{"EndpointType": "STREAMING", "VpceId": "vpce-1"}], "AccessEndpoints is not supported: "),
        (
            "ContentRedirection",
            {"HostToClient": {"Enabled": True}},
            "ContentRedirection with Enabled true is not supported: ",
        ),
        ("AgentAccessConfig", AGENT_ACCESS, "AgentAccessConfig is not supported: "),
        (
            "UserSettings",
            [{"Action": "SMART_CARD_REDIRECTION", "Permission": "ENABLED"}],
            "UserSettings: SMART_CARD_REDIRECTION cannot be ENABLED: ",
        ),
    ],
)
async def test_a_stack_refuses_what_is_not_built_by_name(call: Call, member: str, value: Any, text: str) -> None:
    code, message = await refusal(call("CreateStack", **STACK, **{member: value}))
    assert (code, message[: len(text)]) == ("OperationNotPermittedException", text)
    made = await call("CreateStack", **STACK)
    code, message = await refusal(call("UpdateStack", Name="design", **{member: value}))
    assert (code, message[: len(text)]) == ("OperationNotPermittedException", text)
    assert await call("DescribeStacks") == {"Stacks": [made["Stack"]]}


CLIPBOARD = "CLIPBOARD_COPY_TO_LOCAL_DEVICE"
DRIVE = {"ConnectorType": "GOOGLE_DRIVE", "Domains": ["example.org"]}


def agents(**changes: Any) -> dict[str, Any]:
    return {**AGENT_ACCESS, **changes}


def actions(*named: tuple[str, str]) -> list[dict[str, str]]:
    return [{"AgentAction": action, "Permission": permission} for action, permission in named]


@pytest.mark.parametrize(
    ("member", "value", "text"),
    [
        ("UserSettings", [{"Action": "FILE_UPLOAD", "Permission": "ENABLED"}] * 2, "UserSettings: FILE_UPLOAD is given twice."),
        ("UserSettings", [{"Action": "FILE_UPLOAD", "Permission": "ENABLED", "MaximumLength": 5}], "UserSettings: FILE_UPLOAD has no MaximumLength"),
        ("UserSettings", [{"Action": CLIPBOARD, "Permission": "DISABLED", "MaximumLength": 5}], f"UserSettings: {CLIPBOARD} is DISABLED"),
        ("UserSettings", [{"Action": CLIPBOARD, "Permission": "ENABLED", "MaximumLength": 0}], f"UserSettings: MaximumLength of {CLIPBOARD} is 0;"),
        ("UserSettings", [{"Action": CLIPBOARD, "Permission": "ENABLED", "MaximumLength": 20_971_521}], f"UserSettings: MaximumLength of {CLIPBOARD} is 20971521;"),
        ("ApplicationSettings", {"Enabled": False, "SettingsGroup": "x"}, "ApplicationSettings: SettingsGroup needs Enabled true."),
        ("ApplicationSettings", {"Enabled": True}, "ApplicationSettings: SettingsGroup is missing."),
        ("ApplicationSettings", {"Enabled": True, "SettingsGroup": ""}, "ApplicationSettings: SettingsGroup is missing."),
        ("ApplicationSettings", {"Enabled": True, "SettingsGroup": "a/../b"}, "ApplicationSettings: SettingsGroup is a prefix"),
        ("ApplicationSettings", {"Enabled": True, "SettingsGroup": "/a"}, "ApplicationSettings: SettingsGroup is a prefix"),
        ("StorageConnectors", [{"ConnectorType": "HOMEFOLDERS"}] * 2, "StorageConnectors: HOMEFOLDERS is given twice."),
        ("StorageConnectors", [{"ConnectorType": "HOMEFOLDERS", "Domains": ["a.b"]}], "StorageConnectors: HOMEFOLDERS has no Domains."),
        ("StorageConnectors", [{"ConnectorType": "HOMEFOLDERS", "ResourceIdentifier": "arn:aws:s3:::mine"}], "StorageConnectors: the ResourceIdentifier of HOMEFOLDERS follows"),
        ("StorageConnectors", [{"ConnectorType": "ONE_DRIVE"}], "StorageConnectors: ONE_DRIVE needs at least one of Domains."),
        ("StorageConnectors", [{**DRIVE, "Domains": [f"d{number}.example" for number in range(11)]}], "StorageConnectors: Domains of GOOGLE_DRIVE has 11 domains; it has at most 10."),
        ("StorageConnectors", [{**DRIVE, "Domains": ["ada@example.org"]}], "StorageConnectors: Domains of GOOGLE_DRIVE: 'ada@example.org' is no domain"),
        ("StorageConnectors", [{**DRIVE, "ConnectorType": "ONE_DRIVE", "DomainsRequireAdminConsent": ["no"]}], "StorageConnectors: DomainsRequireAdminConsent of ONE_DRIVE: 'no' is no domain"),
        ("StorageConnectors", [{**DRIVE, "DomainsRequireAdminConsent": ["a.b"]}], "StorageConnectors: GOOGLE_DRIVE has no DomainsRequireAdminConsent"),
        ("AccessEndpoints", [{"EndpointType": "STREAMING"}], "AccessEndpoints: VpceId is missing."),
        ("AgentAccessConfig", agents(Settings=actions(("COMPUTER_INPUT", "ENABLED"))), "AgentAccessConfig: COMPUTER_INPUT needs"),
        ("AgentAccessConfig", agents(Settings=AGENT_ACCESS["Settings"] * 2), "AgentAccessConfig: an AgentAction is given twice."),
        ("AgentAccessConfig", agents(ScreenshotsUploadEnabled=True), "AgentAccessConfig: S3BucketArn is missing."),
        ("AgentAccessConfig", agents(KmsKeyArn="arn:aws:kms:us-east-1:000000000000:key/a"), "AgentAccessConfig: KmsKeyArn needs"),
        ("RedirectURL", "https://a.example/\\b", "RedirectURL is not a web address."),
        ("FeedbackURL", "https://a.example:x/", "FeedbackURL is not a web address."),
    ],
)  # fmt: skip
async def test_a_stack_refuses_what_contradicts_itself(call: Call, member: str, value: Any, text: str) -> None:
    made = await call("CreateStack", **STACK)
    for attempt in (
        call("CreateStack", Name="second", **{member: value}),
        call("UpdateStack", Name="design", **{member: value}),
    ):
        code, message = await refusal(attempt)
        assert (code, message[: len(text)]) == ("InvalidParameterCombinationException", text)
    assert await call("DescribeStacks") == {"Stacks": [made["Stack"]]}


@pytest.mark.parametrize(
    ("given", "attribute"),
    [
        ({"RedirectURL": "https://a.example"}, "REDIRECT_URL"),
        ({"FeedbackURL": "https://a.example"}, "FEEDBACK_URL"),
        ({"UserSettings": [{"Action": "FILE_UPLOAD", "Permission": "ENABLED"}]}, "USER_SETTINGS"),
        ({"EmbedHostDomains": ["a.example"]}, "EMBED_HOST_DOMAINS"),
        ({"AccessEndpoints": [{"EndpointType": "STREAMING", "VpceId": "vpce-1"}]}, "ACCESS_ENDPOINTS"),
        ({"StreamingExperienceSettings": {"PreferredProtocol": "UDP"}}, "STREAMING_EXPERIENCE_SETTINGS"),
        ({"ContentRedirection": {"HostToClient": {"Enabled": False}}}, "CONTENT_REDIRECTION"),
        ({"AgentAccessConfig": {"ScreenImageFormat": "PNG"}}, "AGENT_ACCESS_CONFIG"),
        ({"AgentAccessConfig": {"KmsKeyArn": "arn:aws:kms:us-east-1:000000000000:key/a"}}, "AGENT_ACCESS_CONFIG_KMS_KEY_ARN"),
        ({"StorageConnectorAuthentication": "REUSE_CREDENTIALS"}, "STORAGE_CONNECTOR_AUTHENTICATION"),
        ({"StorageConnectors": [DRIVE]}, "STORAGE_CONNECTORS"),
        ({"StorageConnectors": [{"ConnectorType": "HOMEFOLDERS"}]}, "STORAGE_CONNECTOR_HOMEFOLDERS"),
        ({"StorageConnectors": [DRIVE]}, "STORAGE_CONNECTOR_GOOGLE_DRIVE"),
        ({"StorageConnectors": [{**DRIVE, "ConnectorType": "ONE_DRIVE"}]}, "STORAGE_CONNECTOR_ONE_DRIVE"),
    ],
)  # fmt: skip
async def test_nothing_is_given_and_taken_away_at_once(call: Call, given: dict[str, Any], attribute: str) -> None:
    await call("CreateStack", **STACK)
    assert await refusal(call("UpdateStack", Name="design", **given, AttributesToDelete=[attribute])) == (
        "InvalidParameterCombinationException",
        f"{attribute} is both given and in AttributesToDelete. Say one of them.",
    )


HOME_FOLDERS = {
    "ConnectorType": "HOMEFOLDERS",
    "ResourceIdentifier": "arn:aws:s3:::appstream2-36fb080bb8-us-east-1-000000000000",
}


@pytest.mark.parametrize(
    "deletion",
    [
        {"DeleteStorageConnectors": True},
        {"AttributesToDelete": ["STORAGE_CONNECTORS"]},
        {"AttributesToDelete": ["STORAGE_CONNECTOR_HOMEFOLDERS"]},
        {"StorageConnectors": []},
    ],
)
async def test_home_folders_come_and_go_in_every_way(call: Call, deletion: dict[str, Any]) -> None:
    made = (await call("CreateStack", **STACK))["Stack"]
    for given in ({"ConnectorType": "HOMEFOLDERS"}, HOME_FOLDERS):
        stack = (await call("UpdateStack", Name="design", StorageConnectors=[given]))["Stack"]
        assert stack == made | {"StorageConnectors": [HOME_FOLDERS]}
    for untouched in ({}, {"AttributesToDelete": ["STORAGE_CONNECTOR_ONE_DRIVE"]}):
        assert (await call("UpdateStack", Name="design", **untouched))["Stack"] == stack
    assert (await call("UpdateStack", Name="design", **deletion))["Stack"] == made


async def test_storage_connectors_are_not_given_and_deleted_at_once(call: Call) -> None:
    await call("CreateStack", **STACK)
    assert await refusal(
        call("UpdateStack", Name="design", StorageConnectors=[DRIVE], DeleteStorageConnectors=True)
    ) == (
        "InvalidParameterCombinationException",
        "StorageConnectors are given, and DeleteStorageConnectors is true. Say one of them.",
    )


@pytest.mark.parametrize(
    "domain", ["localhost", "https://a.example", "a.example:8443", "A.example", "a.example;x", "*.example", ""]
)
async def test_only_host_names_may_embed(call: Call, domain: str) -> None:
    code, message = await refusal(call("CreateStack", **STACK, EmbedHostDomains=[domain]))
    assert (code, "embedHostDomains" in message) == ("ValidationException", True)
