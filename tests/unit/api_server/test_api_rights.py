"""Keys with limits at the listener: every service, both ends of a key's life, and changes that count at once."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from api_server_rig import KEY
from botocore.exceptions import ClientError

from fanlight.api.appstream.demands import appstream_demands, kind_of
from fanlight.api.appstream.handlers import appstream_registry
from fanlight.api.spec import appstream_model, attribute_name
from fanlight.domain.access_keys import AccessKey, Caller
from fanlight.domain.policies import parse_policy, read_only_policy

ARN = "arn:aws:appstream:us-east-1:000000000000"
FLEET = {
    "ImageName": "sample",
    "InstanceType": "stream.standard.small",
    "ComputeCapacity": {"DesiredInstances": 1},
}


async def call(client: Any, operation: str, **arguments: Any) -> Any:
    return await asyncio.to_thread(getattr(client, operation), **arguments)


async def refusal(client: Any, operation: str, **arguments: Any) -> tuple[str, str, int]:
    with pytest.raises(ClientError) as caught:
        await call(client, operation, **arguments)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["Error"]["Message"], answer["ResponseMetadata"]["HTTPStatusCode"]


async def key_with(api: Any, *statements: tuple[str, Any, Any]) -> AccessKey:
    document = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": effect, "Action": act, "Resource": on} for effect, act, on in statements],
    }
    return await api.services.access_keys.create(KEY.account_id, policy=parse_policy(json.dumps(document)))


async def test_a_read_only_key_sees_and_does_nothing(api: Any, protocol: str) -> None:
    await call(api.client(), "create_fleet", Name="cad", **FLEET)
    await call(api.client(), "create_stack", Name="studio", Tags={"Team": "x"})
    key = await api.services.access_keys.create(KEY.account_id, policy=read_only_policy())
    client = api.client(key=key)
    assert [fleet["Name"] for fleet in (await call(client, "describe_fleets"))["Fleets"]] == ["cad"]
    assert (await call(client, "list_tags_for_resource", ResourceArn=f"{ARN}:stack/studio"))["Tags"] == {"Team": "x"}
    code, message, status = await refusal(client, "stop_fleet", Name="cad")
    assert (code, status) == ("AccessDeniedException", 403)
    assert message == (
        f"User: arn:aws:iam::000000000000:user/{key.access_key_id} is not authorized to perform: appstream:StopFleet "
        f"on resource: {ARN}:fleet/cad because no identity-based policy allows the appstream:StopFleet action"
    )
    for operation, arguments in (
        ("create_streaming_url", {"StackName": "studio", "FleetName": "cad", "UserId": "eve"}),
        ("create_stack", {"Name": "another"}),
        ("tag_resource", {"ResourceArn": f"{ARN}:stack/studio", "Tags": {"a": "b"}}),
        ("expire_session", {"SessionId": "x"}),
    ):
        assert (await refusal(client, operation, **arguments))[0] == "AccessDeniedException", operation
    tagging = api.client(service="resourcegroupstaggingapi", key=key)
    assert len((await call(tagging, "get_resources"))["ResourceTagMappingList"]) == 1
    assert (await refusal(tagging, "tag_resources", ResourceARNList=[f"{ARN}:stack/studio"], Tags={"a": "b"}))[0] == (
        "AccessDeniedException"
    )
    assert len((await call(api.client(service="ec2", key=key), "describe_regions"))["Regions"]) == 2


async def test_a_key_for_some_fleets_touches_no_other(api: Any) -> None:
    for name in ("dev-1", "prod-1"):
        await call(api.client(), "create_fleet", Name=name, **FLEET)
    key = await key_with(
        api,
        ("Allow", "appstream:*", [f"{ARN}:fleet/dev-*", f"{ARN}:stack/dev-*", "arn:aws:appstream:*::image/*"]),
        ("Deny", "appstream:DeleteFleet", "*"),
    )
    client = api.client(key=key)
    await call(client, "start_fleet", Name="dev-1")
    await call(client, "create_fleet", Name="dev-2", **FLEET)
    assert (await refusal(client, "start_fleet", Name="prod-1"))[0] == "AccessDeniedException"
    assert (await refusal(client, "describe_fleets"))[1].count(f"{ARN}:fleet/*") == 1
    assert (await refusal(client, "describe_fleets", Names=["dev-1", "prod-1"]))[0] == "AccessDeniedException"
    assert len((await call(client, "describe_fleets", Names=["dev-1", "dev-2"]))["Fleets"]) == 2
    code, message, _ = await refusal(client, "delete_fleet", Name="dev-2")
    assert code == "AccessDeniedException"
    assert message.endswith("with an explicit deny in an identity-based policy")
    await call(api.client(), "create_stack", Name="prod")
    both = {"FleetName": "dev-1", "StackName": "prod"}
    assert (await refusal(client, "associate_fleet", **both))[1].count(f"{ARN}:stack/prod") == 1


async def test_an_image_is_known_by_its_name_as_by_its_arn(api: Any) -> None:
    key = await key_with(
        api, ("Allow", "*", "*"), ("Deny", "appstream:CreateFleet", "arn:aws:appstream:*::image/sample")
    )
    client = api.client(key=key)
    assert (await refusal(client, "create_fleet", Name="cad", **FLEET))[0] == "AccessDeniedException"
    by_arn = {**FLEET, "ImageArn": "arn:aws:appstream:us-east-1::image/sample"}
    del by_arn["ImageName"]
    assert (await refusal(client, "create_fleet", Name="cad", **by_arn))[0] == "AccessDeniedException"


async def test_tagging_from_outside_needs_the_right_to_tag_the_resource(api: Any) -> None:
    await call(api.client(), "create_stack", Name="studio")
    arn = f"{ARN}:stack/studio"
    for statements in ([("Allow", "tag:*", "*")], [("Allow", "appstream:*", "*")]):
        client = api.client(service="resourcegroupstaggingapi", key=await key_with(api, *statements))
        assert (await refusal(client, "tag_resources", ResourceARNList=[arn], Tags={"a": "b"}))[0] == (
            "AccessDeniedException"
        )
    both = await key_with(api, ("Allow", ["tag:TagResources"], "*"), ("Allow", "appstream:TagResource", arn))
    client = api.client(service="resourcegroupstaggingapi", key=both)
    assert (await call(client, "tag_resources", ResourceARNList=[arn], Tags={"a": "b"}))["FailedResourcesMap"] == {}


async def test_each_protocol_says_access_denied_in_its_own_words(api: Any) -> None:
    key = await key_with(api, ("Deny", "*", "*"))
    assert (await refusal(api.client(service="ec2", key=key), "describe_regions"))[0] == "UnauthorizedOperation"
    who = await call(api.client(service="sts", key=key), "get_caller_identity")
    assert who["Arn"].endswith(key.access_key_id)


async def test_the_answer_kept_for_one_key_is_not_given_to_another_without_the_right(api: Any) -> None:
    denied = await key_with(api, ("Deny", "*", "*"))
    for _ in range(3):
        await call(api.client(), "describe_fleets")
        assert (await refusal(api.client(key=denied), "describe_fleets"))[0] == "AccessDeniedException"


async def test_junk_of_a_limited_key_is_refused_as_junk(api: Any) -> None:
    key = await key_with(api, ("Allow", "appstream:Describe*", "*"))
    assert (await refusal(api.client(key=key), "create_stack", Name="no spaces"))[0] == "ValidationException"


async def test_an_expired_key_is_refused_and_so_is_a_deleted_one_at_once(api: Any, protocol: str) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=1.5)
    key = await api.services.access_keys.create(KEY.account_id, expires_at=soon)
    client = api.client(key=key)
    await call(client, "describe_fleets")
    await asyncio.sleep((soon - datetime.now(UTC)).total_seconds() + 0.05)
    assert (await refusal(client, "describe_fleets"))[::2] == ("ExpiredTokenException", 403)
    lasting = await api.services.access_keys.create(KEY.account_id)
    await call(api.client(key=lasting), "describe_fleets")
    await api.services.access_keys.remove(lasting.access_key_id)
    assert (await refusal(api.client(key=lasting), "describe_fleets"))[0] == "UnrecognizedClientException"
    unknown = replace(lasting, access_key_id="AKIAOTHER")
    assert (await refusal(api.client(key=unknown), "describe_fleets"))[0] == "UnrecognizedClientException"


async def test_a_key_of_another_account_sees_its_own_only(api: Any) -> None:
    await call(api.client(), "create_stack", Name="studio")
    key = await api.services.access_keys.create("111111111111")
    assert (await call(api.client(key=key), "describe_stacks"))["Stacks"] == []
    assert (await call(api.client(service="sts", key=key), "get_caller_identity"))["Account"] == "111111111111"


class Named:
    """A request of an operation whose every member says its own name."""

    def __init__(self, attributes: set[str]) -> None:
        self._attributes = attributes

    def __getattr__(self, member: str) -> Any:
        if member not in self._attributes:
            raise AttributeError(member)
        return ("one",) if member in ("names", "arns") else f"value-of-{member}"


async def test_every_operation_demands_what_its_members_name(api: Any) -> None:
    """A member that names a resource and is in no demand would be a way around a policy."""
    caller = Caller("AK", "000000000000", "us-east-1", "id")
    for name in sorted(appstream_registry().built):
        shape = appstream_model().operation_model(name).input_shape
        attributes = {attribute_name(member) for member in shape.members}
        demands = await appstream_demands(name, Named(attributes), caller, api.services)
        demanded = " ".join(resource for _, resource in demands)
        assert all(action == f"appstream:{name}" for action, _ in demands)
        for member in attributes & {"fleet_name", "stack_name", "image_name", "image_arn", "resource_arn"}:
            assert f"value-of-{member}" in demanded, (name, member)
        if "name" in attributes and kind_of(name):
            assert "value-of-name" in demanded, name


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("CreateFleet", "fleet"),
        ("DescribeStacks", "stack"),
        ("DescribeImages", "image"),
        ("UpdateImagePermissions", "image"),
        ("CreateImageBuilderStreamingURL", "image-builder"),
        ("DescribeAppBlockBuilders", "app-block-builder"),
        ("DescribeApplications", "application"),
        ("CreateEntitlement", None),
        ("ListAssociatedFleets", None),
        ("ExpireSession", None),
    ],
)
def test_what_a_name_is_the_name_of(operation: str, kind: str | None) -> None:
    assert kind_of(operation) == kind


async def test_who_may_not_update_a_fleet_may_not_have_it_scaled_either(api: Any) -> None:
    await call(api.client(), "create_fleet", Name="cad", **FLEET)
    target = {
        "ServiceNamespace": "appstream",
        "ResourceId": "fleet/cad",
        "ScalableDimension": "appstream:fleet:DesiredCapacity",
        "MinCapacity": 1,
        "MaxCapacity": 5,
    }
    key = await key_with(api, ("Allow", "application-autoscaling:*", "*"))
    client = api.client(service="application-autoscaling", key=key)
    code, message, _ = await refusal(client, "register_scalable_target", **target)
    assert code == "AccessDeniedException"
    assert f"appstream:UpdateFleet on resource: {ARN}:fleet/cad" in message
    both = await key_with(
        api, ("Allow", "application-autoscaling:*", "*"), ("Allow", "appstream:UpdateFleet", f"{ARN}:fleet/cad")
    )
    await call(api.client(service="application-autoscaling", key=both), "register_scalable_target", **target)


async def test_a_denied_alarm_is_denied_whoever_may_do_all_else(api: Any) -> None:
    alarm = {
        "Namespace": "AWS/AppStream",
        "MetricName": "InUseCapacity",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 1.0,
        "ComparisonOperator": "GreaterThanThreshold",
        "Statistic": "Average",
    }
    for name in ("dev", "prod"):
        await call(api.client(service="cloudwatch"), "put_metric_alarm", AlarmName=name, **alarm)
    prod = "arn:aws:cloudwatch:us-east-1:000000000000:alarm:prod"
    key = await key_with(api, ("Allow", "cloudwatch:*", "*"), ("Deny", "cloudwatch:*", prod))
    client = api.client(service="cloudwatch", key=key)
    state = {"StateValue": "OK", "StateReason": "because"}
    for operation, arguments in (
        ("put_metric_alarm", {"AlarmName": "prod", **alarm}),
        ("delete_alarms", {"AlarmNames": ["dev", "prod"]}),
        ("disable_alarm_actions", {"AlarmNames": ["prod"]}),
        ("enable_alarm_actions", {"AlarmNames": ["prod"]}),
        ("set_alarm_state", {"AlarmName": "prod", **state}),
        ("tag_resource", {"ResourceARN": prod, "Tags": [{"Key": "a", "Value": "b"}]}),
        ("untag_resource", {"ResourceARN": prod, "TagKeys": ["a"]}),
        ("list_tags_for_resource", {"ResourceARN": prod}),
        ("describe_alarms", {"AlarmNames": ["prod"]}),
    ):
        code, message, _ = await refusal(client, operation, **arguments)
        assert code in {"AccessDenied", "AccessDeniedException"}, operation
        assert f"on resource: {prod} with an explicit deny" in message
    await call(client, "set_alarm_state", AlarmName="dev", **state)
    assert len((await call(client, "describe_alarms"))["MetricAlarms"]) == 2


async def test_a_key_for_one_alarm_touches_no_other(api: Any) -> None:
    key = await key_with(api, ("Allow", "cloudwatch:*", "arn:aws:cloudwatch:us-east-1:000000000000:alarm:dev-*"))
    client = api.client(service="cloudwatch", key=key)
    await call(client, "disable_alarm_actions", AlarmNames=["dev-1"])
    for operation, arguments in (
        ("disable_alarm_actions", {"AlarmNames": ["dev-1", "prod"]}),
        ("describe_alarms", {}),
        ("list_metrics", {}),
    ):
        assert (await refusal(client, operation, **arguments))[0] in {"AccessDenied", "AccessDeniedException"}
