"""Image operations: typed request → image service → typed result."""

from fanlight.api import types
from fanlight.api.appstream.registry import operation
from fanlight.api.types import DescribeImagesRequest, DescribeImagesResult
from fanlight.domain.access_keys import Caller
from fanlight.domain.errors import InvalidCombination, NotFound
from fanlight.domain.images import Application, Image, Visibility
from fanlight.domain.places import Scope
from fanlight.services import AppStreamServices
from fanlight.services.images import ImageService


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
    images = tuple(to_wire(image, caller.scope, services.images) for image in page)
    return DescribeImagesResult(images=images, next_token=next_token)


def to_wire(image: Image, scope: Scope, images: ImageService) -> types.Image:
    return types.Image(
        name=image.name,
        arn=image.arn_in(scope.region),
        base_image_arn=image.base_arn_in(scope.region),
        display_name=image.display_name,
        state=types.ImageState(image.state),
        visibility=types.VisibilityType(image.visibility),
        image_builder_supported=image.image_builder_supported,
        platform=types.PlatformType(image.platform),
        description=image.description,
        applications=tuple(_application(image, application, images) for application in image.applications),
        created_time=image.created_at,
        public_base_image_released_date=image.public_base_image_released_at,
        appstream_agent_version=image.agent_version,
        image_errors=(),
        supported_instance_families=image.supported_instance_families,
        dynamic_app_providers_enabled=types.DynamicAppProvidersEnabled.DISABLED,
        image_shared_with_others=types.ImageSharedWithOthers.FALSE,
        managed_software_included=False,
    )


def _application(image: Image, application: Application, images: ImageService) -> types.Application:
    return types.Application(
        name=application.name,
        display_name=application.display_name,
        icon_url=images.icon_url(image, application),
        launch_path=application.launch_path,
        launch_parameters=application.launch_parameters,
        enabled=application.enabled,
        metadata={},
        working_directory=application.working_directory,
        description=application.description,
    )
