"""What one image builder needs next, from its row, what the engine shows and what its agent says. Pure.

Its instance is never thrown away while it may hold work: what goes wrong after it once ran leads to STOPPED with the
reason, and a start tries the same disk again.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TypeAlias

from fanlight.domain.clock_corrections import is_due
from fanlight.domain.fleet_errors import FleetErrorCause, Problem
from fanlight.domain.image_builders import ImageBuilder, ImageBuilderEvent, ImageBuilderState
from fanlight.domain.images import ImageState
from fanlight.domain.instance_plan import BOOT_GRACE, Sight
from fanlight.domain.ports import AgentPhase, AgentStatus, Power, SessionPhase

# The agent is process 1: it is away when the instance restarts, or for a moment when this process began anew.
AWAY_GRACE = timedelta(seconds=2)
# How long a restart from within may show a stopped instance.
HALT_GRACE = timedelta(seconds=5)
# How long a session's programs, the image's scripts and the agent's cleaning may take before the instance is stopped.
SETTLE_LIMIT = timedelta(seconds=90)
_SOON = timedelta(seconds=1)
_LATER = timedelta(seconds=10)

SHUT_DOWN = (
    "The instance stopped by itself: it was shut down from within, or its host restarted. Its disk is kept: start the "
    "image builder again."
)
LOST = "The engine does not have the instance any more, and its disk is gone. Delete the image builder."
NOT_PREPARED = "The instance was not cleaned up for an image in time, so none was made of it. Start it and try again."
NO_REBOOT = "The instance was restarted from within and did not come up again. It is stopped; start it again."


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
class Become:
    """`problem` is what led there, when it was not what the administrator asked for."""

    event: ImageBuilderEvent
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class EndStray:
    """A session that is over, or that nobody knows, is still there."""

    session_id: str


@dataclass(frozen=True, slots=True)
class CleanUp:
    """Let the agent leave nothing of the builder's own in what becomes an image."""


@dataclass(frozen=True, slots=True)
class NotePrepared:
    """Nothing of the builder's own is left: an image may be made of its disk once the instance stands still."""


@dataclass(frozen=True, slots=True)
class Discard:
    """Terminate the instance; the builder stays."""


@dataclass(frozen=True, slots=True)
class Destroy:
    """Terminate the instance and, once the engine does not show it any more, forget the builder."""


@dataclass(frozen=True, slots=True)
class LookAgain:
    until: datetime
    is_engine_asked: bool = False


BuilderStep: TypeAlias = (
    Submit | PowerOn | PowerOff | Listen | Become | EndStray | CleanUp | NotePrepared | Discard | Destroy | LookAgain
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuilderFacts:
    """`live_sessions` are those that are to go on. `image_state` is that of the image being made, None: there is none."""

    builder: ImageBuilder
    sight: Sight
    live_sessions: Collection[str] = ()
    image_state: ImageState | None = None


def plan_builder(facts: BuilderFacts, now: datetime) -> list[BuilderStep]:
    """Return the next steps of an image builder."""
    plan = _PLANS.get(facts.builder.state)
    return plan(facts, now) if plan else []


def _plan_deleting(facts: BuilderFacts, now: datetime) -> list[BuilderStep]:  # noqa: ARG001 - one form for all states
    return [Destroy()]


def _plan_failed(facts: BuilderFacts, now: datetime) -> list[BuilderStep]:  # noqa: ARG001
    return [Discard()] if facts.sight.observed is not None else []


def _plan_stopped(facts: BuilderFacts, now: datetime) -> list[BuilderStep]:  # noqa: ARG001
    return [PowerOff()] if _is_on(facts.sight) else []


def _plan_stopping(facts: BuilderFacts, now: datetime) -> list[BuilderStep]:
    return _plan_stop(facts, ImageBuilderEvent.INSTANCE_STOPPED, now)


def _is_on(sight: Sight) -> bool:
    return sight.observed is not None and sight.observed.power in (Power.STARTING, Power.RUNNING)


def _is_gone(facts: BuilderFacts) -> bool:
    """Return whether a look that began after the engine accepted the instance did not find it."""
    sight, accepted_at = facts.sight, facts.builder.accepted_at
    if sight.observed is not None or sight.looked_at is None:
        return False
    return accepted_at is not None and sight.looked_at > accepted_at


def _plan_stop(facts: BuilderFacts, event: ImageBuilderEvent, now: datetime) -> list[BuilderStep]:
    """Let sessions end in order, then stop the instance."""
    if not _is_on(facts.sight):
        if facts.sight.looked_at is None:
            return [LookAgain(now + _SOON, is_engine_asked=True)]
        reason = facts.builder.reason
        return [Become(event, Problem(FleetErrorCause.BOOT_FAILED, reason.message) if reason else None)]
    ending = _endings(facts, now)
    return ending or [PowerOff()]


def _endings(facts: BuilderFacts, now: datetime) -> list[BuilderStep]:
    """Return what has to happen before the instance may be stopped; nothing once it may, or has taken too long."""
    deadline = facts.builder.begun_at + SETTLE_LIMIT
    agent = facts.sight.agent
    if deadline <= now or agent is None or not agent.is_connected:
        return []
    strays = _strays(facts)
    return [*strays, LookAgain(min(deadline, now + _SOON))] if strays else []


def _strays(facts: BuilderFacts) -> list[BuilderStep]:
    agent = facts.sight.agent
    if agent is None or not agent.is_connected:
        return []
    keeps = facts.live_sessions if facts.builder.has_desktop else ()
    return [
        EndStray(report.session_id)
        for report in agent.sessions
        if report.session_id not in keeps and report.phase not in (SessionPhase.ENDED, SessionPhase.FAILED)
    ]


def _plan_snapshot(facts: BuilderFacts, now: datetime) -> list[BuilderStep]:
    if facts.image_state is not ImageState.PENDING:
        # Made, failed or given up. One that failed early leaves the instance running.
        return _plan_stop(facts, ImageBuilderEvent.SNAPSHOT_OVER, now)
    if not _is_on(facts.sight):
        if facts.sight.looked_at is None:
            return [LookAgain(now + _SOON, is_engine_asked=True)]
        return [LookAgain(now + _LATER)] if facts.builder.is_prepared else _unprepared()
    return [PowerOff()] if facts.builder.is_prepared else _listen(facts.sight) or _plan_preparation(facts, now)


def _plan_preparation(facts: BuilderFacts, now: datetime) -> list[BuilderStep]:
    """Let the agent clean up, which ends the session too. What is not cleaned holds accounts and secrets: no image."""
    agent, deadline = facts.sight.agent, facts.builder.begun_at + SETTLE_LIMIT
    is_there = agent is not None and agent.is_connected
    if is_there and agent is not None and agent.phase is AgentPhase.PREPARED:
        return [NotePrepared()]
    if deadline <= now:
        return _unprepared()
    return [*([CleanUp()] if is_there else []), LookAgain(min(deadline, now + _SOON))]


def _unprepared() -> list[BuilderStep]:
    return [Become(ImageBuilderEvent.SNAPSHOT_OVER, Problem(FleetErrorCause.BOOT_FAILED, NOT_PREPARED))]


def _plan_start(facts: BuilderFacts, now: datetime) -> list[BuilderStep]:
    builder = facts.builder
    if builder.accepted_at is not None:
        return _if_gone(facts) or _if_broken(facts) or _plan_boot(facts, builder.accepted_at, now)
    if builder.retry_at is not None and not is_due(builder.retry_at, now):
        return [LookAgain(builder.retry_at)]
    return [PowerOn() if builder.has_run else Submit()]


def _if_gone(facts: BuilderFacts) -> list[BuilderStep]:
    if not _is_gone(facts):
        return []
    return [Become(ImageBuilderEvent.INSTANCE_LOST, Problem(FleetErrorCause.BOOT_FAILED, LOST))]


def _if_broken(facts: BuilderFacts) -> list[BuilderStep]:
    """Give up a start of which engine or agent say that it failed. A look from before the start says nothing."""
    observed, agent, accepted_at = facts.sight.observed, facts.sight.agent, facts.builder.accepted_at
    looked_at = facts.sight.looked_at
    is_fresh = looked_at is not None and accepted_at is not None and looked_at > accepted_at
    if observed is not None and observed.power in (Power.STOPPED, Power.FAILED) and is_fresh:
        detail = f": {observed.detail}" if observed.detail else ""
        return _give_up(facts.builder, f"The engine reports {observed.power}{detail}.")
    if facts.sight.listening_since is not None and agent is not None and agent.phase is AgentPhase.FAILED:
        return _give_up(facts.builder, f"Its agent failed: {agent.detail}.")
    return []


def _plan_boot(facts: BuilderFacts, accepted_at: datetime, now: datetime) -> list[BuilderStep]:
    sight = facts.sight
    if listening := _listen(sight):
        return listening
    if sight.listening_since is not None and _is_ready(sight.agent):
        return [Become(ImageBuilderEvent.AGENT_READY)]
    deadline = accepted_at + BOOT_GRACE
    if deadline <= now:
        return _give_up(facts.builder, f"No agent reported within {BOOT_GRACE.total_seconds():.0f} s.")
    if sight.listening_since is None:
        return [LookAgain(min(deadline, now + timedelta(milliseconds=250)), is_engine_asked=True)]
    return [LookAgain(deadline)]


def _listen(sight: Sight) -> list[BuilderStep]:
    """Listen for the agent as soon as the engine shows whose it must be."""
    if sight.listening_since is None and sight.observed is not None and sight.observed.first_uid is not None:
        return [Listen(sight.observed.first_uid)]
    return []


def _is_ready(agent: AgentStatus | None) -> bool:
    return agent is not None and agent.is_connected and agent.phase is AgentPhase.READY


def _give_up(builder: ImageBuilder, why: str) -> list[BuilderStep]:
    event = ImageBuilderEvent.INSTANCE_STOPPED if builder.has_run else ImageBuilderEvent.START_FAILED
    return [Become(event, Problem(FleetErrorCause.BOOT_FAILED, f"The instance did not start. {why}"))]


def _plan_running(facts: BuilderFacts, now: datetime) -> list[BuilderStep]:
    observed = facts.sight.observed
    if observed is not None and observed.power in (Power.STOPPED, Power.FAILED):
        return [Become(ImageBuilderEvent.REBOOTED)]
    return _if_gone(facts) or _listen(facts.sight) or _watch(facts, now)


def _watch(facts: BuilderFacts, now: datetime) -> list[BuilderStep]:
    sight, agent = facts.sight, facts.sight.agent
    if sight.listening_since is None:
        return [LookAgain(now + _SOON, is_engine_asked=True)]
    if agent is not None and agent.is_connected:
        strays = _strays(facts)
        return [*strays, LookAgain(now + _SOON)] if strays else []
    away_since = max(agent.reported_at, sight.listening_since) if agent else sight.listening_since
    if away_since + AWAY_GRACE <= now:
        return [Become(ImageBuilderEvent.REBOOTED)]
    return [LookAgain(away_since + AWAY_GRACE)]


def _plan_reboot(facts: BuilderFacts, now: datetime) -> list[BuilderStep]:
    return _if_gone(facts) or _if_halted(facts, now) or _listen(facts.sight) or _await_reboot(facts, now)


def _if_halted(facts: BuilderFacts, now: datetime) -> list[BuilderStep]:
    """A restart passes through "stopped"; what stays so was shut down."""
    if _is_on(facts.sight):
        return []
    if facts.builder.begun_at + HALT_GRACE <= now and facts.sight.observed is not None:
        return [Become(ImageBuilderEvent.INSTANCE_STOPPED, Problem(FleetErrorCause.BOOT_FAILED, SHUT_DOWN))]
    return [LookAgain(now + _SOON, is_engine_asked=True)]


def _await_reboot(facts: BuilderFacts, now: datetime) -> list[BuilderStep]:
    if _is_ready(facts.sight.agent):
        return [Become(ImageBuilderEvent.AGENT_READY)]
    if facts.builder.begun_at + BOOT_GRACE <= now:
        return [Become(ImageBuilderEvent.REBOOT_FAILED, Problem(FleetErrorCause.BOOT_FAILED, NO_REBOOT))]
    return [LookAgain(now + _SOON, is_engine_asked=True)]


_PLANS: Mapping[ImageBuilderState, Callable[[BuilderFacts, datetime], list[BuilderStep]]] = MappingProxyType(
    {
        ImageBuilderState.PENDING: _plan_start,
        ImageBuilderState.UPDATING_AGENT: _plan_start,
        ImageBuilderState.RUNNING: _plan_running,
        ImageBuilderState.REBOOTING: _plan_reboot,
        ImageBuilderState.STOPPING: _plan_stopping,
        ImageBuilderState.STOPPED: _plan_stopped,
        ImageBuilderState.SNAPSHOTTING: _plan_snapshot,
        ImageBuilderState.DELETING: _plan_deleting,
        ImageBuilderState.FAILED: _plan_failed,
    }
)
