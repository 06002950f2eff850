"""Application Auto Scaling over the wire, asked by boto3 as it is."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

FLEET = {
    "ServiceNamespace": "appstream",
    "ResourceId": "fleet/cad",
    "ScalableDimension": "appstream:fleet:DesiredCapacity",
}
TRACKING = {
    "TargetValue": 75.0,
    "PredefinedMetricSpecification": {"PredefinedMetricType": "AppStreamAverageCapacityUtilization"},
}
STEPS = {
    "AdjustmentType": "PercentChangeInCapacity",
    "StepAdjustments": [
        {"MetricIntervalLowerBound": 0.0, "MetricIntervalUpperBound": 15.0, "ScalingAdjustment": 10},
        {"MetricIntervalLowerBound": 15.0, "ScalingAdjustment": 30},
    ],
    "MinAdjustmentMagnitude": 1,
    "Cooldown": 120,
    "MetricAggregationType": "Maximum",
}


class Client:
    """boto3 in a thread, so that the server under test goes on."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        async def call(**arguments: Any) -> Any:
            answer = await asyncio.to_thread(getattr(self._client, operation), **arguments)
            answer.pop("ResponseMetadata")
            return answer

        return call

    async def refused(self, operation: str, **arguments: Any) -> tuple[str, str]:
        with pytest.raises(ClientError) as caught:
            await getattr(self, operation)(**arguments)
        error = caught.value.response
        assert error["ResponseMetadata"]["HTTPStatusCode"] == 400
        return error["Error"]["Code"], error["Error"]["Message"]


async def make_fleet(api: Any, name: str = "cad") -> None:
    await Client(api.client()).create_fleet(
        Name=name, InstanceType="stream.standard.medium", ImageName="sample", ComputeCapacity={"DesiredInstances": 1}
    )


@pytest.fixture
async def scaling(api: Any) -> Client:
    """A client of the service, beside a fleet `cad`."""
    await make_fleet(api)
    return Client(api.client(service="application-autoscaling"))


@pytest.fixture
async def registered(scaling: Client) -> Client:
    await scaling.register_scalable_target(**FLEET, MinCapacity=1, MaxCapacity=5)
    return scaling


async def test_a_target_is_registered_described_changed_and_deregistered(scaling: Client) -> None:
    made = await scaling.register_scalable_target(
        **FLEET, MinCapacity=1, MaxCapacity=5, RoleARN="arn:aws:iam::000000000000:role/mine", Tags={"team": "cad"}
    )
    arn = made["ScalableTargetARN"]
    assert arn.startswith("arn:aws:application-autoscaling:us-east-1:000000000000:scalable-target/")
    changed = await scaling.register_scalable_target(
        **FLEET, MaxCapacity=7, SuspendedState={"DynamicScalingInSuspended": True}
    )
    assert changed == made
    described = await scaling.describe_scalable_targets(ServiceNamespace="appstream")
    (target,) = described["ScalableTargets"]
    assert abs(datetime.now(UTC) - target.pop("CreationTime")) < timedelta(minutes=1)
    assert target == {
        **FLEET,
        "MinCapacity": 1,
        "MaxCapacity": 7,
        "RoleARN": "arn:aws:iam::000000000000:role/aws-service-role/appstream.application-autoscaling.amazonaws.com/"
        "AWSServiceRoleForApplicationAutoScaling_AppStreamFleet",
        "SuspendedState": {
            "DynamicScalingInSuspended": True,
            "DynamicScalingOutSuspended": False,
            "ScheduledScalingSuspended": False,
        },
        "ScalableTargetARN": arn,
    }
    assert await scaling.list_tags_for_resource(ResourceARN=arn) == {"Tags": {"team": "cad"}}
    await scaling.tag_resource(ResourceARN=arn, Tags={"cost": "7"})
    await scaling.untag_resource(ResourceARN=arn, TagKeys=["team", "absent"])
    assert await scaling.list_tags_for_resource(ResourceARN=arn) == {"Tags": {"cost": "7"}}
    await scaling.deregister_scalable_target(**FLEET)
    assert (await scaling.describe_scalable_targets(ServiceNamespace="appstream"))["ScalableTargets"] == []
    code, message = await scaling.refused("deregister_scalable_target", **FLEET)
    assert code == "ObjectNotFoundException"
    assert message == (
        "No scalable target found for service namespace: appstream, resource ID: fleet/cad, scalable dimension: "
        "appstream:fleet:DesiredCapacity"
    )
    assert (await scaling.refused("list_tags_for_resource", ResourceARN=arn))[0] == "ResourceNotFoundException"


# Tables, not parameters: a server of its own for each row would take half a minute.
WRONG_TARGETS: list[tuple[dict[str, Any], str]] = [
    ({"MaxCapacity": None}, "required"),
    ({"MinCapacity": 6}, "less than minimum"),
    ({"MinCapacity": -1}, "between 0"),
    ({"MaxCapacity": 1_000_000}, "between 0"),
    ({"ResourceId": "fleet/other"}, "AppStream fleet doesn't exist: fleet/other"),
    ({"ResourceId": "stack/cad"}, "Unsupported service namespace, resource type or scalable dimension"),
    ({"ServiceNamespace": "ecs"}, "Unsupported service namespace"),
    ({"ScalableDimension": "ecs:service:DesiredCount"}, "Unsupported service namespace"),
]


async def test_a_wrong_target_is_refused_in_words(scaling: Client) -> None:
    for change, words in WRONG_TARGETS:
        asked = {**FLEET, "MinCapacity": 1, "MaxCapacity": 5, **change}
        asked = {name: value for name, value in asked.items() if value is not None}
        code, message = await scaling.refused("register_scalable_target", **asked)
        assert code == "ValidationException"
        assert words in message


async def test_other_namespaces_have_no_targets_and_tokens_are_checked(registered: Client) -> None:
    assert (await registered.describe_scalable_targets(ServiceNamespace="ecs"))["ScalableTargets"] == []
    refused = await registered.refused("describe_scalable_targets", ServiceNamespace="appstream", NextToken="junk")
    assert refused[0] == "InvalidNextTokenException"
    refused = await registered.refused("describe_scaling_policies", ServiceNamespace="appstream", MaxResults=51)
    assert refused == ("ValidationException", "MaxResults is 51; it must be between 1 and 50.")
    refused = await registered.refused(
        "describe_scaling_activities", ServiceNamespace="appstream", ScalableDimension=FLEET["ScalableDimension"]
    )
    assert refused[0] == "ValidationException"


async def test_targets_are_paged(api: Any, registered: Client) -> None:
    for name in ("a", "b", "c"):
        await make_fleet(api, name)
        await registered.register_scalable_target(
            **{**FLEET, "ResourceId": f"fleet/{name}"}, MinCapacity=0, MaxCapacity=1
        )
    first = await registered.describe_scalable_targets(ServiceNamespace="appstream", MaxResults=3)
    rest = await registered.describe_scalable_targets(
        ServiceNamespace="appstream", MaxResults=3, NextToken=first["NextToken"]
    )
    names = [target["ResourceId"] for page in (first, rest) for target in page["ScalableTargets"]]
    assert names == ["fleet/a", "fleet/b", "fleet/c", "fleet/cad"]
    assert "NextToken" not in rest
    some = await registered.describe_scalable_targets(
        ServiceNamespace="appstream",
        ResourceIds=["fleet/c", "fleet/gone"],
        ScalableDimension=FLEET["ScalableDimension"],
    )
    assert [target["ResourceId"] for target in some["ScalableTargets"]] == ["fleet/c"]


async def test_a_target_tracking_policy_shows_its_two_alarms(api: Any, registered: Client) -> None:
    made = await registered.put_scaling_policy(
        PolicyName="three quarters",
        PolicyType="TargetTrackingScaling",
        TargetTrackingScalingPolicyConfiguration={**TRACKING, "ScaleInCooldown": 60},
        **FLEET,
    )
    arn = made["PolicyARN"]
    assert arn.startswith("arn:aws:autoscaling:us-east-1:000000000000:scalingPolicy:")
    assert arn.endswith(":resource/appstream/fleet/cad:policyName/three quarters")
    names = [alarm["AlarmName"] for alarm in made["Alarms"]]
    assert [name[: len("TargetTracking-fleet/cad-AlarmHigh")] for name in names] == [
        "TargetTracking-fleet/cad-AlarmHigh",
        "TargetTracking-fleet/cad-AlarmLow-",
    ]
    (policy,) = (await registered.describe_scaling_policies(ServiceNamespace="appstream"))["ScalingPolicies"]
    policy.pop("CreationTime")
    assert policy == {
        **FLEET,
        "PolicyARN": arn,
        "PolicyName": "three quarters",
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": {**TRACKING, "ScaleInCooldown": 60},
        "Alarms": made["Alarms"],
    }
    alarms = await Client(api.client(service="cloudwatch")).describe_alarms(AlarmNames=names)
    assert [(a["Threshold"], a["EvaluationPeriods"], a["ComparisonOperator"]) for a in alarms["MetricAlarms"]] == [
        (75.0, 3, "GreaterThanThreshold"),
        (67.5, 15, "LessThanThreshold"),
    ]
    assert [a["AlarmActions"] for a in alarms["MetricAlarms"]] == [[arn], [arn]]
    await registered.delete_scaling_policy(PolicyName="three quarters", **FLEET)
    assert (await Client(api.client(service="cloudwatch")).describe_alarms())["MetricAlarms"] == []
    code, message = await registered.refused("delete_scaling_policy", PolicyName="three quarters", **FLEET)
    assert code == "ObjectNotFoundException"
    assert message.endswith("policy name: three quarters")


async def test_a_step_policy_comes_back_as_it_was_given(registered: Client) -> None:
    await registered.put_scaling_policy(
        PolicyName="steps", PolicyType="StepScaling", StepScalingPolicyConfiguration=STEPS, **FLEET
    )
    (policy,) = (await registered.describe_scaling_policies(ServiceNamespace="appstream", PolicyNames=["steps"]))[
        "ScalingPolicies"
    ]
    assert policy["StepScalingPolicyConfiguration"] == STEPS
    assert policy["Alarms"] == []
    # A change may leave the type out.
    await registered.put_scaling_policy(
        PolicyName="steps", StepScalingPolicyConfiguration={**STEPS, "Cooldown": 0}, **FLEET
    )
    (policy,) = (await registered.describe_scaling_policies(**FLEET))["ScalingPolicies"]
    assert policy["StepScalingPolicyConfiguration"]["Cooldown"] == 0


def steps(*adjustments: tuple[float | None, float | None, int], **more: Any) -> dict[str, Any]:
    bounds = ("MetricIntervalLowerBound", "MetricIntervalUpperBound")
    return {
        "StepScalingPolicyConfiguration": {
            "AdjustmentType": "ChangeInCapacity",
            "StepAdjustments": [
                {
                    **{name: bound for name, bound in zip(bounds, pair, strict=True) if bound is not None},
                    "ScalingAdjustment": adjustment,
                }
                for *pair, adjustment in adjustments
            ],
            **more,
        },
        "PolicyType": "StepScaling",
    }


def tracks(**more: Any) -> dict[str, Any]:
    return {
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": {**TRACKING, **more},
    }


def customized(**more: Any) -> dict[str, Any]:
    metric = {
        "MetricName": "AvailableCapacity",
        "Namespace": "AWS/AppStream",
        "Dimensions": [{"Name": "Fleet", "Value": "cad"}],
        "Statistic": "Average",
        **more,
    }
    return {
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": {
            "TargetValue": 2.0,
            "CustomizedMetricSpecification": {name: value for name, value in metric.items() if value is not None},
        },
    }


WRONG_POLICIES: list[tuple[dict[str, Any], str]] = [
    ({}, "PolicyType is required"),
    ({"PolicyType": "StepScaling"}, "StepScalingPolicyConfiguration is required"),
    ({"PolicyType": "PredictiveScaling"}, "not supported"),
    ({**steps((0, None, 1)), "PolicyType": "TargetTrackingScaling"}, "does not belong"),
    (steps(), "1 to 20"),
    (steps((None, None, 1)), "can't be null in the same"),
    (steps((5, 1, 1)), "greater than"),
    (steps((0, 10, 1), (5, None, 2)), "overlap"),
    (steps((0, 10, 1), (20, None, 2)), "gap"),
    (steps((0, 10, 1)), "no upper bound"),
    (steps((-10, 0, -1)), "no lower bound"),
    (steps((0, None, 1), MinAdjustmentMagnitude=1), "PercentChangeInCapacity only"),
    (steps((0, None, -1), AdjustmentType="ExactCapacity"), "must not be negative"),
    (steps((0, None, 1), Cooldown=-1), "Cooldown"),
    (tracks(TargetValue=0), "greater than 0"),
    (tracks(ScaleOutCooldown=-1), "ScaleOutCooldown"),
    (
        tracks(PredefinedMetricSpecification={"PredefinedMetricType": "DynamoDBReadCapacityUtilization"}),
        "not a fleet",
    ),
    (
        tracks(
            PredefinedMetricSpecification={
                "PredefinedMetricType": "AppStreamAverageCapacityUtilization",
                "ResourceLabel": "app/x",
            }
        ),
        "ResourceLabel",
    ),
    (customized(Statistic=None), "Statistic is required"),
    (customized(Unit="Percent"), "unit of AvailableCapacity is Count"),
]


async def test_a_wrong_policy_is_refused_in_words(registered: Client) -> None:
    for asked, words in WRONG_POLICIES:
        code, message = await registered.refused("put_scaling_policy", PolicyName="p", **FLEET, **asked)
        assert code == "ValidationException"
        assert words in message


FOREIGN_METRICS: list[dict[str, Any]] = [
    customized(Namespace="AWS/EC2"),
    customized(MetricName="CPUUtilization"),
    customized(Dimensions=[{"Name": "Fleet", "Value": "other"}]),
    customized(Metrics=[{"Id": "m1", "Expression": "1"}]),
]


async def test_metrics_that_are_not_the_fleet_s_are_refused(registered: Client) -> None:
    for asked in FOREIGN_METRICS:
        code, message = await registered.refused("put_scaling_policy", PolicyName="p", **FLEET, **asked)
        assert code == "ValidationException"
        assert "metric" in message


async def test_a_customized_metric_of_the_fleet_is_tracked(registered: Client) -> None:
    await registered.put_scaling_policy(PolicyName="p", **FLEET, **customized())
    (policy,) = (await registered.describe_scaling_policies(**FLEET))["ScalingPolicies"]
    wanted = customized()["TargetTrackingScalingPolicyConfiguration"]
    assert policy["TargetTrackingScalingPolicyConfiguration"] == wanted


async def test_policies_and_actions_need_a_target(scaling: Client) -> None:
    words = "No scalable target registered for service namespace: appstream, resource ID: fleet/cad"
    for operation, asked in (
        ("put_scaling_policy", {"PolicyName": "p", **tracks()}),
        (
            "put_scheduled_action",
            {"ScheduledActionName": "a", "Schedule": "rate(1 day)", "ScalableTargetAction": {"MinCapacity": 1}},
        ),
    ):
        code, message = await scaling.refused(operation, **FLEET, **asked)
        assert code == "ObjectNotFoundException"
        assert message.startswith(words)


async def test_a_scheduled_action_comes_back_as_it_was_given_and_loses_its_times_when_changed(
    registered: Client,
) -> None:
    start = datetime(2030, 1, 1, tzinfo=UTC)
    times = {"StartTime": start, "EndTime": start + timedelta(days=30)}
    await registered.put_scheduled_action(
        ScheduledActionName="morning",
        Schedule="rate(1 day)",
        Timezone="Europe/Berlin",
        ScalableTargetAction={"MinCapacity": 3, "MaxCapacity": 5},
        **times,
        **FLEET,
    )
    (action,) = (await registered.describe_scheduled_actions(ServiceNamespace="appstream"))["ScheduledActions"]
    action.pop("CreationTime")
    arn = action.pop("ScheduledActionARN")
    assert arn.startswith("arn:aws:autoscaling:us-east-1:000000000000:scheduledAction:")
    assert arn.endswith(":resource/appstream/fleet/cad:scheduledActionName/morning")
    assert action == {
        **FLEET,
        **times,
        "ScheduledActionName": "morning",
        "Schedule": "rate(1 day)",
        "Timezone": "Europe/Berlin",
        "ScalableTargetAction": {"MinCapacity": 3, "MaxCapacity": 5},
    }
    await registered.put_scheduled_action(
        ScheduledActionName="morning", Schedule="rate(2 days)", ScalableTargetAction={"MinCapacity": 0}, **FLEET
    )
    (action,) = (
        await registered.describe_scheduled_actions(ServiceNamespace="appstream", ScheduledActionNames=["morning"])
    )["ScheduledActions"]
    assert (action["Schedule"], action["ScalableTargetAction"], action["Timezone"]) == (
        "rate(2 days)",
        {"MinCapacity": 0},
        "Europe/Berlin",
    )
    assert "StartTime" not in action
    await registered.delete_scheduled_action(ScheduledActionName="morning", **FLEET)
    refused = await registered.refused("delete_scheduled_action", ScheduledActionName="morning", **FLEET)
    assert refused[0] == "ObjectNotFoundException"
    assert refused[1].endswith("scheduled action name: morning")


async def test_deregistering_takes_policies_and_actions_away(registered: Client) -> None:
    await registered.put_scaling_policy(PolicyName="p", **FLEET, **tracks())
    await registered.put_scheduled_action(
        ScheduledActionName="a", Schedule="rate(1 day)", ScalableTargetAction={"MinCapacity": 1}, **FLEET
    )
    await registered.deregister_scalable_target(**FLEET)
    assert (await registered.describe_scaling_policies(ServiceNamespace="appstream"))["ScalingPolicies"] == []
    assert (await registered.describe_scheduled_actions(ServiceNamespace="appstream"))["ScheduledActions"] == []


async def test_limits_are_the_service_s(registered: Client) -> None:
    for number in range(50):
        await registered.put_scaling_policy(PolicyName=f"p{number:02}", **FLEET, **steps((0, None, 1)))
    code, message = await registered.refused("put_scaling_policy", PolicyName="p50", **FLEET, **steps((0, None, 1)))
    assert (code, message) == ("LimitExceededException", "A scalable target may have at most 50 scaling policies.")
    first = await registered.describe_scaling_policies(ServiceNamespace="appstream", MaxResults=20)
    second = await registered.describe_scaling_policies(
        ServiceNamespace="appstream", MaxResults=20, NextToken=first["NextToken"]
    )
    names = [policy["PolicyName"] for page in (first, second) for policy in page["ScalingPolicies"]]
    assert names == [f"p{number:02}" for number in range(40)]


async def test_predictive_forecasts_are_refused_by_name(scaling: Client) -> None:
    now = datetime.now(UTC)
    code, message = await scaling.refused(
        "get_predictive_scaling_forecast", **FLEET, PolicyName="p", StartTime=now, EndTime=now
    )
    assert code == "UnsupportedOperation"
    assert message.startswith("GetPredictiveScalingForecast is not available")
