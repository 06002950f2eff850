"""What one image builder needs next, from its row, what the engine shows and what its agent says. Pure.

Its instance is never thrown away while it may hold work: what goes wrong after it once ran leads to STOPPED with the
reason, and a start tries the same disk again.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import TypeAlias

from fanlight.domain.fleet_errors import FleetErrorCause, Problem
from fanlight.domain.image_builders import ImageBuilder, ImageBuilderEvent, ImageBuilderState
from fanlight.domain.images import ImageState
from fanlight.domain.instance_plan import BOOT_GRACE, Sight
from fanlight.domain.own_instances import (
    SETTLE_LIMIT,
    SOON,
    Destroy,
    Discard,
    EndStray,
    Listen,
    LookAgain,
    PowerOff,
    PowerOn,
    Submit,
    await_agent,
    bring_up,
    is_gone,
    is_on,
    is_ready,
    late,
    listen,
    settle,
    strays,
    trouble,
)
from fanlight.domain.ports import AgentPhase, Power

# The agent is process 1: it is away when the instance restarts, or for a moment when this process began anew.
AWAY_GRACE = timedelta(seconds=2)
# How long a restart from within may show a stopped instance.
HALT_GRACE = timedelta(seconds=5)
_LATER = timedelta(seconds=10)

SHUT_DOWN = (
    "The instance stopped by itself: it was shut down from within, or its host restarted. Its disk is kept: start the "
    "image builder again."
)
LOST = "The engine does not have the instance any more, and its disk is gone. Delete the image builder."
NOT_PREPARED = "The instance was not cleaned up for an image in time, so none was made of it. Start it and try again."
NO_REBOOT = "The instance was restarted from within and did not come up again. It is stopped; start it again."


@dataclass(frozen=True, slots=True)
class Become:
    """`problem` is what led there, when it was not what the administrator asked for."""

    event: ImageBuilderEvent
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class CleanUp:
    """Let the agent leave nothing of the builder's own in what becomes an image."""


@dataclass(frozen=True, slots=True)
class NotePrepared:
    """Nothing of the builder's own is left: an image may be made of its disk once the instance stands still."""


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
    return [PowerOff()] if is_on(facts.sight) else []


def _plan_stopping(facts: BuilderFacts, now: datetime) -> list[BuilderStep]:
    return _plan_stop(facts, ImageBuilderEvent.INSTANCE_STOPPED, now)


def _plan_stop(facts: BuilderFacts, event: ImageBuilderEvent, now: datetime) -> list[BuilderStep]:
    """Let sessions end in order, then stop the instance."""
    if not is_on(facts.sight):
        if facts.sight.looked_at is None:
            return [LookAgain(now + SOON, is_engine_asked=True)]
        reason = facts.builder.reason
        return [Become(event, Problem(FleetErrorCause.BOOT_FAILED, reason.message) if reason else None)]
    return [*settle(facts.builder, facts.sight, now)] or [PowerOff()]


def _strays(facts: BuilderFacts) -> list[BuilderStep]:
    return [*strays(facts.sight, facts.live_sessions if facts.builder.has_desktop else ())]


def _plan_snapshot(facts: BuilderFacts, now: datetime) -> list[BuilderStep]:
    if facts.image_state is not ImageState.PENDING:
        # Made, failed or given up. One that failed early leaves the instance running.
        return _plan_stop(facts, ImageBuilderEvent.SNAPSHOT_OVER, now)
    if not is_on(facts.sight):
        if facts.sight.looked_at is None:
            return [LookAgain(now + SOON, is_engine_asked=True)]
        return [LookAgain(now + _LATER)] if facts.builder.is_prepared else _unprepared()
    return [PowerOff()] if facts.builder.is_prepared else [*listen(facts.sight)] or _plan_preparation(facts, now)


def _plan_preparation(facts: BuilderFacts, now: datetime) -> list[BuilderStep]:
    """Let the agent clean up, which ends the session too. What is not cleaned holds accounts and secrets: no image."""
    agent, deadline = facts.sight.agent, facts.builder.begun_at + SETTLE_LIMIT
    is_there = agent is not None and agent.is_connected
    if is_there and agent is not None and agent.phase is AgentPhase.PREPARED:
        return [NotePrepared()]
    if deadline <= now:
        return _unprepared()
    return [*([CleanUp()] if is_there else []), LookAgain(min(deadline, now + SOON))]


def _unprepared() -> list[BuilderStep]:
    return [Become(ImageBuilderEvent.SNAPSHOT_OVER, Problem(FleetErrorCause.BOOT_FAILED, NOT_PREPARED))]


def _plan_start(facts: BuilderFacts, now: datetime) -> list[BuilderStep]:
    builder = facts.builder
    if builder.accepted_at is not None:
        return _if_gone(facts) or _if_broken(facts) or _plan_boot(facts, builder.accepted_at, now)
    return [bring_up(builder, now)]


def _if_gone(facts: BuilderFacts) -> list[BuilderStep]:
    if not is_gone(facts.builder, facts.sight):
        return []
    return [Become(ImageBuilderEvent.INSTANCE_LOST, Problem(FleetErrorCause.BOOT_FAILED, LOST))]


def _if_broken(facts: BuilderFacts) -> list[BuilderStep]:
    """Give up a start of which engine or agent say that it failed."""
    why = trouble(facts.builder, facts.sight)
    return _give_up(facts.builder, why) if why else []


def _plan_boot(facts: BuilderFacts, accepted_at: datetime, now: datetime) -> list[BuilderStep]:
    sight = facts.sight
    if listening := listen(sight):
        return [*listening]
    if sight.listening_since is not None and is_ready(sight.agent):
        return [Become(ImageBuilderEvent.AGENT_READY)]
    if why := late(accepted_at, now):
        return _give_up(facts.builder, why)
    return [await_agent(accepted_at, sight, now)]


def _give_up(builder: ImageBuilder, why: str) -> list[BuilderStep]:
    event = ImageBuilderEvent.INSTANCE_STOPPED if builder.has_run else ImageBuilderEvent.START_FAILED
    return [Become(event, Problem(FleetErrorCause.BOOT_FAILED, f"The instance did not start. {why}"))]


def _plan_running(facts: BuilderFacts, now: datetime) -> list[BuilderStep]:
    observed = facts.sight.observed
    if observed is not None and observed.power in (Power.STOPPED, Power.FAILED):
        return [Become(ImageBuilderEvent.REBOOTED)]
    return _if_gone(facts) or [*listen(facts.sight)] or _watch(facts, now)


def _watch(facts: BuilderFacts, now: datetime) -> list[BuilderStep]:
    sight, agent = facts.sight, facts.sight.agent
    if sight.listening_since is None:
        return [LookAgain(now + SOON, is_engine_asked=True)]
    if agent is not None and agent.is_connected:
        strays = _strays(facts)
        return [*strays, LookAgain(now + SOON)] if strays else []
    away_since = max(agent.reported_at, sight.listening_since) if agent else sight.listening_since
    if away_since + AWAY_GRACE <= now:
        return [Become(ImageBuilderEvent.REBOOTED)]
    return [LookAgain(away_since + AWAY_GRACE)]


def _plan_reboot(facts: BuilderFacts, now: datetime) -> list[BuilderStep]:
    return _if_gone(facts) or _if_halted(facts, now) or [*listen(facts.sight)] or _await_reboot(facts, now)


def _if_halted(facts: BuilderFacts, now: datetime) -> list[BuilderStep]:
    """A restart passes through "stopped"; what stays so was shut down."""
    if is_on(facts.sight):
        return []
    if facts.builder.begun_at + HALT_GRACE <= now and facts.sight.observed is not None:
        return [Become(ImageBuilderEvent.INSTANCE_STOPPED, Problem(FleetErrorCause.BOOT_FAILED, SHUT_DOWN))]
    return [LookAgain(now + SOON, is_engine_asked=True)]


def _await_reboot(facts: BuilderFacts, now: datetime) -> list[BuilderStep]:
    if is_ready(facts.sight.agent):
        return [Become(ImageBuilderEvent.AGENT_READY)]
    if facts.builder.begun_at + BOOT_GRACE <= now:
        return [Become(ImageBuilderEvent.REBOOT_FAILED, Problem(FleetErrorCause.BOOT_FAILED, NO_REBOOT))]
    return [LookAgain(now + SOON, is_engine_asked=True)]


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
