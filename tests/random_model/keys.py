"""The keys that sequences sign with, and what the policy of each allows, in the model's words."""

from collections.abc import Callable, Mapping
from typing import Any

from fanlight.domain.places import Scope
from random_model.world import APPSTREAM, policy

DENIED = "AccessDeniedException"
READS = ("Describe", "List")


def _reads(scope: Scope, service: str, operation: str, arns: list[str]) -> bool:
    return service == APPSTREAM and operation.startswith(READS)


def _all_but_stopping(scope: Scope, service: str, operation: str, arns: list[str]) -> bool:
    if service != APPSTREAM:
        return True
    return operation != "StopFleet" and not (operation == "DeleteStack" and scope.arn("stack/draw") in arns)


def _one_fleet(scope: Scope, service: str, operation: str, arns: list[str]) -> bool:
    return service == APPSTREAM and arns == [scope.arn("fleet/cad")]


Allows = Callable[[Scope, str, str, list[str]], bool]
# Name of a key → statements of its policy, with {arn} for what ARNs of the account begin with; what they allow.
KEYS: Mapping[str, tuple[tuple[str, ...], Allows]] = {
    "reader": (("Allow appstream:Describe* *", "Allow appstream:List* *"), _reads),
    "all but stopping": (
        ("Allow * *", "Deny appstream:StopFleet *", "Deny appstream:Delete* {arn}stack/draw"),
        _all_but_stopping,
    ),
    "one fleet": (("Allow appstream:* {arn}fleet/cad",), _one_fleet),
}


def policy_of(key: str, scope: Scope) -> Any:
    """Return the policy of a key; None for the one without."""
    return policy(*(each.format(arn=scope.arn("")) for each in KEYS[key][0])) if key in KEYS else None


def allows(key: str, scope: Scope, service: str, operation: str, body: Mapping[str, Any]) -> bool:
    return key not in KEYS or KEYS[key][1](scope, service, operation, named(scope, operation, body))


def named(scope: Scope, operation: str, body: Mapping[str, Any]) -> list[str]:
    """Return the ARNs of what a request names, of the operations that sequences use."""
    kind = "image-builder" if "ImageBuilder" in operation else "stack" if operation.endswith("Stack") else "fleet"
    found = [scope.arn(f"{kind}/{body['Name']}")] if "Name" in body else []
    found += [scope.arn(f"fleet/{body['FleetName']}")] if "FleetName" in body else []
    found += [scope.arn(f"stack/{body['StackName']}")] if "StackName" in body else []
    # Public images have no account in their ARN, so no policy here speaks of them.
    found += ["an image"] if "ImageName" in body or "ImageArn" in body else []
    found += [body["ResourceArn"]] if "ResourceArn" in body else []
    return found
