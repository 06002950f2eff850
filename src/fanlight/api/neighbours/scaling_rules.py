"""Scaling policies between the wire and the domain."""

from collections.abc import Sequence

from fanlight.api.types import application_autoscaling as types
from fanlight.domain import scaling as domain
from fanlight.domain.alarms import MetricAlarm
from fanlight.domain.errors import InvalidCombination, NotSupported
from fanlight.domain.fleet_metrics import DIMENSION, METRICS, NAMESPACE
from fanlight.services.scaling_policies import DescribedPolicy

STEP, TRACKING = types.PolicyType.StepScaling, types.PolicyType.TargetTrackingScaling


def rule_of(
    request: types.PutScalingPolicyRequest, fleet_name: str, present: domain.PolicyRule | None
) -> domain.PolicyRule:
    """Return what a request asks for; what it leaves out stays. Raises InvalidCombination, NotSupported."""
    kind = request.policy_type
    if kind is types.PolicyType.PredictiveScaling or request.predictive_scaling_policy_configuration is not None:
        raise InvalidCombination("The policy type PredictiveScaling is not supported for fleets.")
    step, tracking = request.step_scaling_policy_configuration, request.target_tracking_scaling_policy_configuration
    if kind is None:
        if present is None:
            raise InvalidCombination("PolicyType is required to create a scaling policy.")
        kind = STEP if isinstance(present, domain.StepScaling) else TRACKING
    if (kind is STEP and tracking is not None) or (kind is TRACKING and step is not None):
        raise InvalidCombination(f"The configuration does not belong to the policy type {kind.value}.")
    if step is not None:
        return _step_rule(step)
    if tracking is not None:
        return _tracking_rule(tracking, fleet_name)
    if present is not None and isinstance(present, domain.StepScaling) == (kind is STEP):
        return present
    raise InvalidCombination(f"{kind.value}PolicyConfiguration is required for the policy type {kind.value}.")


def _step_rule(configuration: types.StepScalingPolicyConfiguration) -> domain.StepScaling:
    if configuration.adjustment_type is None:
        raise InvalidCombination("AdjustmentType is required for a step scaling policy.")
    aggregation = configuration.metric_aggregation_type
    return domain.StepScaling(
        adjustment_type=domain.AdjustmentType(configuration.adjustment_type.value),
        steps=tuple(
            domain.StepAdjustment(
                lower=step.metric_interval_lower_bound,
                upper=step.metric_interval_upper_bound,
                adjustment=step.scaling_adjustment,
            )
            for step in configuration.step_adjustments or ()
        ),
        min_adjustment_magnitude=configuration.min_adjustment_magnitude,
        cooldown_in_seconds=configuration.cooldown,
        metric_aggregation_type=aggregation.value if aggregation else None,
    )


def _tracking_rule(
    configuration: types.TargetTrackingScalingPolicyConfiguration, fleet_name: str
) -> domain.TargetTracking:
    predefined, customized = (
        configuration.predefined_metric_specification,
        configuration.customized_metric_specification,
    )
    if (predefined is None) == (customized is None):
        raise InvalidCombination("Give either PredefinedMetricSpecification or CustomizedMetricSpecification.")
    metric_name, statistic, unit = "CapacityUtilization", "Average", None
    if predefined is not None:
        if predefined.predefined_metric_type.value != domain.PREDEFINED_METRIC:
            raise InvalidCombination(
                f"The metric {predefined.predefined_metric_type.value} is not a fleet's. "
                f"Use {domain.PREDEFINED_METRIC}."
            )
        if predefined.resource_label is not None:
            raise InvalidCombination(f"A ResourceLabel does not belong to {domain.PREDEFINED_METRIC}.")
    elif customized is not None:
        metric_name, statistic, unit = _customized(customized, fleet_name)
    return domain.TargetTracking(
        target_value=configuration.target_value,
        metric_name=metric_name,
        statistic=statistic,
        unit=unit,
        is_predefined=predefined is not None,
        scale_out_cooldown_in_seconds=configuration.scale_out_cooldown,
        scale_in_cooldown_in_seconds=configuration.scale_in_cooldown,
        disable_scale_in=configuration.disable_scale_in,
    )


def _customized(metric: types.CustomizedMetricSpecification, fleet_name: str) -> tuple[str, str, str | None]:
    if metric.metrics:
        raise NotSupported(
            "Metric math is not available: give MetricName, Namespace, Dimensions and Statistic of one metric."
        )
    dimensions = {dimension.name: dimension.value for dimension in metric.dimensions or ()}
    known = METRICS.get(metric.metric_name or "")
    if metric.namespace != NAMESPACE or dimensions != {DIMENSION: fleet_name} or known is None:
        raise NotSupported(
            f"A customized metric must be one of this fleet: namespace {NAMESPACE}, dimension {DIMENSION}={fleet_name}, "
            f"and one of the metrics {', '.join(sorted(METRICS))}."
        )
    if metric.statistic is None:
        raise InvalidCombination("Statistic is required in a CustomizedMetricSpecification.")
    if metric.unit not in (None, known.unit):
        raise InvalidCombination(f"The unit of {known.name} is {known.unit}.")
    return known.name, metric.statistic.value, metric.unit


def shown_alarms(alarms: Sequence[MetricAlarm]) -> tuple[types.Alarm, ...]:
    return tuple(types.Alarm(alarm_name=alarm.name, alarm_arn=alarm.arn) for alarm in alarms)


def shown_policy(described: DescribedPolicy) -> types.ScalingPolicy:
    policy = described.policy
    is_step = isinstance(policy.rule, domain.StepScaling)
    return types.ScalingPolicy(
        policy_arn=policy.arn,
        policy_name=policy.name,
        service_namespace=types.ServiceNamespace.appstream,
        resource_id=domain.resource_id(policy.fleet_name),
        scalable_dimension=types.ScalableDimension(domain.DIMENSION),
        policy_type=STEP if is_step else TRACKING,
        step_scaling_policy_configuration=(
            _shown_step(policy.rule) if isinstance(policy.rule, domain.StepScaling) else None
        ),
        target_tracking_scaling_policy_configuration=(
            _shown_tracking(policy) if isinstance(policy.rule, domain.TargetTracking) else None
        ),
        alarms=shown_alarms(described.alarms),
        creation_time=policy.created_at,
    )


def _shown_step(rule: domain.StepScaling) -> types.StepScalingPolicyConfiguration:
    return types.StepScalingPolicyConfiguration(
        adjustment_type=types.AdjustmentType(rule.adjustment_type.value),
        step_adjustments=tuple(
            types.StepAdjustment(
                metric_interval_lower_bound=step.lower,
                metric_interval_upper_bound=step.upper,
                scaling_adjustment=step.adjustment,
            )
            for step in rule.steps
        ),
        min_adjustment_magnitude=rule.min_adjustment_magnitude,
        cooldown=rule.cooldown_in_seconds,
        metric_aggregation_type=(
            types.MetricAggregationType(rule.metric_aggregation_type) if rule.metric_aggregation_type else None
        ),
    )


def _shown_tracking(policy: domain.ScalingPolicy) -> types.TargetTrackingScalingPolicyConfiguration:
    rule = policy.rule
    assert isinstance(rule, domain.TargetTracking)  # noqa: S101 - the caller looked
    customized = None
    if not rule.is_predefined:
        customized = types.CustomizedMetricSpecification(
            metric_name=rule.metric_name,
            namespace=NAMESPACE,
            dimensions=(types.MetricDimension(name=DIMENSION, value=policy.fleet_name),),
            statistic=types.MetricStatistic(rule.statistic),
            unit=rule.unit,
        )
    return types.TargetTrackingScalingPolicyConfiguration(
        target_value=rule.target_value,
        predefined_metric_specification=(
            types.PredefinedMetricSpecification(predefined_metric_type=types.MetricType(domain.PREDEFINED_METRIC))
            if rule.is_predefined
            else None
        ),
        customized_metric_specification=customized,
        scale_out_cooldown=rule.scale_out_cooldown_in_seconds,
        scale_in_cooldown=rule.scale_in_cooldown_in_seconds,
        disable_scale_in=rule.disable_scale_in,
    )
