"""What an access key must be allowed for Application Auto Scaling: the action, and what it will do to the fleet."""

from collections.abc import Sequence
from typing import Any

from fanlight.api.authorization import NO_RESOURCE, Demand
from fanlight.domain.access_keys import Caller

# From then on Fanlight changes the fleet's capacity in the caller's name.
CHANGING = frozenset({"RegisterScalableTarget", "PutScalingPolicy", "PutScheduledAction"})


async def scaling_demands(operation: str, request: Any, caller: Caller, services: Any) -> Sequence[Demand]:  # noqa: ARG001
    """Who may not update a fleet may not have it updated either."""
    own: Demand = (f"application-autoscaling:{operation}", NO_RESOURCE)
    if operation not in CHANGING:
        return (own,)
    return (own, ("appstream:UpdateFleet", caller.scope.arn(request.resource_id)))
