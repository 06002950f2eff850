"""Units of work: one transaction each, over all repositories.

Write units run one at a time, on both databases: within the process they queue in order of arrival, between processes
the database's own lock decides (BEGIN IMMEDIATE, or a transaction-level advisory lock). A service may therefore read,
check and write without being overtaken; the price, one writer at a time, is far above what wishes and session changes
need. Read units see one moment and never wait for a writer.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncEngine

from fanlight.domain.errors import StoreUnavailable
from fanlight.domain.ports import UnitOfWork
from fanlight.store.access_keys import SqlAccessKeys
from fanlight.store.alarms import SqlAlarms
from fanlight.store.associations import SqlAssociations
from fanlight.store.door import Door, domain_errors
from fanlight.store.fleets import SqlFleets
from fanlight.store.image_builders import SqlImageBuilders
from fanlight.store.image_exports import SqlImageExports
from fanlight.store.image_permissions import SqlImagePermissions
from fanlight.store.images import SqlImages
from fanlight.store.instances import SqlInstances
from fanlight.store.machine_images import SqlMachineImages
from fanlight.store.nimble import SqlNimbleStore
from fanlight.store.nimble_sessions import SqlSessionBackups, SqlSessionStreams, SqlStudioSessions
from fanlight.store.observations import SqlObservations
from fanlight.store.revisions import Revision
from fanlight.store.scaling import SqlScalableTargets, SqlScalingPolicies, SqlScheduledActions
from fanlight.store.scaling_activities import SqlScalingActivities
from fanlight.store.stacks import SqlStacks
from fanlight.store.streaming_sessions import SqlStreamingSessions
from fanlight.store.tags import SqlTags

# A write unit takes milliseconds. Who waits this long stands behind something broken, and should hear of it.
TURN_TIMEOUT_IN_SECONDS = 15.0


class SqlUnitOfWork:
    """See `domain.ports.UnitOfWork`."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self.fleets = SqlFleets(door)
        self.stacks = SqlStacks(door)
        self.associations = SqlAssociations(door)
        self.images = SqlImages(door)
        self.image_permissions = SqlImagePermissions(door)
        self.image_builders = SqlImageBuilders(door)
        self.machine_images = SqlMachineImages(door)
        self.image_exports = SqlImageExports(door)
        self.instances = SqlInstances(door)
        self.sessions = SqlStreamingSessions(door)
        self.studio_sessions = SqlStudioSessions(door)
        self.session_backups = SqlSessionBackups(door)
        self.session_streams = SqlSessionStreams(door)
        self.tags = SqlTags(door)
        self.access_keys = SqlAccessKeys(door)
        self.observations = SqlObservations(door)
        self.alarms = SqlAlarms(door)
        self.scalable_targets = SqlScalableTargets(door)
        self.scaling_policies = SqlScalingPolicies(door)
        self.scheduled_actions = SqlScheduledActions(door)
        self.scaling_activities = SqlScalingActivities(door)
        self.nimble = SqlNimbleStore(door)

    async def commit(self) -> None:
        await self._door.commit()


class SqlTransactions:
    """See `domain.ports.Transactions`. `readers` and `writers` share one pool and differ in how they begin."""

    def __init__(self, readers: AsyncEngine, writers: AsyncEngine, revision: Revision) -> None:
        self._readers, self._writers, self._revision = readers, writers, revision
        self._turn = asyncio.Lock()

    def begin(self, *, write: bool = False) -> AbstractAsyncContextManager[UnitOfWork]:
        return self._write() if write else self._read()

    def revision(self) -> int | None:
        return self._revision()

    @asynccontextmanager
    async def _read(self) -> AsyncIterator[UnitOfWork]:
        async with self._unit(self._readers, is_writable=False) as unit:
            yield unit

    @asynccontextmanager
    async def _write(self) -> AsyncIterator[UnitOfWork]:
        try:
            async with asyncio.timeout(TURN_TIMEOUT_IN_SECONDS):
                await self._turn.acquire()
        except TimeoutError as error:
            raise StoreUnavailable("other write units of this process did not end in time") from error
        try:
            async with self._unit(self._writers, is_writable=True) as unit:
                yield unit
        finally:
            self._turn.release()

    @asynccontextmanager
    async def _unit(self, engine: AsyncEngine, *, is_writable: bool) -> AsyncIterator[UnitOfWork]:
        with domain_errors():
            connection = await engine.connect()
        try:
            with domain_errors():
                await connection.begin()
            yield SqlUnitOfWork(Door(connection, is_writable=is_writable))
        finally:
            # Shielded, or a cancelled request would leave its transaction open and the next writer waiting.
            with domain_errors():
                await asyncio.shield(connection.close())
