"""Instances that belong to one thing all its life, and keep their disk over stop and start. Pure.

An image builder and a streaming session of a studio each have one. The row of the owner comes first, with the id of the
instance; what is common to their plans stands here: how it is brought up, listened to, settled and stopped.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeAlias

from fanlight.domain.clock_corrections import is_due
from fanlight.domain.instance_plan import BOOT_GRACE, Sight
from fanlight.domain.ports import AgentPhase, AgentStatus, Power, SessionPhase

# How long a session's programs, the image's scripts and the agent's cleaning may take before the instance is stopped.
SETTLE_LIMIT = timedelta(seconds=90)
SOON = timedelta(seconds=1)
_LISTEN_SOON = timedelta(milliseconds=250)


class OwnInstance(Protocol):
    """What owners remember of their instance.

    `accepted_at` is when the engine took the launch or the start that is under way (None: not yet); `begun_at` when the
    owner's present state began; `has_run` once it was up: from then on its disk is worth keeping.
    """

    @property
    def instance_id(self) -> str: ...
    @property
    def begun_at(self) -> datetime: ...
    @property
    def accepted_at(self) -> datetime | None: ...
    @property
    def retry_at(self) -> datetime | None: ...
    @property
    def has_run(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Submit:
    """Hand the launch to the engine: again, if a crash left open whether it was taken."""


@dataclass(frozen=True, slots=True)
class PowerOn:
    """Start the instance that is there, on its own disk."""


@dataclass(frozen=True, slots=True)
class PowerOff:
    """Stop the instance and keep its disk."""


@dataclass(frozen=True, slots=True)
class Listen:
    first_uid: int


@dataclass(frozen=True, slots=True)
class EndStray:
    """A session that is over, or that nobody knows, is still there."""

    session_id: str


@dataclass(frozen=True, slots=True)
class Discard:
    """Terminate the instance; its owner stays."""


@dataclass(frozen=True, slots=True)
class Destroy:
    """Terminate the instance and, once the engine does not show it any more, forget the owner."""


@dataclass(frozen=True, slots=True)
class LookAgain:
    until: datetime
    is_engine_asked: bool = False


BringUp: TypeAlias = Submit | PowerOn | LookAgain
Settling: TypeAlias = EndStray | LookAgain


def is_on(sight: Sight) -> bool:
    return sight.observed is not None and sight.observed.power in (Power.STARTING, Power.RUNNING)


def is_gone(owner: OwnInstance, sight: Sight) -> bool:
    """Return whether a look that began after the engine accepted the instance did not find it."""
    if sight.observed is not None or sight.looked_at is None:
        return False
    return owner.accepted_at is not None and sight.looked_at > owner.accepted_at


def bring_up(owner: OwnInstance, now: datetime) -> BringUp:
    """Return the step before the engine has accepted it: the launch or the start, or the wait for another try."""
    if owner.retry_at is not None and not is_due(owner.retry_at, now):
        return LookAgain(owner.retry_at)
    return PowerOn() if owner.has_run else Submit()


def stands_still(owner: OwnInstance, sight: Sight) -> bool:
    """Return whether the engine shows it so, by a look that began after it accepted the newest start."""
    is_fresh = sight.looked_at is not None and owner.accepted_at is not None and sight.looked_at > owner.accepted_at
    return is_fresh and sight.observed is not None and sight.observed.power in (Power.STOPPED, Power.FAILED)


def trouble(owner: OwnInstance, sight: Sight) -> str:
    """Return why a start that was accepted failed, as engine or agent say; "" while it may succeed."""
    observed, agent = sight.observed, sight.agent
    if observed is not None and stands_still(owner, sight):
        detail = f": {observed.detail}" if observed.detail else ""
        return f"The engine reports {observed.power}{detail}."
    if sight.listening_since is not None and agent is not None and agent.phase is AgentPhase.FAILED:
        return f"Its agent failed: {agent.detail}."
    return ""


def late(accepted_at: datetime, now: datetime) -> str:
    """Return why nobody waits any longer for the agent of a start; "" while it may come."""
    return f"No agent reported within {BOOT_GRACE.total_seconds():.0f} s." if accepted_at + BOOT_GRACE <= now else ""


def await_agent(accepted_at: datetime, sight: Sight, now: datetime) -> LookAgain:
    """Return when to look again for the agent of a start."""
    deadline = accepted_at + BOOT_GRACE
    if sight.listening_since is None:
        return LookAgain(min(deadline, now + _LISTEN_SOON), is_engine_asked=True)
    return LookAgain(deadline)


def listen(sight: Sight) -> list[Listen]:
    """Listen for the agent as soon as the engine shows whose it must be."""
    if sight.listening_since is None and sight.observed is not None and sight.observed.first_uid is not None:
        return [Listen(sight.observed.first_uid)]
    return []


def is_ready(agent: AgentStatus | None) -> bool:
    return agent is not None and agent.is_connected and agent.phase is AgentPhase.READY


def strays(sight: Sight, keeps: Collection[str]) -> list[EndStray]:
    """Return the ends of all sessions but those that are to go on."""
    agent = sight.agent
    if agent is None or not agent.is_connected:
        return []
    return [
        EndStray(report.session_id)
        for report in agent.sessions
        if report.session_id not in keeps and report.phase not in (SessionPhase.ENDED, SessionPhase.FAILED)
    ]


def settle(owner: OwnInstance, sight: Sight, now: datetime) -> list[Settling]:
    """Return what has to happen before the instance may be stopped; nothing once it may, or has taken too long."""
    deadline = owner.begun_at + SETTLE_LIMIT
    agent = sight.agent
    if deadline <= now or agent is None or not agent.is_connected:
        return []
    ends = strays(sight, ())
    return [*ends, LookAgain(min(deadline, now + SOON))] if ends else []
