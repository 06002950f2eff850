"""The Resource Groups Tagging API over AppStream's resources: Cloud Custodian and cost tools go this way."""

from collections.abc import Awaitable, Callable, Sequence
from types import MappingProxyType
from typing import Any

from fanlight.api.authorization import NO_RESOURCE, Demand
from fanlight.api.aws_services import AwsService, everything_else
from fanlight.api.errors import COMMON_CODES
from fanlight.api.registry import Registry, operation
from fanlight.api.spec import NEIGHBOURS
from fanlight.api.types import resourcegroupstaggingapi as types
from fanlight.domain.access_keys import Caller
from fanlight.domain.errors import (
    ChangedMeanwhile,
    DomainError,
    InvalidCombination,
    InvalidPageToken,
    LimitExceeded,
    NotFound,
)
from fanlight.domain.tags import TagCondition, TagSearch, check_keys, check_tags
from fanlight.services import AppStreamServices
from fanlight.services.tags import LARGEST_PAGE

NAME = "resourcegroupstaggingapi"
TAGS_PER_PAGE = (100, 500)
COMPLIANT = types.ComplianceDetails(
    noncompliant_keys=(), keys_with_noncompliant_values=(), missing_tag_keys=(), compliance_status=True
)


@operation(
    "GetResources",
    raises=(InvalidCombination, InvalidPageToken),
    is_pure_read=True,
    note="Finds what has tags now (AWS also lists what had some once). There are no tag policies: all is compliant.",
)
async def get_resources(
    request: types.GetResourcesInput, caller: Caller, services: AppStreamServices
) -> types.GetResourcesResult:
    _check_question(request)
    if request.exclude_compliant_resources:
        return types.GetResourcesResult(pagination_token="", resource_tag_mapping_list=())
    found, token = await services.tags.search(
        caller.scope,
        _search_of(request),
        most_resources=request.resources_per_page or LARGEST_PAGE,
        most_tags=request.tags_per_page,
        next_token=request.pagination_token or None,
    )
    compliance = COMPLIANT if request.include_compliance_details else None
    return types.GetResourcesResult(
        pagination_token=token or "",
        resource_tag_mapping_list=tuple(
            types.ResourceTagMapping(
                resource_arn=arn,
                tags=tuple(types.Tag(key=key, value=value) for key, value in sorted(tags.items())),
                compliance_details=compliance,
            )
            for arn, tags in found
        ),
    )


def _check_question(request: types.GetResourcesInput) -> None:
    """Raise InvalidCombination for what the service refuses although its model allows it."""
    if request.resource_arn_list and (
        request.pagination_token or request.resources_per_page is not None or request.tags_per_page is not None
    ):
        raise InvalidCombination(
            "ResourceARNList excludes PaginationToken, ResourcesPerPage and TagsPerPage. Give one or the others."
        )
    if request.resources_per_page is not None and not 1 <= request.resources_per_page <= LARGEST_PAGE:
        raise InvalidCombination(
            f"ResourcesPerPage is {request.resources_per_page}; it must be between 1 and {LARGEST_PAGE}."
        )
    least, most = TAGS_PER_PAGE
    if request.tags_per_page is not None and not (
        least <= request.tags_per_page <= most and request.tags_per_page % least == 0
    ):
        raise InvalidCombination(
            f"TagsPerPage is {request.tags_per_page}; it must be between {least} and {most}, in steps of {least}."
        )
    if request.tags_per_page is not None and request.resources_per_page is not None:
        raise InvalidCombination("ResourcesPerPage and TagsPerPage exclude each other. Give one of them.")
    if request.exclude_compliant_resources and not request.include_compliance_details:
        raise InvalidCombination("ExcludeCompliantResources needs IncludeComplianceDetails to be true.")


def _search_of(request: types.GetResourcesInput) -> TagSearch:
    """Raises InvalidCombination for filters that name nothing."""
    for kind in request.resource_type_filters or ():
        if not kind or kind.count(":") > 1:
            raise InvalidCombination(f"'{kind}' is not a resource type. Write appstream, or appstream:fleet.")
    conditions = []
    for condition in request.tag_filters or ():
        if condition.key is None:
            raise InvalidCombination("A tag filter needs a Key.")
        conditions.append(TagCondition(condition.key, condition.values or ()))
    return TagSearch(
        conditions=conditions, types=request.resource_type_filters or (), arns=request.resource_arn_list or ()
    )


@operation("GetTagKeys", raises=(InvalidPageToken,), is_pure_read=True)
async def get_tag_keys(
    request: types.GetTagKeysInput, caller: Caller, services: AppStreamServices
) -> types.GetTagKeysResult:
    keys, token = await services.tags.keys(caller.scope, request.pagination_token or None)
    return types.GetTagKeysResult(pagination_token=token or "", tag_keys=tuple(keys))


@operation("GetTagValues", raises=(InvalidPageToken,), is_pure_read=True)
async def get_tag_values(
    request: types.GetTagValuesInput, caller: Caller, services: AppStreamServices
) -> types.GetTagValuesResult:
    values, token = await services.tags.values(caller.scope, request.key, request.pagination_token or None)
    return types.GetTagValuesResult(pagination_token=token or "", tag_values=tuple(values))


@operation(
    "TagResources",
    raises=(InvalidCombination,),
    note="A resource that cannot be tagged stands in FailedResourcesMap; the others are tagged.",
)
async def tag_resources(
    request: types.TagResourcesInput, caller: Caller, services: AppStreamServices
) -> types.TagResourcesResult:
    check_tags(request.tags)
    failed = await _each(request.resource_arn_list, lambda arn: services.tags.tag(caller.scope, arn, request.tags))
    return types.TagResourcesResult(failed_resources_map=failed)


@operation("UntagResources", raises=(InvalidCombination,), note="Removing an absent key succeeds.")
async def untag_resources(
    request: types.UntagResourcesInput, caller: Caller, services: AppStreamServices
) -> types.UntagResourcesResult:
    check_keys(request.tag_keys)
    failed = await _each(
        request.resource_arn_list, lambda arn: services.tags.untag(caller.scope, arn, request.tag_keys)
    )
    return types.UntagResourcesResult(failed_resources_map=failed)


async def _each(arns: Sequence[str], act: Callable[[str], Awaitable[None]]) -> dict[str, types.FailureInfo]:
    """Do it for each resource and return why it failed for some."""
    failed = {}
    for arn in dict.fromkeys(arns):
        try:
            await act(arn)
        except (NotFound, LimitExceeded, ChangedMeanwhile) as error:
            failed[arn] = _failure(error)
    return failed


def _failure(error: DomainError) -> types.FailureInfo:
    return types.FailureInfo(
        status_code=400, error_code=types.ErrorCode.InvalidParameterException, error_message=str(error)
    )


async def _demands(operation: str, request: Any, caller: Caller, services: Any) -> Sequence[Demand]:  # noqa: ARG001
    """Tagging through this service needs the right to tag the resources themselves, too."""
    own: Demand = (f"tag:{operation}", NO_RESOURCE)
    if operation not in ("TagResources", "UntagResources"):
        return (own,)
    return (own, *((f"appstream:{operation.removesuffix('s')}", arn) for arn in request.resource_arn_list))


def tagging_service() -> AwsService[AppStreamServices]:
    return AwsService(
        name=NAME,
        registry=Registry(
            (get_resources, get_tag_keys, get_tag_values, tag_resources, untag_resources),
            everything_else(NAME, NEIGHBOURS[NAME]),
        ),
        types=types,
        demands=_demands,
        namespace="com.amazonaws.resourcegroupstaggingapi",
        codes=MappingProxyType(
            {**COMMON_CODES, InvalidCombination: ("InvalidParameterException", "ValidationException")}
        ),
        # This service has its own names for broken constraints and for haste.
        respelled=MappingProxyType(
            {"ValidationException": "InvalidParameterException", "ThrottlingException": "ThrottledException"}
        ),
    )
