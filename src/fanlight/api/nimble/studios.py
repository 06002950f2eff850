"""Studios: typed request → studio service → typed result."""

from fanlight.api.nimble.calls import call_of
from fanlight.api.registry import operation
from fanlight.api.types.nimble import (
    CreateStudioRequest,
    CreateStudioResult,
    DeleteStudioRequest,
    DeleteStudioResult,
    GetStudioRequest,
    GetStudioResult,
    ListStudiosRequest,
    ListStudiosResult,
    StartStudioSSOConfigurationRepairRequest,
    StartStudioSSOConfigurationRepairResult,
    Studio,
    StudioEncryptionConfiguration,
    StudioEncryptionConfigurationKeyType,
    StudioState,
    StudioStatusCode,
    UpdateStudioRequest,
    UpdateStudioResult,
)
from fanlight.domain.access_keys import Caller
from fanlight.domain.errors import AlreadyExists, ChangedMeanwhile, InvalidCombination, NotAvailable, NotFound
from fanlight.domain.nimble import studios as domain
from fanlight.domain.tags import Tags
from fanlight.services import AppStreamServices
from fanlight.services.nimble.studios import NewStudio, StudioChange

_ROLES = "Nobody assumes the role; it is kept and shown."


def shown(studio: domain.Studio, tags: Tags) -> Studio:
    return Studio(
        admin_role_arn=studio.admin_role_arn,
        arn=studio.arn,
        created_at=studio.created_at,
        display_name=studio.display_name,
        home_region=studio.scope.region,
        sso_client_id=studio.sso_client_id,
        state=StudioState(studio.state),
        status_code=StudioStatusCode(studio.status.code),
        status_message=studio.status.message,
        studio_encryption_configuration=StudioEncryptionConfiguration(
            key_type=StudioEncryptionConfigurationKeyType(studio.key_type), key_arn=studio.key_arn
        ),
        studio_id=studio.studio_id,
        studio_name=studio.name,
        studio_url=studio.portal_url,
        tags=tags,
        updated_at=studio.updated_at,
        user_role_arn=studio.user_role_arn,
    )


@operation(
    "CreateStudio",
    raises=(AlreadyExists, ChangedMeanwhile, InvalidCombination, NotFound),
    note="A studioName of the account in this region again is ConflictException. A CUSTOMER_MANAGED_KEY ends in CREATE_FAILED, "
    "ENCRYPTION_KEY_NOT_FOUND: there is no key management. studioUrl is the portal's address.",
    without_effect={"adminRoleArn": _ROLES, "userRoleArn": _ROLES},
)
async def create_studio(
    request: CreateStudioRequest, caller: Caller, services: AppStreamServices
) -> CreateStudioResult:
    encryption = request.studio_encryption_configuration
    wanted = NewStudio(
        name=request.studio_name,
        display_name=request.display_name,
        admin_role_arn=request.admin_role_arn,
        user_role_arn=request.user_role_arn,
        key_type=domain.StudioKeyType(encryption.key_type) if encryption else domain.StudioKeyType.AWS_OWNED_KEY,
        key_arn=encryption.key_arn if encryption else None,
        tags=request.tags,
    )
    call = call_of("CreateStudio", request, caller)
    return CreateStudioResult(studio=shown(*await services.nimble.studios.create(call, wanted)))


@operation("GetStudio", raises=(NotFound,), is_pure_read=True)
async def get_studio(request: GetStudioRequest, caller: Caller, services: AppStreamServices) -> GetStudioResult:
    return GetStudioResult(studio=shown(*await services.nimble.studios.get(caller.scope, request.studio_id)))


@operation("ListStudios", raises=(InvalidCombination,), note="Deleted studios are left out.", is_pure_read=True)
async def list_studios(request: ListStudiosRequest, caller: Caller, services: AppStreamServices) -> ListStudiosResult:
    page, next_token = await services.nimble.studios.page(caller.scope, request.next_token)
    return ListStudiosResult(studios=tuple(shown(*entry) for entry in page), next_token=next_token)


@operation(
    "UpdateStudio",
    raises=(ChangedMeanwhile, InvalidCombination, NotAvailable, NotFound),
    note="The roles are changed too.",
    without_effect={"adminRoleArn": _ROLES, "userRoleArn": _ROLES},
)
async def update_studio(
    request: UpdateStudioRequest, caller: Caller, services: AppStreamServices
) -> UpdateStudioResult:
    wanted = StudioChange(
        display_name=request.display_name,
        admin_role_arn=request.admin_role_arn,
        user_role_arn=request.user_role_arn,
    )
    call = call_of("UpdateStudio", request, caller)
    return UpdateStudioResult(studio=shown(*await services.nimble.studios.update(call, request.studio_id, wanted)))


@operation(
    "DeleteStudio",
    raises=(ChangedMeanwhile, InvalidCombination, NotAvailable, NotFound),
    note="A studio that is not empty becomes DELETE_FAILED, and READY again after 10 minutes. A deleted one again is success.",
)
async def delete_studio(
    request: DeleteStudioRequest, caller: Caller, services: AppStreamServices
) -> DeleteStudioResult:
    call = call_of("DeleteStudio", request, caller)
    return DeleteStudioResult(studio=shown(*await services.nimble.studios.delete(call, request.studio_id)))


@operation(
    "StartStudioSSOConfigurationRepair",
    raises=(ChangedMeanwhile, InvalidCombination, NotAvailable, NotFound),
    note="The configuration is out of order when the portal has another address than when it was made; it then gets a new "
    "studioUrl and ssoClientId.",
)
async def start_studio_sso_configuration_repair(
    request: StartStudioSSOConfigurationRepairRequest, caller: Caller, services: AppStreamServices
) -> StartStudioSSOConfigurationRepairResult:
    call = call_of("StartStudioSSOConfigurationRepair", request, caller)
    studio = shown(*await services.nimble.studios.repair(call, request.studio_id))
    return StartStudioSSOConfigurationRepairResult(studio=studio)
