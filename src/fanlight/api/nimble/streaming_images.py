"""Streaming images: typed request → streaming image service → typed result."""

from fanlight.api.nimble.calls import call_of
from fanlight.api.registry import operation
from fanlight.api.types.nimble import (
    CreateStreamingImageRequest,
    CreateStreamingImageResult,
    DeleteStreamingImageRequest,
    DeleteStreamingImageResult,
    GetStreamingImageRequest,
    GetStreamingImageResult,
    ListStreamingImagesRequest,
    ListStreamingImagesResult,
    StreamingImage,
    StreamingImageEncryptionConfiguration,
    StreamingImageEncryptionConfigurationKeyType,
    StreamingImageState,
    StreamingImageStatusCode,
    UpdateStreamingImageRequest,
    UpdateStreamingImageResult,
)
from fanlight.domain.access_keys import Caller
from fanlight.domain.errors import (
    ChangedMeanwhile,
    InvalidCombination,
    LimitExceeded,
    NotAvailable,
    NotFound,
    NotPermitted,
)
from fanlight.domain.nimble import streaming_images as domain
from fanlight.domain.tags import Tags
from fanlight.services import AppStreamServices
from fanlight.services.nimble.streaming_images import NewStreamingImage

_KEY = StreamingImageEncryptionConfigurationKeyType.CUSTOMER_MANAGED_KEY


def shown(image: domain.StreamingImage, tags: Tags) -> StreamingImage:
    return StreamingImage(
        arn=image.arn,
        description=image.description,
        ec2_image_id=image.ec2_image_id,
        encryption_configuration=StreamingImageEncryptionConfiguration(key_type=_KEY, key_arn=image.key_arn)
        if image.key_arn
        else None,
        eula_ids=image.eula_ids,
        name=image.name,
        owner=image.owner,
        platform=image.platform,
        state=StreamingImageState(image.state),
        status_code=StreamingImageStatusCode(image.status.code) if image.status.code else None,
        status_message=image.status.message or None,
        streaming_image_id=image.resource_id,
        tags=tags,
    )


@operation(
    "CreateStreamingImage",
    raises=(ChangedMeanwhile, InvalidCombination, LimitExceeded, NotAvailable, NotFound),
    note="ec2ImageId is the identifier that `fanlight images list` shows. One that this account may not stream ends in "
    "CREATE_FAILED, ACCESS_DENIED; one that is not AVAILABLE in CREATE_FAILED, INTERNAL_ERROR.",
)
async def create_streaming_image(
    request: CreateStreamingImageRequest, caller: Caller, services: AppStreamServices
) -> CreateStreamingImageResult:
    wanted = NewStreamingImage(
        studio_id=request.studio_id,
        ec2_image_id=request.ec2_image_id,
        name=request.name,
        description=request.description,
        tags=request.tags,
    )
    image = await services.nimble.streaming_images.create(call_of("CreateStreamingImage", request, caller), wanted)
    return CreateStreamingImageResult(streaming_image=shown(*image))


@operation("GetStreamingImage", raises=(NotFound,), is_pure_read=True)
async def get_streaming_image(
    request: GetStreamingImageRequest, caller: Caller, services: AppStreamServices
) -> GetStreamingImageResult:
    found = await services.nimble.streaming_images.get(caller.scope, request.studio_id, request.streaming_image_id)
    return GetStreamingImageResult(streaming_image=shown(*found))


@operation(
    "ListStreamingImages",
    raises=(InvalidCombination, NotFound),
    note="Deleted images are left out. Every public image of this installation is in every studio, owned by amazon, READY without "
    "a status code, under the account's ARN; what an account changes of it are its own tags.",
    is_pure_read=True,
)
async def list_streaming_images(
    request: ListStreamingImagesRequest, caller: Caller, services: AppStreamServices
) -> ListStreamingImagesResult:
    page, next_token = await services.nimble.streaming_images.page(
        caller.scope, request.studio_id, request.owner, request.next_token
    )
    return ListStreamingImagesResult(streaming_images=tuple(shown(*one) for one in page), next_token=next_token)


@operation(
    "UpdateStreamingImage",
    raises=(ChangedMeanwhile, InvalidCombination, NotAvailable, NotFound, NotPermitted),
    note="One that amazon owns is AccessDeniedException.",
)
async def update_streaming_image(
    request: UpdateStreamingImageRequest, caller: Caller, services: AppStreamServices
) -> UpdateStreamingImageResult:
    image = await services.nimble.streaming_images.update(
        call_of("UpdateStreamingImage", request, caller),
        request.studio_id,
        request.streaming_image_id,
        name=request.name,
        description=request.description,
    )
    return UpdateStreamingImageResult(streaming_image=shown(*image))


@operation(
    "DeleteStreamingImage",
    raises=(ChangedMeanwhile, InvalidCombination, NotAvailable, NotFound, NotPermitted),
    note="The image that it names stays, and so do sessions; launch profiles that name it can no more be used for new ones. "
    "A deleted one again is success, one that amazon owns AccessDeniedException.",
)
async def delete_streaming_image(
    request: DeleteStreamingImageRequest, caller: Caller, services: AppStreamServices
) -> DeleteStreamingImageResult:
    call = call_of("DeleteStreamingImage", request, caller)
    image = await services.nimble.streaming_images.delete(call, request.studio_id, request.streaming_image_id)
    return DeleteStreamingImageResult(streaming_image=shown(*image))
