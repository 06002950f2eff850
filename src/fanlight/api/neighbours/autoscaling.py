"""Application Auto Scaling for fleets: typed request → scaling services → typed result."""

from types import MappingProxyType

from fanlight.api.aws_services import AwsService, everything_else
from fanlight.api.errors import COMMON_CODES
from fanlight.api.neighbours.scaling_demands import scaling_demands
from fanlight.api.neighbours.scaling_rules import rule_of, shown_alarms, shown_policy
from fanlight.api.registry import Registry, operation
from fanlight.api.spec import NEIGHBOURS
from fanlight.api.types import application_autoscaling as types
from fanlight.domain.access_keys import Caller
from fanlight.domain.errors import (
    AlreadyExists,
    ChangedMeanwhile,
    InvalidCombination,
    InvalidPageToken,
    LimitExceeded,
    NotFound,
)
from fanlight.domain.scaling import (
    DIMENSION,
    ScalableTarget,
    ScalingActivity,
    ScalingObjectMissing,
    ScheduledAction,
    resource_id,
)
from fanlight.services import AppStreamServices
from fanlight.services.scalable_targets import PAGE_SIZE, TargetWish
from fanlight.services.scaling_records import fleet_name_of
from fanlight.services.scheduled_actions import ActionWish

NAME = "application-autoscaling"
NOT_BUILT = everything_else(NAME, NEIGHBOURS[NAME])

NAMESPACE = types.ServiceNamespace.appstream
SCALABLE_DIMENSION = types.ScalableDimension(DIMENSION)


@operation(
    "RegisterScalableTarget",
    raises=(InvalidCombination, LimitExceeded, ChangedMeanwhile),
    note="Tags given with a change are added.",
    without_effect={
        "RoleARN": "fleets are scaled with the service-linked role, which the answer names whatever is given, as in the service."
    },
)
async def register_scalable_target(
    request: types.RegisterScalableTargetRequest, caller: Caller, services: AppStreamServices
) -> types.RegisterScalableTargetResult:
    suspended = request.suspended_state or types.SuspendedState()
    target = await services.scalable_targets.register(
        caller.scope,
        TargetWish(
            fleet_name=_fleet(request),
            min_capacity=request.min_capacity,
            max_capacity=request.max_capacity,
            scaling_in_suspended=suspended.dynamic_scaling_in_suspended,
            scaling_out_suspended=suspended.dynamic_scaling_out_suspended,
            scheduled_suspended=suspended.scheduled_scaling_suspended,
            tags=request.tags,
        ),
    )
    return types.RegisterScalableTargetResult(scalable_target_arn=target.arn)


@operation("DescribeScalableTargets", raises=(InvalidCombination, InvalidPageToken))
async def describe_scalable_targets(
    request: types.DescribeScalableTargetsRequest, caller: Caller, services: AppStreamServices
) -> types.DescribeScalableTargetsResult:
    if request.service_namespace is not NAMESPACE:
        return types.DescribeScalableTargetsResult(scalable_targets=())
    names = [_named(request.service_namespace, one, request.scalable_dimension) for one in request.resource_ids or ()]
    page, token = await services.scalable_targets.describe(
        caller.scope, fleet_names=names, limit=_limit(request.max_results), next_token=request.next_token
    )
    return types.DescribeScalableTargetsResult(scalable_targets=tuple(map(_shown_target, page)), next_token=token)


@operation(
    "DeregisterScalableTarget",
    raises=(InvalidCombination, ScalingObjectMissing, ChangedMeanwhile),
    note="A target whose fleet was deleted is deregistered within a minute.",
)
async def deregister_scalable_target(
    request: types.DeregisterScalableTargetRequest, caller: Caller, services: AppStreamServices
) -> types.DeregisterScalableTargetResult:
    await services.scalable_targets.deregister(caller.scope, _fleet(request))
    return types.DeregisterScalableTargetResult()


@operation(
    "PutScalingPolicy",
    raises=(InvalidCombination, ScalingObjectMissing, LimitExceeded, ChangedMeanwhile, AlreadyExists),
    note="A change makes new alarms for a target tracking policy.",
    limits={
        "PredictiveScalingPolicyConfiguration": "fleets have no predictive scaling, as in the service.",
        "TargetTrackingScalingPolicyConfiguration.CustomizedMetricSpecification": "metrics are those of the fleet itself.",
        "TargetTrackingScalingPolicyConfiguration.CustomizedMetricSpecification.Metrics": "there is no metric math.",
    },
)
async def put_scaling_policy(
    request: types.PutScalingPolicyRequest, caller: Caller, services: AppStreamServices
) -> types.PutScalingPolicyResult:
    fleet_name = _fleet(request)
    present = await services.scaling_policies.rule_of(caller.scope, fleet_name, request.policy_name)
    described = await services.scaling_policies.put(
        caller.scope, fleet_name, request.policy_name, rule_of(request, fleet_name, present)
    )
    return types.PutScalingPolicyResult(policy_arn=described.policy.arn, alarms=shown_alarms(described.alarms))


@operation("DescribeScalingPolicies", raises=(InvalidCombination, InvalidPageToken))
async def describe_scaling_policies(
    request: types.DescribeScalingPoliciesRequest, caller: Caller, services: AppStreamServices
) -> types.DescribeScalingPoliciesResult:
    if request.service_namespace is not NAMESPACE:
        return types.DescribeScalingPoliciesResult(scaling_policies=())
    page, token = await services.scaling_policies.describe(
        caller.scope,
        names=request.policy_names or (),
        fleet_name=_one(request.service_namespace, request.resource_id, request.scalable_dimension),
        limit=_limit(request.max_results),
        next_token=request.next_token,
    )
    return types.DescribeScalingPoliciesResult(scaling_policies=tuple(map(shown_policy, page)), next_token=token)


@operation("DeleteScalingPolicy", raises=(InvalidCombination, ScalingObjectMissing, ChangedMeanwhile))
async def delete_scaling_policy(
    request: types.DeleteScalingPolicyRequest, caller: Caller, services: AppStreamServices
) -> types.DeleteScalingPolicyResult:
    await services.scaling_policies.delete(caller.scope, _fleet(request), request.policy_name)
    return types.DeleteScalingPolicyResult()


@operation(
    "PutScheduledAction",
    raises=(InvalidCombination, ScalingObjectMissing, LimitExceeded, ChangedMeanwhile, AlreadyExists),
    note="An action whose time came while Fanlight was down runs once when it is back. Cron fields take no W. One that "
    "ran for the last time stays listed.",
)
async def put_scheduled_action(
    request: types.PutScheduledActionRequest, caller: Caller, services: AppStreamServices
) -> types.PutScheduledActionResult:
    bounds = request.scalable_target_action
    await services.scheduled_actions.put(
        caller.scope,
        ActionWish(
            fleet_name=_fleet(request),
            name=request.scheduled_action_name,
            schedule=request.schedule,
            timezone=request.timezone,
            starts_at=request.start_time,
            ends_at=request.end_time,
            has_bounds=bounds is not None,
            min_capacity=bounds.min_capacity if bounds else None,
            max_capacity=bounds.max_capacity if bounds else None,
        ),
    )
    return types.PutScheduledActionResult()


@operation("DescribeScheduledActions", raises=(InvalidCombination, InvalidPageToken))
async def describe_scheduled_actions(
    request: types.DescribeScheduledActionsRequest, caller: Caller, services: AppStreamServices
) -> types.DescribeScheduledActionsResult:
    if request.service_namespace is not NAMESPACE:
        return types.DescribeScheduledActionsResult(scheduled_actions=())
    page, token = await services.scheduled_actions.describe(
        caller.scope,
        names=request.scheduled_action_names or (),
        fleet_name=_one(request.service_namespace, request.resource_id, request.scalable_dimension),
        limit=_limit(request.max_results),
        next_token=request.next_token,
    )
    return types.DescribeScheduledActionsResult(scheduled_actions=tuple(map(_shown_action, page)), next_token=token)


@operation("DeleteScheduledAction", raises=(InvalidCombination, ScalingObjectMissing, ChangedMeanwhile))
async def delete_scheduled_action(
    request: types.DeleteScheduledActionRequest, caller: Caller, services: AppStreamServices
) -> types.DeleteScheduledActionResult:
    await services.scheduled_actions.delete(caller.scope, _fleet(request), request.scheduled_action_name)
    return types.DeleteScheduledActionResult()


@operation(
    "DescribeScalingActivities",
    raises=(InvalidCombination, InvalidPageToken),
    note="A scale-in is successful once only instances that users hold are above the capacity asked for. NotScaledReasons "
    "know AlreadyAtMaxCapacity and AlreadyAtMinCapacity.",
)
async def describe_scaling_activities(
    request: types.DescribeScalingActivitiesRequest, caller: Caller, services: AppStreamServices
) -> types.DescribeScalingActivitiesResult:
    if request.service_namespace is not NAMESPACE:
        return types.DescribeScalingActivitiesResult(scaling_activities=())
    page, token = await services.scalable_targets.activities(
        caller.scope,
        fleet_name=_one(request.service_namespace, request.resource_id, request.scalable_dimension),
        with_not_scaled=bool(request.include_not_scaled_activities),
        limit=_limit(request.max_results),
        next_token=request.next_token,
    )
    return types.DescribeScalingActivitiesResult(scaling_activities=tuple(map(_shown_activity, page)), next_token=token)


@operation("TagResource", raises=(NotFound, LimitExceeded, InvalidCombination))
async def tag_resource(
    request: types.TagResourceRequest, caller: Caller, services: AppStreamServices
) -> types.TagResourceResult:
    await services.scalable_targets.tags.tag(caller.scope, request.resource_arn, request.tags)
    return types.TagResourceResult()


@operation("UntagResource", raises=(NotFound, InvalidCombination))
async def untag_resource(
    request: types.UntagResourceRequest, caller: Caller, services: AppStreamServices
) -> types.UntagResourceResult:
    await services.scalable_targets.tags.untag(caller.scope, request.resource_arn, request.tag_keys)
    return types.UntagResourceResult()


@operation("ListTagsForResource", raises=(NotFound,))
async def list_tags_for_resource(
    request: types.ListTagsForResourceRequest, caller: Caller, services: AppStreamServices
) -> types.ListTagsForResourceResult:
    return types.ListTagsForResourceResult(
        tags=await services.scalable_targets.tags.of(caller.scope, request.resource_arn)
    )


def _named(namespace: types.ServiceNamespace, resource: str, dimension: types.ScalableDimension | None) -> str:
    return fleet_name_of(namespace.value, resource, dimension.value if dimension else None)


def _fleet(
    request: (
        types.RegisterScalableTargetRequest
        | types.DeregisterScalableTargetRequest
        | types.PutScalingPolicyRequest
        | types.DeleteScalingPolicyRequest
        | types.PutScheduledActionRequest
        | types.DeleteScheduledActionRequest
    ),
) -> str:
    return _named(request.service_namespace, request.resource_id, request.scalable_dimension)


def _one(
    namespace: types.ServiceNamespace, resource: str | None, dimension: types.ScalableDimension | None
) -> str | None:
    """Return the fleet that a listing is limited to. Raises InvalidCombination for a dimension without a resource."""
    if resource is None:
        if dimension is not None:
            raise InvalidCombination("With a ScalableDimension give the ResourceId, too.")
        return None
    return _named(namespace, resource, dimension)


def _limit(max_results: int | None) -> int:
    if max_results is None:
        return PAGE_SIZE
    if not 1 <= max_results <= PAGE_SIZE:
        raise InvalidCombination(f"MaxResults is {max_results}; it must be between 1 and {PAGE_SIZE}.")
    return max_results


def _shown_target(target: ScalableTarget) -> types.ScalableTarget:
    return types.ScalableTarget(
        service_namespace=NAMESPACE,
        resource_id=resource_id(target.fleet_name),
        scalable_dimension=SCALABLE_DIMENSION,
        min_capacity=target.min_capacity,
        max_capacity=target.max_capacity,
        role_arn=target.role_arn,
        creation_time=target.created_at,
        suspended_state=types.SuspendedState(
            dynamic_scaling_in_suspended=target.suspension.scaling_in,
            dynamic_scaling_out_suspended=target.suspension.scaling_out,
            scheduled_scaling_suspended=target.suspension.scheduled,
        ),
        scalable_target_arn=target.arn,
    )


def _shown_action(action: ScheduledAction) -> types.ScheduledAction:
    return types.ScheduledAction(
        scheduled_action_name=action.name,
        scheduled_action_arn=action.arn,
        service_namespace=NAMESPACE,
        schedule=action.schedule,
        timezone=action.timezone,
        resource_id=resource_id(action.fleet_name),
        scalable_dimension=SCALABLE_DIMENSION,
        start_time=action.starts_at,
        end_time=action.ends_at,
        scalable_target_action=types.ScalableTargetAction(
            min_capacity=action.min_capacity, max_capacity=action.max_capacity
        ),
        creation_time=action.created_at,
    )


def _shown_activity(activity: ScalingActivity) -> types.ScalingActivity:
    return types.ScalingActivity(
        activity_id=activity.activity_id,
        service_namespace=NAMESPACE,
        resource_id=resource_id(activity.fleet_name),
        scalable_dimension=SCALABLE_DIMENSION,
        description=activity.description,
        cause=activity.cause,
        start_time=activity.started_at,
        end_time=activity.ended_at,
        status_code=types.ScalingActivityStatusCode(activity.status.value),
        status_message=activity.status_message,
        not_scaled_reasons=_shown_reasons(activity),
    )


def _shown_reasons(activity: ScalingActivity) -> tuple[types.NotScaledReason, ...] | None:
    reason = activity.not_scaled
    if reason is None:
        return None
    return (
        types.NotScaledReason(
            code=reason.code.value,
            max_capacity=reason.max_capacity,
            min_capacity=reason.min_capacity,
            current_capacity=reason.current_capacity,
        ),
    )


def autoscaling_service() -> AwsService[AppStreamServices]:
    built = tuple(value for value in globals().values() if getattr(value, "name", None) in NEIGHBOURS[NAME])
    return AwsService(
        name=NAME,
        registry=Registry(built, NOT_BUILT),
        types=types,
        demands=scaling_demands,
        namespace="com.amazonaws.applicationautoscaling",
        codes=MappingProxyType(
            {
                **COMMON_CODES,
                ScalingObjectMissing: ("ObjectNotFoundException", "ValidationException"),
                NotFound: ("ResourceNotFoundException", "ValidationException"),
                LimitExceeded: ("LimitExceededException", "TooManyTagsException", "ValidationException"),
                ChangedMeanwhile: ("ConcurrentUpdateException", "ThrottlingException"),
                # Two requests made the same thing at once; the loser is told to try again and finds it there.
                AlreadyExists: ("ConcurrentUpdateException", "ThrottlingException"),
                InvalidPageToken: ("InvalidNextTokenException", "ValidationException"),
            }
        ),
        modelled_status=400,
    )
