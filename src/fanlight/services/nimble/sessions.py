"""Streaming sessions of studios: what may be asked of them. Handlers record a wish and wake the session's reconciler."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fanlight.domain.errors import InvalidCombination, NotAvailable, NotFound
from fanlight.domain.instances import new_instance_id
from fanlight.domain.nimble.calls import Call
from fanlight.domain.nimble.identifiers import new_id
from fanlight.domain.nimble.instance_types import size_of
from fanlight.domain.nimble.launch_profiles import LaunchProfile
from fanlight.domain.nimble.session_backups import SessionBackup, new_backup_of
from fanlight.domain.nimble.session_changes import CREATING, asked_to_delete, asked_to_start, asked_to_stop
from fanlight.domain.nimble.sessions import (
    STUDIO_SESSION,
    StudioSession,
    StudioSessionEvent,
    StudioSessionState,
    VolumeRetention,
)
from fanlight.domain.nimble.studios import Studio
from fanlight.domain.places import Scope
from fanlight.domain.ports import UnitOfWork
from fanlight.domain.quotas import NIMBLE_G5_SESSIONS, NIMBLE_SESSIONS
from fanlight.domain.tags import Tags, check_tags
from fanlight.services.agent_versions import AgentVersions
from fanlight.services.nimble.eulas import EulaService
from fanlight.services.nimble.ground import Ground
from fanlight.services.nimble.resources import usable_studio
from fanlight.services.nimble.session_launches import (
    chosen,
    find_components,
    find_machine,
    find_origin,
    find_profile,
    scripts_of,
    settings_of,
)
from fanlight.services.quotas import QuotaKeeper

WAKE = "studio_session"
PAGE_SIZE = 50
_G5 = "g5."


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """What CreateStreamingSession says."""

    studio_id: str
    launch_profile_id: str | None
    streaming_image_id: str | None = None
    ec2_instance_type: str | None = None
    owned_by: str | None = None
    tags: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFilter:
    """Which sessions a list shows; None means all."""

    owned_by: str | None = None
    created_by: str | None = None
    session_ids: Collection[str] | None = field(default=None)

    def shows(self, session: StudioSession) -> bool:
        return (
            session.state is not StudioSessionState.DELETED
            and self.owned_by in (None, session.owned_by)
            and self.created_by in (None, session.created_by)
            and (self.session_ids is None or session.session_id in self.session_ids)
        )


class StudioSessionService:
    def __init__(self, ground: Ground, agents: AgentVersions, eulas: EulaService, quotas: QuotaKeeper) -> None:
        self._eulas, self._quotas = eulas, quotas
        self._transactions, self._clock, self._wake = ground.transactions, ground.clock, ground.wake
        self._tokens, self._client_tokens, self._agents = ground.tokens, ground.client_tokens, agents

    async def create(self, call: Call, wanted: NewSession) -> StudioSession:
        """Make a session, which starts by itself: it is CREATE_IN_PROGRESS when this returns.

        Raises NotFound (studio, profile, image), NotAvailable (their states, agent version), InvalidCombination (image or
        type that the profile does not offer, tags), NotSupported (type), LimitExceeded, TokenReused.
        """
        check_tags(wanted.tags or {})
        if wanted.launch_profile_id is None:
            raise InvalidCombination("A streaming session is made of a launch profile. Give launchProfileId.")
        async with self._transactions.begin(write=True) as work:
            if known := await self._client_tokens.recall(work, call):
                return await find_session(work, call.scope, wanted.studio_id, known)
            await usable_studio(work, call.scope, wanted.studio_id)
            profile = await find_profile(work, call.scope, wanted.studio_id, wanted.launch_profile_id)
            session = await work.studio_sessions.add(await self._new(work, call, wanted, profile))
            await self._admit(work, session)
            await work.tags.put(session.arn, wanted.tags or {})
            await self._client_tokens.remember(work, call, session.session_id)
            await work.commit()
        self._wake(WAKE, session.session_id)
        return session

    async def get(self, scope: Scope, studio_id: str, session_id: str) -> tuple[StudioSession, Tags]:
        """Return a session, a deleted one too while it is kept, and its tags. Raises NotFound."""
        async with self._transactions.begin() as work:
            session = await find_session(work, scope, studio_id, session_id)
            return session, await work.tags.of(session.arn)

    async def page(
        self, scope: Scope, studio_id: str, wanted: SessionFilter, next_token: str | None
    ) -> tuple[Sequence[tuple[StudioSession, Tags]], str | None]:
        """Return one page of sessions with their tags, and the next token. Raises NotFound (studio), InvalidPageToken."""
        ids = sorted(wanted.session_ids) if wanted.session_ids is not None else []
        asked = ["sessions of", studio_id, wanted.owned_by or "", wanted.created_by or "", ",".join(ids)]
        after = self._tokens.read(scope, asked, next_token)
        async with self._transactions.begin() as work:
            await work.nimble.resources.get(Studio, scope, studio_id)
            shown: list[StudioSession] = []
            while len(shown) <= PAGE_SIZE:
                found = await work.studio_sessions.page(scope, studio_id, after=after, limit=PAGE_SIZE + 1)
                shown += [session for session in found if wanted.shows(session)]
                if len(found) <= PAGE_SIZE:
                    break
                after = found[-1].session_id
            tagged = [(session, await work.tags.of(session.arn)) for session in shown[:PAGE_SIZE]]
        has_more = len(shown) > PAGE_SIZE
        return tagged, self._tokens.issue(scope, asked, tagged[-1][0].session_id) if has_more else None

    async def stop(
        self, call: Call, studio_id: str, session_id: str, retention: VolumeRetention | None
    ) -> StudioSession:
        """Wish a READY session STOPPED. One that is, or is on its way there, is success.

        Raises NotFound, NotAvailable (its state), InvalidCombination (it may not be stopped), TokenReused.
        """
        down = (StudioSessionState.STOP_IN_PROGRESS, StudioSessionState.STOPPED)

        async def stopped(work: UnitOfWork, session: StudioSession) -> StudioSession:
            if not session.settings.can_stop:
                raise InvalidCombination(
                    f"The streaming session {session_id} cannot be stopped: its launch profile has "
                    "maxStoppedSessionLengthInMinutes 0. Delete it, or set a longer time for later sessions."
                )
            _check(session, StudioSessionEvent.STOP_REQUESTED, "Only one that is READY can be stopped.")
            now = self._clock.now()
            stopping = asked_to_stop(session, now, call.caller, retention or VolumeRetention.RETAIN)
            if session.settings.backs_up_at_stop:
                others = await work.session_backups.of_session(session_id)
                await work.session_backups.add(new_backup_of(stopping, now, others))
            return stopping

        return await self._change(call, studio_id, session_id, down, stopped)

    async def start(self, call: Call, studio_id: str, session_id: str, backup_id: str | None) -> StudioSession:
        """Wish a STOPPED session READY, with its own disk or that of a backup. One that is on its way there is success.

        Raises NotFound (session, backup), NotAvailable (its state, the backup's, agent version), TokenReused.
        """

        async def started(work: UnitOfWork, session: StudioSession) -> StudioSession:
            _check(session, StudioSessionEvent.START_REQUESTED, "Only one that is STOPPED can be started.")
            backup = await _backup_of(work, session, backup_id) if backup_id is not None else None
            # The newest runtime, unless the image pins one: that of long ago may be gone.
            origin = await find_origin(work, session)
            agent_version = self._agents.resolve(origin.pinned_agent_version if origin else None)
            started = replace(session, agent_version=agent_version)
            return asked_to_start(started, self._clock.now(), call.caller, backup)

        return await self._change(call, studio_id, session_id, (StudioSessionState.START_IN_PROGRESS,), started)

    async def delete(self, call: Call, studio_id: str, session_id: str) -> StudioSession:
        """Wish a session gone, with its disk and its backups. One that is, or is on its way there, is success.

        Raises NotFound, NotAvailable (its state), TokenReused.
        """
        gone = (StudioSessionState.DELETE_IN_PROGRESS, StudioSessionState.DELETED)

        async def deleted(work: UnitOfWork, session: StudioSession) -> StudioSession:  # noqa: ARG001 - one form for all
            _check(session, StudioSessionEvent.DELETE_REQUESTED, "Wait until that is done.")
            return asked_to_delete(session, self._clock.now(), call.caller)

        return await self._change(call, studio_id, session_id, gone, deleted)

    async def _change(
        self,
        call: Call,
        studio_id: str,
        session_id: str,
        done: Collection[StudioSessionState],
        changed: Callable[[UnitOfWork, StudioSession], Awaitable[StudioSession]],
    ) -> StudioSession:
        async with self._transactions.begin(write=True) as work:
            session = await find_session(work, call.scope, studio_id, session_id)
            if await self._client_tokens.recall(work, call) or session.state in done:
                return session
            session = await work.studio_sessions.save(await changed(work, session))
            live = await work.sessions.live(session_id)
            await self._client_tokens.remember(work, call, session_id)
            await work.commit()
        self._wake(WAKE, session_id)
        for one in live:
            self._wake("session", one.session_id)
        return session

    async def _admit(self, work: UnitOfWork, session: StudioSession) -> None:
        """Let a session that was just added stay; one counts until it is DELETED. Raises LimitExceeded."""
        kinds = {NIMBLE_SESSIONS: "", NIMBLE_G5_SESSIONS: _G5}
        held = [name for name, of in kinds.items() if session.ec2_instance_type.startswith(of)]
        if all(self._quotas.limit(name) is None for name in held):
            return
        # An account that has a quota on them has few.
        everywhere = [one for one in await work.studio_sessions.everywhere() if one.studio_id == session.studio_id]
        for name in held:
            alike = [one for one in everywhere if one.ec2_instance_type.startswith(kinds[name])]
            self._quotas.admit(name, len(alike))

    async def _new(self, work: UnitOfWork, call: Call, wanted: NewSession, profile: LaunchProfile) -> StudioSession:
        """Raises as `create`."""
        image_id = chosen("streaming images", wanted.streaming_image_id, profile.stream.streaming_image_ids)
        instance_type = chosen("instance types", wanted.ec2_instance_type, profile.stream.instance_types)
        size_of(instance_type)
        streaming_image, image = await find_machine(
            work, call.scope, wanted.studio_id, image_id, self._eulas.required_by
        )
        if missing := await self._eulas.missing(work, call.scope, wanted.studio_id, streaming_image.eula_ids):
            raise InvalidCombination(
                f"The streaming image {image_id} comes with EULAs that the studio has not accepted: {', '.join(missing)}. "
                "Accept them with AcceptEulas first."
            )
        components = await find_components(work, profile)
        settings = settings_of(profile.stream, components)
        now = self._clock.now()
        groups = [group for component in components for group in component.security_group_ids]
        return StudioSession(
            session_id=new_id(),
            scope=call.scope,
            studio_id=wanted.studio_id,
            status=CREATING,
            launch_profile_id=profile.resource_id,
            streaming_image_id=image_id,
            ec2_instance_type=instance_type,
            # What is not there any more is told as the reason why the session cannot be made.
            image_ref=image.store_ref if image else streaming_image.ec2_image_id,
            instance_id=new_instance_id(),
            agent_version=self._agents.resolve(image.pinned_agent_version if image else None),
            subnet_ids=profile.subnet_ids,
            security_group_ids=tuple(dict.fromkeys(groups)) if profile.subnet_ids else (),
            settings=settings,
            scripts=scripts_of(settings, components),
            owned_by=wanted.owned_by or call.caller,
            created_by=call.caller,
            updated_by=call.caller,
            started_by=call.caller,
            created_at=now,
            updated_at=now,
            started_at=now,
            begun_at=now,
        )


async def find_session(work: UnitOfWork, scope: Scope, studio_id: str, session_id: str) -> StudioSession:
    """Return a session of this studio. Raises NotFound."""
    session = await work.studio_sessions.find(session_id)
    if session is None or (session.scope, session.studio_id) != (scope, studio_id):
        raise NotFound("streaming session", session_id)
    return session


async def _backup_of(work: UnitOfWork, session: StudioSession, backup_id: str) -> SessionBackup:
    """Raises NotFound, NotAvailable."""
    backup = await work.session_backups.find(backup_id)
    if backup is None or backup.session_id != session.session_id:
        raise NotFound("streaming session backup", backup_id)
    if backup.state is not StudioSessionState.READY:
        why = f"The backup {backup_id} is {backup.state}. A session starts from one that is READY."
        raise NotAvailable("streaming session backup", backup_id, why)
    return backup


def _check(session: StudioSession, event: StudioSessionEvent, how: str) -> None:
    """Raises NotAvailable."""
    if not STUDIO_SESSION.allows(session.state, event):
        why = f"The streaming session {session.session_id} is {session.state}. {how}"
        raise NotAvailable("streaming session", session.session_id, why)
