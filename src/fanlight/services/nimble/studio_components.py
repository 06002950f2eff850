"""Studio components: what they are made of, who may have how many, and that none goes while a launch profile names it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from fanlight.domain.errors import AlreadyExists, InUse, InvalidCombination
from fanlight.domain.nimble.calls import Call
from fanlight.domain.nimble.identifiers import new_id
from fanlight.domain.nimble.launch_profiles import LaunchProfile
from fanlight.domain.nimble.resources import ResourceState
from fanlight.domain.nimble.studio_components import (
    CREATING,
    DELETING,
    UPDATING,
    ComponentConfiguration,
    ComponentScript,
    ComponentSubtype,
    ComponentType,
    ScriptParameter,
    StudioComponent,
    check_component,
)
from fanlight.domain.places import Scope
from fanlight.domain.ports import UnitOfWork
from fanlight.domain.quotas import NIMBLE_FILE_SYSTEMS
from fanlight.domain.tags import Tags
from fanlight.services.nimble.ground import Ground
from fanlight.services.nimble.resources import LISTED, Resources, everything, usable_studio
from fanlight.services.quotas import QuotaKeeper

LARGEST_PAGE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentMembers:
    """What a request says of a component; None is what it does not say."""

    name: str | None = None
    description: str | None = None
    type: ComponentType | None = None
    subtype: ComponentSubtype | None = None
    configuration: ComponentConfiguration | None = None
    scripts: tuple[ComponentScript, ...] | None = None
    parameters: tuple[ScriptParameter, ...] | None = None
    security_group_ids: tuple[str, ...] | None = None
    runtime_role_arn: str | None = None
    secure_initialization_role_arn: str | None = None

    def on(self, component: StudioComponent) -> StudioComponent:
        """Return the component with what is said. Raises InvalidCombination when that does not fit together."""
        changed = replace(
            component,
            name=component.name if self.name is None else self.name,
            description=component.description if self.description is None else self.description,
            type=self.type or component.type,
            subtype=self.subtype or component.subtype,
            configuration=self.configuration or component.configuration,
            scripts=component.scripts if self.scripts is None else self.scripts,
            parameters=component.parameters if self.parameters is None else self.parameters,
            security_group_ids=component.security_group_ids
            if self.security_group_ids is None
            else self.security_group_ids,
            runtime_role_arn=component.runtime_role_arn if self.runtime_role_arn is None else self.runtime_role_arn,
            secure_initialization_role_arn=component.secure_initialization_role_arn
            if self.secure_initialization_role_arn is None
            else self.secure_initialization_role_arn,
        )
        check_component(changed)
        return changed


class StudioComponentService:
    def __init__(self, ground: Ground, quotas: QuotaKeeper) -> None:
        self._clock, self._quotas = ground.clock, quotas
        self._components = Resources(ground, StudioComponent, updating=UPDATING, deleting=DELETING)

    async def create(
        self, call: Call, studio_id: str, wanted: ComponentMembers, tags: Mapping[str, str] | None
    ) -> tuple[StudioComponent, Tags]:
        """Raises NotFound, NotAvailable (the studio), InvalidCombination, LimitExceeded, TokenReused."""
        if wanted.name is None or wanted.type is None:
            raise InvalidCombination("A studio component has a name and a type.")
        name, kind = wanted.name, wanted.type

        async def make(work: UnitOfWork) -> StudioComponent:
            await usable_studio(work, call.scope, studio_id)
            now = self._clock.now()
            blank = StudioComponent(
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
                type=kind,
            )
            component = wanted.on(blank)
            await self._admit(work, component)
            return component

        return await self._components.create(call, make, tags)

    async def get(self, scope: Scope, studio_id: str, component_id: str) -> tuple[StudioComponent, Tags]:
        """Raises NotFound."""
        return await self._components.get(scope, component_id, studio_id)

    async def page(
        self,
        scope: Scope,
        studio_id: str,
        *,
        states: Collection[ResourceState] = (),
        types: Collection[ComponentType] = (),
        most: int | None = None,
        next_token: str | None = None,
    ) -> tuple[Sequence[tuple[StudioComponent, Tags]], str | None]:
        """Return one page of the components in these states and of these types; none named: all that are not DELETED.

        Raises NotFound (the studio), InvalidPageToken.
        """
        return await self._components.page(
            scope,
            studio_id,
            states=states,
            keep=lambda component: not types or component.type in types,
            filters=sorted(types),
            limit=min(most or LARGEST_PAGE, LARGEST_PAGE),
            next_token=next_token,
        )

    async def update(
        self, call: Call, studio_id: str, component_id: str, wanted: ComponentMembers
    ) -> tuple[StudioComponent, Tags]:
        """Raises NotFound, NotAvailable, InvalidCombination, AlreadyExists (a second directory), LimitExceeded, TokenReused."""

        async def change(work: UnitOfWork, component: StudioComponent) -> StudioComponent:
            changed = wanted.on(component)
            if changed.type is not component.type:
                await self._admit(work, changed)
                if changed.type is ComponentType.ACTIVE_DIRECTORY and await has_directory(work, changed):
                    raise AlreadyExists("Active Directory component of the studio", studio_id)
            return changed

        return await self._components.update(call, component_id, studio_id, change)

    async def delete(self, call: Call, studio_id: str, component_id: str) -> tuple[StudioComponent, Tags]:
        """Raises NotFound, NotAvailable, InUse (a launch profile names it), TokenReused."""

        async def check(work: UnitOfWork, component: StudioComponent) -> StudioComponent:
            for profile in await everything(work, LaunchProfile, call.scope, studio_id):
                if profile.is_there and component_id in profile.component_ids:
                    raise InUse(
                        "launch profile",
                        profile.resource_id,
                        f"The launch profile {profile.resource_id} has the studio component {component_id}: change or "
                        "delete the launch profile first.",
                    )
            return component

        return await self._components.delete(call, component_id, studio_id, check)

    async def _admit(self, work: UnitOfWork, component: StudioComponent) -> None:
        """Raise LimitExceeded when the studio has as many shared file systems as it may."""
        if component.type is not ComponentType.SHARED_FILE_SYSTEM or self._quotas.limit(NIMBLE_FILE_SYSTEMS) is None:
            return
        others = await everything(work, StudioComponent, component.scope, component.studio_id)
        count = sum(
            other.type is component.type and other.is_there
            for other in others
            if other.resource_id != component.resource_id
        )
        self._quotas.admit(NIMBLE_FILE_SYSTEMS, count + 1)


async def has_directory(work: UnitOfWork, component: StudioComponent) -> bool:
    """Return whether the studio has another Active Directory component that came about."""
    pending = (ResourceState.CREATE_IN_PROGRESS, ResourceState.CREATE_FAILED)
    return any(
        other.type is ComponentType.ACTIVE_DIRECTORY
        and other.resource_id != component.resource_id
        and other.state not in pending
        for other in await everything(work, StudioComponent, component.scope, component.studio_id, states=LISTED)
    )
