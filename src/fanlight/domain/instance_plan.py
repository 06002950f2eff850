"""What one instance needs next, from its row, what the engine shows and what its agent says. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from fanlight.domain.clock_corrections import is_due
from fanlight.domain.flush_plan import (
    END_GRACE,
    END_LIMIT,
    Drain,
    Ending,
    EndStep,
    Listen,
    LookAgain,
    Lose,
    NoteUnsent,
    Release,
    SetAside,
    Sight,
    StartAgain,
    TellEnd,
)
from fanlight.domain.instances import Instance, InstanceState
from fanlight.domain.ports import AgentPhase, AgentStatus, SessionPhase
from fanlight.domain.streaming_sessions import StreamingSession

# Must exceed the slowest boot of a loaded host, or healthy instances are replaced for ever.
BOOT_GRACE = timedelta(minutes=5)
# An idle instance whose agent is silent for so long is replaced; the agent itself reconnects within seconds.
SILENCE_GRACE = timedelta(seconds=45)
UNSENT_KEPT = timedelta(hours=24)
_SOON = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Submit:
    """Hand the launch to the engine: again, if a crash left open whether it was taken."""


@dataclass(frozen=True, slots=True)
class NoteReady:
    """Display and sound are up: an idle instance becomes READY, one that belongs to a session keeps it."""


@dataclass(frozen=True, slots=True)
class Retire:
    """`is_failure`: it never came up, and the administrator has to know why."""

    why: str
    is_failure: bool = False


@dataclass(frozen=True, slots=True)
class EndLost:
    """End a live session whose instance stands still, so that it can be started again to send what was saved."""

    session_id: str


@dataclass(frozen=True, slots=True)
class Destroy:
    """Terminate it, look, and remove the row once the engine does not show it any more."""


InstanceStep: TypeAlias = Submit | NoteReady | Retire | EndLost | Destroy | SetAside | EndStep

# Who plans and carries out endings finds all steps here.
__all__ = (
    "BOOT_GRACE",
    "END_GRACE",
    "END_LIMIT",
    "SILENCE_GRACE",
    "UNSENT_KEPT",
    "Destroy",
    "Drain",
    "EndLost",
    "InstanceStep",
    "Listen",
    "LookAgain",
    "Lose",
    "NoteReady",
    "NoteUnsent",
    "Release",
    "Retire",
    "SetAside",
    "Sight",
    "StartAgain",
    "Submit",
    "TellEnd",
    "plan_instance",
)


def plan_instance(
    instance: Instance,
    sessions: Mapping[str, StreamingSession],
    sight: Sight,
    *,
    retry_at: datetime | None,
    now: datetime,
    unsent_kept: timedelta = UNSENT_KEPT,
) -> list[InstanceStep]:
    """Return the next steps of an instance.

    `sessions` are those that hold a place on it, as far as their rows still exist; `retry_at` is the fleet's back-off.
    Files that are not sent `unsent_kept` after the end of their session are given up.
    """
    if instance.state is InstanceState.RETIRING:
        return [Destroy()]
    endings = {
        held: Ending(
            instance=instance,
            session_id=held,
            session=sessions.get(held),
            sight=sight,
            unsent_kept=unsent_kept,
            now=now,
        )
        for held in instance.session_ids
        if not _is_live(sessions.get(held))
    }
    ending = [step for one in endings.values() for step in one.steps()]
    notes: list[InstanceStep] = [step for step in ending if isinstance(step, NoteUnsent | Lose)]
    left = [held for held in instance.session_ids if Release(held) not in ending]
    is_used = instance.state in (InstanceState.IN_USE, InstanceState.FLUSHING)
    if is_used and not left:
        why = f"session {instance.session_ids[-1]} is over" if instance.session_ids else "its sessions are over"
        return [*notes, Retire(why)]
    if not any(_is_live(session) for session in sessions.values()) and ending:
        is_aside = instance.is_in_use and all(endings[held].is_set_aside() for held in left)
        return _in_order([*([SetAside()] if is_aside else []), *ending])
    if instance.accepted_at is None:
        is_held_back = retry_at is not None and not is_due(retry_at, now)
        steps: list[InstanceStep] = [LookAgain(retry_at)] if retry_at and is_held_back else [Submit()]
    elif lost := _why_lost(instance, sight):
        if not sight.stands_still or not any(_has_unsent(session) for session in sessions.values()):
            return [*notes, Retire(lost, is_failure=instance.ready_at is None)]
        steps = [*(EndLost(held) for held in left if _is_live(sessions.get(held))), LookAgain(now + _SOON)]
    else:
        steps = _bring_up(instance, instance.accepted_at, sight, now)
    return _in_order([*ending, *_tidy(instance, sight, now), *steps])


def _has_unsent(session: StreamingSession | None) -> bool:
    return session is not None and session.unsent is not None and not session.unsent.are_lost


def _is_live(session: StreamingSession | None) -> bool:
    return session is not None and session.is_live


def _in_order(steps: list[InstanceStep]) -> list[InstanceStep]:
    """Return the steps with one look at the end, the earliest of theirs."""
    looks = [step for step in steps if isinstance(step, LookAgain)]
    acts: list[InstanceStep] = [step for step in steps if not isinstance(step, LookAgain)]
    if not looks:
        return acts
    is_engine_asked = any(look.is_engine_asked for look in looks)
    return [*acts, LookAgain(min(look.until for look in looks), is_engine_asked)]


def _tidy(instance: Instance, sight: Sight, now: datetime) -> list[InstanceStep]:
    """Return what an instance with sessions needs besides: an end for strange ones, and no new ones if it is not well."""
    agent = sight.agent
    if not instance.is_in_use:
        return []
    if agent is None or not agent.is_connected:
        return _drain_if_silent(instance, sight, now)
    steps: list[InstanceStep] = [
        TellEnd(report.session_id)
        for report in agent.sessions
        if report.session_id not in instance.session_ids and report.phase is not SessionPhase.ENDED
    ]
    if agent.phase is AgentPhase.FAILED and instance.free_places:
        steps.append(Drain(f"its agent failed: {agent.detail}"))
    return steps


def _drain_if_silent(instance: Instance, sight: Sight, now: datetime) -> list[InstanceStep]:
    """Send nobody to an agent that is away: those who are there may have lost nothing, those who come would wait."""
    if not instance.free_places or instance.ready_at is None or sight.listening_since is None:
        return []
    last_heard = max(sight.agent.reported_at, sight.listening_since) if sight.agent else sight.listening_since
    if last_heard + SILENCE_GRACE <= now:
        return [Drain("its agent is silent")]
    return [LookAgain(last_heard + SILENCE_GRACE)]


def _why_lost(instance: Instance, sight: Sight) -> str | None:
    observed = sight.observed
    if observed is not None and sight.stands_still:
        return f"the engine reports {observed.power}" + (f": {observed.detail}" if observed.detail else "")
    return "the engine does not have it any more" if sight.is_gone(instance) else None


def _bring_up(instance: Instance, accepted_at: datetime, sight: Sight, now: datetime) -> list[InstanceStep]:
    observed = sight.observed
    if sight.listening_since is None:
        if observed is not None and observed.first_uid is not None:
            return [Listen(observed.first_uid)]
        return _await_boot(instance, accepted_at, now, is_engine_asked=True)
    if instance.ready_at is None:
        return _await_agent(instance, accepted_at, sight.agent, now)
    return _watch_idle(sight.agent, sight.listening_since, now) if instance.state is InstanceState.READY else []


def _await_agent(
    instance: Instance, accepted_at: datetime, agent: AgentStatus | None, now: datetime
) -> list[InstanceStep]:
    if agent is not None and agent.phase is AgentPhase.FAILED:
        return [Retire(f"its agent failed: {agent.detail}", is_failure=True)]
    if agent is not None and agent.is_connected and agent.phase is not AgentPhase.BOOTING:
        return [NoteReady()]
    return _await_boot(instance, accepted_at, now)


def _await_boot(
    instance: Instance, accepted_at: datetime, now: datetime, *, is_engine_asked: bool = False
) -> list[InstanceStep]:
    deadline = accepted_at + BOOT_GRACE
    if deadline <= now:
        why = f"no agent reported from instance {instance.instance_id} within {BOOT_GRACE.total_seconds():.0f} s"
        return [Retire(why, is_failure=True)]
    if is_engine_asked:
        return [LookAgain(min(deadline, now + timedelta(milliseconds=250)), is_engine_asked=True)]
    return [LookAgain(deadline)]


def _watch_idle(agent: AgentStatus | None, listening_since: datetime, now: datetime) -> list[InstanceStep]:
    if agent is not None and agent.phase is AgentPhase.FAILED:
        return [Retire(f"its agent failed: {agent.detail}")]
    if agent is not None and agent.sessions:
        return [Retire("its agent has a session that nobody gave it")]
    if agent is not None and agent.is_connected:
        return []
    last_heard = max(agent.reported_at, listening_since) if agent is not None else listening_since
    if last_heard + SILENCE_GRACE <= now:
        return [Retire("its agent is silent")]
    return [LookAgain(last_heard + SILENCE_GRACE)]
