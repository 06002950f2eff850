"""What an update makes of a fleet, and whether the fleet's state allows it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from fanlight.domain.errors import IncompatibleImage, InUse, InvalidCombination, NotFound
from fanlight.domain.fleets import Fleet, FleetState, VpcConfig, instances_for
from fanlight.domain.images import Image
from fanlight.domain.instance_types import size_of
from fanlight.domain.ports import UnitOfWork
from fanlight.services.fleet_wishes import FleetChange, check_capacity, check_vpc
from fanlight.services.usable_images import find_image

# What may change while instances run; everything else would make some of them differ from the fleet's record.
CHANGEABLE_WHILE_RUNNING = frozenset(
    {
        "DisplayName",
        "ComputeCapacity",
        "Image",
        "DisconnectTimeoutInSeconds",
        "IdleDisconnectTimeoutInSeconds",
        # The guide allows it: instances keep what they have, and the fleet converges as they are replaced.
        "MaxSessionsPerInstance",
    }
)
_MEMBERS = {
    "DisplayName": ("display_name",),
    "ComputeCapacity": ("desired_instances", "desired_sessions"),
    "Image": ("image_arn",),
    "DisconnectTimeoutInSeconds": ("disconnect_timeout",),
    "IdleDisconnectTimeoutInSeconds": ("idle_disconnect_timeout",),
    "MaxUserDurationInSeconds": ("max_user_duration",),
    "InstanceType": ("instance_type",),
    "StreamView": ("stream_view",),
    "Description": ("description",),
    "EnableDefaultInternetAccess": ("enable_default_internet_access",),
    "VpcConfig": ("vpc_config",),
    "MaxSessionsPerInstance": ("max_sessions_per_instance",),
    "RootVolumeConfig": ("root_volume_in_gib",),
    "DisableIMDSV1": ("disable_imdsv1",),
}


def check_image(image: Image, instance_type: str, platform: str | None) -> None:
    """Raises IncompatibleImage, InvalidCombination (platform), NotSupported (instance type)."""
    family = size_of(instance_type).family
    if family not in image.supported_instance_families:
        known = ", ".join(image.supported_instance_families)
        raise IncompatibleImage(
            f"The image {image.name} runs on {known}, and {instance_type} is {family}. Choose another instance type."
        )
    if platform is not None and platform != image.platform:
        raise InvalidCombination(
            f"The platform of the image {image.name} is {image.platform}, not {platform}. Leave Platform out."
        )


async def changed(work: UnitOfWork, fleet: Fleet, change: FleetChange) -> Fleet:
    """Return the fleet as the change wants it. Raises what the new image, instance type or number is refused with."""
    instance_type = change.instance_type or fleet.instance_type
    if change.image_name or change.image_arn:
        image = await find_image(work, fleet.scope, change.image_name, change.image_arn)
        check_image(image, instance_type, change.platform)
        if fleet.state is not FleetState.STOPPED and image.platform != fleet.platform:
            raise IncompatibleImage(
                f"The image {image.name} has another operating system than the fleet {fleet.name}. Stop the fleet first."
            )
        fleet = replace(
            fleet, image_name=image.name, image_arn=image.arn_in(fleet.scope.region), platform=image.platform
        )
    elif change.instance_type is not None or change.platform is not None:
        found = await work.images.find(fleet.scope, arn=fleet.image_arn)
        if found is None:
            raise NotFound("image", fleet.image_name)
        check_image(found, instance_type, change.platform)
    fleet = replace(fleet, instance_type=instance_type, vpc_config=_vpc_config(fleet.vpc_config, change))
    return _with_capacity(replace(fleet, **_plain_changes(fleet, change)), change)


def _plain_changes(fleet: Fleet, change: FleetChange) -> dict[str, Any]:
    """Return the attributes that a change sets as they are given."""
    durations = {
        "max_user_duration": change.max_user_duration_in_seconds,
        "disconnect_timeout": change.disconnect_timeout_in_seconds,
        "idle_disconnect_timeout": change.idle_disconnect_timeout_in_seconds,
    }
    plain: dict[str, Any] = {
        name: timedelta(seconds=seconds) for name, seconds in durations.items() if seconds is not None
    }
    for name in (
        "stream_view",
        "display_name",
        "description",
        "enable_default_internet_access",
        "root_volume_in_gib",
        "disable_imdsv1",
    ):
        value = getattr(change, name)
        plain[name] = getattr(fleet, name) if value is None else value
    if "root_volume_in_gib" in change.removed:
        _not_both("RootVolumeConfig", change.root_volume_in_gib)
        plain["root_volume_in_gib"] = None
    return plain


def _vpc_config(before: VpcConfig | None, change: FleetChange) -> VpcConfig | None:
    """Return the new subnets and groups; the half that a request leaves out stays as it is."""
    if "vpc_config" in change.removed:
        _not_both("VpcConfig", change.subnet_ids or change.security_group_ids)
        return None
    if "security_group_ids" in change.removed:
        _not_both("VpcConfig.SecurityGroupIds", change.security_group_ids)
        before = None if before is None else replace(before, security_group_ids=())
    if change.subnet_ids is None and change.security_group_ids is None:
        return before
    kept = before or VpcConfig(())
    after = VpcConfig(
        kept.subnet_ids if change.subnet_ids is None else change.subnet_ids,
        kept.security_group_ids if change.security_group_ids is None else change.security_group_ids,
    )
    check_vpc(after)
    return after


def _with_capacity(fleet: Fleet, change: FleetChange) -> Fleet:
    """Return the fleet with its new capacity, in its own unit. Raises InvalidCombination for the other unit."""
    per_instance = fleet.max_sessions_per_instance
    if "max_sessions_per_instance" in change.removed:
        _not_both("MaxSessionsPerInstance", change.max_sessions_per_instance)
        per_instance = None
    elif change.max_sessions_per_instance is not None:
        per_instance = change.max_sessions_per_instance
    check_capacity(change.desired_instances, change.desired_sessions, is_multi_session=per_instance is not None)
    if per_instance is None:
        desired = fleet.desired_instances if change.desired_instances is None else change.desired_instances
        return replace(fleet, max_sessions_per_instance=None, desired_sessions=None, desired_instances=desired)
    sessions = fleet.desired_sessions if change.desired_sessions is None else change.desired_sessions
    if sessions is None:
        raise InvalidCombination(
            f"The fleet {fleet.name} becomes a multi-session fleet. Give ComputeCapacity.DesiredSessions too."
        )
    return replace(
        fleet,
        max_sessions_per_instance=per_instance,
        desired_sessions=sessions,
        desired_instances=instances_for(sessions, per_instance),
    )


def _not_both(member: str, given: object) -> None:
    if given:
        raise InvalidCombination(f"{member} is given and to be deleted at once. Do one of the two.")


def check_state(before: Fleet, after: Fleet) -> None:
    """Raise InUse when the state of the fleet `before` does not allow to make it `after`."""
    if before.state in (FleetState.STARTING, FleetState.STOPPING):
        raise InUse(
            "fleet", before.name, f"The fleet {before.name} is {before.state}. Wait until that is over, then update it."
        )
    forbidden = _differences(before, after) - CHANGEABLE_WHILE_RUNNING
    if before.is_multi_session != after.is_multi_session:
        forbidden |= {"MaxSessionsPerInstance"}
    if before.state is FleetState.RUNNING and forbidden:
        raise InUse(
            "fleet",
            before.name,
            f"The fleet {before.name} is RUNNING. Stop it before changing {', '.join(sorted(forbidden))}.",
        )


def _differences(before: Fleet, after: Fleet) -> set[str]:
    """Return which members, in the API's words, really change."""
    return {
        member
        for member, names in _MEMBERS.items()
        if any(getattr(before, name) != getattr(after, name) for name in names)
    }
