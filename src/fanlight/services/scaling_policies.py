"""Scaling policies: how a target's capacity follows its metrics. Target tracking policies own two alarms each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from uuid import uuid4

from fanlight.domain.alarms import Comparison, MetricAlarm, MissingData
from fanlight.domain.errors import InvalidCombination, LimitExceeded
from fanlight.domain.fleet_metrics import DIMENSION, NAMESPACE, RESOLUTION
from fanlight.domain.places import Scope
from fanlight.domain.ports import Clock, Transactions, UnitOfWork
from fanlight.domain.scaling import (
    AdjustmentType,
    PolicyRule,
    ScalingObjectMissing,
    ScalingPolicy,
    StepAdjustment,
    StepScaling,
    TargetTracking,
    resource_id,
)
from fanlight.domain.scaling_plan import SCALE_IN_MARGIN
from fanlight.services.page_tokens import PageTokens, cut
from fanlight.services.scaling_records import MANY, policies_of, remove_tracking_alarms, target_of, where

PAGE_SIZE = 50
MOST_POLICIES = 50
MOST_STEPS = 20
# A target tracking policy is quick to add capacity and slow to take it away, as the service's are.
HIGH_PERIODS, LOW_PERIODS = 3, 15


@dataclass(frozen=True, slots=True)
class DescribedPolicy:
    policy: ScalingPolicy
    alarms: Sequence[MetricAlarm]


class ScalingPolicyService:
    def __init__(self, transactions: Transactions, clock: Clock, tokens: PageTokens) -> None:
        self._transactions, self._clock, self._tokens = transactions, clock, tokens

    async def put(self, scope: Scope, fleet_name: str, name: str, rule: PolicyRule) -> DescribedPolicy:
        """Make a policy or give it a new rule. Raises ScalingObjectMissing (target), InvalidCombination, LimitExceeded."""
        check_rule(rule)
        now = self._clock.now()
        async with self._transactions.begin(write=True) as work:
            await target_of(work, scope, fleet_name)
            policy = await work.scaling_policies.find(scope, fleet_name, name)
            if policy is None:
                if len(await policies_of(work, scope, fleet_name)) >= MOST_POLICIES:
                    raise LimitExceeded(f"A scalable target may have at most {MOST_POLICIES} scaling policies.")
                policy = await work.scaling_policies.add(_new(scope, fleet_name, name, rule, now))
            else:
                if type(policy.rule) is not type(rule):
                    raise InvalidCombination(
                        f"The policy {name} is of another type. Delete it, or choose another name."
                    )
                policy = await work.scaling_policies.save(replace(policy, rule=rule))
            await remove_tracking_alarms(work, [policy.arn])
            alarms: Sequence[MetricAlarm]
            if isinstance(rule, TargetTracking):
                alarms = [await work.alarms.add(alarm) for alarm in tracking_alarms(policy, rule, now)]
            else:
                alarms = (await _alarms(work, scope)).get(policy.arn, [])
            await work.commit()
        return DescribedPolicy(policy, alarms)

    async def rule_of(self, scope: Scope, fleet_name: str, name: str) -> PolicyRule | None:
        """Return what a policy does now, None when there is no such policy."""
        async with self._transactions.begin() as work:
            policy = await work.scaling_policies.find(scope, fleet_name, name)
        return None if policy is None else policy.rule

    async def describe(
        self,
        scope: Scope,
        *,
        names: Sequence[str] = (),
        fleet_name: str | None = None,
        limit: int = PAGE_SIZE,
        next_token: str | None = None,
    ) -> tuple[Sequence[DescribedPolicy], str | None]:
        """Return one page by fleet and name, and the token of the next. Raises InvalidPageToken."""
        asked = ["scaling policies", fleet_name or "", *names]
        after = self._tokens.read(scope, asked, next_token)
        async with self._transactions.begin() as work:
            found = await work.scaling_policies.page(scope, fleet_name, after=after, limit=MANY if names else limit + 1)
            if names:
                found = [policy for policy in found if policy.name in names]
            alarms = await _alarms(work, scope) if found else {}
        page, has_more = cut(found, limit)
        described = [DescribedPolicy(policy, alarms.get(policy.arn, [])) for policy in page]
        last = f"{page[-1].fleet_name}/{page[-1].name}" if has_more else ""
        return described, self._tokens.issue(scope, asked, last) if has_more else None

    async def delete(self, scope: Scope, fleet_name: str, name: str) -> None:
        """Remove a policy, and its alarms if it tracks a target. Raises ScalingObjectMissing."""
        async with self._transactions.begin(write=True) as work:
            policy = await work.scaling_policies.find(scope, fleet_name, name)
            if policy is None:
                raise ScalingObjectMissing(f"No scaling policy found for {where(fleet_name)}, policy name: {name}")
            await remove_tracking_alarms(work, [policy.arn])
            await work.scaling_policies.remove(policy)
            await work.commit()


def check_rule(rule: PolicyRule) -> None:
    """Raise InvalidCombination for a rule that could never work."""
    if isinstance(rule, TargetTracking):
        if not 0 < rule.target_value <= 2**360:
            raise InvalidCombination(f"TargetValue is {rule.target_value}; it must be greater than 0.")
        _check_not_negative("ScaleOutCooldown", rule.scale_out_cooldown_in_seconds)
        _check_not_negative("ScaleInCooldown", rule.scale_in_cooldown_in_seconds)
        return
    _check_not_negative("Cooldown", rule.cooldown_in_seconds)
    least = rule.min_adjustment_magnitude
    if least is not None and (rule.adjustment_type is not AdjustmentType.PERCENT or least <= 0):
        raise InvalidCombination("MinAdjustmentMagnitude must be positive and belongs to PercentChangeInCapacity only.")
    if rule.adjustment_type is AdjustmentType.EXACT and any(step.adjustment < 0 for step in rule.steps):
        raise InvalidCombination("ScalingAdjustment must not be negative for ExactCapacity.")
    _check_steps(rule)


def _check_not_negative(member: str, value: int | None) -> None:
    if value is not None and value < 0:
        raise InvalidCombination(f"{member} is {value}; it must not be negative.")


def _check_steps(rule: StepScaling) -> None:
    if not 1 <= len(rule.steps) <= MOST_STEPS:
        raise InvalidCombination(
            f"A step scaling policy has 1 to {MOST_STEPS} step adjustments, not {len(rule.steps)}."
        )
    if any(step.lower is None and step.upper is None for step in rule.steps):
        raise InvalidCombination("The upper and lower bound can't be null in the same step adjustment.")
    ordered = sorted(rule.steps, key=_bounds)
    for step in ordered:
        lower, upper = _bounds(step)
        if lower >= upper:
            raise InvalidCombination("MetricIntervalUpperBound must be greater than MetricIntervalLowerBound.")
    for before, after in pairwise(ordered):
        if before.upper is None or after.lower is None or before.upper > after.lower:
            raise InvalidCombination("The intervals of step adjustments must not overlap.")
        if before.upper < after.lower:
            raise InvalidCombination("There must be no gap between the intervals of step adjustments.")
    lowest, highest = ordered[0].lower, ordered[-1].upper
    if lowest is not None and lowest < 0:
        raise InvalidCombination("With a negative lower bound, one step adjustment must have no lower bound.")
    if highest is not None and highest > 0:
        raise InvalidCombination("With a positive upper bound, one step adjustment must have no upper bound.")


def _bounds(step: StepAdjustment) -> tuple[float, float]:
    return (
        float("-inf") if step.lower is None else step.lower,
        float("inf") if step.upper is None else step.upper,
    )


def tracking_alarms(policy: ScalingPolicy, rule: TargetTracking, now: datetime) -> list[MetricAlarm]:
    """Return the alarms of a target tracking policy: one scales out; the other, unless that is disabled, scales in."""
    target, low = rule.target_value, round(rule.target_value * SCALE_IN_MARGIN, 9)
    high = _tracking_alarm(policy, rule, "AlarmHigh", now=now, test=(Comparison.GREATER_THAN, target, HIGH_PERIODS))
    if rule.disable_scale_in:
        return [high]
    return [high, _tracking_alarm(policy, rule, "AlarmLow", now=now, test=(Comparison.LESS_THAN, low, LOW_PERIODS))]


def alarm_arn(scope: Scope, name: str) -> str:
    return f"arn:aws:cloudwatch:{scope.region}:{scope.account_id}:alarm:{name}"


def _tracking_alarm(
    policy: ScalingPolicy,
    rule: TargetTracking,
    kind: str,
    *,
    test: tuple[Comparison, float, int],
    now: datetime,
) -> MetricAlarm:
    comparison, threshold, periods = test
    name = f"TargetTracking-{resource_id(policy.fleet_name)}-{kind}-{uuid4()}"
    return MetricAlarm(
        arn=alarm_arn(policy.scope, name),
        scope=policy.scope,
        name=name,
        description=f"DO NOT EDIT OR DELETE. For TargetTrackingScaling policy {policy.arn}."[:1024],
        metric_name=rule.metric_name,
        namespace=NAMESPACE,
        fleet_name=policy.fleet_name,
        dimensions={DIMENSION: policy.fleet_name},
        statistic=rule.statistic,
        period=timedelta(seconds=RESOLUTION.total_seconds()),
        evaluation_periods=periods,
        datapoints_to_alarm=periods,
        threshold=threshold,
        comparison=comparison,
        missing_data=MissingData.MISSING,
        unit=rule.unit,
        actions=(policy.arn,),
        tracked_policy=policy.arn,
        state_updated_at=now,
        state_changed_at=now,
        configured_at=now,
    )


def _new(scope: Scope, fleet_name: str, name: str, rule: PolicyRule, now: datetime) -> ScalingPolicy:
    return ScalingPolicy(
        policy_id=str(uuid4()), scope=scope, fleet_name=fleet_name, name=name, rule=rule, created_at=now
    )


async def _alarms(work: UnitOfWork, scope: Scope) -> Mapping[str, list[MetricAlarm]]:
    """Return, by the ARN of the policy, the alarms whose actions name it."""
    found: dict[str, list[MetricAlarm]] = {}
    for alarm in await work.alarms.page(scope, limit=MANY):
        for arn in alarm.actions:
            found.setdefault(arn, []).append(alarm)
    return found
