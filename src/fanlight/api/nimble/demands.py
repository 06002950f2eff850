"""Which resources a request to Nimble Studio names, so that policies of access keys, and memberships, can speak of them."""

from collections.abc import Sequence
from typing import Any

from fanlight.api.authorization import NO_RESOURCE, Demand
from fanlight.domain.access_keys import Caller
from fanlight.domain.nimble.identifiers import ResourceKind, arn_of
from fanlight.domain.nimble.personas import Wish
from fanlight.services import AppStreamServices
from fanlight.services.nimble.personas import Named

# Attribute of a request → what it names. The innermost resource is the one that something is done to.
_NAMING = {
    "session_id": ResourceKind.STREAMING_SESSION,
    "backup_id": ResourceKind.STREAMING_SESSION_BACKUP,
    "streaming_image_id": ResourceKind.STREAMING_IMAGE,
    "studio_component_id": ResourceKind.STUDIO_COMPONENT,
    "launch_profile_id": ResourceKind.LAUNCH_PROFILE,
    "eula_id": ResourceKind.EULA,
    "studio_id": ResourceKind.STUDIO,
}


async def nimble_demands(
    operation: str,
    request: Any,
    caller: Caller,
    services: AppStreamServices,  # noqa: ARG001 - the same for all services
) -> Sequence[Demand]:
    """Return the demand for the resource that the request is about; for `*` when it names none."""
    action = f"nimble:{operation}"
    if arn := getattr(request, "resource_arn", None):
        return ((action, arn),)
    for member, kind in _NAMING.items():
        if resource_id := getattr(request, member, None):
            return ((action, arn_of(caller.scope, kind, resource_id)),)
    return ((action, NO_RESOURCE),)


async def person_may(operation: str, request: Any, caller: Caller, services: AppStreamServices) -> bool:
    """Return whether the person whose key it is may have what the request asks for."""

    def said(member: str) -> str | None:
        return getattr(request, member, None)

    wish = Wish(operation=operation, owned_by=said("owned_by"), principal_id=said("principal_id"))
    named = Named(
        studio_id=said("studio_id"),
        launch_profile_id=said("launch_profile_id"),
        session_id=said("session_id"),
        backup_id=said("backup_id"),
    )
    return await services.nimble.personas.may(caller.scope, caller.person or "", wish, named)
