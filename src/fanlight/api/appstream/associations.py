"""Associations of stacks and fleets: typed request → association service → typed result."""

from fanlight.api.appstream.registry import operation
from fanlight.api.types import (
    AssociateFleetRequest,
    AssociateFleetResult,
    DisassociateFleetRequest,
    DisassociateFleetResult,
    ListAssociatedFleetsRequest,
    ListAssociatedFleetsResult,
    ListAssociatedStacksRequest,
    ListAssociatedStacksResult,
)
from fanlight.domain.access_keys import Caller
from fanlight.domain.errors import InUse, InvalidCombination, LimitExceeded, NotFound
from fanlight.services import AppStreamServices


@operation(
    "AssociateFleet",
    raises=(NotFound, LimitExceeded, InvalidCombination),
    note="A stack has one fleet, a fleet may have several stacks; a second fleet answers LimitExceededException "
    "(undocumented). The same pair again succeeds.",
)
async def associate_fleet(
    request: AssociateFleetRequest, caller: Caller, services: AppStreamServices
) -> AssociateFleetResult:
    await services.associations.associate(caller.scope, request.stack_name, request.fleet_name)
    return AssociateFleetResult()


@operation("DisassociateFleet", raises=(NotFound, InUse, InvalidCombination))
async def disassociate_fleet(
    request: DisassociateFleetRequest, caller: Caller, services: AppStreamServices
) -> DisassociateFleetResult:
    await services.associations.disassociate(caller.scope, request.stack_name, request.fleet_name)
    return DisassociateFleetResult()


@operation(
    "ListAssociatedFleets",
    raises=(InvalidCombination,),
    note="An unknown stack has no fleets: the model has no errors.",
    is_pure_read=True,
)
async def list_associated_fleets(
    request: ListAssociatedFleetsRequest, caller: Caller, services: AppStreamServices
) -> ListAssociatedFleetsResult:
    names, next_token = await services.associations.fleets_of(caller.scope, request.stack_name, request.next_token)
    return ListAssociatedFleetsResult(names=names, next_token=next_token)


@operation(
    "ListAssociatedStacks",
    raises=(InvalidCombination,),
    note="An unknown fleet has no stacks: the model has no errors.",
    is_pure_read=True,
)
async def list_associated_stacks(
    request: ListAssociatedStacksRequest, caller: Caller, services: AppStreamServices
) -> ListAssociatedStacksResult:
    names, next_token = await services.associations.stacks_of(caller.scope, request.fleet_name, request.next_token)
    return ListAssociatedStacksResult(names=names, next_token=next_token)
