"""CloudWatch for fleets: alarms, whose actions are scaling policies, and metrics."""

from collections.abc import Mapping, Sequence
from math import isfinite
from types import MappingProxyType
from typing import Any

from fanlight.api.authorization import NO_RESOURCE, Demand
from fanlight.api.aws_services import AwsService, everything_else
from fanlight.api.errors import COMMON_CODES
from fanlight.api.neighbours import cloudwatch_metrics
from fanlight.api.neighbours.cloudwatch_metrics import InvalidValue
from fanlight.api.registry import Registry, operation
from fanlight.api.spec import NEIGHBOURS
from fanlight.api.types import cloudwatch as types
from fanlight.domain.access_keys import Caller
from fanlight.domain.alarms import AlarmState, Comparison, MetricAlarm, MissingData
from fanlight.domain.errors import (
    AlreadyExists,
    ChangedMeanwhile,
    InvalidCombination,
    InvalidPageToken,
    LimitExceeded,
    NotFound,
    NotSupported,
)
from fanlight.domain.metric_statistics import STATISTICS
from fanlight.services import AppStreamServices
from fanlight.services.alarms import PAGE_SIZE, AlarmFilter, AlarmWish
from fanlight.services.scaling_policies import alarm_arn

NAME = "cloudwatch"
NOT_BUILT = everything_else(NAME, NEIGHBOURS[NAME])

_ONE_METRIC = "an alarm watches one metric of one fleet against a fixed threshold"
_ONE_ACTION = "an alarm acts through AlarmActions, on a scaling policy, and notifies nobody"
_REFUSED = {
    **dict.fromkeys(("Metrics", "ThresholdMetricId", "EvaluationCriteria", "EvaluationInterval"), _ONE_METRIC),
    **dict.fromkeys(("OKActions", "InsufficientDataActions", "ActionConfiguration"), _ONE_ACTION),
    "WarmUpConfiguration": "an alarm is evaluated from its first minute on; TreatMissingData says what missing data mean",
    "EvaluateLowSampleCountPercentile": "percentiles are evaluated however few data there are",
    "EvaluationWindow.WallClockWindow": "alarms look back from now (SlidingWindow)",
}

_STATIC = frozenset(comparison.value for comparison in Comparison)


@operation(
    "PutMetricAlarm",
    raises=(InvalidCombination, LimitExceeded, ChangedMeanwhile, AlreadyExists),
    note="Alarms on one metric with a fixed threshold; AlarmActions take ARNs of scaling policies. An alarm that looks back for more than four hours is evaluated "
    "less often than each minute, one of a week every 42 minutes.",
    refuses=_REFUSED,
    limits={
        "ComparisonOperator": "comparisons with an anomaly band are refused.",
        "AlarmActions": "ARNs of scaling policies.",
    },
    without_effect={"EvaluationWindow.SlidingWindow": "it is how every alarm looks back."},
)
async def put_metric_alarm(
    request: types.PutMetricAlarmInput, caller: Caller, services: AppStreamServices
) -> types.PutMetricAlarmResult:
    await services.alarms.put(caller.scope, _wish(request))
    return types.PutMetricAlarmResult()


@operation(
    "DescribeAlarms",
    raises=(InvalidCombination, InvalidPageToken),
    note="There are metric alarms only. Those of target tracking policies are listed, too.",
)
async def describe_alarms(
    request: types.DescribeAlarmsInput, caller: Caller, services: AppStreamServices
) -> types.DescribeAlarmsResult:
    if request.children_of_alarm_name is not None or request.parents_of_alarm_name is not None:
        raise NotSupported("There are no composite alarms, so no alarm has parents or children.")
    if request.alarm_names and request.alarm_name_prefix is not None:
        raise InvalidCombination("Give either AlarmNames or AlarmNamePrefix.")
    kinds = request.alarm_types or (types.AlarmType.MetricAlarm,)
    if types.AlarmType.MetricAlarm not in kinds:
        return types.DescribeAlarmsResult(metric_alarms=(), composite_alarms=())
    wanted = AlarmFilter(
        names=request.alarm_names or (),
        prefix=request.alarm_name_prefix or "",
        state=AlarmState(request.state_value.value) if request.state_value else None,
        action_prefix=request.action_prefix or "",
    )
    page, token = await services.alarms.describe(
        caller.scope, wanted, limit=request.max_records or PAGE_SIZE, next_token=request.next_token
    )
    return types.DescribeAlarmsResult(metric_alarms=tuple(map(_shown, page)), composite_alarms=(), next_token=token)


@operation("DescribeAlarmsForMetric")
async def describe_alarms_for_metric(
    request: types.DescribeAlarmsForMetricInput, caller: Caller, services: AppStreamServices
) -> types.DescribeAlarmsForMetricResult:
    dimensions = _dimensions(request.dimensions)
    asked = request.statistic.value if request.statistic else request.extended_statistic
    found = [
        alarm
        for alarm in await services.alarms.of_metric(caller.scope)
        if (alarm.namespace, alarm.metric_name) == (request.namespace, request.metric_name)
        and (request.dimensions is None or dict(alarm.dimensions) == dimensions)
        and asked in (None, alarm.statistic)
        and request.period in (None, int(alarm.period.total_seconds()))
        and (request.unit is None or request.unit.value == alarm.unit)
    ]
    return types.DescribeAlarmsForMetricResult(metric_alarms=tuple(map(_shown, found)))


@operation(
    "DeleteAlarms",
    raises=(NotFound, ChangedMeanwhile),
    note="All alarms named are deleted or, when one is missing, none.",
)
async def delete_alarms(
    request: types.DeleteAlarmsInput, caller: Caller, services: AppStreamServices
) -> types.DeleteAlarmsResult:
    await services.alarms.delete(caller.scope, request.alarm_names)
    return types.DeleteAlarmsResult()


@operation("EnableAlarmActions", raises=(ChangedMeanwhile,))
async def enable_alarm_actions(
    request: types.EnableAlarmActionsInput, caller: Caller, services: AppStreamServices
) -> types.EnableAlarmActionsResult:
    await services.alarms.enable_actions(caller.scope, request.alarm_names, are_enabled=True)
    return types.EnableAlarmActionsResult()


@operation("DisableAlarmActions", raises=(ChangedMeanwhile,))
async def disable_alarm_actions(
    request: types.DisableAlarmActionsInput, caller: Caller, services: AppStreamServices
) -> types.DisableAlarmActionsResult:
    await services.alarms.enable_actions(caller.scope, request.alarm_names, are_enabled=False)
    return types.DisableAlarmActionsResult()


@operation(
    "SetAlarmState",
    raises=(NotFound, ChangedMeanwhile),
    note="The state holds until the next evaluation, within a minute; actions run on what that evaluation finds.",
)
async def set_alarm_state(
    request: types.SetAlarmStateInput, caller: Caller, services: AppStreamServices
) -> types.SetAlarmStateResult:
    await services.alarms.set_state(
        caller.scope,
        request.alarm_name,
        AlarmState(request.state_value.value),
        request.state_reason,
        request.state_reason_data,
    )
    return types.SetAlarmStateResult()


@operation("TagResource", raises=(NotFound, LimitExceeded, InvalidCombination))
async def tag_resource(
    request: types.TagResourceInput, caller: Caller, services: AppStreamServices
) -> types.TagResourceResult:
    await services.alarms.tags.tag(caller.scope, request.resource_arn, {tag.key: tag.value for tag in request.tags})
    return types.TagResourceResult()


@operation("UntagResource", raises=(NotFound, InvalidCombination))
async def untag_resource(
    request: types.UntagResourceInput, caller: Caller, services: AppStreamServices
) -> types.UntagResourceResult:
    await services.alarms.tags.untag(caller.scope, request.resource_arn, request.tag_keys)
    return types.UntagResourceResult()


@operation("ListTagsForResource", raises=(NotFound,))
async def list_tags_for_resource(
    request: types.ListTagsForResourceInput, caller: Caller, services: AppStreamServices
) -> types.ListTagsForResourceResult:
    tags = await services.alarms.tags.of(caller.scope, request.resource_arn)
    return types.ListTagsForResourceResult(tags=tuple(types.Tag(key=key, value=value) for key, value in tags.items()))


def _wish(request: types.PutMetricAlarmInput) -> AlarmWish:
    """Raises InvalidCombination for what is missing, NotSupported for what an alarm here cannot do."""
    _refuse(request)
    if request.metric_name is None or request.namespace is None or request.period is None:
        raise InvalidCombination("MetricName, Namespace and Period are required for an alarm on a metric.")
    if request.evaluation_periods is None or request.threshold is None or request.comparison_operator is None:
        raise InvalidCombination("EvaluationPeriods, Threshold and ComparisonOperator are required.")
    if not isfinite(request.threshold):
        raise InvalidCombination(f"Threshold is {request.threshold}; it must be a finite number.")
    if (request.statistic is None) == (request.extended_statistic is None):
        raise InvalidCombination("Give either Statistic or ExtendedStatistic.")
    missing = request.treat_missing_data
    if missing is not None and missing not in set(MissingData):
        raise InvalidCombination(f"TreatMissingData is {missing}; it must be one of {', '.join(MissingData)}.")
    return AlarmWish(
        name=request.alarm_name,
        description=request.alarm_description,
        metric_name=request.metric_name,
        namespace=request.namespace,
        dimensions=_dimensions(request.dimensions),
        statistic=request.statistic.value if request.statistic else str(request.extended_statistic),
        is_percentile=request.statistic is None,
        period_in_seconds=request.period,
        evaluation_periods=request.evaluation_periods,
        datapoints_to_alarm=request.datapoints_to_alarm,
        threshold=request.threshold,
        comparison=Comparison(request.comparison_operator.value),
        missing_data=MissingData(missing) if missing is not None else None,
        unit=request.unit.value if request.unit else None,
        actions_enabled=request.actions_enabled is not False,
        actions=tuple(dict.fromkeys(request.alarm_actions or ())),
        tags={tag.key: tag.value for tag in request.tags or ()},
    )


def _refuse(request: types.PutMetricAlarmInput) -> None:
    """Raise NotSupported for values that cannot be honoured, with what to do instead."""
    operator = request.comparison_operator
    if operator is not None and operator.value not in _STATIC:
        raise NotSupported(f"{operator.value} needs anomaly detection, which is not available. Give a Threshold.")


def _dimensions(given: Sequence[types.Dimension] | None) -> Mapping[str, str]:
    return {dimension.name: dimension.value for dimension in given or ()}


def _shown(alarm: MetricAlarm) -> types.MetricAlarm:
    return types.MetricAlarm(
        alarm_name=alarm.name,
        alarm_arn=alarm.arn,
        alarm_description=alarm.description,
        alarm_configuration_updated_timestamp=alarm.configured_at,
        actions_enabled=alarm.actions_enabled,
        ok_actions=(),
        alarm_actions=alarm.actions,
        insufficient_data_actions=(),
        state_value=types.StateValue(alarm.state.value),
        state_reason=alarm.state_reason,
        state_reason_data=alarm.state_reason_data or None,
        state_updated_timestamp=alarm.state_updated_at,
        metric_name=alarm.metric_name,
        namespace=alarm.namespace,
        statistic=types.Statistic(alarm.statistic) if alarm.statistic in STATISTICS else None,
        extended_statistic=None if alarm.statistic in STATISTICS else alarm.statistic,
        dimensions=tuple(types.Dimension(name=name, value=value) for name, value in alarm.dimensions.items()),
        period=int(alarm.period.total_seconds()),
        unit=types.StandardUnit(alarm.unit) if alarm.unit else None,
        evaluation_periods=alarm.evaluation_periods,
        datapoints_to_alarm=alarm.datapoints_to_alarm if alarm.says_datapoints_to_alarm else None,
        threshold=alarm.threshold,
        comparison_operator=types.ComparisonOperator(alarm.comparison.value),
        treat_missing_data=alarm.missing_data.value if alarm.says_missing_data else None,
        state_transitioned_timestamp=alarm.state_changed_at,
    )


async def _demands(operation: str, request: Any, caller: Caller, services: Any) -> Sequence[Demand]:  # noqa: ARG001
    """Return one demand for each alarm that the request names; a listing without names is about all of them."""
    names = [getattr(request, "alarm_name", None), *(getattr(request, "alarm_names", None) or ())]
    arns = [alarm_arn(caller.scope, name) for name in names if name]
    if operation == "DescribeAlarms" and not arns:
        arns = [alarm_arn(caller.scope, "*")]
    if arn := getattr(request, "resource_arn", None):
        arns.append(arn)
    action = f"cloudwatch:{operation}"
    return tuple((action, arn) for arn in dict.fromkeys(arns)) or ((action, NO_RESOURCE),)


def cloudwatch_service() -> AwsService[AppStreamServices]:
    places = (*globals().values(), *vars(cloudwatch_metrics).values())
    built = tuple(value for value in places if getattr(value, "name", None) in NEIGHBOURS[NAME])
    return AwsService(
        name=NAME,
        registry=Registry(built, NOT_BUILT),
        types=types,
        demands=_demands,
        namespace="com.amazonaws.cloudwatch",
        codes=MappingProxyType(
            {
                **COMMON_CODES,
                InvalidPageToken: ("InvalidNextToken", "ValidationException"),
                InvalidValue: ("InvalidParameterValueException", "ValidationException"),
                InvalidCombination: ("InvalidParameterCombinationException", "ValidationException"),
                LimitExceeded: ("LimitExceededFault", "ValidationException"),
                NotFound: ("ResourceNotFound", "ResourceNotFoundException", "ValidationException"),
                AlreadyExists: ("ThrottlingException",),
            }
        ),
    )
