"""Members: administrators of studios, users of launch profiles."""

from collections.abc import Awaitable, Callable, Sequence

from fanlight.domain.errors import InvalidCombination, NotFound
from fanlight.domain.nimble.calls import Call
from fanlight.domain.nimble.launch_profiles import LaunchProfile
from fanlight.domain.nimble.memberships import Membership, Persona
from fanlight.domain.nimble.resources import USABLE
from fanlight.domain.nimble.studios import Studio
from fanlight.domain.places import Scope
from fanlight.domain.ports import UnitOfWork
from fanlight.services.nimble.ground import Ground
from fanlight.services.nimble.resources import usable_studio
from fanlight.services.page_tokens import cut

LARGEST_PAGE = 20  # the model has no longer list

# Raises NotFound or NotAvailable unless the owner is there; the last argument: and can have new members.
CheckOwner = Callable[[UnitOfWork, Scope, str, str, bool], Awaitable[None]]


class MemberService:
    """Members of one kind of owner, whose ids are (studio id, owner id); a studio owns itself."""

    def __init__(self, ground: Ground, persona: Persona, check_owner: CheckOwner) -> None:
        self._ground, self._persona, self._check_owner = ground, persona, check_owner

    async def put(
        self, call: Call, studio_id: str, owner_id: str, identity_store_id: str, principal_ids: Sequence[str]
    ) -> None:
        """Add members; those who are members already stay. Raises NotFound, NotAvailable, InvalidCombination, TokenReused."""
        if len(set(principal_ids)) != len(principal_ids):
            raise InvalidCombination("A principal stands in the list of members twice.")
        if not identity_store_id or not all(principal_ids):
            raise InvalidCombination("identityStoreId and principalId must not be empty.")
        async with self._ground.transactions.begin(write=True) as work:
            await self._check_owner(work, call.scope, studio_id, owner_id, True)  # noqa: FBT003 - a callable has no names
            if await self._ground.client_tokens.recall(work, call):
                return
            for principal_id in principal_ids:
                await work.nimble.memberships.put(
                    Membership(
                        scope=call.scope,
                        owner_id=owner_id,
                        principal_id=principal_id,
                        identity_store_id=identity_store_id,
                        persona=self._persona,
                        joined_at=self._ground.clock.now(),
                    )
                )
            await self._ground.client_tokens.remember(work, call, owner_id)
            await work.commit()

    async def get(self, scope: Scope, studio_id: str, owner_id: str, principal_id: str) -> Membership:
        """Raises NotFound (the owner, the member)."""
        async with self._ground.transactions.begin() as work:
            await self._check_owner(work, scope, studio_id, owner_id, False)  # noqa: FBT003
            return await _member(work, scope, owner_id, principal_id)

    async def page(
        self, scope: Scope, studio_id: str, owner_id: str, *, most: int | None, next_token: str | None
    ) -> tuple[Sequence[Membership], str | None]:
        """Return one page of members by principal. Raises NotFound, InvalidPageToken."""
        asked = ["members", owner_id]
        after, limit = self._ground.tokens.read(scope, asked, next_token), min(most or LARGEST_PAGE, LARGEST_PAGE)
        async with self._ground.transactions.begin() as work:
            await self._check_owner(work, scope, studio_id, owner_id, False)  # noqa: FBT003
            found = await work.nimble.memberships.page(scope, owner_id, after=after, limit=limit + 1)
        page, has_more = cut(found, limit)
        return page, self._ground.tokens.issue(scope, asked, page[-1].principal_id) if has_more else None

    async def confirm(self, call: Call, studio_id: str, owner_id: str, principal_id: str) -> Membership:
        """Give a member the one persona that there is, which is what he has. Raises NotFound, NotAvailable, TokenReused."""
        async with self._ground.transactions.begin(write=True) as work:
            await self._check_owner(work, call.scope, studio_id, owner_id, True)  # noqa: FBT003
            is_done = await self._ground.client_tokens.recall(work, call) is not None
            member = await _member(work, call.scope, owner_id, principal_id)
            if not is_done:
                await self._ground.client_tokens.remember(work, call, principal_id)
                await work.commit()
        return member

    async def remove(self, call: Call, studio_id: str, owner_id: str, principal_id: str) -> None:
        """Take a member away. Raises NotFound (the owner, the member), TokenReused."""
        async with self._ground.transactions.begin(write=True) as work:
            await self._check_owner(work, call.scope, studio_id, owner_id, False)  # noqa: FBT003
            if await self._ground.client_tokens.recall(work, call):
                return
            await work.nimble.memberships.remove(await _member(work, call.scope, owner_id, principal_id))
            await self._ground.client_tokens.remember(work, call, principal_id)
            await work.commit()


async def _member(work: UnitOfWork, scope: Scope, owner_id: str, principal_id: str) -> Membership:
    found = await work.nimble.memberships.find(scope, owner_id, principal_id)
    if found is None:
        raise NotFound("member", principal_id)
    return found


async def check_studio(work: UnitOfWork, scope: Scope, studio_id: str, owner_id: str, is_for_more: bool) -> None:  # noqa: FBT001
    """Raise NotFound or NotAvailable as `CheckOwner` says, for a studio."""
    if is_for_more:
        await usable_studio(work, scope, studio_id)
    else:
        await work.nimble.resources.get(Studio, scope, owner_id)


async def check_profile(work: UnitOfWork, scope: Scope, studio_id: str, owner_id: str, is_for_more: bool) -> None:  # noqa: FBT001
    """Raise NotFound or NotAvailable as `CheckOwner` says, for a launch profile."""
    profile = await work.nimble.resources.get(LaunchProfile, scope, owner_id, studio_id)
    if is_for_more and profile.state not in USABLE and not profile.is_there:
        raise NotFound("launch profile", owner_id)
