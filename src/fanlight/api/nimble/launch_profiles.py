"""Launch profiles: typed request → launch profile service → typed result."""

from fanlight.api.nimble.calls import call_of
from fanlight.api.nimble.stream_configurations import STREAM_WITHOUT_EFFECT, read_stream, shown_stream
from fanlight.api.registry import operation
from fanlight.api.types import nimble as types
from fanlight.api.types.nimble import (
    CreateLaunchProfileRequest,
    CreateLaunchProfileResult,
    DeleteLaunchProfileRequest,
    DeleteLaunchProfileResult,
    GetLaunchProfileRequest,
    GetLaunchProfileResult,
    ListLaunchProfilesRequest,
    ListLaunchProfilesResult,
    UpdateLaunchProfileRequest,
    UpdateLaunchProfileResult,
)
from fanlight.domain.access_keys import Caller
from fanlight.domain.errors import (
    AlreadyExists,
    ChangedMeanwhile,
    InvalidCombination,
    LimitExceeded,
    NotAvailable,
    NotFound,
)
from fanlight.domain.nimble.launch_profiles import LaunchProfile
from fanlight.domain.nimble.resources import ResourceState
from fanlight.domain.tags import Tags
from fanlight.services import AppStreamServices
from fanlight.services.nimble.launch_profiles import ProfileMembers


def shown(profile: LaunchProfile, tags: Tags) -> types.LaunchProfile:
    return types.LaunchProfile(
        arn=profile.arn,
        created_at=profile.created_at,
        created_by=profile.created_by,
        description=profile.description,
        ec2_subnet_ids=profile.subnet_ids,
        launch_profile_id=profile.resource_id,
        launch_profile_protocol_versions=profile.protocol_versions,
        name=profile.name,
        state=types.LaunchProfileState(profile.state),
        status_code=types.LaunchProfileStatusCode(profile.status.code),
        status_message=profile.status.message,
        stream_configuration=shown_stream(profile.stream),
        studio_component_ids=profile.component_ids,
        tags=tags,
        updated_at=profile.updated_at,
        updated_by=profile.updated_by,
        validation_results=tuple(
            types.ValidationResult(
                state=types.LaunchProfileValidationState(one.state),
                status_code=types.LaunchProfileValidationStatusCode(one.code),
                status_message=one.message,
                type=types.LaunchProfileValidationType(one.type),
            )
            for one in profile.validations
        ),
    )


@operation(
    "CreateLaunchProfile",
    raises=(AlreadyExists, ChangedMeanwhile, InvalidCombination, LimitExceeded, NotAvailable, NotFound),
    note="Unknown studioComponentIds are ResourceNotFoundException; an unknown streaming image ends in CREATE_FAILED. Subnets and "
    "security groups that are not offered here, and an Active Directory, fail a validation, not the launch profile. "
    "maxSessionLengthInMinutes is 690 by default.",
    without_effect=STREAM_WITHOUT_EFFECT,
)
async def create_launch_profile(
    request: CreateLaunchProfileRequest, caller: Caller, services: AppStreamServices
) -> CreateLaunchProfileResult:
    wanted = ProfileMembers(
        name=request.name,
        description=request.description,
        protocol_versions=request.launch_profile_protocol_versions,
        component_ids=request.studio_component_ids,
        stream=read_stream(request.stream_configuration),
    )
    call = call_of("CreateLaunchProfile", request, caller)
    made = await services.nimble.profiles.create(
        call, request.studio_id, wanted, subnet_ids=request.ec2_subnet_ids, tags=request.tags
    )
    return CreateLaunchProfileResult(launch_profile=shown(*made))


@operation("GetLaunchProfile", raises=(NotFound,), is_pure_read=True)
async def get_launch_profile(
    request: GetLaunchProfileRequest, caller: Caller, services: AppStreamServices
) -> GetLaunchProfileResult:
    found = await services.nimble.profiles.get(caller.scope, request.studio_id, request.launch_profile_id)
    return GetLaunchProfileResult(launch_profile=shown(*found))


@operation("ListLaunchProfiles", raises=(InvalidCombination, NotFound), is_pure_read=True)
async def list_launch_profiles(
    request: ListLaunchProfilesRequest, caller: Caller, services: AppStreamServices
) -> ListLaunchProfilesResult:
    page, next_token = await services.nimble.profiles.page(
        caller.scope,
        request.studio_id,
        states=[ResourceState(state) for state in request.states or ()],
        principal_id=request.principal_id,
        most=request.max_results,
        next_token=request.next_token,
    )
    return ListLaunchProfilesResult(launch_profiles=tuple(shown(*entry) for entry in page), next_token=next_token)


@operation(
    "UpdateLaunchProfile",
    raises=(ChangedMeanwhile, InvalidCombination, NotAvailable, NotFound),
    note="streamConfiguration is replaced as a whole. After UPDATE_FAILED the launch profile is what it was before.",
    without_effect=STREAM_WITHOUT_EFFECT,
)
async def update_launch_profile(
    request: UpdateLaunchProfileRequest, caller: Caller, services: AppStreamServices
) -> UpdateLaunchProfileResult:
    wanted = ProfileMembers(
        name=request.name,
        description=request.description,
        protocol_versions=request.launch_profile_protocol_versions,
        component_ids=request.studio_component_ids,
        stream=read_stream(request.stream_configuration) if request.stream_configuration else None,
    )
    call = call_of("UpdateLaunchProfile", request, caller)
    changed = await services.nimble.profiles.update(call, request.studio_id, request.launch_profile_id, wanted)
    return UpdateLaunchProfileResult(launch_profile=shown(*changed))


@operation(
    "DeleteLaunchProfile",
    raises=(ChangedMeanwhile, InvalidCombination, NotAvailable, NotFound),
    note="A launch profile with streaming sessions becomes DELETE_FAILED, and READY again after 10 minutes.",
)
async def delete_launch_profile(
    request: DeleteLaunchProfileRequest, caller: Caller, services: AppStreamServices
) -> DeleteLaunchProfileResult:
    call = call_of("DeleteLaunchProfile", request, caller)
    gone = await services.nimble.profiles.delete(call, request.studio_id, request.launch_profile_id)
    return DeleteLaunchProfileResult(launch_profile=shown(*gone))
