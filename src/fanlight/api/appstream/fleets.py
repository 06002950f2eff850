"""Fleet operations: typed request → fleet service → typed result."""

from fanlight.api import types
from fanlight.api.appstream.members import refuse
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
    NotAvailable,
    NotFound,
    NotPermitted,
    NotSupported,
)
from fanlight.domain.fleets import FleetError, FleetType, StreamView
from fanlight.services import AppStreamServices
from fanlight.services.fleets import DescribedFleet, FleetChange, NewFleet


@operation(
    "CreateFleet",
    raises=(AlreadyExists, NotFound, NotAvailable, IncompatibleImage, InvalidCombination),
    note="An omitted FleetType means ALWAYS_ON (undocumented).",
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
    raises=(NotFound, InUse, NotAvailable, IncompatibleImage, InvalidCombination, ChangedMeanwhile),
    note="A change that needs a STOPPED fleet answers ResourceInUseException; values that stay as they are need nothing.",
)
async def update_fleet(request: UpdateFleetRequest, caller: Caller, services: AppStreamServices) -> UpdateFleetResult:
    if request.name is None:
        raise InvalidCombination("Name is missing. Say which fleet to update.")
    described = await services.fleets.update(caller.scope, request.name, _fleet_change(request))
    return UpdateFleetResult(fleet=to_wire(described))


@operation(
    "StartFleet",
    raises=(NotFound, NotPermitted, InvalidCombination, ChangedMeanwhile),
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
    _refuse_members(request)
    if request.fleet_type is types.FleetType.ELASTIC:
        raise NotSupported(
            "FleetType ELASTIC is not supported: Fanlight has no app blocks yet. Use ALWAYS_ON or ON_DEMAND and an image."
        )
    desired = _desired_instances(request.compute_capacity)
    if desired is None:
        raise InvalidCombination("ComputeCapacity is missing. Give DesiredInstances.")
    return NewFleet(
        name=request.name,
        instance_type=request.instance_type,
        desired_instances=desired,
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
        tags=request.tags,
    )


def _fleet_change(request: UpdateFleetRequest) -> FleetChange:
    """AttributesToDelete and DeleteVpcConfig name only what no fleet here can have, so they are fulfilled already."""
    _refuse_members(request)
    return FleetChange(
        instance_type=request.instance_type,
        desired_instances=_desired_instances(request.compute_capacity),
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
    )


def _desired_instances(capacity: ComputeCapacity | None) -> int | None:
    if capacity is None:
        return None
    refuse(("ComputeCapacity.DesiredSessions", capacity.desired_sessions, _ONE_SESSION))
    if capacity.desired_instances is None:
        raise InvalidCombination("ComputeCapacity is empty. Give DesiredInstances.")
    return capacity.desired_instances


_ONE_SESSION = "an instance serves one session; give ComputeCapacity.DesiredInstances."
_ELASTIC_ONLY = "it belongs to ELASTIC fleets, which Fanlight has not yet. Leave it out."


def _refuse_members(request: CreateFleetRequest | UpdateFleetRequest) -> None:
    refuse(
        ("VpcConfig", request.vpc_config, "instances run in a network of this installation. Leave it out."),
        ("DomainJoinInfo", request.domain_join_info, "images are Linux and join no domain. Leave it out."),
        ("IamRoleArn", request.iam_role_arn, "instances get no AWS credentials. Leave it out."),
        ("MaxConcurrentSessions", request.max_concurrent_sessions, _ELASTIC_ONLY),
        ("SessionScriptS3Location", request.session_script_s3_location, _ELASTIC_ONLY),
        ("UsbDeviceFilterStrings", request.usb_device_filter_strings, "a browser passes no USB devices. Leave it out."),
        ("MaxSessionsPerInstance", request.max_sessions_per_instance, _ONE_SESSION),
        ("RootVolumeConfig", request.root_volume_config, "the size of the root volume cannot be chosen yet."),
        ("DisableIMDSV1", request.disable_imdsv1, "instances have no metadata service. Leave it out."),
    )


# A page of a hundred fleets is made by every DescribeFleets, so enums are found by table.
_STATES = {state.value: state for state in types.FleetState}
_TYPES = {kind.value: kind for kind in types.FleetType}
_VIEWS = {view.value: view for view in types.StreamView}
_PLATFORMS = {platform.value: platform for platform in types.PlatformType}


def to_wire(described: DescribedFleet) -> types.Fleet:
    fleet, capacity = described.fleet, described.capacity
    return types.Fleet(
        arn=fleet.arn,
        name=fleet.name,
        instance_type=fleet.instance_type,
        compute_capacity_status=types.ComputeCapacityStatus(
            desired=capacity.desired, running=capacity.running, in_use=capacity.in_use, available=capacity.available
        ),
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
    )


def _error(error: FleetError) -> types.FleetError:
    return types.FleetError(error_code=types.FleetErrorCode(error.code), error_message=error.message)
