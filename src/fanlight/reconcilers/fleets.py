"""Keep every fleet at its desired capacity.

Never retires an instance that a user holds: a session may claim it while a plan is applied, therefore each step reads
again before it writes. Neighbours: `domain.fleet_plan` plans; `reconcilers.instances` carries out what the rows say.
"""

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from fanlight.domain.errors import ChangedMeanwhile
from fanlight.domain.fleet_plan import (
    BecomeRunning,
    BecomeStopped,
    EndSession,
    FleetStep,
    Launch,
    Report,
    Retire,
    Wait,
    plan_fleet,
)
from fanlight.domain.fleets import Fleet, FleetError, FleetEvent
from fanlight.domain.instances import Instance, InstanceEvent
from fanlight.domain.ports import Clock, Transactions, UnitOfWork, Wake
from fanlight.reconcilers.launch_failures import with_error, without_errors

log = logging.getLogger(__name__)


def new_instance_id() -> str:
    """Return an id as the service's instances have it."""
    return f"i-{secrets.token_hex(9)[:17]}"


@dataclass(frozen=True, slots=True)
class FleetReconciler:
    transactions: Transactions
    clock: Clock
    wake: Wake
    make_id: Callable[[], str] = new_instance_id

    async def reconcile(self, fleet_id: str) -> datetime | None:
        """Move the fleet; return when to look again. Raises ChangedMeanwhile, StoreUnavailable."""
        async with self.transactions.begin() as work:
            fleet = await work.fleets.find(fleet_id)
            if fleet is None:
                return None
            image = await work.images.find(fleet.scope, arn=fleet.image_arn)
            steps = plan_fleet(
                fleet,
                await work.instances.of_fleet(fleet_id),
                () if fleet.is_provisioned else await work.sessions.live(fleet_id),
                image_ref=image.store_ref if image else None,
                now=self.clock.now(),
            )
        until = None
        for step in steps:
            if isinstance(step, Wait):
                until = step.until
            else:
                await self._apply(fleet, step)
        return until

    async def _apply(self, fleet: Fleet, step: FleetStep) -> None:
        match step:
            case Launch(count, image_ref):
                await self._launch(fleet, count, image_ref)
            case Retire(instance_id, why):
                await self._retire(instance_id, why)
            case EndSession(session_id):
                await self._end_session(step)
                self.wake("session", session_id)
            case BecomeRunning() | BecomeStopped():
                await self._become(fleet, step)
            case Report():
                await self._report(fleet, step)

    async def _launch(self, planned: Fleet, count: int, image_ref: str) -> None:
        now = self.clock.now()
        async with self.transactions.begin(write=True) as work:
            fleet = await _unchanged(work, planned)
            wished = [
                await work.instances.add(
                    Instance(
                        instance_id=self.make_id(),
                        scope=fleet.scope,
                        fleet_id=fleet.fleet_id,
                        image_ref=image_ref,
                        launched_at=now,
                    )
                )
                for _ in range(count)
            ]
            await work.commit()
        log.info("launching instances", extra={"fleet": fleet.name, "count": count, "image": image_ref})
        for instance in wished:
            self.wake("instance", instance.instance_id)

    async def _retire(self, instance_id: str, why: str) -> None:
        async with self.transactions.begin(write=True) as work:
            instance = await work.instances.find(instance_id)
            if instance is None or instance.is_leaving or instance.is_in_use:
                return
            await work.instances.save(replace(instance.after(InstanceEvent.RETIRED), retire_reason=why))
            await work.commit()
        log.info("instance retired", extra={"instance_id": instance_id, "why": why})
        self.wake("instance", instance_id)

    async def _end_session(self, step: EndSession) -> None:
        async with self.transactions.begin(write=True) as work:
            session = await work.sessions.find(step.session_id)
            if session is None or not session.is_live or session.end_requested is not None:
                return
            await work.sessions.save(replace(session, end_requested=step.reason))
            await work.commit()

    async def _become(self, planned: Fleet, step: BecomeRunning | BecomeStopped) -> None:
        is_running = isinstance(step, BecomeRunning)
        event = FleetEvent.CAPACITY_REACHED if is_running else FleetEvent.LAST_INSTANCE_GONE
        async with self.transactions.begin(write=True) as work:
            before = await work.fleets.find(planned.fleet_id)
            if before is None or before.version != planned.version:
                raise ChangedMeanwhile("fleet", planned.name)
            # A step of the same plan may have written an error just before; whoever got this far has none to tell.
            after = await work.fleets.save(without_errors(before.after(event)))
            await work.commit()
        log.info("fleet state changed", extra={"fleet": after.name, "before": before.state, "after": after.state})

    async def _report(self, planned: Fleet, step: Report) -> None:
        if any(e.code is step.code and e.message == step.message for e in planned.errors):
            return
        async with self.transactions.begin(write=True) as work:
            fleet = await _unchanged(work, planned)
            error = FleetError(step.code, step.message, self.clock.now())
            await work.fleets.save(with_error(fleet, error))
            await work.commit()
        log.warning("fleet cannot run", extra={"fleet": planned.name, "code": step.code, "why": step.message})


async def _unchanged(work: UnitOfWork, planned: Fleet) -> Fleet:
    """Return the fleet as planned for. Raises ChangedMeanwhile: then the plan is void."""
    fleet = await work.fleets.find(planned.fleet_id)
    if fleet is None or fleet.version != planned.version:
        raise ChangedMeanwhile("fleet", planned.name)
    return fleet
