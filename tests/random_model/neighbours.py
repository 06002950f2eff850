"""Sequences also ask the services beside AppStream: tags of everything, scaling of fleets, alarms, who and where one is."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from random_model.world import Account

TAGGING, SCALING, ALARMS = "resourcegroupstaggingapi", "application-autoscaling", "cloudwatch"
WHERE = {"ServiceNamespace": "appstream", "ScalableDimension": "appstream:fleet:DesiredCapacity"}
INVALID_VALUE = "ValidationException"
alarm_names = st.sampled_from(("busy", "idle"))
tag_keys = st.sampled_from(("env", "team", "aws:mine", "AWS:mine", "a b"))
tag_values = st.sampled_from(("", "1", "2"))


def is_reserved(key: str) -> bool:
    return key.lower().startswith("aws:")


def is_full(tags: dict[str, str], key: str) -> bool:
    """Return whether one more key is too many: a resource has at most fifty tags."""
    return len({*tags, key}) > 50


class Neighbours:
    """Rules of the neighbour services; mixed into the machine, which keeps the model of fleets, stacks and tags."""

    account: Account
    targets: dict[str, tuple[int, int]]
    policies: set[tuple[str, str]]
    alarms: set[str]
    fleets: dict[str, Any]

    def expect(self, refusals: set[str], operation: str, service: str = "appstream", **body: Any) -> dict[str, Any]:
        raise NotImplementedError

    def tagged(self) -> dict[str, dict[str, str]]:
        raise NotImplementedError

    def find_tagged(self, arn: str) -> dict[str, str] | None:
        raise NotImplementedError

    def some_arn(self, kind: str, name: str) -> str:
        raise NotImplementedError

    # ── Tags of many ──────────────────────────────────────────────────────────────────────────────────────────────

    @rule(
        names=st.lists(
            st.sampled_from(("fleet/cad", "fleet/lab", "stack/draw", "stack/write", "image/x")), min_size=1, max_size=4
        ),
        key=tag_keys,
        value=tag_values,
    )
    def tag_many(self, names: list[str], key: str, value: str) -> None:
        arns = [self.account.scope.arn(name) for name in names]
        refusals = {"InvalidParameterException"} if is_reserved(key) else set()
        answer = self.expect(refusals, "TagResources", TAGGING, ResourceARNList=arns, Tags={key: value})
        if refusals or answer is None:
            return
        failed = {arn for arn in arns if (tags := self.find_tagged(arn)) is None or is_full(tags, key)}
        assert answer["FailedResourcesMap"].keys() == failed
        for arn in set(arns) - failed:
            tags = self.find_tagged(arn)
            assert tags is not None
            tags[key] = value

    @rule(key=tag_keys)
    def look_for_tags(self, key: str) -> None:
        found = self.expect(set(), "GetResources", TAGGING, TagFilters=[{"Key": key}])
        if found is None:
            return
        said = {
            one["ResourceARN"]: {tag["Key"]: tag["Value"] for tag in one["Tags"]}
            for one in found["ResourceTagMappingList"]
        }
        assert said == {arn: tags for arn, tags in self.tagged().items() if key in tags}

    # ── Scaling ───────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(name=st.sampled_from(("cad", "office", "nobody")), least=st.integers(0, 2), most=st.integers(0, 2))
    def register_target(self, name: str, least: int, most: int) -> None:
        refusals = {INVALID_VALUE} if name not in self.fleets or least > most else set()
        done = self.expect(
            refusals,
            "RegisterScalableTarget",
            SCALING,
            **WHERE,
            ResourceId=f"fleet/{name}",
            MinCapacity=least,
            MaxCapacity=most,
        )
        if done is not None and not refusals:
            self.targets[name] = (least, most)

    @rule(name=st.sampled_from(("cad", "office", "nobody")))
    def deregister_target(self, name: str) -> None:
        refusals = set() if name in self.targets else {"ObjectNotFoundException"}
        done = self.expect(refusals, "DeregisterScalableTarget", SCALING, **WHERE, ResourceId=f"fleet/{name}")
        if done is not None and not refusals:
            del self.targets[name]
            self.policies = {policy for policy in self.policies if policy[0] != name}

    @rule(
        name=st.sampled_from(("cad", "office")),
        policy=st.sampled_from(("up", "track")),
        percent=st.sampled_from((50, 0)),
    )
    def put_policy(self, name: str, policy: str, percent: int) -> None:
        refusals = set() if name in self.targets else {"ObjectNotFoundException"}
        rules: dict[str, Any] = {
            "PolicyType": "StepScaling",
            "StepScalingPolicyConfiguration": {
                "AdjustmentType": "ChangeInCapacity",
                "StepAdjustments": [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}],
            },
        }
        if policy == "track":
            refusals |= set() if percent > 0 else {INVALID_VALUE}
            rules = {
                "PolicyType": "TargetTrackingScaling",
                "TargetTrackingScalingPolicyConfiguration": {
                    "TargetValue": percent,
                    "PredefinedMetricSpecification": {"PredefinedMetricType": "AppStreamAverageCapacityUtilization"},
                },
            }
        done = self.expect(
            refusals, "PutScalingPolicy", SCALING, **WHERE, ResourceId=f"fleet/{name}", PolicyName=policy, **rules
        )
        if done is not None and not refusals:
            self.policies.add((name, policy))

    # ── Alarms ────────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(name=alarm_names, period=st.sampled_from((60, 300, 61)), key=tag_keys)
    def put_alarm(self, name: str, period: int, key: str) -> None:
        refusals = {INVALID_VALUE} if period % 60 or is_reserved(key) else set()
        done = self.expect(
            refusals,
            "PutMetricAlarm",
            ALARMS,
            AlarmName=name,
            Namespace="AWS/AppStream",
            MetricName="CapacityUtilization",
            Dimensions=[{"Name": "Fleet", "Value": "cad"}],
            Statistic="Average",
            Period=period,
            EvaluationPeriods=3,
            Threshold=75,
            ComparisonOperator="GreaterThanThreshold",
            Tags=[{"Key": key, "Value": "1"}],
        )
        if done is not None and not refusals:
            self.alarms.add(name)

    @rule(name=alarm_names)
    def delete_alarm(self, name: str) -> None:
        refusals = set() if name in self.alarms else {"ResourceNotFound", "ResourceNotFoundException"}
        done = self.expect(refusals, "DeleteAlarms", ALARMS, AlarmNames=[name])
        if done is not None:
            self.alarms.discard(name)

    # ── What always holds ─────────────────────────────────────────────────────────────────────────────────────────

    def check_neighbours(self) -> None:
        """Every listing says what the model says, twice."""
        found = self._listed("DescribeScalableTargets", SCALING, ServiceNamespace="appstream")["ScalableTargets"]
        said = {one["ResourceId"].partition("/")[2]: (one["MinCapacity"], one["MaxCapacity"]) for one in found}
        assert {n: v for n, v in said.items() if n in self.fleets} == {
            n: v for n, v in self.targets.items() if n in self.fleets
        }
        listed = self._listed("DescribeAlarms", ALARMS)["MetricAlarms"]
        assert {alarm["AlarmName"] for alarm in listed if not alarm["AlarmName"].startswith("Target")} == self.alarms

    def _listed(self, operation: str, service: str, **body: Any) -> dict[str, Any]:
        first = self.account.ask(operation, service, unlimited=True, **body)
        assert first == self.account.ask(operation, service, unlimited=True, **body), operation
        return first
