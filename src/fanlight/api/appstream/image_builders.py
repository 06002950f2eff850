"""Image builder operations: typed request → image builder service → typed result."""

from fanlight.api import types
from fanlight.api.appstream.members import asks_for_something
from fanlight.api.appstream.registry import operation
from fanlight.api.types import (
    CreateImageBuilderRequest,
    CreateImageBuilderResult,
    CreateImageBuilderStreamingURLRequest,
    CreateImageBuilderStreamingURLResult,
    DeleteImageBuilderRequest,
    DeleteImageBuilderResult,
    DescribeImageBuildersRequest,
    DescribeImageBuildersResult,
    StartImageBuilderRequest,
    StartImageBuilderResult,
    StopImageBuilderRequest,
    StopImageBuilderResult,
    UpdateImageBuilderRequest,
    UpdateImageBuilderResult,
)
from fanlight.domain.access_keys import Caller
from fanlight.domain.errors import (
    AlreadyExists,
    ChangedMeanwhile,
    IncompatibleImage,
    InvalidCombination,
    LimitExceeded,
    NotAvailable,
    NotFound,
    NotPermitted,
)
from fanlight.domain.fleet_errors import FleetError
from fanlight.domain.fleets import VpcConfig
from fanlight.domain.image_builders import ImageBuilder
from fanlight.services import AppStreamServices
from fanlight.services.image_builders import NewImageBuilder

_NO_SOFTWARE = "licensed Windows software cannot be installed on Linux. Leave it out."
_NO_AGENTS = "AI agents cannot drive sessions here. Leave it out."
_REFUSED = {
    "IamRoleArn": "instances get no AWS credentials. Leave it out.",
    "DomainJoinInfo": "images are Linux and join no domain. Leave it out.",
    "SoftwaresToInstall": _NO_SOFTWARE,
    "SoftwaresToUninstall": _NO_SOFTWARE,
    "AgentAccessConfig": _NO_AGENTS,
}


@operation(
    "CreateImageBuilder",
    raises=(
        AlreadyExists,
        NotFound,
        NotAvailable,
        IncompatibleImage,
        InvalidCombination,
        LimitExceeded,
        NotPermitted,
        ChangedMeanwhile,
    ),
    note="An omitted AppstreamAgentVersion means the newest (undocumented); the answer has a version, never LATEST. An "
    "agent version that is not installed answers ResourceNotAvailableException. RootVolumeConfig is returned only if it "
    "was given. DisableIMDSV1 is returned as given: instances have no metadata service. What cannot start the first "
    "time becomes FAILED; what ran before goes back to STOPPED with the reason, so that its disk can be tried again. "
    "On the simulated engine states move and nothing is installed.",
    refuses=_REFUSED,
    without_effect={"AccessEndpoints.EndpointType": "STREAMING is the only kind there is."},
)
async def create_image_builder(
    request: CreateImageBuilderRequest, caller: Caller, services: AppStreamServices
) -> CreateImageBuilderResult:
    vpc = request.vpc_config if asks_for_something(request.vpc_config) else None
    endpoints = request.access_endpoints
    wanted = NewImageBuilder(
        name=request.name,
        instance_type=request.instance_type,
        image_name=request.image_name,
        image_arn=request.image_arn,
        display_name=request.display_name,
        description=request.description,
        vpc_config=VpcConfig(vpc.subnet_ids or (), vpc.security_group_ids or ()) if vpc else None,
        enable_default_internet_access=request.enable_default_internet_access,
        agent_version=request.appstream_agent_version,
        access_endpoints=None if endpoints is None else tuple(endpoint.vpce_id for endpoint in endpoints),
        root_volume_in_gib=request.root_volume_config.volume_size_in_gb if request.root_volume_config else None,
        disable_imdsv1=request.disable_imdsv1,
        tags=request.tags,
    )
    builder = await services.image_builders.create(caller.scope, wanted)
    return CreateImageBuilderResult(image_builder=to_wire(builder, services))


@operation(
    "DescribeImageBuilders",
    raises=(NotFound, InvalidCombination),
    note="A MaxResults outside 1 to 50 means 50. NetworkAccessConfiguration has the instance's own interface, if it has "
    "one, from the first time that the builder is RUNNING; there are no IPv6 addresses.",
)
async def describe_image_builders(
    request: DescribeImageBuildersRequest, caller: Caller, services: AppStreamServices
) -> DescribeImageBuildersResult:
    page, next_token = await services.image_builders.describe(
        caller.scope, names=request.names or (), limit=request.max_results, next_token=request.next_token
    )
    builders = tuple(to_wire(builder, services) for builder in page)
    return DescribeImageBuildersResult(image_builders=builders, next_token=next_token)


@operation(
    "StartImageBuilder",
    raises=(NotFound, NotAvailable, InvalidCombination, ChangedMeanwhile),
    note="One that is not STOPPED answers ResourceNotAvailableException. An omitted AppstreamAgentVersion keeps the "
    "version that the builder has; another one makes it UPDATING_AGENT on its way to RUNNING.",
)
async def start_image_builder(
    request: StartImageBuilderRequest, caller: Caller, services: AppStreamServices
) -> StartImageBuilderResult:
    builder = await services.image_builders.start(caller.scope, request.name, request.appstream_agent_version)
    return StartImageBuilderResult(image_builder=to_wire(builder, services))


@operation(
    "StopImageBuilder",
    raises=(NotFound, NotPermitted, InvalidCombination, ChangedMeanwhile),
    note="The session in it is ended; the disk is kept. One that is not RUNNING answers OperationNotPermittedException.",
)
async def stop_image_builder(
    request: StopImageBuilderRequest, caller: Caller, services: AppStreamServices
) -> StopImageBuilderResult:
    builder = await services.image_builders.stop(caller.scope, request.name)
    return StopImageBuilderResult(image_builder=to_wire(builder, services))


@operation(
    "UpdateImageBuilder",
    raises=(NotFound, NotPermitted, InvalidCombination, ChangedMeanwhile),
    note="DisplayName and Description, in every state but DELETING. AttributesToDelete can name agent access alone, which "
    "no image builder here has: it succeeds.",
    refuses={"AgentAccessConfig": _NO_AGENTS},
)
async def update_image_builder(
    request: UpdateImageBuilderRequest, caller: Caller, services: AppStreamServices
) -> UpdateImageBuilderResult:
    # It can name agent access alone, and no image builder has it: what is to be deleted is not there.
    _ = request.attributes_to_delete
    builder = await services.image_builders.update(
        caller.scope, request.name, display_name=request.display_name, description=request.description
    )
    return UpdateImageBuilderResult(image_builder=to_wire(builder, services))


@operation(
    "DeleteImageBuilder",
    raises=(NotFound, NotPermitted, InvalidCombination, ChangedMeanwhile),
    note="Accepted when RUNNING, STOPPED or FAILED; any other state answers OperationNotPermittedException.",
)
async def delete_image_builder(
    request: DeleteImageBuilderRequest, caller: Caller, services: AppStreamServices
) -> DeleteImageBuilderResult:
    builder = await services.image_builders.delete(caller.scope, request.name)
    return DeleteImageBuilderResult(image_builder=to_wire(builder, services))


@operation(
    "CreateImageBuilderStreamingURL",
    raises=(NotFound, NotPermitted, InvalidCombination),
    note="An image builder that is not RUNNING answers OperationNotPermittedException, a Validity outside 1 to 604800 "
    "ValidationException: the model declares no closer error. The session is listed nowhere, and nothing ends it but its "
    "user, five days, and the builder's leaving RUNNING.",
)
async def create_image_builder_streaming_url(
    request: CreateImageBuilderStreamingURLRequest, caller: Caller, services: AppStreamServices
) -> CreateImageBuilderStreamingURLResult:
    url, expires_at = await services.image_builders.create_url(caller.scope, request.name, request.validity)
    return CreateImageBuilderStreamingURLResult(streaming_url=url, expires=expires_at)


def to_wire(builder: ImageBuilder, services: AppStreamServices) -> types.ImageBuilder:
    vpc, size, interface = builder.vpc_config, builder.root_volume_in_gib, builder.network_interface
    is_latest = services.image_builders.is_latest(builder)
    return types.ImageBuilder(
        name=builder.name,
        arn=builder.arn,
        image_arn=builder.image_arn,
        description=builder.description,
        display_name=builder.display_name,
        vpc_config=types.VpcConfig(subnet_ids=vpc.subnet_ids, security_group_ids=vpc.security_group_ids)
        if vpc
        else None,
        instance_type=builder.instance_type,
        platform=types.PlatformType(builder.platform),
        state=types.ImageBuilderState(builder.state),
        state_change_reason=_reason(builder),
        created_time=builder.created_at,
        enable_default_internet_access=builder.enable_default_internet_access,
        network_access_configuration=types.NetworkAccessConfiguration(
            eni_private_ip_address=interface.address, eni_id=interface.interface_id
        )
        if interface
        else None,
        image_builder_errors=tuple(map(_error, builder.errors)),
        appstream_agent_version=builder.agent_version,
        access_endpoints=tuple(
            types.AccessEndpoint(endpoint_type=types.AccessEndpointType.STREAMING, vpce_id=endpoint)
            for endpoint in builder.access_endpoints
        ),
        root_volume_config=None if size is None else types.VolumeConfig(volume_size_in_gb=size),
        latest_appstream_agent_version=types.LatestAppstreamAgentVersion("TRUE" if is_latest else "FALSE"),
        disable_imdsv1=builder.disable_imdsv1,
    )


def _reason(builder: ImageBuilder) -> types.ImageBuilderStateChangeReason | None:
    if builder.reason is None:
        return None
    return types.ImageBuilderStateChangeReason(
        code=types.ImageBuilderStateChangeReasonCode(builder.reason.code), message=builder.reason.message
    )


def _error(error: FleetError) -> types.ResourceError:
    return types.ResourceError(
        error_code=types.FleetErrorCode(error.code), error_message=error.message, error_timestamp=error.happened_at
    )
