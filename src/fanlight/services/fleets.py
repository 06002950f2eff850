"""Fleets: what administrators may ask of them.

Start and stop record the wish and wake the fleet's reconciler; the state that clients poll changes in the same
transaction, so the next describe shows it.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import uuid4

from fanlight.domain.errors import InUse, InvalidCombination, NotPermitted
from fanlight.domain.fleet_capacity import Capacity, capacity_of
from fanlight.domain.fleets import FLEET, Fleet, FleetEvent, FleetState, FleetType, StreamView, instances_for
from fanlight.domain.images import Image
from fanlight.domain.places import Scope
from fanlight.domain.ports import Clock, Transactions, UnitOfWork, Wake
from fanlight.domain.tags import check_tags
from fanlight.services.fleet_changes import changed, check_image, check_state
from fanlight.services.fleet_wishes import FleetChange, NewFleet, check_capacity, check_numbers, check_vpc
from fanlight.services.names import all_named
from fanlight.services.page_tokens import PageTokens, cut
from fanlight.services.quotas import QuotaKeeper
from fanlight.services.root_volumes import check_root_volume
from fanlight.services.storage_connectors import check_drives
from fanlight.services.usable_images import ImageUse, find_image, may_use

PAGE_SIZE = 100


@dataclass(frozen=True, slots=True)
class DescribedFleet:
    fleet: Fleet
    capacity: Capacity


class FleetService:
    """`sizes_root_volumes` says whether the engine holds an instance to the size of its root volume; None: it does."""

    def __init__(
        self,
        transactions: Transactions,
        clock: Clock,
        wake: Wake,
        tokens: PageTokens,
        sizes_root_volumes: Callable[[], Awaitable[bool]] | None = None,
        *,
        quotas: QuotaKeeper | None = None,
    ) -> None:
        self._transactions, self._clock, self._wake, self._tokens = transactions, clock, wake, tokens
        self._sizes_root_volumes = sizes_root_volumes
        self._quotas = quotas or QuotaKeeper()

    async def create(self, scope: Scope, wanted: NewFleet) -> DescribedFleet:
        """Make a STOPPED fleet. Raises AlreadyExists, NotFound (image), NotAvailable (image), IncompatibleImage,
        InvalidCombination, LimitExceeded, NotSupported (instance type, root volume), DriverUnavailable (root volume).
        """
        check_numbers(wanted)
        await check_root_volume(wanted.root_volume_in_gib, self._sizes_root_volumes)
        check_vpc(wanted.vpc_config)
        check_tags(wanted.tags or {})
        desired_instances = _instances_asked_for(wanted)
        async with self._transactions.begin(write=True) as work:
            image = await find_image(work, scope, wanted.image_name, wanted.image_arn)
            check_image(image, wanted.instance_type, wanted.platform)
            fleet = await work.fleets.add(self._new(scope, wanted, image, desired_instances))
            await self._quotas.admit_fleet(work, fleet)
            await work.tags.put(fleet.arn, wanted.tags or {})
            await work.commit()
        return DescribedFleet(fleet, capacity_of(fleet, {}))

    async def describe(
        self, scope: Scope, *, names: Sequence[str] = (), next_token: str | None = None
    ) -> tuple[tuple[DescribedFleet, ...], str | None]:
        """Return one page of fleets by name and the token of the next. Raises NotFound for a missing name, InvalidPageToken."""
        after = self._tokens.read(scope, ["fleets"], next_token)
        async with self._transactions.begin() as work:
            page, has_more = await _page(work, scope, names, after)
            counts = await work.instances.count_by_state([fleet.fleet_id for fleet in page])
        described = tuple(DescribedFleet(fleet, capacity_of(fleet, counts.get(fleet.fleet_id, {}))) for fleet in page)
        return described, self._tokens.issue(scope, ["fleets"], page[-1].name) if has_more else None

    async def update(self, scope: Scope, name: str, change: FleetChange) -> DescribedFleet:
        """Change a fleet. Raises NotFound, InUse (the state forbids it), and what `create` raises for the new values."""
        check_numbers(change)
        await check_root_volume(change.root_volume_in_gib, self._sizes_root_volumes)
        async with self._transactions.begin(write=True) as work:
            before = await work.fleets.get(scope, name)
            after = await changed(work, before, change)
            check_state(before, after)
            if after.is_multi_session:
                for stack_name in await work.associations.stacks_of(scope, name):
                    check_drives(await work.stacks.get(scope, stack_name), after)
            await self._quotas.admit_capacity(work, after, before)
            # What kept it from its instances may be what has just been changed: no need to wait out the back-off.
            after = await work.fleets.save(replace(after, launch_failures=0, retry_at=None))
            counts = await work.instances.count_by_state([after.fleet_id])
            timed = await work.sessions.live(after.fleet_id) if _time_outs(after) != _time_outs(before) else ()
            await work.commit()
        self._wake("fleet", after.fleet_id)
        for session in timed:  # each has an appointment of its own, made by the time-outs of before
            self._wake("session", session.session_id)
        return DescribedFleet(after, capacity_of(after, counts.get(after.fleet_id, {})))

    async def start(self, scope: Scope, name: str) -> None:
        """Wish the fleet RUNNING; it is STARTING when this returns. A fleet on its way there already is success.

        Raises NotFound, NotPermitted (STOPPING, or its image is not shared for fleets any more), LimitExceeded.
        """
        async with self._transactions.begin(write=True) as work:
            fleet = await work.fleets.get(scope, name)
            if fleet.is_provisioned:
                return
            if not FLEET.allows(fleet.state, FleetEvent.START_REQUESTED):
                raise NotPermitted(f"The fleet {name} is {fleet.state}. Wait until it is STOPPED, then start it.")
            started = replace(fleet.after(FleetEvent.START_REQUESTED), errors=(), launch_failures=0, retry_at=None)
            await _check_still_shared(work, fleet)
            await self._quotas.admit_start(work, started)
            await work.fleets.save(started)
            await work.commit()
        self._wake("fleet", fleet.fleet_id)

    async def stop(self, scope: Scope, name: str) -> None:
        """Wish the fleet STOPPED; it is STOPPING when this returns. Stopped or stopping already is success. Raises NotFound."""
        async with self._transactions.begin(write=True) as work:
            fleet = await work.fleets.get(scope, name)
            if not fleet.is_provisioned:
                return
            await work.fleets.save(replace(fleet.after(FleetEvent.STOP_REQUESTED), retry_at=None))
            await work.commit()
        self._wake("fleet", fleet.fleet_id)

    async def delete(self, scope: Scope, name: str) -> None:
        """Forget a STOPPED fleet and its tags. Raises NotFound, InUse (associated, or not STOPPED)."""
        async with self._transactions.begin(write=True) as work:
            fleet = await work.fleets.get(scope, name)
            if await work.associations.stacks_of(scope, name, limit=1):
                raise InUse(
                    "fleet",
                    name,
                    f"The fleet {name} is associated with a stack. To delete the fleet, you must dissociate it from "
                    "the stack.",
                )
            if fleet.state is not FleetState.STOPPED:
                raise InUse("fleet", name, f"The fleet {name} is {fleet.state}. Stop it before deleting it.")
            await work.fleets.remove(fleet)
            await work.tags.drop(fleet.arn)
            await work.commit()

    def _new(self, scope: Scope, wanted: NewFleet, image: Image, desired_instances: int) -> Fleet:
        return Fleet(
            fleet_id=uuid4().hex,
            scope=scope,
            name=wanted.name,
            fleet_type=wanted.fleet_type or FleetType.ALWAYS_ON,
            stream_view=wanted.stream_view or StreamView.APP,
            image_name=image.name,
            image_arn=image.arn_in(scope.region),
            instance_type=wanted.instance_type,
            platform=image.platform,
            desired_instances=desired_instances,
            desired_sessions=wanted.desired_sessions,
            max_sessions_per_instance=wanted.max_sessions_per_instance,
            max_user_duration=_or_default(wanted.max_user_duration_in_seconds, 57_600),
            disconnect_timeout=_or_default(wanted.disconnect_timeout_in_seconds, 900),
            idle_disconnect_timeout=_or_default(wanted.idle_disconnect_timeout_in_seconds, 0),
            display_name=wanted.display_name,
            description=wanted.description,
            enable_default_internet_access=bool(wanted.enable_default_internet_access),
            vpc_config=wanted.vpc_config,
            root_volume_in_gib=wanted.root_volume_in_gib,
            disable_imdsv1=wanted.disable_imdsv1,
            created_at=self._clock.now(),
        )


async def _check_still_shared(work: UnitOfWork, fleet: Fleet) -> None:
    """Raises NotPermitted. That an image is gone or not AVAILABLE is told by the fleet's errors."""
    image = await work.images.find(fleet.scope, arn=fleet.image_arn)
    if image is not None and not await may_use(work, fleet.scope, image, ImageUse.FLEET):
        raise NotPermitted(f"The image {image.name} is not shared with this account for fleets any more.")


async def _page(work: UnitOfWork, scope: Scope, names: Sequence[str], after: str) -> tuple[Sequence[Fleet], bool]:
    if names:
        return await all_named("fleet", names, lambda some: work.fleets.page(scope, names=some, limit=len(some))), False
    return cut(await work.fleets.page(scope, after=after, limit=PAGE_SIZE + 1), PAGE_SIZE)


def _instances_asked_for(wanted: NewFleet) -> int:
    """Raises InvalidCombination unless the capacity is given, in the unit of the fleet."""
    per_instance = wanted.max_sessions_per_instance
    check_capacity(wanted.desired_instances, wanted.desired_sessions, is_multi_session=per_instance is not None)
    if per_instance is not None and wanted.desired_sessions is not None:
        return instances_for(wanted.desired_sessions, per_instance)
    if wanted.desired_instances is None:
        unit = "DesiredInstances" if per_instance is None else "DesiredSessions"
        raise InvalidCombination(f"ComputeCapacity is missing. Give {unit}.")
    return wanted.desired_instances


def _or_default(seconds: int | None, default: int) -> timedelta:
    return timedelta(seconds=default if seconds is None else seconds)


def _time_outs(fleet: Fleet) -> tuple[timedelta, timedelta]:
    """Return what may change while sessions live, and counts for them at once."""
    return fleet.disconnect_timeout, fleet.idle_disconnect_timeout
