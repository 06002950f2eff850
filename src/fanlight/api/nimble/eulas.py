"""EULAs and their acceptance: typed request → EULA service → typed result."""

from fanlight.api.nimble.calls import call_of
from fanlight.api.registry import operation
from fanlight.api.types import nimble as types
from fanlight.api.types.nimble import (
    AcceptEulasRequest,
    AcceptEulasResult,
    GetEulaRequest,
    GetEulaResult,
    ListEulaAcceptancesRequest,
    ListEulaAcceptancesResult,
    ListEulasRequest,
    ListEulasResult,
)
from fanlight.domain.access_keys import Caller
from fanlight.domain.errors import InvalidCombination, NotAvailable, NotFound
from fanlight.domain.nimble.eulas import Eula, EulaAcceptance
from fanlight.services import AppStreamServices


def _shown(eula: Eula) -> types.Eula:
    return types.Eula(
        content=eula.content,
        created_at=eula.written_at,
        eula_id=eula.eula_id,
        name=eula.name,
        updated_at=eula.written_at,
    )


def _shown_acceptance(acceptance: EulaAcceptance) -> types.EulaAcceptance:
    return types.EulaAcceptance(
        accepted_at=acceptance.accepted_at,
        accepted_by=acceptance.accepted_by,
        acceptee_id=acceptance.studio_id,
        eula_acceptance_id=acceptance.acceptance_id,
        eula_id=acceptance.eula_id,
    )


@operation("GetEula", raises=(NotFound,), note="EULAs are those of `nimble_eulas_file`.")
async def get_eula(request: GetEulaRequest, caller: Caller, services: AppStreamServices) -> GetEulaResult:  # noqa: ARG001
    return GetEulaResult(eula=_shown(services.nimble.eulas.get(request.eula_id)))


@operation("ListEulas", raises=(InvalidCombination,), note="Unknown eulaIds are left out.")
async def list_eulas(request: ListEulasRequest, caller: Caller, services: AppStreamServices) -> ListEulasResult:
    page, next_token = services.nimble.eulas.page(caller.scope, request.eula_ids, request.next_token)
    return ListEulasResult(eulas=tuple(map(_shown, page)), next_token=next_token)


@operation(
    "AcceptEulas",
    raises=(InvalidCombination, NotAvailable, NotFound),
    note="What is accepted already is returned as it was. No eulaIds is ValidationException, an unknown one "
    "ResourceNotFoundException.",
)
async def accept_eulas(request: AcceptEulasRequest, caller: Caller, services: AppStreamServices) -> AcceptEulasResult:
    call = call_of("AcceptEulas", request, caller)
    accepted = await services.nimble.eulas.accept(call, request.studio_id, request.eula_ids)
    return AcceptEulasResult(eula_acceptances=tuple(map(_shown_acceptance, accepted)))


@operation("ListEulaAcceptances", raises=(InvalidCombination, NotFound), is_pure_read=True)
async def list_eula_acceptances(
    request: ListEulaAcceptancesRequest, caller: Caller, services: AppStreamServices
) -> ListEulaAcceptancesResult:
    page, next_token = await services.nimble.eulas.acceptances(
        caller.scope, request.studio_id, request.eula_ids, request.next_token
    )
    return ListEulaAcceptancesResult(eula_acceptances=tuple(map(_shown_acceptance, page)), next_token=next_token)
