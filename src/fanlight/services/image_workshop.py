"""Instances that are launched to work on an image: to look at its packages, to upgrade them, to try its applications.

Nobody ever sits there, and no fleet knows them. Whoever wants one keeps its id where a crash cannot lose it (the task of
an image), or here for as long as a request waits; what nobody keeps is an orphan, and is removed like any other.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta

from fanlight.agentwire.messages import BeginSession, Maintain
from fanlight.domain.errors import AgentUnreachable, DomainError
from fanlight.domain.images import LATEST
from fanlight.domain.instance_types import size_of
from fanlight.domain.partial_sights import observe_in
from fanlight.domain.places import Scope
from fanlight.domain.ports import (
    AgentChannel,
    AgentPhase,
    AgentStatus,
    Clock,
    InstanceDriver,
    InstanceRole,
    InstanceSpec,
    Power,
    SessionPhase,
    WorkPhase,
    WorkReport,
)

# Of the family that every image supports, with room for a browser that is being tried.
INSTANCE_TYPE = "stream.standard.medium"
BOOT_GRACE = timedelta(minutes=5)
# An agent that works reports every few seconds; it reconnects by itself when this process was restarted.
SILENCE_GRACE = timedelta(minutes=2)


class WorkLost(DomainError):
    """The instance ended, failed or fell silent before its work was done. Nothing of it can be used."""


@dataclass(slots=True, kw_only=True)
class ImageWorkshop:
    """`subnet_id` is where instances are launched; empty: on the default network. `disk_in_gib` is their limit."""

    driver: InstanceDriver
    agents: AgentChannel
    clock: Clock
    installation: str
    subnet_id: str = ""
    disk_in_gib: int = 10
    _kept: set[str] = field(default_factory=set, init=False)
    _asked_at: dict[str, datetime] = field(default_factory=dict, init=False)

    def keeps(self, instance_id: str) -> bool:
        """Return whether a request waits for the work of this instance."""
        return instance_id in self._kept

    @contextlib.contextmanager
    def keeping(self, instance_id: str) -> Iterator[None]:
        self._kept.add(instance_id)
        try:
            yield
        finally:
            self._kept.discard(instance_id)

    def spec(
        self,
        instance_id: str,
        image_ref: str,
        scope: Scope,
        role: InstanceRole,
        *,
        instance_type: str = INSTANCE_TYPE,
        runtime_version: str = LATEST,
    ) -> InstanceSpec:
        """Return what is launched: with a way out to package repositories for maintenance, with none for a trial."""
        chosen = {} if runtime_version == LATEST else {"runtime_version": runtime_version}
        size, has_way_out = size_of(instance_type), role is InstanceRole.MAINTENANCE
        return InstanceSpec(
            instance_id=instance_id,
            image_ref=image_ref,
            cpu_count=size.cpu_count,
            memory_in_mib=size.memory_in_mib,
            disk_in_gib=self.disk_in_gib,
            has_internet_access=has_way_out,
            subnet_ids=(self.subnet_id,) if has_way_out and self.subnet_id else (),
            role=role,
            labels={
                "installation": self.installation,
                "account": scope.account_id,
                "region": scope.region,
                "image": image_ref,
                "work": role.value,
                **chosen,
            },
        )

    async def ask(self, spec: InstanceSpec, message: Maintain, begin: BeginSession | None = None) -> WorkReport | None:
        """Let the instance do the work, launching it first if need be; return what it says of it, None: nothing yet.

        Does not wait: call it again until the work is done. `begin` is the session that the work needs.
        Raises WorkLost, and what a launch raises (CapacityExhausted, ImageMissing, LaunchRefused, DriverUnavailable, …).
        """
        now = self.clock.now()
        asked_at = self._asked_at.setdefault(spec.instance_id, now)
        status = self.agents.status(spec.instance_id)
        if status is None or not status.is_connected:
            await self._reach(spec, status, asked_at)
            return None
        self._check(status, begin)
        if status.work is not None and status.work.work_id == message.work_id:
            return status.work
        if begin is not None and not _is_in(status, begin.session_id):
            await self._send(spec.instance_id, BeginSession.TYPE, asdict(begin))
        elif status.phase is AgentPhase.READY:
            await self._send(spec.instance_id, Maintain.TYPE, asdict(message))
        elif now - asked_at > BOOT_GRACE:
            raise WorkLost("The instance did not boot in time.")
        return None

    async def dismiss(self, instance_id: str) -> None:
        """Destroy the instance; unknown is success. Raises DriverUnavailable."""
        self._asked_at.pop(instance_id, None)
        await self.agents.close(instance_id)
        await self.driver.terminate(instance_id)

    async def halt(self, instance_id: str) -> None:
        """Stop the instance and keep its disk. Raises DriverUnavailable."""
        self._asked_at.pop(instance_id, None)
        await self.agents.close(instance_id)
        await self.driver.stop(instance_id)

    async def _reach(self, spec: InstanceSpec, status: AgentStatus | None, asked_at: datetime) -> None:
        """Do what is missing for its agent to be heard."""
        shown = await observe_in(self.driver, spec.labels.get("region", ""))
        seen = next((one for one in shown if one.instance_id == spec.instance_id), None)
        if seen is None:
            if status is not None:
                raise WorkLost("The instance is gone.")
            await self.driver.launch(spec)
        elif seen.power in (Power.STOPPED, Power.FAILED):
            raise WorkLost(f"The instance ended before its work was done. {seen.detail}".strip())
        elif seen.first_uid is not None:
            with contextlib.suppress(AgentUnreachable):  # its directories are not there yet
                await self.agents.open(spec.instance_id, seen.first_uid)
        silent_since = status.reported_at if status else asked_at
        if self.clock.now() - silent_since > (SILENCE_GRACE if status else BOOT_GRACE):
            raise WorkLost("The instance did not answer in time.")

    def _check(self, status: AgentStatus, begin: BeginSession | None) -> None:
        if status.phase is AgentPhase.FAILED:
            raise WorkLost(f"The instance did not come up: {status.detail}")
        report = status.session(begin.session_id) if begin else None
        if report is not None and report.phase in (SessionPhase.FAILED, SessionPhase.ENDED):
            raise WorkLost(f"The desktop did not come up: {report.detail}")

    async def _send(self, instance_id: str, kind: str, members: Mapping[str, object]) -> None:
        with contextlib.suppress(AgentUnreachable):  # it reconnects, and is asked again
            await self.agents.send(instance_id, {"type": kind, **members})


def _is_in(status: AgentStatus, session_id: str) -> bool:
    report = status.session(session_id)
    return report is not None and report.phase is SessionPhase.IN_SESSION


async def until_done(workshop: ImageWorkshop, spec: InstanceSpec, message: Maintain, *, poll: float) -> WorkReport:
    """Return the report of finished work, successful or not. Raises what `ask` raises."""
    while True:
        report = await workshop.ask(spec, message)
        if report is not None and report.phase is not WorkPhase.RUNNING:
            return report
        await asyncio.sleep(poll)
