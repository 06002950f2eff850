"""Studios: created, named anew, repaired, deleted when they are empty."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import uuid4

from fanlight.domain.errors import AlreadyExists, InvalidCombination
from fanlight.domain.nimble.calls import Call
from fanlight.domain.nimble.identifiers import new_studio_id
from fanlight.domain.nimble.resources import ResourceEvent, ResourceState, Status, moved
from fanlight.domain.nimble.studios import CREATING, DELETING, REPAIRING, UPDATING, Studio, StudioKeyType
from fanlight.domain.places import Scope
from fanlight.domain.ports import UnitOfWork
from fanlight.domain.tags import Tags, check_tags
from fanlight.services.nimble.ground import WAKE, Ground
from fanlight.services.page_tokens import cut

PAGE_SIZE = 50
LISTED = frozenset(ResourceState) - {ResourceState.DELETED}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewStudio:
    """What CreateStudio says."""

    name: str
    display_name: str
    admin_role_arn: str
    user_role_arn: str
    key_type: StudioKeyType = StudioKeyType.AWS_OWNED_KEY
    key_arn: str | None = None
    tags: Mapping[str, str] | None = None


class StudioService:
    """`portal` returns the portal's origin, which may change between two starts of the server."""

    def __init__(
        self,
        ground: Ground,
        portal: Callable[[], str],
    ) -> None:
        self._transactions, self._clock, self._wake = ground.transactions, ground.clock, ground.wake
        self._tokens, self._client_tokens, self._portal = ground.tokens, ground.client_tokens, portal

    async def create(self, call: Call, wanted: NewStudio) -> Studio:
        """Raises AlreadyExists (the name), InvalidCombination (key, tags), TokenReused."""
        _check_key(wanted)
        check_tags(wanted.tags or {})
        async with self._transactions.begin(write=True) as work:
            if known := await self._client_tokens.recall(work, call):
                return await work.nimble.resources.get(Studio, call.scope, known)
            await _check_name(work, call.scope, wanted.name)
            now, studio_id = self._clock.now(), new_studio_id(call.scope.region)
            studio = Studio(
                resource_id=studio_id,
                studio_id=studio_id,
                scope=call.scope,
                status=CREATING,
                created_at=now,
                created_by=call.caller,
                updated_at=now,
                updated_by=call.caller,
                state_since=now,
                name=wanted.name,
                display_name=wanted.display_name,
                admin_role_arn=wanted.admin_role_arn,
                user_role_arn=wanted.user_role_arn,
                key_type=wanted.key_type,
                key_arn=wanted.key_arn,
                portal_url=self._portal(),
                sso_client_id=uuid4().hex,
            )
            studio = await work.nimble.resources.add(studio)
            await work.tags.put(studio.arn, wanted.tags or {})
            await self._client_tokens.remember(work, call, studio_id)
            await work.commit()
        self._wake(WAKE, studio_id)
        return studio

    async def get(self, scope: Scope, studio_id: str) -> tuple[Studio, Tags]:
        """Return a studio, a deleted one too while it is kept, and its tags. Raises NotFound."""
        async with self._transactions.begin() as work:
            studio = await work.nimble.resources.get(Studio, scope, studio_id)
            return studio, await work.tags.of(studio.arn)

    async def page(self, scope: Scope, next_token: str | None) -> tuple[Sequence[tuple[Studio, Tags]], str | None]:
        """Return one page of studios with their tags, deleted ones left out, and the next token. Raises InvalidPageToken."""
        after = self._tokens.read(scope, ["studios"], next_token)
        async with self._transactions.begin() as work:
            found = await work.nimble.resources.page(Studio, scope, states=LISTED, after=after, limit=PAGE_SIZE + 1)
            page, has_more = cut(found, PAGE_SIZE)
            tagged = [(studio, await work.tags.of(studio.arn)) for studio in page]
        return tagged, self._tokens.issue(scope, ["studios"], page[-1].resource_id) if has_more else None

    async def update(
        self,
        call: Call,
        studio_id: str,
        *,
        display_name: str | None,
        admin_role_arn: str | None,
        user_role_arn: str | None,
    ) -> Studio:
        """Raises NotFound, NotAvailable (a change is in progress, or it is deleted), TokenReused."""

        def changed(studio: Studio) -> Studio:
            return replace(
                studio,
                display_name=studio.display_name if display_name is None else display_name,
                admin_role_arn=studio.admin_role_arn if admin_role_arn is None else admin_role_arn,
                user_role_arn=studio.user_role_arn if user_role_arn is None else user_role_arn,
            )

        return await self._change(call, studio_id, ResourceEvent.UPDATE_REQUESTED, UPDATING, changed)

    async def repair(self, call: Call, studio_id: str) -> Studio:
        """Point the single sign-on configuration at today's portal.

        Raises NotFound, InvalidCombination (it points there already), NotAvailable (as `update`), TokenReused.
        """

        def repaired(studio: Studio) -> Studio:
            if studio.portal_url == self._portal():
                raise InvalidCombination(
                    f"The single sign-on configuration of the studio {studio_id} is sound: there is nothing to repair."
                )
            return replace(studio, portal_url=self._portal(), sso_client_id=uuid4().hex)

        return await self._change(call, studio_id, ResourceEvent.UPDATE_REQUESTED, REPAIRING, repaired)

    async def delete(self, call: Call, studio_id: str) -> Studio:
        """Have it deleted if it is empty, which the reconciler sees. One that is deleted already is success.

        Raises NotFound, NotAvailable (a change is in progress), TokenReused.
        """
        return await self._change(call, studio_id, ResourceEvent.DELETE_REQUESTED, DELETING, lambda studio: studio)

    async def _change(
        self, call: Call, studio_id: str, event: ResourceEvent, status: Status, changed: Callable[[Studio], Studio]
    ) -> Studio:
        is_deletion = event is ResourceEvent.DELETE_REQUESTED
        async with self._transactions.begin(write=True) as work:
            studio = await work.nimble.resources.get(Studio, call.scope, studio_id)
            if await self._client_tokens.recall(work, call):
                return studio
            if is_deletion and studio.state in (ResourceState.DELETE_IN_PROGRESS, ResourceState.DELETED):
                return studio
            studio = moved(studio, event, status, self._clock.now(), call.caller)
            studio = await work.nimble.resources.save(changed(studio))
            await self._client_tokens.remember(work, call, studio_id)
            await work.commit()
        self._wake(WAKE, studio_id)
        return studio


def _check_key(wanted: NewStudio) -> None:
    if (wanted.key_type is StudioKeyType.CUSTOMER_MANAGED_KEY) != (wanted.key_arn is not None):
        raise InvalidCombination("A keyArn is for CUSTOMER_MANAGED_KEY, which needs one, and for no other keyType.")


async def _check_name(work: UnitOfWork, scope: Scope, name: str) -> None:
    """Raise AlreadyExists when a studio of the account in this region has the name: the portal knows studios by name."""
    after = ""
    while page := await work.nimble.resources.page(Studio, scope, states=LISTED, after=after, limit=PAGE_SIZE):
        if any(studio.name == name and studio.is_there for studio in page):
            raise AlreadyExists("studio", name)
        after = page[-1].resource_id
