"""Studios: created, named anew, repaired, deleted when they are empty."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import uuid4

from fanlight.domain.errors import AlreadyExists, InvalidCombination
from fanlight.domain.nimble.calls import Call
from fanlight.domain.nimble.identifiers import new_studio_id
from fanlight.domain.nimble.studios import CREATING, DELETING, REPAIRING, UPDATING, Studio, StudioKeyType
from fanlight.domain.places import Scope
from fanlight.domain.ports import UnitOfWork
from fanlight.domain.tags import Tags
from fanlight.services.nimble.ground import Ground
from fanlight.services.nimble.resources import LISTED, Resources

PAGE_SIZE = 50


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


@dataclass(frozen=True, slots=True, kw_only=True)
class StudioChange:
    """What UpdateStudio says; None leaves as it is."""

    display_name: str | None = None
    admin_role_arn: str | None = None
    user_role_arn: str | None = None


class StudioService:
    """`portal` returns the portal's origin, which may change between two starts of the server."""

    def __init__(self, ground: Ground, portal: Callable[[], str]) -> None:
        self._clock, self._portal = ground.clock, portal
        self._studios = Resources(ground, Studio, updating=UPDATING, deleting=DELETING)

    async def create(self, call: Call, wanted: NewStudio) -> tuple[Studio, Tags]:
        """Raises AlreadyExists (the name), InvalidCombination (key, tags), TokenReused."""
        _check_key(wanted)

        async def make(work: UnitOfWork) -> Studio:
            await _check_name(work, call.scope, wanted.name)
            now, studio_id = self._clock.now(), new_studio_id(call.scope.region)
            return Studio(
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

        return await self._studios.create(call, make, wanted.tags)

    async def get(self, scope: Scope, studio_id: str) -> tuple[Studio, Tags]:
        """Raises NotFound."""
        return await self._studios.get(scope, studio_id)

    async def page(self, scope: Scope, next_token: str | None) -> tuple[Sequence[tuple[Studio, Tags]], str | None]:
        """Return one page of studios, deleted ones left out, and the next token. Raises InvalidPageToken."""
        return await self._studios.page(scope, None, limit=PAGE_SIZE, next_token=next_token)

    async def update(self, call: Call, studio_id: str, wanted: StudioChange) -> tuple[Studio, Tags]:
        """Raises NotFound, NotAvailable (a change is in progress, or it is deleted), TokenReused."""

        async def change(work: UnitOfWork, studio: Studio) -> Studio:  # noqa: ARG001
            return replace(
                studio,
                display_name=_given(wanted.display_name, studio.display_name),
                admin_role_arn=_given(wanted.admin_role_arn, studio.admin_role_arn),
                user_role_arn=_given(wanted.user_role_arn, studio.user_role_arn),
            )

        return await self._studios.update(call, studio_id, studio_id, change)

    async def repair(self, call: Call, studio_id: str) -> tuple[Studio, Tags]:
        """Point the single sign-on configuration at today's portal.

        Raises NotFound, InvalidCombination (it points there already), NotAvailable (as `update`), TokenReused.
        """

        async def change(work: UnitOfWork, studio: Studio) -> Studio:  # noqa: ARG001
            if studio.portal_url == self._portal():
                raise InvalidCombination(
                    f"The single sign-on configuration of the studio {studio_id} is sound: there is nothing to repair."
                )
            return replace(studio, portal_url=self._portal(), sso_client_id=uuid4().hex)

        return await self._studios.update(call, studio_id, studio_id, change, status=REPAIRING)

    async def delete(self, call: Call, studio_id: str) -> tuple[Studio, Tags]:
        """Have it deleted if it is empty, which the reconciler sees. Raises NotFound, NotAvailable, TokenReused."""
        return await self._studios.delete(call, studio_id, studio_id)


def _given(wanted: str | None, before: str) -> str:
    return before if wanted is None else wanted


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
