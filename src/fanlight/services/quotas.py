"""Hold accounts to their quotas.

Every check is made inside the write unit that adds what is counted. Write units run one at a time, so that two requests
cannot both take the last place.
"""

from collections.abc import AsyncIterator

from fanlight.domain.errors import LimitExceeded
from fanlight.domain.fleets import Fleet, FleetState
from fanlight.domain.image_builders import ImageBuilder
from fanlight.domain.places import Scope
from fanlight.domain.ports import UnitOfWork
from fanlight.domain.quotas import (
    ACTIVE_FLEETS,
    FLEETS,
    IMAGE_BUILDERS,
    INTERNET_INSTANCES,
    NO_QUOTAS,
    STACKS,
    Quotas,
    builder_instances,
    fleet_instances,
)

_FLEETS_AT_A_TIME = 500


class QuotaKeeper:
    """Each method raises LimitExceeded, in AppStream's words where they are known, with the name of the quota."""

    def __init__(self, quotas: Quotas = NO_QUOTAS) -> None:
        self._quotas = quotas

    def limit(self, name: str) -> int | None:
        """Return the limit of a quota, for who counts no further than that; None: there is none."""
        return self._quotas.of(name)

    def admit(self, name: str, requested: int) -> None:
        """Let an account have `requested` of what the quota `name` counts, what is asked for now included."""
        limit = self._quotas.of(name)
        if limit is not None and requested > limit:
            raise LimitExceeded(
                f"The quota '{name}' of this account was exceeded. Requested: {requested}, Limit: {limit}"
            )

    async def admit_stack(self, work: UnitOfWork, scope: Scope) -> None:
        """Let a stack that was just added stay."""
        if (limit := self.limit(STACKS)) is not None:
            self.admit(STACKS, len(await work.stacks.page(scope, limit=limit + 1)))

    async def admit_fleet(self, work: UnitOfWork, fleet: Fleet) -> None:
        """Let a fleet that was just added stay, at this size."""
        if (limit := self.limit(FLEETS)) is not None:
            self.admit(FLEETS, len(await work.fleets.page(fleet.scope, limit=limit + 1)))
        await self.admit_capacity(work, fleet)

    async def admit_start(self, work: UnitOfWork, fleet: Fleet) -> None:
        """Let a STOPPED fleet become active; `fleet` is as it will be."""
        if self.limit(ACTIVE_FLEETS) is not None:
            active = 1
            async for other in _others(work, fleet):
                active += other.state is not FleetState.STOPPED
            self.admit(ACTIVE_FLEETS, active)
        await self.admit_capacity(work, fleet)

    async def admit_capacity(self, work: UnitOfWork, fleet: Fleet, before: Fleet | None = None) -> None:
        """Let a fleet have the capacity that it wishes, together with all other fleets of its instance type.

        STOPPED fleets count too, as in the service: what was created can be started. A change that asks for no more
        than `before` is always let through, or a lowered quota could never be reached.
        """
        if before is not None and _asks_for_no_more(fleet, before):
            return
        if fleet.enable_default_internet_access:
            self.admit(INTERNET_INSTANCES, fleet.desired_instances)
        name = fleet_instances(fleet.instance_type)
        limit = self.limit(name)
        if limit is None:
            return
        wanted = fleet.desired_instances
        async for other in _others(work, fleet):
            wanted += other.desired_instances if other.instance_type == fleet.instance_type else 0
        if wanted > limit:
            raise LimitExceeded(  # the service's words, its lone apostrophe included; clients may look for them
                f"The Instance type '{fleet.instance_type}' capacity limit for fleet {fleet.name}' was exceeded. "
                f"Requested: {wanted}, Limit: {limit} (quota '{name}')"
            )

    async def admit_image_builder(self, work: UnitOfWork, builder: ImageBuilder) -> None:
        """Let an image builder that was just added stay."""
        quotas = (IMAGE_BUILDERS, builder_instances(builder.instance_type))
        if all(self.limit(name) is None for name in quotas):
            return
        # An account that has a quota on them has few.
        everywhere = [other for other in await work.image_builders.everywhere() if other.scope == builder.scope]
        self.admit(IMAGE_BUILDERS, len(everywhere))
        alike = sum(other.instance_type == builder.instance_type for other in everywhere)
        self.admit(builder_instances(builder.instance_type), alike)


async def _others(work: UnitOfWork, fleet: Fleet) -> AsyncIterator[Fleet]:
    """Yield the other fleets of the account in this region."""
    after = ""
    while page := await work.fleets.page(fleet.scope, after=after, limit=_FLEETS_AT_A_TIME):
        for other in page:
            if other.fleet_id != fleet.fleet_id:
                yield other
        after = page[-1].name


def _asks_for_no_more(after: Fleet, before: Fleet) -> bool:
    return (
        after.desired_instances <= before.desired_instances
        and after.instance_type == before.instance_type
        and (before.enable_default_internet_access or not after.enable_default_internet_access)
    )
