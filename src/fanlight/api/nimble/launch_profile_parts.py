"""What a launch profile is made of, for people and for a machine: typed request → launch profile service → typed result."""

import re
from collections.abc import Sequence

from fanlight.api.nimble import launch_profiles
from fanlight.api.nimble.streaming_images import shown as shown_image
from fanlight.api.nimble.studio_components import shown_attributes
from fanlight.api.registry import operation
from fanlight.api.types.nimble import (
    GetLaunchProfileDetailsRequest,
    GetLaunchProfileDetailsResult,
    GetLaunchProfileInitializationRequest,
    GetLaunchProfileInitializationResult,
    LaunchProfileInitialization,
    LaunchProfileInitializationActiveDirectory,
    LaunchProfileInitializationScript,
    LaunchProfilePlatform,
    StudioComponentSubtype,
    StudioComponentSummary,
    StudioComponentType,
)
from fanlight.domain.access_keys import Caller
from fanlight.domain.errors import InvalidCombination, NotFound
from fanlight.domain.nimble.studio_components import (
    PROTOCOL_VERSION,
    ComponentType,
    RunContext,
    ScriptPlatform,
    StudioComponent,
)
from fanlight.services import AppStreamServices

_PURPOSE = re.compile(r"[A-Z0-9_]{1,64}")


@operation(
    "GetLaunchProfileDetails",
    raises=(NotFound,),
    is_pure_read=True,
    note="Images and components that are gone are missing.",
)
async def get_launch_profile_details(
    request: GetLaunchProfileDetailsRequest, caller: Caller, services: AppStreamServices
) -> GetLaunchProfileDetailsResult:
    found = await services.nimble.profiles.details(caller.scope, request.studio_id, request.launch_profile_id)
    return GetLaunchProfileDetailsResult(
        launch_profile=launch_profiles.shown(found.profile, found.tags),
        streaming_images=tuple(shown_image(*entry) for entry in found.images),
        studio_component_summaries=tuple(_summary(component) for component in found.components),
    )


def _summary(component: StudioComponent) -> StudioComponentSummary:
    return StudioComponentSummary(
        created_at=component.created_at,
        created_by=component.created_by,
        description=component.description,
        name=component.name,
        studio_component_id=component.resource_id,
        subtype=StudioComponentSubtype(component.subtype) if component.subtype else None,
        type=StudioComponentType(component.type),
        updated_at=component.updated_at,
        updated_by=component.updated_by,
    )


@operation(
    "GetLaunchProfileInitialization",
    raises=(InvalidCombination, NotFound),
    is_pure_read=True,
    note="Scripts stand in the order of the launch profile's components, and of each component's scripts; the shape has no place for "
    "their parameters, which machines here get as variables. Of a directory what its component says is given, without "
    "directoryName and dnsIpAddresses: a directory service knows them, and there is none here.",
)
async def get_launch_profile_initialization(
    request: GetLaunchProfileInitializationRequest, caller: Caller, services: AppStreamServices
) -> GetLaunchProfileInitializationResult:
    if PROTOCOL_VERSION not in request.launch_profile_protocol_versions:
        raise InvalidCombination(f"The launch profile has the protocol version {PROTOCOL_VERSION} only.")
    if not _PURPOSE.fullmatch(request.launch_purpose):
        raise InvalidCombination("launchPurpose has 1 to 64 capital letters, digits and underscores.")
    try:
        platform = ScriptPlatform(request.platform)
    except ValueError:
        raise InvalidCombination("The platform is LINUX or WINDOWS.") from None
    found = await services.nimble.profiles.details(caller.scope, request.studio_id, request.launch_profile_id)
    groups = dict.fromkeys(group for component in found.components for group in component.security_group_ids)
    return GetLaunchProfileInitializationResult(
        launch_profile_initialization=LaunchProfileInitialization(
            active_directory=_directory(found.components),
            ec2_security_group_ids=tuple(groups) or None,
            launch_profile_id=found.profile.resource_id,
            launch_profile_protocol_version=PROTOCOL_VERSION,
            launch_purpose=request.launch_purpose,
            name=found.profile.name,
            platform=LaunchProfilePlatform(platform),
            system_initialization_scripts=_scripts(found.components, platform, RunContext.SYSTEM_INITIALIZATION),
            user_initialization_scripts=_scripts(found.components, platform, RunContext.USER_INITIALIZATION),
        )
    )


def _directory(components: Sequence[StudioComponent]) -> LaunchProfileInitializationActiveDirectory | None:
    for component in components:
        if component.type is not ComponentType.ACTIVE_DIRECTORY:
            continue
        directory = component.configuration.active_directory if component.configuration else None
        return LaunchProfileInitializationActiveDirectory(
            computer_attributes=shown_attributes(directory.computer_attributes) if directory else None,
            directory_id=directory.directory_id if directory else None,
            organizational_unit_distinguished_name=directory.organizational_unit_distinguished_name
            if directory
            else None,
            studio_component_id=component.resource_id,
            studio_component_name=component.name,
        )
    return None


def _scripts(
    components: Sequence[StudioComponent], platform: ScriptPlatform, run_context: RunContext
) -> tuple[LaunchProfileInitializationScript, ...]:
    return tuple(
        LaunchProfileInitializationScript(
            runtime_role_arn=component.runtime_role_arn,
            script=script.text,
            secure_initialization_role_arn=component.secure_initialization_role_arn,
            studio_component_id=component.resource_id,
            studio_component_name=component.name,
        )
        for component in components
        for script in component.scripts_for(platform, run_context)
    )
