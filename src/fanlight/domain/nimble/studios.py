"""Studios: what everything else of Nimble Studio stands in."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from fanlight.domain.nimble.identifiers import ResourceKind
from fanlight.domain.nimble.resources import Resource, ResourceEvent, ResourceState, Status


class StudioKeyType(StrEnum):
    AWS_OWNED_KEY = "AWS_OWNED_KEY"
    CUSTOMER_MANAGED_KEY = "CUSTOMER_MANAGED_KEY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Studio(Resource):
    """Roles and key are what the caller named; nothing here assumes the one or uses the other.

    `portal_url` and `sso_client_id` are its single sign-on configuration: the portal that it was made or last repaired for.
    """

    KIND: ClassVar[ResourceKind] = ResourceKind.STUDIO

    name: str
    display_name: str
    admin_role_arn: str
    user_role_arn: str
    key_type: StudioKeyType = StudioKeyType.AWS_OWNED_KEY
    key_arn: str | None = None
    portal_url: str
    sso_client_id: str


CREATING = Status(code="STUDIO_CREATE_IN_PROGRESS", message="The studio is being created.")
UPDATING = Status(code="STUDIO_UPDATE_IN_PROGRESS", message="The studio is being updated.")
DELETING = Status(code="STUDIO_DELETE_IN_PROGRESS", message="The studio is being deleted.")
REPAIRING = Status(
    code="AWS_SSO_CONFIGURATION_REPAIR_IN_PROGRESS", message="The single sign-on configuration is being repaired."
)
UPDATED = Status(code="STUDIO_UPDATED", message="The studio was updated.")
_REPAIRED = Status(code="AWS_SSO_CONFIGURATION_REPAIRED", message="The single sign-on configuration was repaired.")

_LEFTOVERS: Mapping[ResourceKind, str] = {
    ResourceKind.LAUNCH_PROFILE: "STUDIO_WITH_LAUNCH_PROFILES_NOT_DELETED",
    ResourceKind.STUDIO_COMPONENT: "STUDIO_WITH_STUDIO_COMPONENTS_NOT_DELETED",
    ResourceKind.STREAMING_IMAGE: "STUDIO_WITH_STREAMING_IMAGES_NOT_DELETED",
}


def settle_studio(studio: Studio, contents: Mapping[ResourceKind, int]) -> tuple[ResourceEvent, Status]:
    """Return how the change of a studio in progress ends. `contents` counts what is in it."""
    if studio.state is ResourceState.CREATE_IN_PROGRESS:
        if studio.key_type is StudioKeyType.CUSTOMER_MANAGED_KEY:
            why = "There is no key management here that could have this key; use AWS_OWNED_KEY."
            return ResourceEvent.FAILED, Status(code="ENCRYPTION_KEY_NOT_FOUND", message=why)
        return ResourceEvent.SUCCEEDED, Status(code="STUDIO_CREATED", message="The studio was created.")
    if studio.state is ResourceState.DELETE_IN_PROGRESS:
        for kind, code in _LEFTOVERS.items():
            if count := contents.get(kind, 0):
                why = f"The studio has {count} {kind.replace('-', ' ')}{'' if count == 1 else 's'}: delete them first."
                return ResourceEvent.FAILED, Status(code=code, message=why)
        return ResourceEvent.SUCCEEDED, Status(code="STUDIO_DELETED", message="The studio was deleted.")
    return ResourceEvent.SUCCEEDED, _REPAIRED if studio.status == REPAIRING else UPDATED
