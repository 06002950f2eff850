"""Streams: ways into the streaming sessions of studios, each a URL of the portal that opens for a while."""

from datetime import timedelta

from fanlight.domain.errors import InvalidCombination, NotAvailable, NotFound
from fanlight.domain.nimble.calls import Call
from fanlight.domain.nimble.identifiers import new_id
from fanlight.domain.nimble.sessions import StudioSessionState, studio_session_reference
from fanlight.domain.nimble.streams import SessionStream, StreamState
from fanlight.domain.places import Scope
from fanlight.domain.ports import UnitOfWork
from fanlight.domain.streaming_sessions import StreamingGrant
from fanlight.services.nimble.ground import Ground
from fanlight.services.nimble.sessions import WAKE, find_session
from fanlight.services.streaming_urls import StreamingUrls

DEFAULT_EXPIRATION_IN_SECONDS = 120
SHORTEST, LONGEST = 60, 3600


class StreamService:
    def __init__(self, ground: Ground, urls: StreamingUrls) -> None:
        self._transactions, self._clock, self._wake = ground.transactions, ground.clock, ground.wake
        self._client_tokens, self._urls = ground.client_tokens, urls

    async def create(
        self, call: Call, studio_id: str, session_id: str, expiration_in_seconds: int | None
    ) -> SessionStream:
        """Make a way into a READY session; it is CREATE_IN_PROGRESS when this returns.

        Raises NotFound, NotAvailable (the session's state), InvalidCombination (expiration), TokenReused.
        """
        lasting = DEFAULT_EXPIRATION_IN_SECONDS if expiration_in_seconds is None else expiration_in_seconds
        if not SHORTEST <= lasting <= LONGEST:
            raise InvalidCombination(f"expirationInSeconds is {lasting}; it must be between {SHORTEST} and {LONGEST}.")
        async with self._transactions.begin(write=True) as work:
            session = await find_session(work, call.scope, studio_id, session_id)
            if known := await self._client_tokens.recall(work, call):
                return await _find(work, call.scope, studio_id, session_id, known)
            if session.state is not StudioSessionState.READY:
                why = f"The streaming session {session_id} is {session.state}. A stream needs one that is READY."
                raise NotAvailable("streaming session", session_id, why)
            now = self._clock.now()
            stream = await work.session_streams.add(
                SessionStream(
                    stream_id=new_id(),
                    scope=call.scope,
                    studio_id=studio_id,
                    session_id=session_id,
                    owned_by=session.owned_by,
                    created_by=call.caller,
                    created_at=now,
                    expires_at=now + timedelta(seconds=lasting),
                    state_since=now,
                )
            )
            await self._client_tokens.remember(work, call, stream.stream_id)
            await work.commit()
        self._wake(WAKE, session_id)
        return stream

    async def get(
        self, scope: Scope, studio_id: str, session_id: str, stream_id: str
    ) -> tuple[SessionStream, str | None]:
        """Return a stream, and its URL while it is READY. Raises NotFound."""
        async with self._transactions.begin() as work:
            stream = await _find(work, scope, studio_id, session_id, stream_id)
        return stream, self._url_of(stream) if stream.state is StreamState.READY else None

    def _url_of(self, stream: SessionStream) -> str:
        reference = studio_session_reference(stream.session_id)
        return self._urls.issue_for_desktop(
            StreamingGrant(
                scope=stream.scope,
                stack_name=reference,
                fleet_name=reference,
                user_id=stream.owned_by,
                application_id=None,
                session_context=None,
                expires_at=stream.expires_at,
            )
        )


async def _find(work: UnitOfWork, scope: Scope, studio_id: str, session_id: str, stream_id: str) -> SessionStream:
    stream = await work.session_streams.find(stream_id)
    if stream is None or (stream.scope, stream.studio_id, stream.session_id) != (scope, studio_id, session_id):
        raise NotFound("stream", stream_id)
    return stream
