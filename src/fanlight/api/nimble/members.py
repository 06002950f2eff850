"""Members of studios and launch profiles: typed request → member service → typed result."""

from fanlight.api.nimble.calls import call_of
from fanlight.api.registry import operation
from fanlight.api.types import nimble as types
from fanlight.api.types.nimble import (
    DeleteLaunchProfileMemberRequest,
    DeleteLaunchProfileMemberResult,
    DeleteStudioMemberRequest,
    DeleteStudioMemberResult,
    GetLaunchProfileMemberRequest,
    GetLaunchProfileMemberResult,
    GetStudioMemberRequest,
    GetStudioMemberResult,
    ListLaunchProfileMembersRequest,
    ListLaunchProfileMembersResult,
    ListStudioMembersRequest,
    ListStudioMembersResult,
    PutLaunchProfileMembersRequest,
    PutLaunchProfileMembersResult,
    PutStudioMembersRequest,
    PutStudioMembersResult,
    UpdateLaunchProfileMemberRequest,
    UpdateLaunchProfileMemberResult,
)
from fanlight.domain.access_keys import Caller
from fanlight.domain.errors import InvalidCombination, NotAvailable, NotFound
from fanlight.domain.nimble.memberships import Membership
from fanlight.services import AppStreamServices

_ONE_PERSONA = "There is one persona, which every member has."
_OF_MEMBERS = {
    "identityStoreId": "People are who your sign-in says; it is kept and shown.",
    "members.persona": _ONE_PERSONA,
}


def _administrator(member: Membership) -> types.StudioMembership:
    return types.StudioMembership(
        identity_store_id=member.identity_store_id,
        persona=types.StudioPersona(member.persona),
        principal_id=member.principal_id,
        sid=member.sid,
    )


def _user(member: Membership) -> types.LaunchProfileMembership:
    return types.LaunchProfileMembership(
        identity_store_id=member.identity_store_id,
        persona=types.LaunchProfilePersona(member.persona),
        principal_id=member.principal_id,
        sid=member.sid,
    )


@operation(
    "PutStudioMembers",
    raises=(InvalidCombination, NotAvailable, NotFound),
    without_effect=_OF_MEMBERS,
)
async def put_studio_members(
    request: PutStudioMembersRequest, caller: Caller, services: AppStreamServices
) -> PutStudioMembersResult:
    await services.nimble.studio_members.put(
        call_of("PutStudioMembers", request, caller),
        request.studio_id,
        request.studio_id,
        request.identity_store_id,
        [member.principal_id for member in request.members],
    )
    return PutStudioMembersResult()


@operation("GetStudioMember", raises=(NotFound,), is_pure_read=True)
async def get_studio_member(
    request: GetStudioMemberRequest, caller: Caller, services: AppStreamServices
) -> GetStudioMemberResult:
    member = await services.nimble.studio_members.get(
        caller.scope, request.studio_id, request.studio_id, request.principal_id
    )
    return GetStudioMemberResult(member=_administrator(member))


@operation("ListStudioMembers", raises=(InvalidCombination, NotFound), is_pure_read=True, note="At most 20 at once.")
async def list_studio_members(
    request: ListStudioMembersRequest, caller: Caller, services: AppStreamServices
) -> ListStudioMembersResult:
    page, next_token = await services.nimble.studio_members.page(
        caller.scope, request.studio_id, request.studio_id, most=request.max_results, next_token=request.next_token
    )
    return ListStudioMembersResult(members=tuple(map(_administrator, page)), next_token=next_token)


@operation(
    "DeleteStudioMember",
    raises=(InvalidCombination, NotFound),
    note="Who is no member is ResourceNotFoundException.",
)
async def delete_studio_member(
    request: DeleteStudioMemberRequest, caller: Caller, services: AppStreamServices
) -> DeleteStudioMemberResult:
    call = call_of("DeleteStudioMember", request, caller)
    await services.nimble.studio_members.remove(call, request.studio_id, request.studio_id, request.principal_id)
    return DeleteStudioMemberResult()


@operation(
    "PutLaunchProfileMembers",
    raises=(InvalidCombination, NotAvailable, NotFound),
    without_effect=_OF_MEMBERS,
)
async def put_launch_profile_members(
    request: PutLaunchProfileMembersRequest, caller: Caller, services: AppStreamServices
) -> PutLaunchProfileMembersResult:
    await services.nimble.profile_members.put(
        call_of("PutLaunchProfileMembers", request, caller),
        request.studio_id,
        request.launch_profile_id,
        request.identity_store_id,
        [member.principal_id for member in request.members],
    )
    return PutLaunchProfileMembersResult()


@operation("GetLaunchProfileMember", raises=(NotFound,), is_pure_read=True)
async def get_launch_profile_member(
    request: GetLaunchProfileMemberRequest, caller: Caller, services: AppStreamServices
) -> GetLaunchProfileMemberResult:
    member = await services.nimble.profile_members.get(
        caller.scope, request.studio_id, request.launch_profile_id, request.principal_id
    )
    return GetLaunchProfileMemberResult(member=_user(member))


@operation(
    "ListLaunchProfileMembers", raises=(InvalidCombination, NotFound), is_pure_read=True, note="At most 20 at once."
)
async def list_launch_profile_members(
    request: ListLaunchProfileMembersRequest, caller: Caller, services: AppStreamServices
) -> ListLaunchProfileMembersResult:
    page, next_token = await services.nimble.profile_members.page(
        caller.scope,
        request.studio_id,
        request.launch_profile_id,
        most=request.max_results,
        next_token=request.next_token,
    )
    return ListLaunchProfileMembersResult(members=tuple(map(_user, page)), next_token=next_token)


@operation(
    "UpdateLaunchProfileMember",
    raises=(InvalidCombination, NotAvailable, NotFound),
    without_effect={"persona": _ONE_PERSONA},
)
async def update_launch_profile_member(
    request: UpdateLaunchProfileMemberRequest, caller: Caller, services: AppStreamServices
) -> UpdateLaunchProfileMemberResult:
    call = call_of("UpdateLaunchProfileMember", request, caller)
    member = await services.nimble.profile_members.confirm(
        call, request.studio_id, request.launch_profile_id, request.principal_id
    )
    return UpdateLaunchProfileMemberResult(member=_user(member))


@operation(
    "DeleteLaunchProfileMember",
    raises=(InvalidCombination, NotFound),
    note="Who is no member is ResourceNotFoundException.",
)
async def delete_launch_profile_member(
    request: DeleteLaunchProfileMemberRequest, caller: Caller, services: AppStreamServices
) -> DeleteLaunchProfileMemberResult:
    call = call_of("DeleteLaunchProfileMember", request, caller)
    await services.nimble.profile_members.remove(
        call, request.studio_id, request.launch_profile_id, request.principal_id
    )
    return DeleteLaunchProfileMemberResult()
