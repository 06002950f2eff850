"""Make image builders what their rows say, and rows what their instances are.

The row comes first, with the id of the instance that will be its own, and it goes when the engine shows that instance no
more: a crash at any point leaves a row to go on from. Neighbour: `domain.builder_plan` plans.
"""

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from fanlight.agentwire.messages import EndSession, PrepareSnapshot
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
    AgentUnreachable,
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
from fanlight.domain.instance_plan import Sight
from fanlight.domain.instance_types import size_of
from fanlight.domain.own_instances import Destroy, Discard, EndStray, Listen, LookAgain, PowerOff, PowerOn, Submit
from fanlight.domain.ports import (
    AgentChannel,
    Clock,
    InstanceDriver,
    InstanceRole,
    InstanceSpec,
    Power,
    Transactions,
    UnitOfWork,
    Wake,
)
from fanlight.reconcilers.settings import ReconcilerSettings
from fanlight.reconcilers.sightings import Sightings

log = logging.getLogger(__name__)

_SOON = timedelta(milliseconds=250)
_MAX_TEXT = 500
_AT_A_TIME = 4  # starts and stops of instances; each keeps the engine busy for a moment


@dataclass(slots=True, kw_only=True)
class ImageBuilderReconciler:
    """`listening_since` is shared with those who ask whether an agent's silence means something."""

    transactions: Transactions
    driver: InstanceDriver
    agents: AgentChannel
    sightings: Sightings
    clock: Clock
    settings: ReconcilerSettings
    wake: Wake
    sessions_of: dict[str, set[str]]
    listening_since: dict[str, datetime]
    _power: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_A_TIME))

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
            sight=self._sight(builder),
            live_sessions=live,
            image_state=image.state if image else None,
        )
        moments = [await self._apply(builder, step) for step in plan_builder(facts, self.clock.now())]
        return min((moment for moment in moments if moment is not None), default=None)

    def _sight(self, builder: ImageBuilder) -> Sight:
        return Sight(
            looked_at=self.sightings.looked_at(builder.scope.region),
            observed=self.sightings.of(builder.instance_id),
            agent=self.agents.status(builder.instance_id),
            listening_since=self.listening_since.get(builder.instance_id),
        )

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
                until = await self._listen(builder, first_uid)
            case Become():
                await self._become(builder, step)
            case EndStray(session_id):
                until = await self._end_session(builder, session_id)
            case CleanUp() | PowerOff() | NotePrepared() | Discard() | Destroy():
                until = await self._bring_down(builder, step)
        return until

    async def _bring_down(
        self, builder: ImageBuilder, step: CleanUp | PowerOff | NotePrepared | Discard | Destroy
    ) -> datetime | None:
        match step:
            case CleanUp():
                with suppress(AgentUnreachable):
                    await self.agents.send(builder.instance_id, {"type": PrepareSnapshot.TYPE})
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
        await self._hang_up(builder)
        try:
            async with self._power:
                if isinstance(step, Submit):
                    await self.driver.launch(self._spec_of(builder))
                else:
                    await self.driver.start(builder.instance_id, builder.agent_version)
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

    async def _listen(self, builder: ImageBuilder, first_uid: int) -> datetime:
        try:
            await self.agents.open(builder.instance_id, first_uid, is_builder=True)
        except AgentUnreachable:
            return self.clock.now() + _SOON
        self.listening_since[builder.instance_id] = self.clock.now()
        return self.clock.now()

    # ── Down ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _power_off(self, builder: ImageBuilder) -> datetime:
        await self._hang_up(builder)
        if not self._is_foreign(builder):
            async with self._power:
                await self.driver.stop(builder.instance_id)
        await self.sightings.look()
        observed = self.sightings.of(builder.instance_id)
        is_still = observed is None or observed.power in (Power.STOPPED, Power.FAILED)
        if is_still and builder.snapshot_image_id is not None:
            self.wake("image", builder.snapshot_image_id)
        return self.clock.now() if is_still else self.clock.now() + _SOON

    async def _discard(self, builder: ImageBuilder) -> datetime | None:
        await self._terminate(builder)
        return self.clock.now() + _SOON if self.sightings.of(builder.instance_id) is not None else None

    async def _terminate(self, builder: ImageBuilder) -> None:
        await self._hang_up(builder)
        if self.sightings.looked_at(builder.scope.region) is None:
            await self.sightings.look()
        if not self._is_foreign(builder):
            await self.driver.terminate(builder.instance_id)
        await self.sightings.look()

    async def _destroy(self, builder: ImageBuilder) -> datetime | None:
        await self._terminate(builder)
        if self.sightings.of(builder.instance_id) is not None:
            return self.clock.now() + _SOON
        async with self.transactions.begin(write=True) as work:
            await work.image_builders.remove(builder)
            await work.tags.drop(builder.arn)
            await work.commit()
        log.info("image builder deleted", extra=_about(builder))
        self._wake_sessions(builder)
        self.sessions_of.pop(builder.instance_id, None)
        return None

    async def _hang_up(self, builder: ImageBuilder) -> None:
        self.listening_since.pop(builder.instance_id, None)
        await self.agents.close(builder.instance_id)

    def _is_foreign(self, builder: ImageBuilder) -> bool:
        return builder.instance_id in self.sightings.foreign_ids

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
            await self._hang_up(builder)
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

    async def _end_session(self, builder: ImageBuilder, session_id: str) -> datetime:
        async with self.transactions.begin() as work:
            session = await work.sessions.find(session_id)
        if session is not None and session.is_live:
            # It began since this plan was made, or its own reconciler has still to write its end.
            self.wake("session", session_id)
        else:
            try:
                await self.agents.send(builder.instance_id, {"type": EndSession.TYPE, "session_id": session_id})
            except AgentUnreachable:
                log.debug("agent away at the end of a session", extra=_about(builder))
        return self.clock.now() + timedelta(seconds=1)

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
