"""All reconcilers of one api process: wake-ups in, steps out, and a sweep that repairs whatever a wake-up missed."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Any

from fanlight.agentwire import display_uid_of
from fanlight.domain.errors import DomainError
from fanlight.domain.file_systems import SharedDirectory
from fanlight.domain.image_tasks import BuildTask, ImageTask, TaskKind
from fanlight.domain.instance_snapshots import InstanceSnapshots
from fanlight.domain.networks import Networks
from fanlight.domain.ports import AgentChannel, Clock, ImageStore, InstanceDriver, Transactions, UserStorage
from fanlight.domain.streaming_sessions import StreamingSession
from fanlight.reconcilers.bounded_transactions import BoundedTransactions
from fanlight.reconcilers.buckets import BucketReconciler
from fanlight.reconcilers.doors import LOOK_INTERVAL_IN_SECONDS, DoorReconciler
from fanlight.reconcilers.fleets import FleetReconciler
from fanlight.reconcilers.image_builders import ImageBuilderReconciler
from fanlight.reconcilers.image_builds import BuildMaker
from fanlight.reconcilers.image_copies import CopyMaker
from fanlight.reconcilers.image_exports import ImageExportReconciler
from fanlight.reconcilers.image_imports import ArchiveTools, ImportMaker
from fanlight.reconcilers.image_records import ImageRecords
from fanlight.reconcilers.image_sweeps import ImageSweep
from fanlight.reconcilers.image_updates import UpdateMaker
from fanlight.reconcilers.images import ImageReconciler
from fanlight.reconcilers.instances import InstanceReconciler
from fanlight.reconcilers.launch_failures import LaunchFailures
from fanlight.reconcilers.losses import FilesLost, tell_nobody
from fanlight.reconcilers.nimble_resources import NimbleResourceReconciler, NimbleSweep
from fanlight.reconcilers.own_instances import OwnInstances
from fanlight.reconcilers.queues import KeyedQueue
from fanlight.reconcilers.sessions import SessionReconciler
from fanlight.reconcilers.settings import ReconcilerSettings
from fanlight.reconcilers.sightings import Sightings
from fanlight.reconcilers.studio_sessions import StudioSessionReconciler
from fanlight.reconcilers.sweeps import Sweep
from fanlight.services.door_tokens import DoorTokens
from fanlight.services.image_files import ImageFiles
from fanlight.services.image_workshop import ImageWorkshop

log = logging.getLogger(__name__)

_LONGEST_SLEEP = timedelta(seconds=1)
_AFTER_TROUBLE_IN_SECONDS = 1.0
_LONGEST_FAREWELL_IN_SECONDS = 2.0


def _ignore(_: StreamingSession) -> None:
    pass


class Reconcilers:
    """Run `run` as a task for the life of the process. `wake` is the services' `Wake`; it may be called at any time.

    `networks` are what the operator offers to fleets, `file_systems` to the sessions of studios, `workshop` has the instances that are launched to look after
    images, `snapshots` are those of instances that outlive a stop. `storage` keeps users' files, None: sessions have
    none; `door_tokens` go with it. `session_changed` is called after each write to a session, `session_idled` when its streams must be cut because the
    user was idle for too long: after that write. `files_lost` when files that a user saved were given up.
    """

    def __init__(
        self,
        *,
        transactions: Transactions,
        driver: InstanceDriver,
        image_store: ImageStore,
        image_files: ImageFiles,
        agents: AgentChannel,
        clock: Clock,
        networks: Networks,
        file_systems: Sequence[SharedDirectory] = (),
        workshop: ImageWorkshop,
        snapshots: InstanceSnapshots,
        settings: ReconcilerSettings | None = None,
        archives: ArchiveTools | None = None,
        storage: UserStorage | None = None,
        door_tokens: DoorTokens | None = None,
        session_changed: Callable[[StreamingSession], None] = _ignore,
        session_idled: Callable[[StreamingSession], None] = _ignore,
        files_lost: FilesLost = tell_nobody,
    ) -> None:
        self._settings = settings or ReconcilerSettings()
        self._driver, self._agents, self._clock = driver, agents, clock
        bounded = BoundedTransactions(transactions)
        self._sightings = Sightings(driver, clock, self._settings.installation)
        sessions_of: dict[str, set[str]] = {}
        listening_since: dict[str, datetime] = {}
        self._doors = DoorReconciler(
            transactions=bounded,
            storage=storage,
            tokens=door_tokens or DoorTokens(secrets.token_bytes(32)),
            agents=agents,
            clock=clock,
            wake=self.wake,
            first_uid_of=self._first_uid_of,
            quota_in_bytes=self._settings.home_folder_quota_in_bytes,
            settings_limit_in_bytes=self._settings.application_settings_limit_in_bytes,
        )
        buckets = BucketReconciler(
            transactions=bounded, storage=storage, clock=clock, doors=self._doors, wake=self.wake
        )
        self._sessions = SessionReconciler(
            transactions=bounded,
            agents=agents,
            clock=clock,
            settings=self._settings,
            wake=self.wake,
            changed=session_changed,
            idled=session_idled,
            files_lost=files_lost,
            sessions_of=sessions_of,
            listening_since=listening_since,
            started_at=clock.now(),
            interface_of=self._sightings.interface_of,
            doors=self._doors,
        )
        instances = OwnInstances(
            transactions=bounded,
            driver=driver,
            agents=agents,
            sightings=self._sightings,
            clock=clock,
            wake=self.wake,
            listening_since=listening_since,
        )
        self._instances = InstanceReconciler(
            transactions=bounded,
            engine=instances,
            clock=clock,
            settings=self._settings,
            wake=self.wake,
            wake_waiting=self._sessions.wake_waiting,
            failures=LaunchFailures(bounded, clock, self._settings),
            files_lost=files_lost,
            workshop=workshop,
            sessions_of=sessions_of,
        )
        builders = ImageBuilderReconciler(
            transactions=bounded,
            instances=instances,
            sightings=self._sightings,
            clock=clock,
            settings=self._settings,
            wake=self.wake,
            sessions_of=sessions_of,
        )
        studio_sessions = StudioSessionReconciler(
            transactions=bounded,
            instances=instances,
            snapshots=snapshots,
            sightings=self._sightings,
            clock=clock,
            settings=self._settings,
            file_systems=file_systems,
            wake=self.wake,
            sessions_of=sessions_of,
        )
        fleets = FleetReconciler(bounded, clock, self.wake, networks)
        records = ImageRecords(bounded, clock)
        images = ImageReconciler(
            transactions=bounded,
            store=image_store,
            records=records,
            # One maker for each way an image comes about.
            makers={
                TaskKind.BUILD: BuildMaker(
                    driver=driver,
                    store=image_store,
                    records=records,
                    clock=clock,
                    installation=self._settings.installation,
                ),
                TaskKind.COPY: CopyMaker(
                    transactions=bounded, store=image_store, files=image_files, records=records, clock=clock
                ),
                TaskKind.UPDATE: UpdateMaker(
                    workshop=workshop,
                    store=image_store,
                    records=records,
                    clock=clock,
                    installation=self._settings.installation,
                ),
            },
            files=image_files,
            settled=self._image_settled,
        )
        exports = None
        if archives is not None:
            images.makers[TaskKind.IMPORT] = ImportMaker(
                tools=archives,
                workshop=workshop,
                store=image_store,
                records=records,
                clock=clock,
                installation=self._settings.installation,
            )
            exports = ImageExportReconciler(transactions=bounded, tools=archives, clock=clock)
        self._queues = {
            "fleet": KeyedQueue("fleet", fleets.reconcile, clock, parallel=8, on_due=self._hurry),
            "image_builder": KeyedQueue("image_builder_id", builders.reconcile, clock, parallel=8, on_due=self._hurry),
            "studio_session": KeyedQueue(
                "studio_session", studio_sessions.reconcile, clock, parallel=8, on_due=self._hurry
            ),
            "instance": KeyedQueue("instance_id", self._instances.reconcile, clock, parallel=64, on_due=self._hurry),
            "session": KeyedQueue(
                "streaming_session_id", self._sessions.reconcile, clock, parallel=32, on_due=self._hurry
            ),
            # Each may keep a disk busy for minutes.
            "door": KeyedQueue("streaming_session_id", self._doors.reconcile, clock, parallel=16, on_due=self._hurry),
            "storage": KeyedQueue("scope", buckets.reconcile, clock, parallel=4, on_due=self._hurry),
            "image": KeyedQueue("image_id", images.reconcile, clock, parallel=4, on_due=self._hurry),
        }
        if exports is not None:
            self._queues["image_export"] = KeyedQueue(
                "task_id", exports.reconcile, clock, parallel=2, on_due=self._hurry
            )
        nimble = NimbleResourceReconciler(bounded, clock, networks, self._settings.nimble_deleted_kept)
        self._queues["nimble_resource"] = KeyedQueue(
            "nimble_resource", nimble.reconcile, clock, parallel=8, on_due=self._hurry
        )
        self._nimble_sweep = NimbleSweep(bounded, self._queues["nimble_resource"], self._settings.sweep_interval)
        self._image_sweep = ImageSweep(
            bounded,
            image_store,
            self._queues["image"],
            installation=self._settings.installation,
            interval=self._settings.sweep_interval,
            files=image_files,
            exports=(self._queues["image_export"], exports.unfinished) if exports else None,
        )
        self._sweep = Sweep(
            transactions=bounded,
            settings=self._settings,
            instances=self._instances,
            sessions=self._sessions,
            sightings=self._sightings,
            doors=self._doors,
            buckets=buckets,
            queues=self._queues,
        )
        self._is_due = asyncio.Event()
        self._is_running = False
        self._ticked_at = clock.now()

    def wake(self, kind: str, key: str) -> None:
        """Look at one fleet, instance, session or image now. Before `run` it does nothing: the first sweep finds everything."""
        if self._is_running:
            self._queues[kind].wake(key)

    def _image_settled(self, task: ImageTask | None) -> None:
        """Let whoever waits for the end of a making go on."""
        if isinstance(task, BuildTask):
            self.wake("image_builder", task.builder_id)

    def heard(self, session_id: str) -> None:
        """Take note that the gateway has an open stream of this session now."""
        self._sessions.heard(session_id)

    def _first_uid_of(self, instance_id: str) -> int | None:
        observed = self._sightings.of(instance_id)
        return observed.first_uid if observed else None

    def stream_uid_of(self, instance_id: str, seat: int) -> int | None:
        """Return the host uid of what streams at a seat, None while the engine has not shown it to this process."""
        observed = self._sightings.of(instance_id)
        if observed is None or observed.first_uid is None or not self._driver.capabilities.separates_users:
            return observed.first_uid if observed else None
        return observed.first_uid + display_uid_of(seat)

    async def run(self) -> None:
        """Reconcile until cancelled."""
        self._is_running = True
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_time())
                group.create_task(self._follow("driver", self._driver.changes, self._on_driver_hint))
                group.create_task(self._follow("agents", self._agents.changes, self._on_agent_hint))
                group.create_task(self._watch_doors())
        finally:
            self._is_running = False
            await asyncio.gather(*(queue.stop() for queue in self._queues.values()))

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being worked on. What waits for its time, waits."""
        return all(queue.is_idle for queue in self._queues.values())

    async def tick(self) -> None:
        """Do what is due now. `run` does it all the time; a test with its own clock, after moving it."""
        now = self._clock.now()
        if now < self._ticked_at - _LONGEST_SLEEP:
            log.warning("the clock went back", extra={"seconds": (self._ticked_at - now).total_seconds()})
            self._sweep.start_anew()
            self._image_sweep.start_anew()
            self._nimble_sweep.start_anew()
            for queue in self._queues.values():
                queue.wake_waiting()
        self._ticked_at = now
        await self._sweep.run_if_due(now)
        await self._image_sweep.run_if_due(now)
        await self._nimble_sweep.run_if_due(now)
        for queue in self._queues.values():
            queue.wake_due(now)

    async def _keep_time(self) -> None:
        while True:
            self._is_due.clear()
            try:
                await _to_its_end(self.tick())
            except DomainError as error:
                log.warning("cannot sweep", extra={"why": str(error)})
                await asyncio.sleep(_AFTER_TROUBLE_IN_SECONDS)
            except Exception:
                log.exception("cannot sweep")
                await asyncio.sleep(_AFTER_TROUBLE_IN_SECONDS)
            # Not wait_for: in Python 3.11 it may swallow a cancellation, and this loop would never end.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._until_due().total_seconds()):
                    await self._is_due.wait()

    def _until_due(self) -> timedelta:
        times = [due for queue in self._queues.values() if (due := queue.next_due()) is not None]
        earliest: datetime = min(times, default=self._clock.now() + _LONGEST_SLEEP)
        return max(min(earliest - self._clock.now(), _LONGEST_SLEEP), timedelta(0))

    def _hurry(self) -> None:
        self._is_due.set()

    async def _follow(self, whose: str, changes: Callable[[], AsyncIterator[str]], act: Callable[[str], None]) -> None:
        """Act on hints for ever. A stream that ends or breaks is begun again; the sweep covers the gap."""
        while True:
            try:
                async for key in changes():
                    act(key)
            except DomainError as error:
                log.warning("hints broke off", extra={"whose": whose, "why": str(error)})
            except Exception:
                log.exception("hints broke off", extra={"whose": whose})
            await asyncio.sleep(_AFTER_TROUBLE_IN_SECONDS)

    async def _watch_doors(self) -> None:
        """Beside the sweep, which must not wait for the storage process."""
        while True:
            await self._doors.look()
            await asyncio.sleep(LOOK_INTERVAL_IN_SECONDS)

    def _on_driver_hint(self, instance_id: str) -> None:
        self._sweep.look_soon(instance_id)
        self._hurry()

    def _on_agent_hint(self, instance_id: str) -> None:
        self.wake("instance", instance_id)
        for session_id in self._instances.sessions_of.get(instance_id, ()):
            self.wake("session", session_id)


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Await `work`; a cancellation takes effect after it: a broken-off database call is a lost connection."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=_LONGEST_FAREWELL_IN_SECONDS)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise
