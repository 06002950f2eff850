"""May this key do this? Asked before every operation of a key that has a policy, of whatever service.

A service says what an operation demands: pairs of an IAM action and the resource it is done to, as the request names
them. The policy of the key must allow every pair.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from fanlight.domain.access_keys import Caller
from fanlight.domain.policies import Policy, Verdict

NO_RESOURCE = "*"

Demand = tuple[str, str]
"""An IAM action and the ARN it is done to; * when an operation names no resource."""

Demands = Callable[[str, Any, Caller, Any], Awaitable[Sequence[Demand]]]
"""(operation, typed request, caller, services) → what must be allowed."""


PersonMay = Callable[[str, Any, Caller, Any], Awaitable[bool]]
"""(operation, typed request, caller, services) → whether the person whose key it is may do that."""


def plain_demands(prefix: str) -> Demands:
    """Return what a service demands whose operations name no resources: the action alone."""

    async def demands(operation: str, request: Any, caller: Caller, services: Any) -> Sequence[Demand]:  # noqa: ARG001
        return ((f"{prefix}:{operation}", NO_RESOURCE),)

    return demands


async def nothing_for_people(operation: str, request: Any, caller: Caller, services: Any) -> bool:  # noqa: ARG001
    """For services that know nobody by name."""
    return False


def refusal(policy: Policy, caller: Caller, demands: Iterable[Demand]) -> str | None:
    """Return why the policy forbids something of this, in AWS's words; None when everything is allowed."""
    for action, resource in demands:
        verdict = policy.judge(action, resource)
        if verdict is not Verdict.ALLOWED:
            why = (
                "with an explicit deny in an identity-based policy"
                if verdict is Verdict.DENIED
                else f"because no identity-based policy allows the {action} action"
            )
            return f"User: {caller.arn} is not authorized to perform: {action} on resource: {resource} {why}"
    return None


def refusal_of_person(caller: Caller, demands: Iterable[Demand]) -> str:
    """Return why the person whose key it is may not do this."""
    action, resource = next(iter(demands))
    return (
        f"User: {caller.arn} is not authorized to perform: {action} on resource: {resource} because it is the key of "
        f"{caller.person}, whose memberships of studios and launch profiles do not allow it"
    )
