"""What a fleet needs next. Pure: the same facts give the same steps, whoever asks and whenever."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from fanlight.domain.fleets import Fleet, FleetErrorCode, FleetState, FleetType
from fanlight.domain.instances import Instance, InstanceState
from fanlight.domain.streaming_sessions import EndReason, StreamingSession


@dataclass(frozen=True, slots=True)
class Launch:
    """Wish for so many more instances of the image `image_ref`."""

    count: int
    image_ref: str


@dataclass(frozen=True, slots=True)
class Retire:
    """Destroy an instance that nobody uses. Whoever applies this looks again: it may have been claimed meanwhile."""

    instance_id: str
    why: str


@dataclass(frozen=True, slots=True)
class EndSession:
    session_id: str
    reason: EndReason


@dataclass(frozen=True, slots=True)
class BecomeRunning:
    pass


@dataclass(frozen=True, slots=True)
class BecomeStopped:
    pass


@dataclass(frozen=True, slots=True)
class Report:
    """Tell the administrator what keeps the fleet from its capacity."""

    code: FleetErrorCode
    message: str


@dataclass(frozen=True, slots=True)
class Wait:
    until: datetime
    why: str


FleetStep: TypeAlias = Launch | Retire | EndSession | BecomeRunning | BecomeStopped | Report | Wait


def plan_fleet(
    fleet: Fleet,
    instances: Sequence[Instance],
    sessions: Sequence[StreamingSession],
    *,
    image_ref: str | None,
    now: datetime,
) -> list[FleetStep]:
    """Return the steps towards the wished capacity.

    `instances` and `sessions` are the fleet's, sessions live ones only; `image_ref` is where the engine has the fleet's
    image, None when that image is gone.
    """
    if not fleet.is_provisioned:
        return _plan_teardown(fleet, instances, sessions)
    steps: list[FleetStep] = []
    if image_ref is None:
        text = f"The image {fleet.image_name} does not exist any more. Update the fleet to an image that does."
        steps.append(Report(FleetErrorCode.IMAGE_NOT_FOUND, text))
    steps += _surplus(fleet, instances, image_ref)
    if fleet.state is FleetState.STARTING and _has_capacity(fleet, instances, image_ref):
        steps.append(BecomeRunning())
    if fleet.fleet_type is FleetType.ALWAYS_ON and image_ref is not None:
        retired = {step.instance_id for step in steps if isinstance(step, Retire)}
        kept = sum(1 for i in instances if not i.is_leaving and i.instance_id not in retired)
        steps += _missing(fleet, fleet.desired_instances - kept, image_ref, now)
    return steps


def _plan_teardown(
    fleet: Fleet, instances: Sequence[Instance], sessions: Sequence[StreamingSession]
) -> list[FleetStep]:
    steps: list[FleetStep] = [
        EndSession(s.session_id, EndReason.FLEET_STOPPED) for s in sessions if s.end_requested is None
    ]
    steps += [
        Retire(i.instance_id, why="the fleet stops") for i in instances if not i.is_leaving and i.session_id is None
    ]
    if fleet.state is FleetState.STOPPING and not instances and not sessions:
        steps.append(BecomeStopped())
    return steps


def _surplus(fleet: Fleet, instances: Sequence[Instance], image_ref: str | None) -> list[FleetStep]:
    """Return what to give up: idle instances of another image, then those above the wished capacity.

    An instance that boots goes before one that is ready, an old one before a new one; one in use never goes.
    """
    idle = sorted(
        (i for i in instances if i.state in (InstanceState.LAUNCHING, InstanceState.READY)),
        key=lambda i: (i.state is InstanceState.READY, i.launched_at, i.instance_id),
    )
    outdated = [i for i in idle if image_ref is not None and i.image_ref != image_ref]
    steps: list[FleetStep] = [Retire(i.instance_id, why="made from another image") for i in outdated]
    current = [i for i in idle if i not in outdated]
    in_use = sum(1 for i in instances if i.is_in_use)
    # An instance on demand is born in use; an idle one is left over from a session that is gone.
    wanted = fleet.desired_instances - in_use if fleet.fleet_type is FleetType.ALWAYS_ON else 0
    above = max(len(current) - max(wanted, 0), 0)
    return steps + [Retire(i.instance_id, why="above the desired capacity") for i in current[:above]]


def _has_capacity(fleet: Fleet, instances: Sequence[Instance], image_ref: str | None) -> bool:
    if image_ref is None:
        return False
    if fleet.fleet_type is FleetType.ON_DEMAND:
        return True
    serving = sum(1 for i in instances if i.is_in_use or (i.state is InstanceState.READY and i.image_ref == image_ref))
    return serving >= fleet.desired_instances


def _missing(fleet: Fleet, count: int, image_ref: str, now: datetime) -> list[FleetStep]:
    if count <= 0:
        return []
    if fleet.retry_at is not None and fleet.retry_at > now:
        return [Wait(fleet.retry_at, why="the last launch failed")]
    return [Launch(count, image_ref)]
