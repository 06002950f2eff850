"""Fleet operations: typed request → fleet service → typed result."""

from fanlight.api import types
from fanlight.api.appstream.members import asks_for_something
from fanlight.api.appstream.registry import operation
from fanlight.api.types import (
    ComputeCapacity,
    CreateFleetRequest,
    CreateFleetResult,
    DeleteFleetRequest,
    DeleteFleetResult,
    DescribeFleetsRequest,
    DescribeFleetsResult,
    StartFleetRequest,
    StartFleetResult,
    StopFleetRequest,
    StopFleetResult,
    UpdateFleetRequest,
    UpdateFleetResult,
)
from fanlight.domain.access_keys import Caller
from fanlight.domain.errors import (
    AlreadyExists,
    ChangedMeanwhile,
    IncompatibleImage,
    InUse,
    InvalidCombination,
    LimitExceeded,
    NotAvailable,
    NotFound,
    NotPermitted,
    NotSupported,
)
from fanlight.domain.fleet_capacity import Capacity, SessionCapacity
from fanlight.domain.fleet_errors import FleetError
from fanlight.domain.fleets import FleetType, StreamView, VpcConfig
from fanlight.services import AppStreamServices
from fanlight.services.fleet_wishes import FleetChange, NewFleet
from fanlight.services.fleets import DescribedFleet

# What AppStream takes for fleets with images and an instance here cannot have.
_REFUSED = {
    "DomainJoinInfo": "images are Linux and join no domain. Leave it out.",
    "IamRoleArn": "instances get no AWS credentials. Leave it out.",
    "UsbDeviceFilterStrings": "a browser passes no USB devices. Leave it out.",
}
_ELASTIC_ONLY = ("MaxConcurrentSessions", "SessionScriptS3Location")
_LIMITS = dict.fromkeys(_ELASTIC_ONLY, "it belongs to ELASTIC fleets: InvalidParameterCombinationException.")
# The attributes of a fleet behind AttributesToDelete; no fleet here has the others, so they are deleted already.
_DELETABLE = {
    types.FleetAttribute.VPC_CONFIGURATION: "vpc_config",
    types.FleetAttribute.VPC_CONFIGURATION_SECURITY_GROUP_IDS: "security_group_ids",
    types.FleetAttribute.MAX_SESSIONS_PER_INSTANCE: "max_sessions_per_instance",
    types.FleetAttribute.VOLUME_CONFIGURATION: "root_volume_in_gib",
}


@operation(
    "CreateFleet",
    raises=(AlreadyExists, NotFound, NotAvailable, NotPermitted, IncompatibleImage, InvalidCombination, LimitExceeded),
    note="An omitted FleetType means ALWAYS_ON (undocumented). RootVolumeConfig is returned only if it was given. "
    "DisableIMDSV1 is returned as given: instances have no metadata service.",
    refuses=_REFUSED,
    limits=_LIMITS
    | {
        "FleetType": "ELASTIC is refused: it comes later, with app blocks.",
        "InstanceType": "Graphics and imported types are refused: no host here has them.",
    },
)
async def create_fleet(request: CreateFleetRequest, caller: Caller, services: AppStreamServices) -> CreateFleetResult:
    described = await services.fleets.create(caller.scope, _new_fleet(request))
    return CreateFleetResult(fleet=to_wire(described))


@operation("DescribeFleets", raises=(NotFound, InvalidCombination), is_pure_read=True)
async def describe_fleets(
    request: DescribeFleetsRequest, caller: Caller, services: AppStreamServices
) -> DescribeFleetsResult:
    page, next_token = await services.fleets.describe(
        caller.scope, names=request.names or (), next_token=request.next_token
    )
    return DescribeFleetsResult(fleets=tuple(to_wire(described) for described in page), next_token=next_token)


@operation(
    "UpdateFleet",
    raises=(
        NotFound,
        InUse,
        NotAvailable,
        NotPermitted,
        IncompatibleImage,
        InvalidCombination,
        LimitExceeded,
        ChangedMeanwhile,
    ),
    note="A change that needs a STOPPED fleet answers ResourceInUseException; values that stay as they are need "
    "nothing. Of VpcConfig, the half that is left out stays as it is.",
    refuses=_REFUSED,
    limits=_LIMITS | {"InstanceType": "Graphics and imported types are refused: no host here has them."},
)
async def update_fleet(request: UpdateFleetRequest, caller: Caller, services: AppStreamServices) -> UpdateFleetResult:
    if request.name is None:
        raise InvalidCombination("Name is missing. Say which fleet to update.")
    described = await services.fleets.update(caller.scope, request.name, _fleet_change(request))
    return UpdateFleetResult(fleet=to_wire(described))


@operation(
    "StartFleet",
    raises=(NotFound, NotPermitted, InvalidCombination, LimitExceeded, ChangedMeanwhile),
    note="Starting a STARTING or RUNNING fleet succeeds and changes nothing (undocumented).",
)
async def start_fleet(request: StartFleetRequest, caller: Caller, services: AppStreamServices) -> StartFleetResult:
    await services.fleets.start(caller.scope, request.name)
    return StartFleetResult()


@operation(
    "StopFleet",
    raises=(NotFound, InvalidCombination, ChangedMeanwhile),
    note="Stopping ends the users' sessions; stopping a STOPPED or STOPPING fleet succeeds.",
)
async def stop_fleet(request: StopFleetRequest, caller: Caller, services: AppStreamServices) -> StopFleetResult:
    await services.fleets.stop(caller.scope, request.name)
    return StopFleetResult()


@operation("DeleteFleet", raises=(NotFound, InUse, InvalidCombination, ChangedMeanwhile))
async def delete_fleet(request: DeleteFleetRequest, caller: Caller, services: AppStreamServices) -> DeleteFleetResult:
    await services.fleets.delete(caller.scope, request.name)
    return DeleteFleetResult()


def _new_fleet(request: CreateFleetRequest) -> NewFleet:
    if request.fleet_type is types.FleetType.ELASTIC:
        raise NotSupported(
            "FleetType ELASTIC is not supported yet: it comes later, with app blocks. Use ALWAYS_ON or ON_DEMAND and an "
            "image."
        )
    _refuse_elastic_members(request)
    instances, sessions = _capacity_asked_for(request.compute_capacity)
    vpc = request.vpc_config if asks_for_something(request.vpc_config) else None
    return NewFleet(
        name=request.name,
        instance_type=request.instance_type,
        desired_instances=instances,
        desired_sessions=sessions,
        image_name=request.image_name,
        image_arn=request.image_arn,
        fleet_type=FleetType(request.fleet_type) if request.fleet_type else None,
        stream_view=StreamView(request.stream_view) if request.stream_view else None,
        platform=request.platform,
        max_user_duration_in_seconds=request.max_user_duration_in_seconds,
        disconnect_timeout_in_seconds=request.disconnect_timeout_in_seconds,
        idle_disconnect_timeout_in_seconds=request.idle_disconnect_timeout_in_seconds,
        display_name=request.display_name,
        description=request.description,
        enable_default_internet_access=request.enable_default_internet_access,
        vpc_config=VpcConfig(vpc.subnet_ids or (), vpc.security_group_ids or ()) if vpc else None,
        max_sessions_per_instance=request.max_sessions_per_instance,
        root_volume_in_gib=request.root_volume_config.volume_size_in_gb if request.root_volume_config else None,
        disable_imdsv1=request.disable_imdsv1,
        tags=request.tags,
    )


def _fleet_change(request: UpdateFleetRequest) -> FleetChange:
    _refuse_elastic_members(request)
    instances, sessions = _capacity_asked_for(request.compute_capacity)
    vpc = request.vpc_config
    return FleetChange(
        instance_type=request.instance_type,
        desired_instances=instances,
        desired_sessions=sessions,
        image_name=request.image_name,
        image_arn=request.image_arn,
        stream_view=StreamView(request.stream_view) if request.stream_view else None,
        platform=request.platform,
        max_user_duration_in_seconds=request.max_user_duration_in_seconds,
        disconnect_timeout_in_seconds=request.disconnect_timeout_in_seconds,
        idle_disconnect_timeout_in_seconds=request.idle_disconnect_timeout_in_seconds,
        display_name=request.display_name,
        description=request.description,
        enable_default_internet_access=request.enable_default_internet_access,
        # An empty list asks for nothing: AttributesToDelete removes.
        subnet_ids=(vpc.subnet_ids or None) if vpc else None,
        security_group_ids=(vpc.security_group_ids or None) if vpc else None,
        max_sessions_per_instance=request.max_sessions_per_instance,
        root_volume_in_gib=request.root_volume_config.volume_size_in_gb if request.root_volume_config else None,
        disable_imdsv1=request.disable_imdsv1,
        removed=_removed(request),
    )


def _removed(request: UpdateFleetRequest) -> frozenset[str]:
    named = {_DELETABLE[attribute] for attribute in request.attributes_to_delete or () if attribute in _DELETABLE}
    return frozenset(named | ({"vpc_config"} if request.delete_vpc_config else set()))


def _capacity_asked_for(capacity: ComputeCapacity | None) -> tuple[int | None, int | None]:
    """Return instances and sessions. Raises InvalidCombination for a capacity that has neither."""
    if capacity is None:
        return None, None
    if capacity.desired_instances is None and capacity.desired_sessions is None:
        raise InvalidCombination("ComputeCapacity is empty. Give DesiredInstances.")
    return capacity.desired_instances, capacity.desired_sessions


def _refuse_elastic_members(request: CreateFleetRequest | UpdateFleetRequest) -> None:
    values = (request.max_concurrent_sessions, request.session_script_s3_location)
    for member, value in zip(_ELASTIC_ONLY, values, strict=True):
        if value is not None:
            raise InvalidCombination(f"{member} belongs to ELASTIC fleets. Leave it out.")


# A page of a hundred fleets is made by every DescribeFleets, so enums are found by table.
_STATES = {state.value: state for state in types.FleetState}
_TYPES = {kind.value: kind for kind in types.FleetType}
_VIEWS = {view.value: view for view in types.StreamView}
_PLATFORMS = {platform.value: platform for platform in types.PlatformType}


def to_wire(described: DescribedFleet) -> types.Fleet:
    fleet = described.fleet
    size = fleet.root_volume_in_gib
    return types.Fleet(
        arn=fleet.arn,
        name=fleet.name,
        instance_type=fleet.instance_type,
        compute_capacity_status=_capacity_status(described.capacity),
        state=_STATES[fleet.state],
        display_name=fleet.display_name,
        description=fleet.description,
        image_name=fleet.image_name,
        image_arn=fleet.image_arn,
        fleet_type=_TYPES[fleet.fleet_type],
        max_user_duration_in_seconds=int(fleet.max_user_duration.total_seconds()),
        disconnect_timeout_in_seconds=int(fleet.disconnect_timeout.total_seconds()),
        created_time=fleet.created_at,
        fleet_errors=tuple(map(_error, fleet.errors)),
        enable_default_internet_access=fleet.enable_default_internet_access,
        idle_disconnect_timeout_in_seconds=int(fleet.idle_disconnect_timeout.total_seconds()),
        stream_view=_VIEWS[fleet.stream_view],
        platform=_PLATFORMS[fleet.platform],
        vpc_config=_vpc_config(fleet.vpc_config),
        max_sessions_per_instance=fleet.max_sessions_per_instance,
        root_volume_config=None if size is None else types.VolumeConfig(volume_size_in_gb=size),
        disable_imdsv1=fleet.disable_imdsv1,
    )


def _capacity_status(capacity: Capacity) -> types.ComputeCapacityStatus:
    sessions = capacity.sessions
    if sessions is None:
        return types.ComputeCapacityStatus(
            desired=capacity.desired, running=capacity.running, in_use=capacity.in_use, available=capacity.available
        )
    return _session_status(capacity, sessions)


def _session_status(capacity: Capacity, sessions: SessionCapacity) -> types.ComputeCapacityStatus:
    return types.ComputeCapacityStatus(
        desired=capacity.desired,
        running=capacity.running,
        in_use=capacity.in_use,
        available=capacity.available,
        desired_user_sessions=sessions.desired,
        available_user_sessions=sessions.available,
        active_user_sessions=sessions.active,
        actual_user_sessions=sessions.actual,
        draining=sessions.draining,
        drain_mode_active_user_sessions=sessions.draining_active,
        drain_mode_unused_user_sessions=sessions.draining_unused,
    )


def _vpc_config(config: VpcConfig | None) -> types.VpcConfig | None:
    if config is None:
        return None
    return types.VpcConfig(subnet_ids=config.subnet_ids, security_group_ids=config.security_group_ids)


def _error(error: FleetError) -> types.FleetError:
    return types.FleetError(error_code=types.FleetErrorCode(error.code), error_message=error.message)
