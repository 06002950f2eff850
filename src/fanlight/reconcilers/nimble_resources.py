"""Settle what was asked of Nimble Studio's resources, show failures for a while, and forget what is long deleted.

Each decision reads and writes in one write unit, so nothing can be put into a studio while it is found empty.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from fanlight.domain.clock_corrections import TOLERANCE
from fanlight.domain.networks import Networks
from fanlight.domain.nimble.calls import TOKENS_KEPT
from fanlight.domain.nimble.identifiers import ResourceKind
from fanlight.domain.nimble.launch_profiles import LaunchProfile, settle_profile, validate
from fanlight.domain.nimble.resources import IN_PROGRESS, Resource, ResourceEvent, ResourceState, Status, moved
from fanlight.domain.nimble.sessions import GONE
from fanlight.domain.nimble.streaming_images import StreamingImage, settle_streaming_image
from fanlight.domain.nimble.studio_components import ComponentType, StudioComponent, settle_component
from fanlight.domain.nimble.studios import Studio, settle_studio
from fanlight.domain.ports import Clock, Transactions, UnitOfWork
from fanlight.reconcilers.queues import KeyedQueue
from fanlight.services.nimble.service_images import find_streaming_image
from fanlight.services.nimble.studio_components import has_directory

log = logging.getLogger(__name__)

FAILURES_SHOWN = timedelta(minutes=10)  # longer than any waiter waits between two looks
_READY_CODES: Mapping[ResourceKind, str] = {
    ResourceKind.STUDIO: "STUDIO_UPDATED",
    ResourceKind.STUDIO_COMPONENT: "STUDIO_COMPONENT_UPDATED",
    ResourceKind.LAUNCH_PROFILE: "LAUNCH_PROFILE_UPDATED",
    ResourceKind.STREAMING_IMAGE: "STREAMING_IMAGE_READY",
}
_FAILED = (ResourceState.UPDATE_FAILED, ResourceState.DELETE_FAILED)
_GONE = (ResourceState.DELETED, ResourceState.CREATE_FAILED)


class NimbleResourceReconciler:
    """`deleted_kept`: how long DELETED and CREATE_FAILED resources stay readable. `networks` are what may be named."""

    def __init__(self, transactions: Transactions, clock: Clock, networks: Networks, deleted_kept: timedelta) -> None:
        self._transactions, self._clock = transactions, clock
        self._networks, self._deleted_kept = networks, deleted_kept

    async def reconcile(self, resource_id: str) -> datetime | None:
        """Return when to look again. Raises StoreUnavailable, ChangedMeanwhile."""
        now = self._clock.now()
        async with self._transactions.begin(write=True) as work:
            resource = await work.nimble.resources.find(resource_id)
            if resource is None or resource.state is ResourceState.READY:
                return None
            if resource.state in IN_PROGRESS:
                resource = await self._validated(work, resource)
                changed = moved(resource, *await _verdict(work, resource), now)
                changed = changed.settled() if isinstance(changed, LaunchProfile) else changed
                await work.nimble.resources.save(changed)
                if changed.state is ResourceState.DELETED:
                    await _forget(work, changed)
                await work.commit()
                _tell(resource, changed)
                return now if changed.state is not ResourceState.READY else None
            if resource.state_since > now + TOLERANCE:  # the clock went back
                await work.nimble.resources.save(replace(resource, state_since=now))
                await work.commit()
                return now
            until = resource.state_since + (FAILURES_SHOWN if resource.state in _FAILED else self._deleted_kept)
            if until > now:
                return until
            if resource.state in _GONE:
                await _forget(work, resource)
                await work.nimble.resources.remove(resource)
            else:
                shown = Status(code=_READY_CODES[resource.KIND], message=resource.status.message)
                await work.nimble.resources.save(moved(resource, ResourceEvent.FAILURE_SHOWN, shown, now))
            await work.commit()
        return None

    async def _validated(self, work: UnitOfWork, resource: Resource) -> Resource:
        """Return a launch profile with what is to be said of its parts, anything else as it is."""
        if not isinstance(resource, LaunchProfile) or resource.state is ResourceState.DELETE_IN_PROGRESS:
            return resource
        found = [await work.nimble.resources.find(component_id) for component_id in resource.component_ids]
        components = [one for one in found if isinstance(one, StudioComponent)]
        groups = [group_id for component in components for group_id in component.security_group_ids]
        validations = validate(
            has_directory=any(component.type is ComponentType.ACTIVE_DIRECTORY for component in components),
            missing_subnets=self._networks.missing_subnets(resource.subnet_ids, resource.scope.account_id),
            missing_groups=self._networks.missing_groups(groups),
        )
        return replace(resource, validations=validations)


async def _verdict(work: UnitOfWork, resource: Resource) -> tuple[ResourceEvent, Status]:
    """Return how the change in progress ends."""
    if isinstance(resource, Studio):
        return settle_studio(resource, await work.nimble.resources.count(resource.scope, resource.studio_id))
    if isinstance(resource, StudioComponent):
        return settle_component(resource, has_directory=await has_directory(work, resource))
    if isinstance(resource, LaunchProfile):
        made = await work.studio_sessions.of_launch_profile(resource.resource_id)
        count = sum(session.state not in GONE for session in made)
        return settle_profile(resource, await _states_of_images(work, resource), session_count=count)
    if isinstance(resource, StreamingImage):
        return settle_streaming_image(resource, await work.images.find_by_id(resource.image_id))
    raise TypeError(f"nobody settles a {resource.KIND}")


async def _states_of_images(work: UnitOfWork, profile: LaunchProfile) -> Mapping[str, ResourceState]:
    """Return the states of those of a profile's images that its studio may use."""
    found = [
        await find_streaming_image(work, profile.scope, profile.studio_id, image_id)
        for image_id in profile.stream.streaming_image_ids
    ]
    return {image.resource_id: image.state for image in found if image is not None}


async def _forget(work: UnitOfWork, resource: Resource) -> None:
    """Let everything go that was tied to what is gone."""
    await work.tags.drop(resource.arn)
    await work.nimble.memberships.drop(resource.resource_id)
    await work.nimble.acceptances.drop(resource.resource_id)


def _tell(before: Resource, after: Resource) -> None:
    log.info(
        "nimble resource state changed",
        extra={"kind": after.KIND, "id": after.resource_id, "before": before.state, "after": after.state},
    )


class NimbleSweep:
    """Finds what no wake-up told of, and forgets old client tokens."""

    def __init__(self, transactions: Transactions, queue: KeyedQueue, interval: timedelta) -> None:
        self._transactions, self._queue, self._interval = transactions, queue, interval
        self._due: datetime | None = None

    def start_anew(self) -> None:
        self._due = None

    async def run_if_due(self, now: datetime) -> None:
        """Raises StoreUnavailable."""
        if self._due is not None and self._due > now:
            return
        async with self._transactions.begin() as work:
            resource_ids = await work.nimble.resources.unsettled()
        for resource_id in resource_ids:
            if not self._queue.knows(resource_id):
                self._queue.wake(resource_id)
        async with self._transactions.begin(write=True) as work:
            if await work.nimble.calls.prune(now - TOKENS_KEPT):
                await work.commit()
        self._due = now + self._interval
