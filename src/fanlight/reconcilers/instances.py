"""Make instances what their rows say, and rows what instances are.

The row is always first: it is written before the launch and removed after the engine shows the instance no more, so a
crash at any point leaves a row to go on from. What the engine shows under our label without a row is an orphan.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from fanlight.domain.errors import (
    CapacityExhausted,
    DriverUnavailable,
    ImageMissing,
    InstanceMissing,
    LaunchRefused,
    NetworkUnusable,
    NotSupported,
)
from fanlight.domain.fleet_errors import FleetErrorCause, Problem, problem_of
from fanlight.domain.fleets import Fleet
from fanlight.domain.image_tasks import ImportTask, UpdateTask
from fanlight.domain.instance_plan import (
    Destroy,
    InstanceStep,
    Listen,
    LookAgain,
    NoteReady,
    Retire,
    Sight,
    StartAgain,
    Submit,
    plan_instance,
)
from fanlight.domain.instance_types import size_of
from fanlight.domain.instances import Instance, InstanceEvent, InstanceState
from fanlight.domain.ports import Clock, InstanceSpec, Transactions, UnitOfWork, Wake
from fanlight.reconcilers.engine_instances import SOON, EngineInstances
from fanlight.reconcilers.launch_failures import LaunchFailures, settled
from fanlight.reconcilers.losses import FilesLost
from fanlight.reconcilers.occupancy import Occupancy, OccupancyStep
from fanlight.reconcilers.settings import ReconcilerSettings
from fanlight.services.image_workshop import ImageWorkshop

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class InstanceReconciler:
    """`wake_waiting` is called with a fleet id when one of its instances may be claimed."""

    transactions: Transactions
    engine: EngineInstances
    clock: Clock
    settings: ReconcilerSettings
    wake: Wake
    wake_waiting: Callable[[str], None]
    failures: LaunchFailures
    files_lost: FilesLost
    workshop: ImageWorkshop | None = None
    sessions_of: dict[str, set[str]] = field(default_factory=dict)  # by instance id, to wake sessions at once
    _launches: asyncio.Semaphore = field(init=False)
    _occupancy: Occupancy = field(init=False)

    def __post_init__(self) -> None:
        self._occupancy = Occupancy(
            transactions=self.transactions,
            agents=self.engine.agents,
            changed=self._wake_all,
            wake=self.wake,
            files_lost=self.files_lost,
        )
        self._launches = asyncio.Semaphore(self.settings.launches_in_flight)

    async def reconcile(self, instance_id: str) -> datetime | None:
        """Move one instance; return when to look again. Raises DriverUnavailable, StoreUnavailable."""
        async with self.transactions.begin() as work:
            instance = await work.instances.find(instance_id)
            held = [await work.sessions.find(session_id) for session_id in instance.session_ids] if instance else []
            fleet = await work.fleets.find(instance.fleet_id) if instance else None
            owner = await _owner_of(work, instance_id) if instance is None else None
        if owner is not None:
            self.wake(*owner)
            return None
        if instance is None:
            return None if await self._works_on_image(instance_id) else await self._reap(instance_id)
        sessions = {session.session_id: session for session in held if session is not None}
        if live := {session_id for session_id, session in sessions.items() if session.is_live}:
            self.sessions_of[instance_id] = live
        if fleet is None and not instance.is_leaving:
            return await self._retire(instance, Retire("its fleet is gone"))
        now = self.clock.now()
        steps = plan_instance(
            instance,
            sessions,
            self.sight(instance),
            retry_at=fleet.retry_at if fleet else None,
            now=now,
            unsent_kept=self.settings.unsent_files_kept,
        )
        moments = [await self._apply(instance, fleet, step) for step in steps]
        return min((moment for moment in moments if moment is not None), default=None)

    def sight(self, instance: Instance) -> Sight:
        return self.engine.sight(instance.scope, instance.instance_id)

    async def _apply(self, instance: Instance, fleet: Fleet | None, step: InstanceStep) -> datetime | None:
        if isinstance(step, OccupancyStep):
            await self._occupancy.apply(instance, step)
            return None
        until: datetime | None = None
        match step:
            case LookAgain(moment, is_engine_asked):
                if is_engine_asked:
                    await self.engine.look()
                until = moment
            case Submit() if fleet is not None:
                until = await self._submit(instance, fleet)
            case Listen(first_uid):
                # Now it is known who may come through the doors.
                wake_doors = partial(self._wake_doors, instance)
                until = await self.engine.listen(instance.instance_id, first_uid, heard=wake_doors)
            case NoteReady():
                until = await self._note_ready(instance)
            case Retire():
                until = await self._retire(instance, step)
            case Destroy():
                until = await self._destroy(instance)
            case StartAgain():
                until = await self._start_again(instance)
        return until

    async def _submit(self, instance: Instance, fleet: Fleet) -> datetime | None:
        async with self._launches:
            try:
                await self.engine.driver.launch(
                    self._spec_of(instance, fleet, await self._pinned_agent(instance, fleet))
                )
            except (ImageMissing, CapacityExhausted, NetworkUnusable, DriverUnavailable) as error:
                await self.failures.record(fleet.fleet_id, problem_of(error))
                return self.clock.now()  # plans again, and finds the back-off
            except (LaunchRefused, NotSupported) as error:
                await self.failures.record(fleet.fleet_id, problem_of(error))
                return await self._retire(instance, Retire(str(error)))
        accepted_at = self.clock.now()
        async with self.transactions.begin(write=True) as work:
            found = await work.instances.find(instance.instance_id)
            if found is not None and not found.is_leaving:
                await work.instances.save(replace(found, accepted_at=accepted_at))
                await work.commit()
        if fleet.errors:
            await self.failures.note_accepted(fleet.fleet_id, accepted_at)
        await self.engine.look()
        return self.clock.now()

    async def _pinned_agent(self, instance: Instance, fleet: Fleet) -> Mapping[str, str]:
        """Return the label that chooses the runtime, when the image that is launched pins one."""
        async with self.transactions.begin() as work:
            image = await work.images.find(fleet.scope, arn=fleet.image_arn)
        if image is None or image.pinned_agent_version is None or image.store_ref != instance.image_ref:
            return {}
        return {"runtime_version": image.pinned_agent_version}

    def _spec_of(self, instance: Instance, fleet: Fleet, pinned_agent: Mapping[str, str]) -> InstanceSpec:
        """Raises NotSupported for an instance type that this installation does not offer any more."""
        size = size_of(fleet.instance_type)
        return InstanceSpec(
            instance_id=instance.instance_id,
            image_ref=instance.image_ref,
            cpu_count=size.cpu_count,
            memory_in_mib=size.memory_in_mib,
            disk_in_gib=fleet.root_volume_in_gib or self.settings.disk_in_gib,
            has_internet_access=fleet.enable_default_internet_access,
            subnet_ids=fleet.vpc_config.subnet_ids if fleet.vpc_config else (),
            security_group_ids=fleet.vpc_config.security_group_ids if fleet.vpc_config else (),
            places=instance.places,
            labels={
                "installation": self.settings.installation,
                "account": instance.scope.account_id,
                "region": instance.scope.region,
                "fleet_id": instance.fleet_id,
                "fleet": fleet.name,
                "image": instance.image_ref,
                **pinned_agent,
            },
        )

    async def _start_again(self, instance: Instance) -> datetime | None:
        """Power on what stands still, to send what is on its disk. Should that fail, the plan comes back to it."""
        await self.engine.hang_up(instance.instance_id)  # it gets fresh socket directories
        try:
            await self.engine.driver.start(instance.instance_id)
        except (InstanceMissing, CapacityExhausted, LaunchRefused, NotSupported) as error:
            log.warning(
                "cannot start an instance that has unsent files",
                extra={"instance_id": instance.instance_id, "why": str(error)},
            )
            return None
        log.info("instance started again to send files", extra={"instance_id": instance.instance_id})
        await self.engine.look()
        return self.clock.now()

    async def _note_ready(self, instance: Instance) -> datetime:
        now = self.clock.now()
        async with self.transactions.begin(write=True) as work:
            found = await work.instances.find(instance.instance_id)
            if found is None or found.is_leaving or found.ready_at is not None:
                return now
            if found.state is InstanceState.LAUNCHING:
                found = found.after(InstanceEvent.AGENT_READY)
            await work.instances.save(replace(found, ready_at=now))
            fleet = await work.fleets.find(found.fleet_id)
            if fleet is not None:
                after = settled(fleet, found.accepted_at or found.launched_at, is_booted=True)
                if after != fleet:
                    await work.fleets.save(after)
            await work.commit()
        log.info("instance ready", extra={"instance_id": instance.instance_id, "state": found.state})
        self._wake_all(found)
        return now

    async def _retire(self, instance: Instance, step: Retire) -> datetime:
        now = self.clock.now()
        async with self.transactions.begin(write=True) as work:
            found = await work.instances.find(instance.instance_id)
            if found is None or found.state is InstanceState.RETIRING or _is_claimed_anew(instance, found):
                return now  # claimed, or given up by somebody else: plan again
            retired = replace(found.after(InstanceEvent.RETIRED), retire_reason=step.why[:500])
            await work.instances.save(retired)
            await work.commit()
        self._wake_doors(found)
        log.info("instance retired", extra={"instance_id": instance.instance_id, "why": step.why})
        if step.is_failure:
            problem = Problem(FleetErrorCause.BOOT_FAILED, f"An instance did not start: {step.why}.")
            await self.failures.record(instance.fleet_id, problem)
        self._wake_all(found)
        return now

    async def _destroy(self, instance: Instance) -> datetime | None:
        if not await self.engine.terminate(instance.scope, instance.instance_id):
            return self.clock.now() + SOON
        async with self.transactions.begin(write=True) as work:
            found = await work.instances.find(instance.instance_id)
            if found is not None:
                await work.instances.remove(found)
                await work.commit()
        log.info("instance gone", extra={"instance_id": instance.instance_id})
        self._wake_all(instance)
        self.sessions_of.pop(instance.instance_id, None)
        return None

    async def _reap(self, instance_id: str) -> datetime | None:
        """Destroy what carries our label and has no row: a row is written before its launch, so nothing is on its way."""
        await self.engine.hang_up(instance_id)
        self.sessions_of.pop(instance_id, None)
        if self.engine.sightings.of(instance_id) is None:
            return None
        await self.engine.look()
        async with self.transactions.begin() as work:
            is_orphan = await work.instances.find(instance_id) is None
            is_orphan = is_orphan and await _owner_of(work, instance_id) is None
        is_orphan = is_orphan and not await self._works_on_image(instance_id)
        if not is_orphan or self.engine.sightings.of(instance_id) is None:
            return None
        log.warning("orphan terminated", extra={"instance_id": instance_id})
        await self.engine.driver.terminate(instance_id)
        await self.engine.look()
        return self.clock.now() + SOON if self.engine.sightings.of(instance_id) is not None else None

    async def _works_on_image(self, instance_id: str) -> bool:
        """Return whether somebody looks after an image with it: its id was written before its launch, as a row is."""
        if self.workshop is not None and self.workshop.keeps(instance_id):
            return True
        async with self.transactions.begin() as work:
            tasks = [image.task for image in await work.images.everywhere() if image.is_unfinished]
        return any(isinstance(task, UpdateTask | ImportTask) and task.instance_id == instance_id for task in tasks)

    def _wake_doors(self, instance: Instance) -> None:
        for session_id in instance.session_ids:
            self.wake("door", session_id)

    def _wake_all(self, instance: Instance) -> None:
        self.wake("fleet", instance.fleet_id)
        self.wake_waiting(instance.fleet_id)
        for session_id in instance.session_ids:
            self.wake("session", session_id)


async def _owner_of(work: UnitOfWork, instance_id: str) -> tuple[str, str] | None:
    """Return kind and key of what has the instance for its own all its life."""
    builder = await work.image_builders.of_instance(instance_id)
    if builder is not None:
        return "image_builder", builder.builder_id
    session = await work.studio_sessions.of_instance(instance_id)
    return ("studio_session", session.session_id) if session is not None else None


def _is_claimed_anew(planned: Instance, found: Instance) -> bool:
    return found.state is not planned.state or found.session_ids != planned.session_ids
