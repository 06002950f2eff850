"""Tags by ARN: typed request → tag service → typed result."""

from fanlight.api.registry import operation
from fanlight.api.types.nimble import (
    ListTagsForResourceRequest,
    ListTagsForResourceResult,
    TagResourceRequest,
    TagResourceResult,
    UntagResourceRequest,
    UntagResourceResult,
)
from fanlight.domain.access_keys import Caller
from fanlight.domain.errors import InvalidCombination, LimitExceeded, NotFound
from fanlight.services import AppStreamServices


@operation(
    "TagResource", raises=(NotFound, LimitExceeded, InvalidCombination), note="At most 50 tags for one resource."
)
async def tag_resource(request: TagResourceRequest, caller: Caller, services: AppStreamServices) -> TagResourceResult:
    await services.nimble.tags.tag(caller.scope, request.resource_arn, request.tags or {})
    return TagResourceResult()


@operation("UntagResource", raises=(NotFound, InvalidCombination), note="Removing an absent key succeeds.")
async def untag_resource(
    request: UntagResourceRequest, caller: Caller, services: AppStreamServices
) -> UntagResourceResult:
    await services.nimble.tags.untag(caller.scope, request.resource_arn, request.tag_keys)
    return UntagResourceResult()


@operation("ListTagsForResource", raises=(NotFound, InvalidCombination), is_pure_read=True)
async def list_tags_for_resource(
    request: ListTagsForResourceRequest, caller: Caller, services: AppStreamServices
) -> ListTagsForResourceResult:
    return ListTagsForResourceResult(tags=await services.nimble.tags.of(caller.scope, request.resource_arn))
