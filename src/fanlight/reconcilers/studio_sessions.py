"""Make the streaming sessions of studios what their rows say, and rows what their machines are.

The row comes first, with the id of the machine that will be its own; it stays, DELETED, after the engine shows that machine
no more. A backup has its row before its snapshot, and loses the snapshot before it is DELETED: a crash at any point leaves a
row to go on from. Neighbour: `domain.nimble.session_plan` plans.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from fanlight.agentwire.messages import RunScript as RunScriptMessage
from fanlight.domain.clock_corrections import TOLERANCE
from fanlight.domain.errors import (
    CapacityExhausted,
    DriverError,
    DriverUnavailable,
    ImageMissing,
    InstanceMissing,
    LaunchRefused,
    NetworkUnusable,
    NotSupported,
)
from fanlight.domain.file_systems import SharedDirectory, plan_mounts, withdrawn
from fanlight.domain.instance_snapshots import InstanceSnapshots
from fanlight.domain.instances import new_instance_id
from fanlight.domain.nimble.instance_types import size_of
from fanlight.domain.nimble.resources import Status
from fanlight.domain.nimble.session_backups import BackupEvent, SessionBackup, moved_backup, new_backup_of
from fanlight.domain.nimble.session_changes import (
    DELETED,
    asked_to_delete,
    asked_to_stop,
    become_ready,
    become_stopped,
    up_again,
)
from fanlight.domain.nimble.session_plan import (
    LOST,
    BecomeReady,
    BecomeStopped,
    CorrectTimes,
    DeleteBySelf,
    DropBackup,
    FailToStart,
    ForgetVolume,
    Lose,
    MoveBackup,
    Restore,
    RunScript,
    StopBySelf,
    StudioSessionFacts,
    StudioSessionStep,
    TakeBackup,
    plan_studio_session,
)
from fanlight.domain.nimble.sessions import (
    StudioSession,
    StudioSessionCode,
    StudioSessionEvent,
    StudioSessionState,
    VolumeRetention,
)
from fanlight.domain.nimble.streams import StreamEvent, StreamState
from fanlight.domain.own_instances import (
    Destroy,
    Discard,
    EndStray,
    Listen,
    LookAgain,
    PowerOff,
    PowerOn,
    Submit,
)
from fanlight.domain.ports import Clock, InstanceRole, InstanceSpec, Transactions, UnitOfWork, Wake
from fanlight.domain.streaming_sessions import SessionState
from fanlight.reconcilers.engine_instances import SOON
from fanlight.reconcilers.own_instances import OwnInstances
from fanlight.reconcilers.settings import ReconcilerSettings
from fanlight.reconcilers.sightings import Sightings

log = logging.getLogger(__name__)

# A launch that fails for want of room is tried again for so long; then its user has to know.
LAUNCH_PATIENCE = timedelta(minutes=5)
_MAX_TEXT = 500


@dataclass(slots=True, kw_only=True)
class StudioSessionReconciler:
    transactions: Transactions
    instances: OwnInstances
    snapshots: InstanceSnapshots
    sightings: Sightings
    clock: Clock
    settings: ReconcilerSettings
    file_systems: Sequence[SharedDirectory] = ()
    wake: Wake
    sessions_of: dict[str, set[str]]

    async def reconcile(self, session_id: str) -> datetime | None:
        """Move one session; return when to look again. Raises DriverUnavailable, ChangedMeanwhile, StoreUnavailable."""
        async with self.transactions.begin() as work:
            session = await work.studio_sessions.find(session_id)
            if session is None:
                return None
            live = await work.sessions.live(session_id)
            backups = await work.session_backups.of_session(session_id)
        self.sessions_of[session.instance_id] = {one.session_id for one in live}
        until_stream = await self._move_streams(session)
        facts = StudioSessionFacts(
            session=session,
            sight=self.instances.sight(session.scope, session.instance_id),
            live_sessions={one.session_id: one.state is SessionState.ACTIVE for one in live},
            backups=backups,
        )
        moments = [until_stream]
        for step in plan_studio_session(facts, self.clock.now()):
            moments.append(await self._apply(session, backups, step))
            if not isinstance(step, EndStray | RunScript | LookAgain):
                break  # it changed what the rest of the plan was made from
        return min((moment for moment in moments if moment is not None), default=None)

    async def _apply(
        self, session: StudioSession, backups: Sequence[SessionBackup], step: StudioSessionStep
    ) -> datetime | None:
        until: datetime | None = self.clock.now()  # most steps change what the next plan sees
        match step:
            case LookAgain(moment, is_engine_asked):
                if is_engine_asked:
                    await self.sightings.look()
                until = moment
            case CorrectTimes(corrected):
                await self._save(corrected)
                log.warning("the clock went back past the times of a streaming session", extra=_about(session))
            case Submit() | PowerOn():
                await self._bring_up(session, step)
            case Listen(first_uid):
                until = await self.instances.listen(session.instance_id, first_uid)
            case EndStray(stray):
                until = await self.instances.end_session(session.instance_id, stray)
            case RunScript():
                until = await self._run_script(session, step)
            case PowerOff() | Discard() | Destroy():
                until = await self._bring_down(session, backups, step)
            case Restore() | TakeBackup() | MoveBackup() | DropBackup() | ForgetVolume():
                await self._keep_backups(session, backups, step)
            case _:
                await self._become(session, step)
        return until

    # ── Up ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _bring_up(self, session: StudioSession, step: Submit | PowerOn) -> None:
        settings = session.settings
        wished = (settings.file_systems, self.file_systems, session.scope.account_id)
        try:
            if isinstance(step, Submit):
                mounts, left_out = plan_mounts(*wished)
                await self.instances.launch(replace(self._spec_of(session), file_systems=mounts))
                settings = replace(settings, left_out=left_out, withdrawn=())
            else:
                await self.instances.start(session.instance_id, session.agent_version)
                settings = replace(settings, withdrawn=withdrawn(*wished, settings.left_out))
        except InstanceMissing:
            await self._become(session, self._lost(session))
        except (DriverError, NotSupported) as error:
            await self._note_failure(session, error)
        else:
            # What the engine shows from now on is the machine of this start, and no look of before counts.
            accepted = replace(session, accepted_at=self.clock.now(), retry_at=None, settings=settings)
            await self._save(up_again(accepted))
            await self.sightings.look()

    @staticmethod
    def _lost(session: StudioSession) -> StudioSessionStep:
        return FailToStart(StudioSessionCode.INTERNAL_ERROR, LOST) if session.is_starting else Lose()

    def _spec_of(self, session: StudioSession) -> InstanceSpec:
        """Raises NotSupported for an instance type that is not known any more."""
        size, volume = size_of(session.ec2_instance_type), session.settings.volume
        return InstanceSpec(
            instance_id=session.instance_id,
            image_ref=session.image_ref,
            cpu_count=size.cpu_count,
            memory_in_mib=size.memory_in_mib,
            disk_in_gib=(volume.size_in_gib if volume else None) or self.settings.disk_in_gib,
            has_internet_access=False,
            subnet_ids=session.subnet_ids,
            security_group_ids=session.security_group_ids,
            role=InstanceRole.WORKSTATION,
            labels={
                "installation": self.settings.installation,
                "account": session.scope.account_id,
                "region": session.scope.region,
                "studio_session": session.session_id,
                "image": session.image_ref,
                "runtime_version": session.agent_version,
            },
        )

    async def _note_failure(self, session: StudioSession, error: DriverError | NotSupported) -> None:
        """Try again later, or give up where that is of no use. A READY session whose machine stood still is never given up."""
        now = self.clock.now()
        is_patient = isinstance(error, DriverUnavailable) or session.begun_at + LAUNCH_PATIENCE > now
        is_final = isinstance(error, ImageMissing | LaunchRefused | NetworkUnusable | NotSupported)
        if session.is_starting and (is_final or not is_patient):
            await self._become(session, FailToStart(_code_of(error), str(error)))
            return
        failures = session.launch_failures + 1
        retry_at = now + self.settings.backoff(failures)
        status = replace(session.status, message=f"It cannot start yet: {error}"[:_MAX_TEXT])
        await self._save(replace(session, status=status, launch_failures=failures, retry_at=retry_at))
        log.warning("streaming session cannot start yet", extra={**_about(session), "why": str(error)})

    async def _run_script(self, session: StudioSession, step: RunScript) -> datetime:
        message = RunScriptMessage(
            work_id=step.work_id,
            script=step.script.text,
            session_id=step.session_id,
            variables=dict(step.script.parameters),
        )
        await self.instances.tell(
            session.instance_id,
            {
                "type": message.TYPE,
                "work_id": message.work_id,
                "script": message.script,
                "session_id": message.session_id,
                "variables": message.variables,
            },
        )
        return self.clock.now() + timedelta(seconds=1)

    # ── Backups ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _keep_backups(
        self,
        session: StudioSession,
        backups: Sequence[SessionBackup],
        step: Restore | TakeBackup | MoveBackup | DropBackup | ForgetVolume,
    ) -> None:
        match step:
            case Restore(backup):
                await self._restore(session, backup)
            case TakeBackup(backup):
                await self._take(session, backup)
            case MoveBackup(backup, event, why):
                await self._save_backup(moved_backup(backup, event, self.clock.now(), why))
            case DropBackup(backup):
                await self.snapshots.delete(backup.instance_id, backup.snapshot)
                async with self.transactions.begin(write=True) as work:
                    await work.session_backups.save(moved_backup(backup, BackupEvent.DELETED, self.clock.now()))
                    await work.tags.drop(backup.arn)
                    await work.commit()
            case ForgetVolume():
                await self._forget_volume(session, backups)

    async def _restore(self, session: StudioSession, backup: SessionBackup) -> None:
        try:
            await self.snapshots.restore(backup.instance_id, backup.snapshot)
        except (DriverUnavailable, CapacityExhausted) as error:
            await self._note_failure(session, error)
        except DriverError as error:
            await self._become(session, FailToStart(StudioSessionCode.INTERNAL_ERROR, str(error)))
        else:
            await self._save(replace(session, restoring_backup_id=None, retry_at=None))
            log.info("backup restored", extra={**_about(session), "backup_id": backup.backup_id})

    async def _take(self, session: StudioSession, backup: SessionBackup) -> None:
        """Make the snapshot. Where that fails the disk stays, also if it was to go: nobody has another copy of it.

        Raises DriverUnavailable.
        """
        try:
            await self.snapshots.create(backup.instance_id, backup.snapshot)
        except DriverUnavailable:
            raise
        except DriverError as error:
            failed = moved_backup(backup, BackupEvent.FAILED, self.clock.now(), str(error)[:_MAX_TEXT])
            async with self.transactions.begin(write=True) as work:
                await work.session_backups.save(failed)
                await work.studio_sessions.save(replace(session, volume_retention=VolumeRetention.RETAIN))
                await work.commit()
            log.warning("backup failed", extra={"backup_id": backup.backup_id, "why": str(error)})
        else:
            await self._save_backup(moved_backup(backup, BackupEvent.TAKEN, self.clock.now()))
            log.info("backup made", extra={"backup_id": backup.backup_id, "instance_id": backup.instance_id})

    async def _forget_volume(self, session: StudioSession, backups: Sequence[SessionBackup]) -> None:
        """Take the disk away; a machine that has backups stays as the place where they are."""
        if not any(backup.instance_id == session.instance_id for backup in backups):
            if not await self.instances.terminate(session.scope, session.instance_id):
                return
        else:
            await self.instances.hang_up(session.instance_id)
        await self._save(replace(session, instance_id=new_instance_id(), has_run=False, accepted_at=None))

    # ── Down ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _bring_down(
        self, session: StudioSession, backups: Sequence[SessionBackup], step: PowerOff | Discard | Destroy
    ) -> datetime | None:
        match step:
            case PowerOff():
                is_still = await self.instances.power_off(session.instance_id)
                return self.clock.now() + (timedelta(0) if is_still else SOON)
            case Discard():
                is_gone = await self.instances.terminate(session.scope, session.instance_id)
                return None if is_gone else self.clock.now() + SOON
            case Destroy():
                return await self._destroy(session, backups)

    async def _destroy(self, session: StudioSession, backups: Sequence[SessionBackup]) -> datetime | None:
        machines = {session.instance_id, *(backup.instance_id for backup in backups)}
        if not all([await self.instances.terminate(session.scope, machine) for machine in sorted(machines)]):
            return self.clock.now() + SOON
        now = self.clock.now()
        async with self.transactions.begin(write=True) as work:
            for backup in await work.session_backups.of_session(session.session_id):
                leaving = backup
                if backup.state is not StudioSessionState.DELETE_IN_PROGRESS:
                    leaving = await work.session_backups.save(moved_backup(backup, BackupEvent.DELETE_REQUESTED, now))
                await work.session_backups.save(moved_backup(leaving, BackupEvent.DELETED, now))
                await work.tags.drop(backup.arn)
            await work.studio_sessions.save(session.after(StudioSessionEvent.DELETED, DELETED, now))
            await work.tags.drop(session.arn)
            await work.commit()
        log.info("streaming session deleted", extra=_about(session))
        self._wake_sessions(session)
        self.sessions_of.pop(session.instance_id, None)
        return None

    # ── The row ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _become(self, session: StudioSession, step: StudioSessionStep) -> None:
        now = self.clock.now()
        match step:
            case BecomeReady():
                after = become_ready(session, now)
            case BecomeStopped():
                after = become_stopped(session, now)
            case FailToStart(code, why):
                status = Status(code=code, message=why[:_MAX_TEXT])
                after = session.after(StudioSessionEvent.START_FAILED, status, now)
            case StopBySelf():
                after = asked_to_stop(session, now, None, VolumeRetention.RETAIN)
            case DeleteBySelf():
                after = asked_to_delete(session, now, None)
            case Lose():
                status = Status(code=StudioSessionCode.INTERNAL_ERROR, message=LOST)
                after = session.after(StudioSessionEvent.INSTANCE_LOST, status, now)
            case _:
                raise AssertionError(step)
        if after.state not in (StudioSessionState.READY, StudioSessionState.STOP_IN_PROGRESS):
            await self.instances.hang_up(session.instance_id)
        async with self.transactions.begin(write=True) as work:
            saved = await work.studio_sessions.save(after)
            await _add_due_backup(work, saved, now)
            await work.commit()
        log.info(
            "streaming session state changed",
            extra={**_about(session), "before": session.state, "after": after.state, "why": after.status.message},
        )
        self._wake_sessions(session)

    async def _move_streams(self, session: StudioSession) -> datetime | None:
        """Open the streams of a READY session, end those whose time is over; return when the next one is."""
        now, is_ready = self.clock.now(), session.state is StudioSessionState.READY
        async with self.transactions.begin() as work:
            streams = await work.session_streams.open_of(session.session_id)
        moved = []
        for stream in streams:
            if not is_ready:
                moved.append(stream.after(StreamEvent.SESSION_NOT_READY, now))
            elif stream.state is StreamState.CREATE_IN_PROGRESS:
                moved.append(stream.after(StreamEvent.OPENED, now))
            elif stream.expires_at <= now or stream.created_at > now + TOLERANCE:
                moved.append(stream.after(StreamEvent.EXPIRED, now))
        if moved:
            async with self.transactions.begin(write=True) as work:
                for stream in moved:
                    await work.session_streams.save(stream)
                await work.commit()
        open_ones = [stream.expires_at for stream in streams if is_ready and stream.expires_at > now]
        return min(open_ones, default=None)

    async def _save(self, session: StudioSession) -> None:
        async with self.transactions.begin(write=True) as work:
            await work.studio_sessions.save(session)
            await work.commit()

    async def _save_backup(self, backup: SessionBackup) -> None:
        async with self.transactions.begin(write=True) as work:
            await work.session_backups.save(backup)
            await work.commit()

    def _wake_sessions(self, session: StudioSession) -> None:
        for session_id in self.sessions_of.get(session.instance_id, ()):
            self.wake("session", session_id)


async def _add_due_backup(work: UnitOfWork, session: StudioSession, now: datetime) -> None:
    """Add the backup that the stop of a session makes, in the unit of work that begins the stop."""
    if session.state is StudioSessionState.STOP_IN_PROGRESS and session.settings.backs_up_at_stop:
        others = await work.session_backups.of_session(session.session_id)
        await work.session_backups.add(new_backup_of(session, now, others))


def _code_of(error: Exception) -> StudioSessionCode:
    if isinstance(error, CapacityExhausted):
        return StudioSessionCode.INSUFFICIENT_CAPACITY
    if isinstance(error, NetworkUnusable):
        return StudioSessionCode.NETWORK_INTERFACE_ERROR
    if isinstance(error, ImageMissing):
        return StudioSessionCode.AMI_VALIDATION_ERROR
    return StudioSessionCode.INTERNAL_ERROR


def _about(session: StudioSession) -> dict[str, str]:
    return {"studio_session": session.session_id, "instance_id": session.instance_id}
