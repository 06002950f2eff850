"""Make image builders what their rows say, and rows what their instances are.

The row comes first, with the id of the instance that will be its own, and it goes when the engine shows that instance no
more: a crash at any point leaves a row to go on from. Neighbour: `domain.builder_plan` plans.
"""

import logging
from dataclasses import dataclass, replace
from datetime import datetime

from fanlight.agentwire.messages import PrepareSnapshot
from fanlight.domain.builder_plan import (
    LOST,
    Become,
    BuilderFacts,
    BuilderStep,
    CleanUp,
    NotePrepared,
    plan_builder,
)
from fanlight.domain.errors import (
    DriverError,
    DriverUnavailable,
    InstanceMissing,
    NotSupported,
)
from fanlight.domain.fleet_errors import FleetError, FleetErrorCause, Problem, problem_of
from fanlight.domain.image_builders import (
    LAUNCH_PATIENCE,
    ImageBuilder,
    ImageBuilderEvent,
    ImageBuilderState,
    StateChangeReason,
    code_of,
    is_final,
)
from fanlight.domain.images import Image
from fanlight.domain.instance_types import size_of
from fanlight.domain.own_instances import Destroy, Discard, EndStray, Listen, LookAgain, PowerOff, PowerOn, Submit
from fanlight.domain.ports import (
    Clock,
    InstanceRole,
    InstanceSpec,
    Transactions,
    UnitOfWork,
    Wake,
)
from fanlight.reconcilers.engine_instances import SOON
from fanlight.reconcilers.own_instances import OwnInstances
from fanlight.reconcilers.settings import ReconcilerSettings
from fanlight.reconcilers.sightings import Sightings

log = logging.getLogger(__name__)

_MAX_TEXT = 500


@dataclass(slots=True, kw_only=True)
class ImageBuilderReconciler:
    transactions: Transactions
    instances: OwnInstances
    sightings: Sightings
    clock: Clock
    settings: ReconcilerSettings
    wake: Wake
    sessions_of: dict[str, set[str]]

    async def reconcile(self, builder_id: str) -> datetime | None:
        """Move one image builder; return when to look again. Raises DriverUnavailable, ChangedMeanwhile, StoreUnavailable."""
        async with self.transactions.begin() as work:
            builder = await work.image_builders.find(builder_id)
            if builder is None:
                return None
            live = [session.session_id for session in await work.sessions.live(builder_id)]
            image = await _snapshot_of(work, builder)
        self.sessions_of[builder.instance_id] = set(live)
        facts = BuilderFacts(
            builder=builder,
            sight=self.instances.sight(builder.scope, builder.instance_id),
            live_sessions=live,
            image_state=image.state if image else None,
        )
        moments = [await self._apply(builder, step) for step in plan_builder(facts, self.clock.now())]
        return min((moment for moment in moments if moment is not None), default=None)

    async def _apply(self, builder: ImageBuilder, step: BuilderStep) -> datetime | None:
        until: datetime | None = self.clock.now()  # most steps change what the next plan sees
        match step:
            case LookAgain(moment, is_engine_asked):
                if is_engine_asked:
                    await self.sightings.look()
                until = moment
            case Submit() | PowerOn():
                await self._bring_up(builder, step)
            case Listen(first_uid):
                until = await self.instances.listen(builder.instance_id, first_uid, is_builder=True)
            case Become():
                await self._become(builder, step)
            case EndStray(session_id):
                until = await self.instances.end_session(builder.instance_id, session_id)
            case CleanUp() | PowerOff() | NotePrepared() | Discard() | Destroy():
                until = await self._bring_down(builder, step)
        return until

    async def _bring_down(
        self, builder: ImageBuilder, step: CleanUp | PowerOff | NotePrepared | Discard | Destroy
    ) -> datetime | None:
        match step:
            case CleanUp():
                await self.instances.tell(builder.instance_id, {"type": PrepareSnapshot.TYPE})
                return None
            case PowerOff():
                return await self._power_off(builder)
            case NotePrepared():
                await self._save(replace(builder, is_prepared=True))
                return self.clock.now()
            case Discard():
                return await self._discard(builder)
            case Destroy():
                return await self._destroy(builder)

    # ── Up ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _bring_up(self, builder: ImageBuilder, step: Submit | PowerOn) -> None:
        try:
            if isinstance(step, Submit):
                await self.instances.launch(self._spec_of(builder))
            else:
                await self.instances.start(builder.instance_id, builder.agent_version)
        except InstanceMissing:
            await self._become(builder, Become(ImageBuilderEvent.INSTANCE_LOST, _because(LOST)))
        except (DriverError, NotSupported) as error:
            await self._note_failure(builder, error)
        else:
            # What the engine shows from now on is the instance of this start, and no look of before counts.
            await self._save(replace(builder, accepted_at=self.clock.now(), retry_at=None))
            await self.sightings.look()

    def _spec_of(self, builder: ImageBuilder) -> InstanceSpec:
        """Raises NotSupported for an instance type that this installation does not offer any more."""
        size = size_of(builder.instance_type)
        return InstanceSpec(
            instance_id=builder.instance_id,
            image_ref=builder.image_ref,
            cpu_count=size.cpu_count,
            memory_in_mib=size.memory_in_mib,
            disk_in_gib=builder.root_volume_in_gib or self.settings.disk_in_gib,
            has_internet_access=builder.enable_default_internet_access,
            subnet_ids=builder.vpc_config.subnet_ids if builder.vpc_config else (),
            security_group_ids=builder.vpc_config.security_group_ids if builder.vpc_config else (),
            role=InstanceRole.IMAGE_BUILDER,
            labels={
                "installation": self.settings.installation,
                "account": builder.scope.account_id,
                "region": builder.scope.region,
                "builder_id": builder.builder_id,
                "image_builder": builder.name,
                "image": builder.image_ref,
                "runtime_version": builder.agent_version,
            },
        )

    async def _note_failure(self, builder: ImageBuilder, error: DriverError | NotSupported) -> None:
        """Show what keeps it from starting; try again later, or give up where that is of no use."""
        now, problem = self.clock.now(), problem_of(error)
        is_patient = isinstance(error, DriverUnavailable) or builder.begun_at + LAUNCH_PATIENCE > now
        if is_final(error) or not is_patient:
            event = ImageBuilderEvent.INSTANCE_STOPPED if builder.has_run else ImageBuilderEvent.START_FAILED
            await self._become(builder, Become(event, problem))
            return
        failures = builder.launch_failures + 1
        shown = builder.with_error(FleetError(problem.cause, problem.message[:_MAX_TEXT], now))
        await self._save(replace(shown, launch_failures=failures, retry_at=now + self.settings.backoff(failures)))
        log.warning("image builder cannot start yet", extra={**_about(builder), "why": problem.message})

    # ── Down ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _power_off(self, builder: ImageBuilder) -> datetime:
        is_still = await self.instances.power_off(builder.instance_id)
        if is_still and builder.snapshot_image_id is not None:
            self.wake("image", builder.snapshot_image_id)
        return self.clock.now() if is_still else self.clock.now() + SOON

    async def _discard(self, builder: ImageBuilder) -> datetime | None:
        is_gone = await self.instances.terminate(builder.scope, builder.instance_id)
        return None if is_gone else self.clock.now() + SOON

    async def _destroy(self, builder: ImageBuilder) -> datetime | None:
        if not await self.instances.terminate(builder.scope, builder.instance_id):
            return self.clock.now() + SOON
        async with self.transactions.begin(write=True) as work:
            await work.image_builders.remove(builder)
            await work.tags.drop(builder.arn)
            await work.commit()
        log.info("image builder deleted", extra=_about(builder))
        self._wake_sessions(builder)
        self.sessions_of.pop(builder.instance_id, None)
        return None

    # ── The row ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _become(self, builder: ImageBuilder, step: Become) -> None:
        now, problem = self.clock.now(), step.problem
        reason = StateChangeReason(code_of(problem.cause), problem.message[:_MAX_TEXT]) if problem else None
        after = builder.after(step.event, now, reason)
        if problem is not None:
            after = after.with_error(FleetError(problem.cause, problem.message[:_MAX_TEXT], now))
        if after.state is ImageBuilderState.RUNNING:
            interface = self.sightings.interface_of(builder.instance_id)
            after = replace(
                after, has_run=True, errors=(), launch_failures=0, retry_at=None, network_interface=interface
            )
        elif after.state is ImageBuilderState.STOPPED:
            await self.instances.hang_up(builder.instance_id)
            after = replace(after, snapshot_image_id=None, is_prepared=False)
        await self._save(after)
        if builder.snapshot_image_id is not None:
            self.wake("image", builder.snapshot_image_id)  # it ends FAILED unless it was finished before
        log.info(
            "image builder state changed",
            extra={**_about(builder), "before": builder.state, "after": after.state, "why": reason and reason.message},
        )
        self._wake_sessions(builder)

    async def _save(self, builder: ImageBuilder) -> None:
        async with self.transactions.begin(write=True) as work:
            await work.image_builders.save(builder)
            await work.commit()

    def _wake_sessions(self, builder: ImageBuilder) -> None:
        for session_id in self.sessions_of.get(builder.instance_id, ()):
            self.wake("session", session_id)


async def _snapshot_of(work: UnitOfWork, builder: ImageBuilder) -> Image | None:
    """Return the image that is being made of the builder."""
    if builder.snapshot_image_id is None:
        return None
    visible = await work.images.visible(builder.scope)
    return next((image for image in visible if image.image_id == builder.snapshot_image_id), None)


def _because(text: str) -> Problem:
    return Problem(FleetErrorCause.BOOT_FAILED, text)


def _about(builder: ImageBuilder) -> dict[str, str]:
    return {"image_builder": builder.name, "instance_id": builder.instance_id}
