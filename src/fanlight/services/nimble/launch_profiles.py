"""Launch profiles: made of components and images of their studio, given to members, and taken apart for a machine."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from fanlight.domain.errors import InvalidCombination, NotAvailable
from fanlight.domain.nimble.calls import Call
from fanlight.domain.nimble.identifiers import new_id
from fanlight.domain.nimble.launch_profiles import (
    CREATING,
    DELETING,
    NOT_VALIDATED,
    UPDATING,
    LaunchProfile,
    StreamConfiguration,
    check_stream,
)
from fanlight.domain.nimble.resources import USABLE, ResourceState
from fanlight.domain.nimble.streaming_images import StreamingImage
from fanlight.domain.nimble.studio_components import PROTOCOL_VERSION, StudioComponent
from fanlight.domain.places import Scope
from fanlight.domain.ports import UnitOfWork
from fanlight.domain.quotas import NIMBLE_LAUNCH_PROFILES
from fanlight.domain.tags import Tags
from fanlight.services.nimble.eulas import EulaService
from fanlight.services.nimble.ground import Ground
from fanlight.services.nimble.resources import Resources, everything, usable_studio
from fanlight.services.nimble.service_images import find_streaming_image
from fanlight.services.quotas import QuotaKeeper

LARGEST_PAGE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileMembers:
    """What a request says of a launch profile; None is what it does not say."""

    name: str | None = None
    description: str | None = None
    protocol_versions: tuple[str, ...] | None = None
    component_ids: tuple[str, ...] | None = None
    stream: StreamConfiguration | None = None

    def check(self) -> None:
        """Raise InvalidCombination for what no launch profile may have."""
        if self.stream is not None:
            check_stream(self.stream)
        if self.protocol_versions is not None and set(self.protocol_versions) != {PROTOCOL_VERSION}:
            raise InvalidCombination(f"launchProfileProtocolVersions must be {PROTOCOL_VERSION}.")
        if self.component_ids is not None and len(set(self.component_ids)) != len(self.component_ids):
            raise InvalidCombination("studioComponentIds names a component twice.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileDetails:
    """A launch profile and what it is made of; what is gone of that is missing."""

    profile: LaunchProfile
    tags: Tags
    images: Sequence[tuple[StreamingImage, Tags]]
    components: Sequence[StudioComponent]


class LaunchProfileService:
    def __init__(self, ground: Ground, eulas: EulaService, quotas: QuotaKeeper) -> None:
        self._ground, self._eulas, self._quotas = ground, eulas, quotas
        self._profiles = Resources(ground, LaunchProfile, updating=UPDATING, deleting=DELETING)

    async def create(
        self,
        call: Call,
        studio_id: str,
        wanted: ProfileMembers,
        *,
        subnet_ids: tuple[str, ...],
        tags: Mapping[str, str] | None,
    ) -> tuple[LaunchProfile, Tags]:
        """Raises NotFound (studio, component), NotAvailable, InvalidCombination, LimitExceeded, TokenReused."""
        wanted.check()
        if wanted.name is None or wanted.stream is None or wanted.component_ids is None:
            raise InvalidCombination("A launch profile has a name, a streamConfiguration and studioComponentIds.")
        name, stream, component_ids = wanted.name, wanted.stream, wanted.component_ids

        async def make(work: UnitOfWork) -> LaunchProfile:
            await usable_studio(work, call.scope, studio_id)
            await _check_components(work, call.scope, studio_id, component_ids)
            await self._admit(work, call.scope, studio_id)
            now = self._ground.clock.now()
            return LaunchProfile(
                resource_id=new_id(),
                studio_id=studio_id,
                scope=call.scope,
                status=CREATING,
                created_at=now,
                created_by=call.caller,
                updated_at=now,
                updated_by=call.caller,
                state_since=now,
                name=name,
                description=wanted.description,
                subnet_ids=subnet_ids,
                component_ids=component_ids,
                stream=stream,
                validations=NOT_VALIDATED,
            )

        return await self._profiles.create(call, make, tags)

    async def get(self, scope: Scope, studio_id: str, profile_id: str) -> tuple[LaunchProfile, Tags]:
        """Raises NotFound."""
        return await self._profiles.get(scope, profile_id, studio_id)

    async def page(
        self,
        scope: Scope,
        studio_id: str,
        *,
        states: Collection[ResourceState] = (),
        principal_id: str | None = None,
        most: int | None = None,
        next_token: str | None = None,
    ) -> tuple[Sequence[tuple[LaunchProfile, Tags]], str | None]:
        """Return one page of launch profiles, those only that a principal is a member of if one is named.

        Raises NotFound (the studio), InvalidPageToken.
        """
        mine: frozenset[str] | None = None
        if principal_id is not None:
            async with self._ground.transactions.begin() as work:
                mine = await work.nimble.memberships.owners_of(scope, principal_id)
        return await self._profiles.page(
            scope,
            studio_id,
            states=states,
            keep=lambda profile: mine is None or profile.resource_id in mine,
            filters=[] if principal_id is None else ["principal", principal_id],
            limit=most or LARGEST_PAGE,
            next_token=next_token,
        )

    async def update(
        self, call: Call, studio_id: str, profile_id: str, wanted: ProfileMembers
    ) -> tuple[LaunchProfile, Tags]:
        """Have it changed and validated anew; sessions that are there keep what they were made with.

        Raises NotFound, NotAvailable, InvalidCombination, TokenReused.
        """
        wanted.check()

        async def change(work: UnitOfWork, profile: LaunchProfile) -> LaunchProfile:
            if wanted.component_ids is not None:
                await _check_components(work, call.scope, studio_id, wanted.component_ids)
            return replace(
                profile.remembering(),
                name=profile.name if wanted.name is None else wanted.name,
                description=profile.description if wanted.description is None else wanted.description,
                component_ids=wanted.component_ids or profile.component_ids,
                stream=wanted.stream or profile.stream,
                validations=NOT_VALIDATED,
            )

        return await self._profiles.update(call, profile_id, studio_id, change)

    async def delete(self, call: Call, studio_id: str, profile_id: str) -> tuple[LaunchProfile, Tags]:
        """Have it deleted if no session is made of it, which the reconciler sees. Raises NotFound, NotAvailable, TokenReused."""
        return await self._profiles.delete(call, profile_id, studio_id)

    async def details(self, scope: Scope, studio_id: str, profile_id: str) -> ProfileDetails:
        """Raises NotFound."""
        async with self._ground.transactions.begin() as work:
            profile = await work.nimble.resources.get(LaunchProfile, scope, profile_id, studio_id)
            images, components = [], []
            for image_id in profile.stream.streaming_image_ids:
                image = await find_streaming_image(work, scope, studio_id, image_id, self._eulas.required_by)
                if image is not None and image.is_there:
                    images.append((image, await work.tags.of(image.arn)))
            for component_id in profile.component_ids:
                component = await work.nimble.resources.find(component_id)
                if isinstance(component, StudioComponent) and component.scope == scope and component.is_there:
                    components.append(component)
            tags = await work.tags.of(profile.arn)
        return ProfileDetails(profile=profile, tags=tags, images=images, components=components)

    async def _admit(self, work: UnitOfWork, scope: Scope, studio_id: str) -> None:
        """Raise LimitExceeded when the studio has as many launch profiles as it may."""
        if self._quotas.limit(NIMBLE_LAUNCH_PROFILES) is None:
            return
        others = await everything(work, LaunchProfile, scope, studio_id)
        self._quotas.admit(NIMBLE_LAUNCH_PROFILES, sum(other.is_there for other in others) + 1)


async def _check_components(work: UnitOfWork, scope: Scope, studio_id: str, component_ids: Sequence[str]) -> None:
    """Raise NotFound or NotAvailable unless the studio has all of these components."""
    for component_id in component_ids:
        component = await work.nimble.resources.get(StudioComponent, scope, component_id, studio_id)
        if component.state not in USABLE:
            why = f"The studio component {component_id} is {component.state}: a launch profile cannot have it."
            raise NotAvailable("studio component", component_id, why)
