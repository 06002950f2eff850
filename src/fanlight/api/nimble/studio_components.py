"""Studio components: typed request → component service → typed result."""

from collections.abc import Iterable

from fanlight.api.nimble.calls import call_of
from fanlight.api.registry import operation
from fanlight.api.types import nimble as types
from fanlight.api.types.nimble import (
    CreateStudioComponentRequest,
    CreateStudioComponentResult,
    DeleteStudioComponentRequest,
    DeleteStudioComponentResult,
    GetStudioComponentRequest,
    GetStudioComponentResult,
    ListStudioComponentsRequest,
    ListStudioComponentsResult,
    ScriptParameterKeyValue,
    StudioComponentConfiguration,
    StudioComponentInitializationScript,
    UpdateStudioComponentRequest,
    UpdateStudioComponentResult,
)
from fanlight.domain.access_keys import Caller
from fanlight.domain.errors import (
    AlreadyExists,
    ChangedMeanwhile,
    InUse,
    InvalidCombination,
    LimitExceeded,
    NotAvailable,
    NotFound,
)
from fanlight.domain.nimble import studio_components as domain
from fanlight.domain.nimble.resources import ResourceState
from fanlight.domain.tags import Tags
from fanlight.services import AppStreamServices
from fanlight.services.nimble.studio_components import ComponentMembers

_ROLE = "Nobody assumes the role; it is kept and shown."
_NAMED = "Kept and shown: it is a name for scripts, and subnets and security groups let instances reach it."
_WITHOUT_EFFECT = {
    "configuration.computeFarmConfiguration.activeDirectoryUser": "Instances join no domain; it is kept and shown.",
    "configuration.computeFarmConfiguration.endpoint": _NAMED,
    "configuration.licenseServiceConfiguration.endpoint": _NAMED,
    "configuration.sharedFileSystemConfiguration.windowsMountDrive": "Machines are Linux; it is kept and shown.",
    "runtimeRoleArn": _ROLE,
    "secureInitializationRoleArn": _ROLE,
}


def shown(component: domain.StudioComponent, tags: Tags) -> types.StudioComponent:
    return types.StudioComponent(
        arn=component.arn,
        configuration=_shown_configuration(component.configuration),
        created_at=component.created_at,
        created_by=component.created_by,
        description=component.description,
        ec2_security_group_ids=component.security_group_ids,
        initialization_scripts=tuple(
            StudioComponentInitializationScript(
                launch_profile_protocol_version=script.protocol_version,
                platform=types.LaunchProfilePlatform(script.platform),
                run_context=types.StudioComponentInitializationScriptRunContext(script.run_context),
                script=script.text,
            )
            for script in component.scripts
        ),
        name=component.name,
        runtime_role_arn=component.runtime_role_arn,
        script_parameters=tuple(
            ScriptParameterKeyValue(key=parameter.key, value=parameter.value) for parameter in component.parameters
        ),
        secure_initialization_role_arn=component.secure_initialization_role_arn,
        state=types.StudioComponentState(component.state),
        status_code=types.StudioComponentStatusCode(component.status.code),
        status_message=component.status.message,
        studio_component_id=component.resource_id,
        subtype=types.StudioComponentSubtype(component.subtype) if component.subtype else None,
        tags=tags,
        type=types.StudioComponentType(component.type),
        updated_at=component.updated_at,
        updated_by=component.updated_by,
    )


def _shown_configuration(
    configuration: domain.ComponentConfiguration | None,
) -> StudioComponentConfiguration | None:
    if configuration is None:
        return None
    directory, files = configuration.active_directory, configuration.shared_file_system
    farm, licenses = configuration.compute_farm, configuration.license_service
    return StudioComponentConfiguration(
        active_directory_configuration=_shown_directory(directory) if directory else None,
        shared_file_system_configuration=_shown_files(files) if files else None,
        compute_farm_configuration=types.ComputeFarmConfiguration(
            endpoint=farm.endpoint, active_directory_user=farm.active_directory_user
        )
        if farm
        else None,
        license_service_configuration=types.LicenseServiceConfiguration(endpoint=licenses.endpoint)
        if licenses
        else None,
    )


def _shown_files(files: domain.SharedFileSystem) -> types.SharedFileSystemConfiguration:
    return types.SharedFileSystemConfiguration(
        endpoint=files.endpoint,
        file_system_id=files.file_system_id,
        linux_mount_point=files.linux_mount_point,
        share_name=files.share_name,
        windows_mount_drive=files.windows_mount_drive,
    )


def _shown_directory(directory: domain.ActiveDirectory) -> types.ActiveDirectoryConfiguration:
    return types.ActiveDirectoryConfiguration(
        directory_id=directory.directory_id,
        organizational_unit_distinguished_name=directory.organizational_unit_distinguished_name,
        computer_attributes=shown_attributes(directory.computer_attributes),
    )


def shown_attributes(
    attributes: Iterable[domain.ComputerAttribute] | None,
) -> tuple[types.ActiveDirectoryComputerAttribute, ...] | None:
    if attributes is None:
        return None
    return tuple(types.ActiveDirectoryComputerAttribute(name=one.name, value=one.value) for one in attributes)


def _configuration(given: StudioComponentConfiguration | None) -> domain.ComponentConfiguration | None:
    if given is None:
        return None
    directory, files = given.active_directory_configuration, given.shared_file_system_configuration
    farm, licenses = given.compute_farm_configuration, given.license_service_configuration
    return domain.ComponentConfiguration(
        active_directory=None if directory is None else _directory(directory),
        shared_file_system=None
        if files is None
        else domain.SharedFileSystem(
            endpoint=files.endpoint,
            file_system_id=files.file_system_id,
            linux_mount_point=files.linux_mount_point,
            share_name=files.share_name,
            windows_mount_drive=files.windows_mount_drive,
        ),
        compute_farm=None
        if farm is None
        else domain.ComputeFarm(endpoint=farm.endpoint, active_directory_user=farm.active_directory_user),
        license_service=None if licenses is None else domain.LicenseService(endpoint=licenses.endpoint),
    )


def _directory(given: types.ActiveDirectoryConfiguration) -> domain.ActiveDirectory:
    attributes = given.computer_attributes
    return domain.ActiveDirectory(
        directory_id=given.directory_id,
        organizational_unit_distinguished_name=given.organizational_unit_distinguished_name,
        computer_attributes=None
        if attributes is None
        else tuple(domain.ComputerAttribute(name=one.name, value=one.value) for one in attributes),
    )


def _scripts(
    given: tuple[StudioComponentInitializationScript, ...] | None,
) -> tuple[domain.ComponentScript, ...] | None:
    """Raises InvalidCombination for a script of which nobody knows where and when it runs."""
    if given is None:
        return None
    found = []
    for script in given:
        if script.platform is None or script.run_context is None or script.script is None:
            raise InvalidCombination("An initialization script needs a platform, a runContext and a script.")
        found.append(
            domain.ComponentScript(
                platform=domain.ScriptPlatform(script.platform),
                run_context=domain.RunContext(script.run_context),
                protocol_version=script.launch_profile_protocol_version or domain.PROTOCOL_VERSION,
                text=script.script,
            )
        )
    return tuple(found)


def _parameters(given: tuple[ScriptParameterKeyValue, ...] | None) -> tuple[domain.ScriptParameter, ...] | None:
    """Raises InvalidCombination for half a parameter."""
    if given is None:
        return None
    found = []
    for one in given:
        if one.key is None or one.value is None:
            raise InvalidCombination("A script parameter needs a key and a value.")
        found.append(domain.ScriptParameter(key=one.key, value=one.value))
    return tuple(found)


def _members(request: CreateStudioComponentRequest | UpdateStudioComponentRequest) -> ComponentMembers:
    """Return what a request says of a component. Raises InvalidCombination."""
    return ComponentMembers(
        name=request.name,
        description=request.description,
        type=domain.ComponentType(request.type) if request.type else None,
        subtype=domain.ComponentSubtype(request.subtype) if request.subtype else None,
        configuration=_configuration(request.configuration),
        scripts=_scripts(request.initialization_scripts),
        parameters=_parameters(request.script_parameters),
        security_group_ids=request.ec2_security_group_ids,
        runtime_role_arn=request.runtime_role_arn,
        secure_initialization_role_arn=request.secure_initialization_role_arn,
    )


@operation(
    "CreateStudioComponent",
    raises=(AlreadyExists, ChangedMeanwhile, InvalidCombination, LimitExceeded, NotAvailable, NotFound),
    note="A configuration of another type than the component's is ValidationException. A second ACTIVE_DIRECTORY ends in "
    "CREATE_FAILED. A script without launchProfileProtocolVersion is for 2021-03-31, and one for WINDOWS is kept and never runs.",
    without_effect=_WITHOUT_EFFECT,
)
async def create_studio_component(
    request: CreateStudioComponentRequest, caller: Caller, services: AppStreamServices
) -> CreateStudioComponentResult:
    call = call_of("CreateStudioComponent", request, caller)
    made = await services.nimble.components.create(call, request.studio_id, _members(request), request.tags)
    return CreateStudioComponentResult(studio_component=shown(*made))


@operation("GetStudioComponent", raises=(NotFound,), is_pure_read=True)
async def get_studio_component(
    request: GetStudioComponentRequest, caller: Caller, services: AppStreamServices
) -> GetStudioComponentResult:
    found = await services.nimble.components.get(caller.scope, request.studio_id, request.studio_component_id)
    return GetStudioComponentResult(studio_component=shown(*found))


@operation("ListStudioComponents", raises=(InvalidCombination, NotFound), is_pure_read=True, note="At most 50 at once.")
async def list_studio_components(
    request: ListStudioComponentsRequest, caller: Caller, services: AppStreamServices
) -> ListStudioComponentsResult:
    page, next_token = await services.nimble.components.page(
        caller.scope,
        request.studio_id,
        states=[ResourceState(state) for state in request.states or ()],
        types=[domain.ComponentType(kind) for kind in request.types or ()],
        most=request.max_results,
        next_token=request.next_token,
    )
    return ListStudioComponentsResult(studio_components=tuple(shown(*entry) for entry in page), next_token=next_token)


@operation(
    "UpdateStudioComponent",
    raises=(AlreadyExists, ChangedMeanwhile, InvalidCombination, LimitExceeded, NotAvailable, NotFound),
    note="What is absent stays. To make a second ACTIVE_DIRECTORY of it is ConflictException.",
    without_effect=_WITHOUT_EFFECT,
)
async def update_studio_component(
    request: UpdateStudioComponentRequest, caller: Caller, services: AppStreamServices
) -> UpdateStudioComponentResult:
    call = call_of("UpdateStudioComponent", request, caller)
    changed = await services.nimble.components.update(
        call, request.studio_id, request.studio_component_id, _members(request)
    )
    return UpdateStudioComponentResult(studio_component=shown(*changed))


@operation(
    "DeleteStudioComponent",
    raises=(ChangedMeanwhile, InUse, InvalidCombination, NotAvailable, NotFound),
    note="ConflictException while a launch profile has it.",
)
async def delete_studio_component(
    request: DeleteStudioComponentRequest, caller: Caller, services: AppStreamServices
) -> DeleteStudioComponentResult:
    call = call_of("DeleteStudioComponent", request, caller)
    gone = await services.nimble.components.delete(call, request.studio_id, request.studio_component_id)
    return DeleteStudioComponentResult(studio_component=shown(*gone))
