"""Hold accounts to their quotas.

Every check is made inside the write unit that adds what is counted. Write units run one at a time, so that two requests
cannot both take the last place.
"""

from collections.abc import Sequence

from fanlight.domain.errors import LimitExceeded
from fanlight.domain.fleets import Fleet, FleetState
from fanlight.domain.places import Scope
from fanlight.domain.ports import UnitOfWork
from fanlight.domain.quotas import ACTIVE_FLEETS, FLEETS, INTERNET_INSTANCES, NO_QUOTAS, STACKS, Quotas


class QuotaKeeper:
    """Each method raises LimitExceeded, in the words in which AppStream says it."""

    def __init__(self, quotas: Quotas = NO_QUOTAS) -> None:
        self._quotas = quotas

    async def admit_stack(self, work: UnitOfWork, scope: Scope) -> None:
        """Let a stack that was just added stay."""
        limit = self._quotas.of(STACKS)
        if limit is not None and len(await work.stacks.page(scope, limit=limit + 1)) > limit:
            raise _exceeded("The limit for stacks in this account", limit + 1, limit)

    async def admit_fleet(self, work: UnitOfWork, fleet: Fleet) -> None:
        """Let a fleet that was just added stay, at this size."""
        limit = self._quotas.of(FLEETS)
        if limit is not None and len(await work.fleets.page(fleet.scope, limit=limit + 1)) > limit:
            raise _exceeded("The limit for fleets in this account", limit + 1, limit)
        await self.admit_capacity(work, fleet)

    async def admit_start(self, work: UnitOfWork, fleet: Fleet) -> None:
        """Let a STOPPED fleet become active; `fleet` is as it will be."""
        limit = self._quotas.of(ACTIVE_FLEETS)
        if limit is not None:
            active = [other for other in await self._others(work, fleet) if other.state is not FleetState.STOPPED]
            if len(active) >= limit:
                raise _exceeded("The limit for active fleets in this account", len(active) + 1, limit)
        await self.admit_capacity(work, fleet)

    async def admit_capacity(self, work: UnitOfWork, fleet: Fleet, before: Fleet | None = None) -> None:
        """Let a fleet have the capacity that it wishes.

        A STOPPED fleet has no instances, so it is held to the quota alone; an active one together with all others. A
        change that asks for no more than `before` is always let through, or a lowered quota could never be reached.
        """
        if before is not None and _asks_for_no_more(fleet, before):
            return
        limit = self._quotas.of(INTERNET_INSTANCES)
        if limit is not None and fleet.enable_default_internet_access and fleet.desired_instances > limit:
            what = f"The capacity limit for fleet {fleet.name} with default internet access"
            raise _exceeded(what, fleet.desired_instances, limit)
        limit = self._quotas.of(fleet.instance_type)
        if limit is None:
            return
        wanted = fleet.desired_instances
        if fleet.is_provisioned:
            wanted += sum(
                other.desired_instances
                for other in await self._others(work, fleet)
                if other.is_provisioned and other.instance_type == fleet.instance_type
            )
        if wanted > limit:
            what = f"The Instance type '{fleet.instance_type}' capacity limit for fleet {fleet.name}"
            raise _exceeded(what, wanted, limit)

    async def _others(self, work: UnitOfWork, fleet: Fleet) -> Sequence[Fleet]:
        # With quotas an account has few fleets: there is a limit on them, or the operator wished none.
        everywhere = await work.fleets.everywhere()
        return [other for other in everywhere if other.scope == fleet.scope and other.fleet_id != fleet.fleet_id]


def _asks_for_no_more(after: Fleet, before: Fleet) -> bool:
    return (
        after.desired_instances <= before.desired_instances
        and after.instance_type == before.instance_type
        and (before.enable_default_internet_access or not after.enable_default_internet_access)
    )


def _exceeded(what: str, requested: int, limit: int) -> LimitExceeded:
    return LimitExceeded(f"{what} was exceeded. Requested: {requested}, Limit: {limit}")
