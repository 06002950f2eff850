"""Settle what was asked of Nimble Studio's resources, show failures for a while, and forget what is long deleted.

Each decision reads and writes in one write unit, so nothing can be put into a studio while it is found empty.
"""

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta

from fanlight.domain.nimble.calls import TOKENS_KEPT
from fanlight.domain.nimble.identifiers import ResourceKind
from fanlight.domain.nimble.resources import IN_PROGRESS, Resource, ResourceEvent, ResourceState, Status, moved
from fanlight.domain.nimble.studios import Studio, settle_studio
from fanlight.domain.ports import Clock, Transactions, UnitOfWork
from fanlight.reconcilers.queues import KeyedQueue

log = logging.getLogger(__name__)

FAILURES_SHOWN = timedelta(minutes=10)  # longer than any waiter waits between two looks
_READY_CODES: Mapping[ResourceKind, str] = {
    ResourceKind.STUDIO: "STUDIO_UPDATED",
}
_FAILED = (ResourceState.UPDATE_FAILED, ResourceState.DELETE_FAILED)
_GONE = (ResourceState.DELETED, ResourceState.CREATE_FAILED)


class NimbleResourceReconciler:
    """`deleted_kept`: how long DELETED and CREATE_FAILED resources stay readable."""

    def __init__(self, transactions: Transactions, clock: Clock, deleted_kept: timedelta) -> None:
        self._transactions, self._clock, self._deleted_kept = transactions, clock, deleted_kept

    async def reconcile(self, resource_id: str) -> datetime | None:
        """Return when to look again. Raises StoreUnavailable, ChangedMeanwhile."""
        now = self._clock.now()
        async with self._transactions.begin(write=True) as work:
            resource = await work.nimble.resources.find(resource_id)
            if resource is None or resource.state is ResourceState.READY:
                return None
            if resource.state in IN_PROGRESS:
                changed = moved(resource, *await _verdict(work, resource), now)
                await work.nimble.resources.save(changed)
                if changed.state is ResourceState.DELETED:
                    await work.tags.drop(changed.arn)
                await work.commit()
                _tell(resource, changed)
                return now if changed.state is not ResourceState.READY else None
            until = resource.state_since + (FAILURES_SHOWN if resource.state in _FAILED else self._deleted_kept)
            if until > now:
                return until
            if resource.state in _GONE:
                await work.tags.drop(resource.arn)
                await work.nimble.resources.remove(resource)
            else:
                shown = Status(code=_READY_CODES[resource.KIND], message=resource.status.message)
                await work.nimble.resources.save(moved(resource, ResourceEvent.FAILURE_SHOWN, shown, now))
            await work.commit()
        return None


async def _verdict(work: UnitOfWork, resource: Resource) -> tuple[ResourceEvent, Status]:
    """Return how the change in progress ends."""
    if isinstance(resource, Studio):
        return settle_studio(resource, await work.nimble.resources.count(resource.scope, resource.studio_id))
    raise TypeError(f"nobody settles a {resource.KIND}")


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
