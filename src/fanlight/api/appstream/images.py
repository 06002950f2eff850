"""Image operations: typed request → image service → typed result."""

from fanlight.api import types
from fanlight.api.appstream.registry import operation
from fanlight.api.types import (
    DeleteImagePermissionsRequest,
    DeleteImagePermissionsResult,
    DeleteImageRequest,
    DeleteImageResult,
    DescribeImagePermissionsRequest,
    DescribeImagePermissionsResult,
    DescribeImagesRequest,
    DescribeImagesResult,
    UpdateImagePermissionsRequest,
    UpdateImagePermissionsResult,
)
from fanlight.domain.access_keys import Caller
from fanlight.domain.errors import (
    ChangedMeanwhile,
    InUse,
    InvalidCombination,
    LimitExceeded,
    NotAvailable,
    NotFound,
    NotPermitted,
)
from fanlight.domain.images import Application, Image, ImagePermission, Visibility
from fanlight.domain.places import Scope
from fanlight.services import AppStreamServices
from fanlight.services.icon_urls import IconUrls
from fanlight.services.images import DescribedImage

_SHARED = {True: types.ImageSharedWithOthers.TRUE, False: types.ImageSharedWithOthers.FALSE}
_LATEST = {True: types.LatestAppstreamAgentVersion.TRUE, False: types.LatestAppstreamAgentVersion.FALSE}


@operation("DescribeImages", raises=(NotFound, InvalidCombination))
async def describe_images(
    request: DescribeImagesRequest, caller: Caller, services: AppStreamServices
) -> DescribeImagesResult:
    page, next_token = await services.images.describe(
        caller.scope,
        names=request.names or (),
        arns=request.arns or (),
        visibility=Visibility(request.type) if request.type else None,
        limit=request.max_results,
        next_token=request.next_token,
    )
    images = tuple(to_wire(described, caller.scope, services) for described in page)
    return DescribeImagesResult(images=images, next_token=next_token)


@operation(
    "DeleteImage",
    raises=(NotFound, InUse, NotPermitted, ChangedMeanwhile),
    note="The answer has the image as it was; DescribeImages shows DELETING until it is gone. An image that is still being "
    "made answers ResourceInUseException. What is launched from it goes on.",
)
async def delete_image(request: DeleteImageRequest, caller: Caller, services: AppStreamServices) -> DeleteImageResult:
    deleted = await services.images.delete(caller.scope, request.name)
    return DeleteImageResult(image=to_wire(deleted, caller.scope, services))


@operation(
    "UpdateImagePermissions",
    raises=(NotFound, NotAvailable, LimitExceeded, InvalidCombination),
    note="A permission that is left out stays as it is, and is false at first. Both false: not shared any more. Without "
    "allowFleet the other account's fleets with the image wish no instances; their sessions go on.",
)
async def update_image_permissions(
    request: UpdateImagePermissionsRequest, caller: Caller, services: AppStreamServices
) -> UpdateImagePermissionsResult:
    await services.image_sharing.update(
        caller.scope,
        request.name,
        request.shared_account_id,
        allow_fleet=request.image_permissions.allow_fleet,
        allow_image_builder=request.image_permissions.allow_image_builder,
    )
    return UpdateImagePermissionsResult()


@operation("DeleteImagePermissions", raises=(NotFound, NotAvailable))
async def delete_image_permissions(
    request: DeleteImagePermissionsRequest, caller: Caller, services: AppStreamServices
) -> DeleteImagePermissionsResult:
    await services.image_sharing.delete(caller.scope, request.name, request.shared_account_id)
    return DeleteImagePermissionsResult()


@operation("DescribeImagePermissions", raises=(NotFound, InvalidCombination))
async def describe_image_permissions(
    request: DescribeImagePermissionsRequest, caller: Caller, services: AppStreamServices
) -> DescribeImagePermissionsResult:
    page, next_token = await services.image_sharing.describe(
        caller.scope,
        request.name,
        account_ids=request.shared_aws_account_ids or (),
        limit=request.max_results,
        next_token=request.next_token,
    )
    return DescribeImagePermissionsResult(
        name=request.name,
        shared_image_permissions_list=tuple(
            types.SharedImagePermissions(
                shared_account_id=permission.shared_account_id, image_permissions=_permissions(permission)
            )
            for permission in page
        ),
        next_token=next_token,
    )


def to_wire(described: DescribedImage, scope: Scope, services: AppStreamServices) -> types.Image:
    image, permission = described.image, described.permission
    return types.Image(
        name=image.name,
        arn=image.arn_in(scope.region),
        base_image_arn=image.base_arn_in(scope.region),
        display_name=image.display_name,
        state=types.ImageState(image.state),
        visibility=types.VisibilityType(described.visibility),
        image_builder_supported=image.image_builder_supported,
        platform=types.PlatformType(image.platform),
        description=image.description,
        applications=tuple(_application(image, application, services.icons) for application in image.applications),
        created_time=image.created_at,
        public_base_image_released_date=image.public_base_image_released_at,
        appstream_agent_version=image.agent_version,
        image_builder_name=image.image_builder_name if permission is None else None,
        state_change_reason=_reason(image),
        image_permissions=_permissions(permission) if permission else None,
        latest_appstream_agent_version=_LATEST[services.images.has_latest_agent(image)],
        image_errors=tuple(
            types.ResourceError(
                error_code=types.FleetErrorCode(error.code),
                error_message=error.message,
                error_timestamp=error.happened_at,
            )
            for error in image.errors
        ),
        supported_instance_families=image.supported_instance_families,
        dynamic_app_providers_enabled=types.DynamicAppProvidersEnabled.DISABLED,
        image_shared_with_others=_SHARED[described.is_shared_with_others],
        managed_software_included=False,
        image_type=types.ImageType.CUSTOM if image.is_imported else types.ImageType.NATIVE,
    )


def _permissions(permission: ImagePermission) -> types.ImagePermissions:
    return types.ImagePermissions(
        allow_fleet=permission.allow_fleet, allow_image_builder=permission.allow_image_builder
    )


def _reason(image: Image) -> types.ImageStateChangeReason | None:
    """Return why it FAILED or, while it is being made, how far that is: clients show the message and ask for no code."""
    if image.failure is not None:
        return types.ImageStateChangeReason(
            code=types.ImageStateChangeReasonCode(image.failure), message=image.failure_message
        )
    return types.ImageStateChangeReason(message=image.progress) if image.progress else None


def _application(image: Image, application: Application, icons: IconUrls) -> types.Application:
    return types.Application(
        name=application.name,
        display_name=application.display_name,
        icon_url=icons.url(image, application),
        launch_path=application.launch_path,
        launch_parameters=application.launch_parameters,
        enabled=application.enabled,
        metadata={},
        working_directory=application.working_directory,
        description=application.description,
    )
