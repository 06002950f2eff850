"""What a fleet needs next. Pure: the same facts give the same steps, whoever asks and whenever."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from fanlight.domain.clock_corrections import is_due
from fanlight.domain.fleet_errors import FleetErrorCause, Problem, is_standing
from fanlight.domain.fleets import Fleet, FleetState, FleetType
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
class Drain:
    """Let no more sessions come to an instance that has some; it goes with the last of them."""

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

    problem: Problem


@dataclass(frozen=True, slots=True)
class Settle:
    """These causes are there no more: their errors go."""

    causes: frozenset[FleetErrorCause]


@dataclass(frozen=True, slots=True)
class Wait:
    until: datetime
    why: str


_TOLD_BY_ENGINE_TOO = frozenset({FleetErrorCause.SUBNET_MISSING, FleetErrorCause.SECURITY_GROUP_MISSING})

FleetStep: TypeAlias = Launch | Retire | Drain | EndSession | BecomeRunning | BecomeStopped | Report | Settle | Wait


def plan_fleet(
    fleet: Fleet,
    instances: Sequence[Instance],
    sessions: Sequence[StreamingSession],
    *,
    image_ref: str | None,
    now: datetime,
    problems: Sequence[Problem] = (),
) -> list[FleetStep]:
    """Return the steps towards the wished capacity.

    `instances` and `sessions` are the fleet's, sessions live ones only; `image_ref` is where the engine has the fleet's
    image, None when that image cannot be used. `problems` are the standing ones: while there is any, nothing is
    launched, and errors of standing causes that are not among them go.
    """
    if not fleet.is_provisioned:
        return _plan_teardown(fleet, instances, sessions)
    can_launch = image_ref is not None and not problems
    steps: list[FleetStep] = [Report(problem) for problem in problems]
    steps += _surplus(fleet, instances, image_ref if can_launch else None)
    has_capacity = can_launch and _has_capacity(fleet, instances, image_ref)
    if fleet.state is FleetState.STARTING and has_capacity:
        return [*steps, BecomeRunning()]
    is_settled = has_capacity and not any(i.state is InstanceState.LAUNCHING for i in instances)
    steps += _settled(fleet, problems, now, is_settled=is_settled and fleet.fleet_type is FleetType.ALWAYS_ON)
    if fleet.fleet_type is FleetType.ALWAYS_ON and image_ref is not None and can_launch:
        retired = {step.instance_id for step in steps if isinstance(step, Retire)}
        kept = sum(1 for i in instances if not i.is_leaving and i.instance_id not in retired)
        steps += _missing(fleet, fleet.desired_instances - kept, image_ref, now)
    return steps


def _settled(fleet: Fleet, problems: Sequence[Problem], now: datetime, *, is_settled: bool) -> list[FleetStep]:
    """Return which errors are over: standing causes that are gone, and all others once nothing is left to launch."""
    present = {problem.cause for problem in problems}
    if fleet.retry_at is not None and fleet.retry_at > now:
        # The engine reads the networks file at its own start: it may miss what we do not, and was asked just now.
        present |= _TOLD_BY_ENGINE_TOO
    gone = {
        error.cause
        for error in fleet.errors
        if (error.cause not in present if is_standing(error.cause) else is_settled)
    }
    return [Settle(frozenset(gone))] if gone else []


def _plan_teardown(
    fleet: Fleet, instances: Sequence[Instance], sessions: Sequence[StreamingSession]
) -> list[FleetStep]:
    steps: list[FleetStep] = [
        EndSession(s.session_id, EndReason.FLEET_STOPPED) for s in sessions if s.end_requested is None
    ]
    steps += [Retire(i.instance_id, why="the fleet stops") for i in instances if not i.is_leaving and not i.session_ids]
    # Users' files are sent from instances that are the fleet's no more; nobody has to wait for that to stop it.
    is_gone = all(i.state is InstanceState.FLUSHING for i in instances)
    if fleet.state is FleetState.STOPPING and is_gone and not sessions:
        steps.append(BecomeStopped())
    return steps


def _surplus(fleet: Fleet, instances: Sequence[Instance], image_ref: str | None) -> list[FleetStep]:
    """Return what to give up: idle instances above the wished capacity, then outdated ones.

    An instance that boots goes before one that is ready, an outdated one before a current one, an old one before a new
    one; one in use never goes: if there are too many of those, the emptiest take no more sessions and go with their
    last. `image_ref` None: no other image could be launched, so that is no reason.
    """
    idle = sorted(
        (i for i in instances if i.state in (InstanceState.LAUNCHING, InstanceState.READY)),
        key=lambda i: (
            i.state is InstanceState.READY,
            image_ref is not None and not _outdated(fleet, i, image_ref),
            i.launched_at,
            i.instance_id,
        ),
    )
    in_use = sum(1 for i in instances if i.is_in_use)
    # An instance on demand is born in use; an idle one is left over from a session that is gone.
    wanted = max(fleet.desired_instances - in_use, 0) if fleet.fleet_type is FleetType.ALWAYS_ON else 0
    booting = [i for i in idle if _outdated(fleet, i, image_ref) and i.state is InstanceState.LAUNCHING]
    rest = [i for i in idle if i not in booting]
    above = max(len(rest) - wanted, 0)
    kept = rest[above:]
    return [
        *(Retire(i.instance_id, why=_outdated(fleet, i, image_ref)) for i in booting),
        *(Retire(i.instance_id, why="above the desired capacity") for i in rest[:above]),
        *(Retire(i.instance_id, _outdated(fleet, i, image_ref)) for i in _replaceable(fleet, kept, image_ref, wanted)),
        *_drains(instances, in_use - fleet.desired_instances),
    ]


def _outdated(fleet: Fleet, instance: Instance, image_ref: str | None) -> str:
    """Return in words why the fleet would not launch such an instance now; nothing if it would."""
    if image_ref is not None and instance.image_ref != image_ref:
        return "made from another image"
    if instance.places != fleet.places_per_instance:
        return "made for another number of sessions"
    return ""


def _replaceable(fleet: Fleet, idle: Sequence[Instance], image_ref: str | None, wanted: int) -> list[Instance]:
    """Return the ready instances that are outdated and may go now.

    While users may come, half of the free instances stay: an image that does not boot must not empty the fleet.
    """
    ready = [i for i in idle if i.state is InstanceState.READY]
    outdated = [i for i in ready if _outdated(fleet, i, image_ref)]
    least = wanted // 2 if fleet.state is FleetState.RUNNING else 0
    return outdated[: max(len(ready) - least, 0)]


def _drains(instances: Sequence[Instance], surplus: int) -> list[FleetStep]:
    """Return which instances take no more sessions, so that `surplus` of those in use will go."""
    going = sum(1 for i in instances if i.is_in_use and i.is_draining)
    staying = sorted(
        (i for i in instances if i.is_in_use and not i.is_draining and i.places > 1),
        key=lambda i: (len(i.session_ids), i.launched_at, i.instance_id),
    )
    return [Drain(i.instance_id, why="above the desired capacity") for i in staying[: max(surplus - going, 0)]]


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
    if fleet.retry_at is not None and not is_due(fleet.retry_at, now):
        return [Wait(fleet.retry_at, why="the last launch failed")]
    return [Launch(count, image_ref)]
