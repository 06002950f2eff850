"""Metrics and alarms of fleets over the wire, asked by boto3 as it is, in every protocol of CloudWatch."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from api_server_rig import speak
from test_api_scaling import FLEET, Client, make_fleet, steps

from fanlight.domain.fleet_metrics import FleetObservation
from fanlight.domain.places import Scope

NOW = datetime.now(UTC).replace(second=0, microsecond=0)
START = NOW - timedelta(minutes=10)
METRIC = {
    "Namespace": "AWS/AppStream",
    "MetricName": "CapacityUtilization",
    "Dimensions": [{"Name": "Fleet", "Value": "cad"}],
}
ALARM = {
    **METRIC,
    "AlarmName": "busy",
    "Statistic": "Average",
    "Period": 60,
    "EvaluationPeriods": 3,
    "Threshold": 75.0,
    "ComparisonOperator": "GreaterThanThreshold",
}


@pytest.fixture(params=["smithy-rpc-v2-cbor", "json", "query"])
def any_protocol(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    return speak(request.param, monkeypatch)


async def make_data(api: Any, name: str = "cad", minutes: int = 10) -> None:
    """Let a fleet have been used more and more, minute by minute."""
    await make_fleet(api, name)
    seen = [
        FleetObservation(
            scope=Scope("000000000000", "us-east-1"),
            fleet_name=name,
            at=START + timedelta(minutes=minute),
            is_always_on=True,
            available=10 - minute,
            in_use=minute,
            pending=0,
        )
        for minute in range(minutes)
    ]
    transactions = api.services.metrics._transactions
    async with transactions.begin(write=True) as work:
        await work.observations.add(seen)
        await work.commit()


@pytest.fixture
async def cloudwatch(api: Any) -> Client:
    """A client of the service, beside a fleet `cad` with ten minutes of data."""
    await make_data(api)
    return Client(api.client(service="cloudwatch"))


async def test_metrics_are_listed_read_and_watched_in_every_protocol(any_protocol: str, cloudwatch: Client) -> None:
    listed = (await cloudwatch.list_metrics(Namespace="AWS/AppStream"))["Metrics"]
    assert METRIC in listed
    assert sorted(metric["MetricName"] for metric in listed) == [
        "ActualCapacity",
        "AvailableCapacity",
        "CapacityUtilization",
        "DesiredCapacity",
        "InUseCapacity",
        "InsufficientCapacityError",
        "PendingCapacity",
        "RunningCapacity",
    ]
    statistics = await cloudwatch.get_metric_statistics(
        **METRIC, StartTime=START, EndTime=NOW, Period=300, Statistics=["Average", "Maximum", "SampleCount"]
    )
    assert statistics["Label"] == "CapacityUtilization"
    assert sorted(statistics["Datapoints"], key=lambda point: point["Timestamp"]) == [
        {"Timestamp": START, "Average": 20.0, "Maximum": 40.0, "SampleCount": 5.0, "Unit": "Percent"},
        {
            "Timestamp": START + timedelta(minutes=5),
            "Average": 70.0,
            "Maximum": 90.0,
            "SampleCount": 5.0,
            "Unit": "Percent",
        },
    ]
    query = {"Id": "m1", "MetricStat": {"Metric": METRIC, "Period": 300, "Stat": "Sum"}, "Label": "use"}
    data = await cloudwatch.get_metric_data(MetricDataQueries=[query], StartTime=START, EndTime=NOW)
    assert data["MetricDataResults"] == [
        {
            "Id": "m1",
            "Label": "use",
            "Timestamps": [START + timedelta(minutes=5), START],
            "Values": [350.0, 100.0],
            "StatusCode": "Complete",
        }
    ]
    await cloudwatch.put_metric_alarm(**ALARM)
    (alarm,) = (await cloudwatch.describe_alarms())["MetricAlarms"]
    assert alarm.items() >= ALARM.items()
    assert (alarm["StateValue"], alarm["StateReason"]) == ("INSUFFICIENT_DATA", "Unchecked: Initial alarm creation")
    assert alarm["AlarmArn"] == "arn:aws:cloudwatch:us-east-1:000000000000:alarm:busy"
    await cloudwatch.delete_alarms(AlarmNames=["busy"])
    code, message = await refused_with(cloudwatch, 404, "delete_alarms", AlarmNames=["busy"])
    assert code in {"ResourceNotFound", "ResourceNotFoundException"}
    assert message == "The alarm busy does not exist."


async def refused_with(client: Client, status: int, operation: str, **arguments: Any) -> tuple[str, str]:
    from botocore.exceptions import ClientError

    with pytest.raises(ClientError) as caught:
        await getattr(client, operation)(**arguments)
    answer = caught.value.response
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == status
    return answer["Error"]["Code"], answer["Error"]["Message"]


class TestMetrics:
    async def test_listing_filters_and_pages(self, api: Any, cloudwatch: Client) -> None:
        for number in range(65):
            await make_data(api, f"fleet-{number:02}", minutes=1)
        first = await cloudwatch.list_metrics()
        assert len(first["Metrics"]) == 500
        second = await cloudwatch.list_metrics(NextToken=first["NextToken"])
        assert "NextToken" not in second
        every = [(m["Dimensions"][0]["Value"], m["MetricName"]) for page in (first, second) for m in page["Metrics"]]
        assert len(every) == len(set(every)) == 66 * 8
        assert every == sorted(every)
        one = await cloudwatch.list_metrics(
            MetricName="InUseCapacity", Dimensions=[{"Name": "Fleet", "Value": "fleet-07"}], RecentlyActive="PT3H"
        )
        assert [m["Dimensions"] for m in one["Metrics"]] == [[{"Name": "Fleet", "Value": "fleet-07"}]]
        for nothing in ({"Namespace": "AWS/EC2"}, {"Dimensions": [{"Name": "UserId"}]}, {"MetricName": "CPU"}):
            assert (await cloudwatch.list_metrics(**nothing))["Metrics"] == []
        code, _ = await refused_with(cloudwatch, 400, "list_metrics", NextToken="junk")
        assert code in {"ValidationError", "ValidationException"}

    async def test_what_does_not_exist_has_no_data(self, cloudwatch: Client) -> None:
        span = {"StartTime": START, "EndTime": NOW, "Period": 60, "Statistics": ["Sum"]}
        for other in (
            {"MetricName": "Nothing"},
            {"Namespace": "AWS/EC2"},
            {"Dimensions": []},
            {"Dimensions": [{"Name": "Fleet", "Value": "other"}]},
            {"Unit": "Count"},
        ):
            assert (await cloudwatch.get_metric_statistics(**{**METRIC, **span, **other}))["Datapoints"] == []

    async def test_data_come_in_pages_when_there_are_many(self, cloudwatch: Client) -> None:
        queries = [
            {"Id": "a", "MetricStat": {"Metric": METRIC, "Period": 60, "Stat": "Average"}},
            {"Id": "b", "MetricStat": {"Metric": {**METRIC, "MetricName": "Nope"}, "Period": 60, "Stat": "p50"}},
            {"Id": "c", "MetricStat": {"Metric": METRIC, "Period": 60, "Stat": "p50"}},
            {"Id": "d", "MetricStat": {"Metric": METRIC, "Period": 60, "Stat": "p50"}, "ReturnData": False},
        ]
        asked = {"MetricDataQueries": queries, "StartTime": START, "EndTime": NOW, "MaxDatapoints": 7}
        pages, token = [], None
        while True:
            page = await cloudwatch.get_metric_data(
                **asked, ScanBy="TimestampAscending", **({"NextToken": token} if token else {})
            )
            pages.append([(r["Id"], len(r["Values"]), r["StatusCode"]) for r in page["MetricDataResults"]])
            token = page.get("NextToken")
            if token is None:
                break
        assert pages == [
            [("a", 7, "PartialData")],
            [("a", 3, "Complete"), ("b", 0, "Complete"), ("c", 4, "PartialData")],
            [("c", 6, "Complete")],
        ]

    async def test_wrong_questions_are_refused_in_words(self, cloudwatch: Client) -> None:
        good = {**METRIC, "StartTime": START, "EndTime": NOW, "Period": 60, "Statistics": ["Sum"]}
        table: list[tuple[dict[str, Any], str, str]] = [
            ({"EndTime": START}, "InvalidParameterValue", "less than"),
            ({"Period": 90}, "InvalidParameterValue", "multiple of 60"),
            ({"StartTime": NOW - timedelta(days=2)}, "InvalidParameterCombination", "1,440"),
            ({"ExtendedStatistics": ["p90"]}, "InvalidParameterCombination", "either"),
        ]
        for change, code, words in table:
            refusal = await refused_with(cloudwatch, 400, "get_metric_statistics", **{**good, **change})
            assert refusal[0].removesuffix("Exception") == code
            assert words in refusal[1]
        del good["Statistics"]
        refusal = await refused_with(cloudwatch, 400, "get_metric_statistics", **good, ExtendedStatistics=["tm90"])
        assert "not available" in refusal[1]
        span = {"StartTime": NOW - timedelta(days=15), "EndTime": NOW}
        stat = {"Metric": METRIC, "Period": 60, "Stat": "Sum"}
        for queries, words in (
            ([{"Id": "m", "Expression": "1+1"}], "expression of m is not available"),
            ([{"Id": "m"}], "neither"),
            ([{"Id": "M", "MetricStat": stat}], "lower case"),
            ([{"Id": "m", "MetricStat": stat}] * 2, "unique"),
            ([{"Id": "m", "MetricStat": {**stat, "Stat": "median"}}], "median"),
            ([], "1 to 500"),
            ([{"Id": f"m{n}", "MetricStat": {**stat, "Period": 86400}} for n in range(11)], "shorter time"),
        ):
            _, message = await refused_with(cloudwatch, 400, "get_metric_data", MetricDataQueries=queries, **span)
            assert words in message


class TestAlarms:
    async def test_alarms_are_found_by_name_prefix_state_and_metric(self, cloudwatch: Client) -> None:
        for name in ("busy", "busier", "idle"):
            await cloudwatch.put_metric_alarm(
                **{**ALARM, "AlarmName": name}, TreatMissingData="notBreaching", DatapointsToAlarm=2
            )

        async def found(**asked: Any) -> list[str]:
            return [alarm["AlarmName"] for alarm in (await cloudwatch.describe_alarms(**asked))["MetricAlarms"]]

        assert await found() == ["busier", "busy", "idle"]
        assert await found(AlarmNamePrefix="bus") == ["busier", "busy"]
        assert await found(AlarmNames=["idle", "gone"]) == ["idle"]
        assert await found(AlarmTypes=["CompositeAlarm"]) == []
        await cloudwatch.set_alarm_state(AlarmName="idle", StateValue="ALARM", StateReason="a test")
        assert await found(StateValue="ALARM") == ["idle"]
        assert await found(ActionPrefix="arn:aws:autoscaling") == []
        page = await cloudwatch.describe_alarms(MaxRecords=2)
        assert await found(MaxRecords=2, NextToken=page["NextToken"]) == ["idle"]
        by_metric = await cloudwatch.describe_alarms_for_metric(**METRIC, Statistic="Average")
        assert len(by_metric["MetricAlarms"]) == 3
        assert by_metric["MetricAlarms"][0]["DatapointsToAlarm"] == 2
        await cloudwatch.disable_alarm_actions(AlarmNames=["idle", "gone"])
        (alarm,) = (await cloudwatch.describe_alarms(AlarmNames=["idle"]))["MetricAlarms"]
        assert alarm["ActionsEnabled"] is False
        # A new configuration keeps the state.
        await cloudwatch.put_metric_alarm(**{**ALARM, "AlarmName": "idle", "Threshold": 5.0})
        (alarm,) = (await cloudwatch.describe_alarms(AlarmNames=["idle"]))["MetricAlarms"]
        assert (alarm["Threshold"], alarm["StateValue"], alarm["StateReason"]) == (5.0, "ALARM", "a test")

    async def test_an_alarm_acts_on_a_scaling_policy_and_on_nothing_else(self, api: Any, cloudwatch: Client) -> None:
        scaling = Client(api.client(service="application-autoscaling"))
        await scaling.register_scalable_target(**FLEET, MinCapacity=1, MaxCapacity=5)
        policy = await scaling.put_scaling_policy(PolicyName="p", **FLEET, **steps((0, None, 1)))
        await cloudwatch.put_metric_alarm(
            **ALARM, AlarmActions=[policy["PolicyARN"]], Tags=[{"Key": "a", "Value": "b"}]
        )
        (shown,) = (await scaling.describe_scaling_policies(ServiceNamespace="appstream"))["ScalingPolicies"]
        assert [alarm["AlarmName"] for alarm in shown["Alarms"]] == ["busy"]
        arn = shown["Alarms"][0]["AlarmARN"]
        await cloudwatch.tag_resource(ResourceARN=arn, Tags=[{"Key": "c", "Value": "d"}])
        await cloudwatch.untag_resource(ResourceARN=arn, TagKeys=["a"])
        assert (await cloudwatch.list_tags_for_resource(ResourceARN=arn))["Tags"] == [{"Key": "c", "Value": "d"}]

    async def test_wrong_and_unknown_wishes_are_refused_in_words(self, cloudwatch: Client) -> None:
        topic = ["arn:aws:sns:us-east-1:000000000000:topic"]
        table: list[tuple[dict[str, Any], str]] = [
            ({"AlarmActions": topic}, "scaling policy"),
            ({"OKActions": topic}, "OKActions"),
            ({"InsufficientDataActions": topic}, "InsufficientDataActions"),
            ({"Period": 30}, "multiple of 60"),
            ({"Period": 3600, "EvaluationPeriods": 200}, "a week"),
            ({"EvaluationPeriods": 2, "DatapointsToAlarm": 3}, "DatapointsToAlarm"),
            ({"TreatMissingData": "panic"}, "TreatMissingData is panic"),
            ({"Threshold": float("nan")}, "finite"),
            ({"Threshold": float("inf")}, "finite"),
            ({"ComparisonOperator": "LessThanLowerThreshold"}, "anomaly"),
            ({"ExtendedStatistic": "p90"}, "either"),
            ({"Statistic": None}, "either"),
            ({"Statistic": None, "ExtendedStatistic": "tm90"}, "tm90"),
            ({"Threshold": None}, "required"),
            ({"MetricName": None}, "required"),
        ]
        for change, words in table:
            asked = {name: value for name, value in {**ALARM, **change}.items() if value is not None}
            _, message = await refused_with(cloudwatch, 400, "put_metric_alarm", **asked)
            assert words in message
        assert (await cloudwatch.describe_alarms())["MetricAlarms"] == []

    async def test_deleting_is_all_or_nothing(self, cloudwatch: Client) -> None:
        await cloudwatch.put_metric_alarm(**ALARM)
        await refused_with(cloudwatch, 404, "delete_alarms", AlarmNames=["busy", "gone"])
        assert len((await cloudwatch.describe_alarms())["MetricAlarms"]) == 1

    async def test_other_operations_are_refused_by_name(self, cloudwatch: Client) -> None:
        _, message = await refused_with(cloudwatch, 400, "list_dashboards")
        assert message.startswith("ListDashboards is not available")
