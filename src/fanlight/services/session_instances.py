"""The instances of multi-session fleets, as those see them who manage sessions: draining, and who is on a drained one."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum

from fanlight.domain.errors import NotFound, NotPermitted
from fanlight.domain.places import Scope
from fanlight.domain.ports import Transactions, Wake
from fanlight.domain.streaming_sessions import StreamingSession


class DrainStatus(StrEnum):
    ACTIVE = "ACTIVE"
    DRAINING = "DRAINING"
    NOT_APPLICABLE = "NOT_APPLICABLE"  # an instance for one session, or no instance (yet, or any more)


class SessionInstanceService:
    def __init__(self, transactions: Transactions, wake: Wake) -> None:
        self._transactions, self._wake = transactions, wake

    async def drain(self, scope: Scope, session_id: str) -> None:
        """Let no more sessions come to the instance of this session; it goes when its last session has ended.

        Again is success. Raises NotFound (session), NotPermitted (no instance, or one for a single session),
        ChangedMeanwhile.
        """
        async with self._transactions.begin(write=True) as work:
            session = await work.sessions.find(session_id)
            if session is None or session.scope != scope or not session.is_live:
                raise NotFound("session", session_id)
            instance = await work.instances.find(session.instance_id) if session.instance_id else None
            if instance is None or instance.is_leaving:
                raise NotPermitted(f"The session {session_id} has no instance that could be drained. Try again later.")
            if instance.places == 1:
                raise NotPermitted(
                    f"The fleet {session.fleet_name} is a single-session fleet: the instance of a session takes no other, "
                    "and is replaced when the session ends. Expire the session instead."
                )
            if instance.is_draining:
                return
            await work.instances.save(replace(instance, is_draining=True))
            await work.commit()
        self._wake("instance", instance.instance_id)
        self._wake("fleet", instance.fleet_id)

    async def drain_statuses(self, sessions: Sequence[StreamingSession]) -> Mapping[str, DrainStatus]:
        """Return the status of each session's instance, by session; all sessions are of one fleet."""
        nothing = {session.session_id: DrainStatus.NOT_APPLICABLE for session in sessions}
        if not sessions:
            return nothing
        async with self._transactions.begin() as work:
            fleet = await work.fleets.find(sessions[0].fleet_id)
            if fleet is None or not fleet.is_multi_session:
                return nothing
            asked = {session.instance_id for session in sessions if session.instance_id and session.is_live}
            found = {instance_id: await work.instances.find(instance_id) for instance_id in sorted(asked)}
        statuses = {
            instance_id: DrainStatus.DRAINING if instance.is_draining else DrainStatus.ACTIVE
            for instance_id, instance in found.items()
            if instance is not None and instance.places > 1
        }
        return {s.session_id: statuses.get(s.instance_id or "", DrainStatus.NOT_APPLICABLE) for s in sessions}
