"""What can be done to each kind of Nimble Studio's resources, in the same way for all: make, read, list, change, delete.

Every change is one unit of work that looks at the client token, the state and the studio, writes what is wanted, and
wakes who settles it.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Generic

from fanlight.domain.errors import NotAvailable, NotFound
from fanlight.domain.nimble.calls import Call
from fanlight.domain.nimble.resources import USABLE, ResourceEvent, ResourceState, ResourceT, Status, moved
from fanlight.domain.nimble.studios import Studio
from fanlight.domain.places import Scope
from fanlight.domain.ports import UnitOfWork
from fanlight.domain.tags import Tags, check_tags
from fanlight.services.nimble.ground import WAKE, Ground

LISTED = frozenset(ResourceState) - {ResourceState.DELETED}
_BATCH = 100
_DELETED_ALREADY = (ResourceState.DELETE_IN_PROGRESS, ResourceState.DELETED)

Make = Callable[[UnitOfWork], Awaitable[ResourceT]]
Besides = Callable[[UnitOfWork], Awaitable[Sequence[ResourceT]]]
Change = Callable[[UnitOfWork, ResourceT], Awaitable[ResourceT]]


async def usable_studio(work: UnitOfWork, scope: Scope, studio_id: str) -> Studio:
    """Return a studio that something can be put into. Raises NotFound, NotAvailable (it comes about, or goes)."""
    studio = await work.nimble.resources.get(Studio, scope, studio_id)
    if studio.state in (ResourceState.DELETED, ResourceState.CREATE_FAILED):
        raise NotFound("studio", studio_id)
    if studio.state not in USABLE:
        raise NotAvailable("studio", studio_id, f"The studio {studio_id} is {studio.state}.")
    return studio


async def everything(
    work: UnitOfWork,
    kind: type[ResourceT],
    scope: Scope,
    studio_id: str,
    *,
    states: Collection[ResourceState] = LISTED,
) -> Sequence[ResourceT]:
    """Return all of a kind in a studio. A studio has some dozens of each."""
    found: list[ResourceT] = []
    after = ""
    while batch := await work.nimble.resources.page(kind, scope, studio_id, states=states, after=after, limit=_BATCH):
        found += batch
        after = batch[-1].resource_id
    return found


class Resources(Generic[ResourceT]):
    """One kind of them. `updating` and `deleting` are what is said while that is in progress."""

    def __init__(self, ground: Ground, kind: type[ResourceT], *, updating: Status, deleting: Status) -> None:
        self._ground, self._kind = ground, kind
        self._updating, self._deleting = updating, deleting

    async def get(self, scope: Scope, resource_id: str, studio_id: str | None = None) -> tuple[ResourceT, Tags]:
        """Return it and its tags, also one that is DELETED, while it is kept. Raises NotFound."""
        async with self._ground.transactions.begin() as work:
            found = await work.nimble.resources.get(self._kind, scope, resource_id, studio_id)
            return found, await work.tags.of(found.arn)

    async def page(
        self,
        scope: Scope,
        studio_id: str | None,
        *,
        states: Collection[ResourceState] = (),
        keep: Callable[[ResourceT], bool] = lambda _: True,
        besides: Besides[ResourceT] | None = None,
        filters: Sequence[str] = (),
        limit: int,
        next_token: str | None,
    ) -> tuple[Sequence[tuple[ResourceT, Tags]], str | None]:
        """Return one page by id, with tags, and the next token. `filters` are `keep` in words, for the token.

        No states: all but DELETED. `besides` returns some that are in no table and shown among the others.
        Raises NotFound (the studio), InvalidPageToken.
        """
        asked = [self._kind.KIND, studio_id or "", *sorted(states), "\0", *filters]
        begin = after = self._ground.tokens.read(scope, asked, next_token)
        found: list[ResourceT] = []
        async with self._ground.transactions.begin() as work:
            if studio_id is not None:
                await work.nimble.resources.get(Studio, scope, studio_id)
            has_more = True
            while has_more and len(found) <= limit:
                batch = await work.nimble.resources.page(
                    self._kind, scope, studio_id, states=states or LISTED, after=after, limit=_BATCH
                )
                found += [one for one in batch if keep(one)]
                has_more = len(batch) == _BATCH
                after = batch[-1].resource_id if batch else after
            if besides is not None:
                found += [one for one in await besides(work) if one.resource_id > begin and keep(one)]
                found.sort(key=lambda one: one.resource_id)
            tagged = [(one, await work.tags.of(one.arn)) for one in found[:limit]]
        token = self._ground.tokens.issue(scope, asked, tagged[-1][0].resource_id) if len(found) > limit else None
        return tagged, token

    async def create(self, call: Call, make: Make[ResourceT], tags: Mapping[str, str] | None) -> tuple[ResourceT, Tags]:
        """Add what `make` gives. Raises InvalidCombination (tags), TokenReused, AlreadyExists, and what `make` raises."""
        check_tags(tags or {})
        async with self._ground.transactions.begin(write=True) as work:
            if known := await self._ground.client_tokens.recall(work, call):
                found = await work.nimble.resources.get(self._kind, call.scope, known)
                return found, await work.tags.of(found.arn)
            made = await work.nimble.resources.add(await make(work))
            await work.tags.put(made.arn, tags or {})
            await self._ground.client_tokens.remember(work, call, made.resource_id)
            await work.commit()
        self._ground.wake(WAKE, made.resource_id)
        return made, tags or {}

    async def update(
        self,
        call: Call,
        resource_id: str,
        studio_id: str,
        change: Change[ResourceT],
        *,
        status: Status | None = None,
    ) -> tuple[ResourceT, Tags]:
        """Write what `change` gives, UPDATE_IN_PROGRESS.

        Raises NotFound, NotAvailable (a change is in progress, or it is deleted), TokenReused, and what `change` raises.
        """
        return await self._change(
            call, resource_id, studio_id, ResourceEvent.UPDATE_REQUESTED, status or self._updating, change
        )

    async def delete(
        self, call: Call, resource_id: str, studio_id: str, check: Change[ResourceT] | None = None
    ) -> tuple[ResourceT, Tags]:
        """Let it go, DELETE_IN_PROGRESS. One that is going or gone already is success.

        Raises NotFound, NotAvailable (a change is in progress), TokenReused, and what `check` raises.
        """
        return await self._change(
            call, resource_id, studio_id, ResourceEvent.DELETE_REQUESTED, self._deleting, check or _as_it_is
        )

    async def _change(  # noqa: PLR0917 - private, called in two places
        self,
        call: Call,
        resource_id: str,
        studio_id: str,
        event: ResourceEvent,
        status: Status,
        change: Change[ResourceT],
    ) -> tuple[ResourceT, Tags]:
        async with self._ground.transactions.begin(write=True) as work:
            found = await work.nimble.resources.get(self._kind, call.scope, resource_id, studio_id)
            tags = await work.tags.of(found.arn)
            if await self._ground.client_tokens.recall(work, call):
                return found, tags
            if event is ResourceEvent.DELETE_REQUESTED and found.state in _DELETED_ALREADY:
                return found, tags
            found = moved(found, event, status, self._ground.clock.now(), call.caller)
            found = await work.nimble.resources.save(await change(work, found))
            await self._ground.client_tokens.remember(work, call, resource_id)
            await work.commit()
        self._ground.wake(WAKE, resource_id)
        return found, tags


async def _as_it_is(work: UnitOfWork, resource: ResourceT) -> ResourceT:  # noqa: ARG001
    return resource
