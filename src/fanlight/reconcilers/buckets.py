"""Make the buckets of users' files, and say in stacks when one cannot be used.

One key for each account and region that has a stack with a storage connector. Nothing is ever removed here: files outlive
connectors and stacks.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from fanlight.domain.errors import StorageUnavailable, StorageUnusable
from fanlight.domain.places import Scope
from fanlight.domain.ports import Clock, Transactions, UserStorage, Wake
from fanlight.domain.stacks import Stack
from fanlight.domain.user_storage import home_bucket, scope_of_key, storage_key
from fanlight.reconcilers.doors import DoorReconciler

log = logging.getLogger(__name__)

CHECK_INTERVAL = timedelta(seconds=30)
CHECK_INTERVAL_IN_TROUBLE = timedelta(seconds=5)  # so that the end of the trouble is seen soon


@dataclass(slots=True, kw_only=True)
class BucketReconciler:
    transactions: Transactions
    storage: UserStorage | None
    clock: Clock
    doors: DoorReconciler
    wake: Wake

    async def reconcile(self, key: str) -> datetime | None:
        """Look at the bucket of a scope; return when to look again. Raises ChangedMeanwhile, StoreUnavailable."""
        if self.storage is None:
            return None
        scope = scope_of_key(key)
        async with self.transactions.begin() as work:
            stacks = await work.stacks.with_storage(scope)
        kinds_of = {stack.name: {one.kind for one in stack.storage_connectors} for stack in stacks}
        for session in list(self.doors.opened.values()):
            has_lost = {one.kind for one in session.storage_connectors} - kinds_of.get(session.stack_name, set())
            if session.scope == scope and has_lost:
                self.wake("door", session.session_id)
        if not stacks:
            return None
        buckets = {bucket for stack in stacks for bucket in stack.storage_buckets}
        problems = {bucket: await self._problem_of(self.storage, scope, bucket) for bucket in sorted(buckets)}
        if any(stack.storage_problem != _said_of(stack, problems) for stack in stacks):
            async with self.transactions.begin(write=True) as work:
                for stack in await work.stacks.with_storage(scope):
                    if stack.storage_problem != (said := _said_of(stack, problems)):
                        await work.stacks.save(replace(stack, storage_problem=said))
                await work.commit()
            for bucket, problem in problems.items():
                what = {"bucket": bucket, "why": problem or "it can be used"}
                log.log(logging.WARNING if problem else logging.INFO, "the state of a bucket changed", extra=what)
        return self.clock.now() + (CHECK_INTERVAL_IN_TROUBLE if any(problems.values()) else CHECK_INTERVAL)

    async def wake_all(self) -> None:
        """Look at all scopes that have stacks with storage connectors. Raises StoreUnavailable."""
        if self.storage is None:
            return
        async with self.transactions.begin() as work:
            stacks = await work.stacks.with_storage()
        for key in {storage_key(stack.scope) for stack in stacks}:
            self.wake("storage", key)

    @staticmethod
    async def _problem_of(storage: UserStorage, scope: Scope, bucket: str) -> str | None:
        what = "home folders" if bucket == home_bucket(scope) else "settings of applications"
        try:
            await storage.ensure_bucket(bucket)
        except (StorageUnusable, StorageUnavailable) as error:
            return (
                f"The bucket {bucket} of the {what} cannot be used. {error} Sessions start without {what} "
                "until it can; this is looked at again by itself."
            )
        return None


def _said_of(stack: Stack, problems: Mapping[str, str | None]) -> str | None:
    return " ".join(said for bucket in stack.storage_buckets if (said := problems.get(bucket))) or None
