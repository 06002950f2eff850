"""Streaming sessions of studios, their streams and backups: typed request → service → typed result."""

from fanlight.api.nimble.calls import call_of
from fanlight.api.registry import operation
from fanlight.api.types.nimble import (
    AutomaticTerminationMode,
    CreateStreamingSessionRequest,
    CreateStreamingSessionResult,
    CreateStreamingSessionStreamRequest,
    CreateStreamingSessionStreamResult,
    DeleteStreamingSessionRequest,
    DeleteStreamingSessionResult,
    GetStreamingSessionBackupRequest,
    GetStreamingSessionBackupResult,
    GetStreamingSessionRequest,
    GetStreamingSessionResult,
    GetStreamingSessionStreamRequest,
    GetStreamingSessionStreamResult,
    ListStreamingSessionBackupsRequest,
    ListStreamingSessionBackupsResult,
    ListStreamingSessionsRequest,
    ListStreamingSessionsResult,
    SessionBackupMode,
    SessionPersistenceMode,
    StartStreamingSessionRequest,
    StartStreamingSessionResult,
    StopStreamingSessionRequest,
    StopStreamingSessionResult,
    StreamingInstanceType,
    StreamingSession,
    StreamingSessionBackup,
    StreamingSessionState,
    StreamingSessionStatusCode,
    StreamingSessionStream,
    StreamingSessionStreamState,
    StreamingSessionStreamStatusCode,
    VolumeConfiguration,
    VolumeRetentionMode,
)
from fanlight.domain.access_keys import Caller
from fanlight.domain.errors import (
    ChangedMeanwhile,
    InvalidCombination,
    LimitExceeded,
    NotAvailable,
    NotFound,
    NotSupported,
)
from fanlight.domain.nimble.session_backups import SessionBackup
from fanlight.domain.nimble.sessions import StudioSession, VolumeRetention
from fanlight.domain.nimble.streams import SessionStream
from fanlight.domain.tags import Tags
from fanlight.services import AppStreamServices
from fanlight.services.nimble.sessions import NewSession, SessionFilter

_WISHES = (ChangedMeanwhile, InvalidCombination, NotAvailable, NotFound)


def shown(session: StudioSession, tags: Tags) -> StreamingSession:
    settings, volume = session.settings, session.settings.volume
    return StreamingSession(
        arn=session.arn,
        automatic_termination_mode=AutomaticTerminationMode(_activated(is_on=settings.terminates_automatically)),
        backup_mode=SessionBackupMode("AUTOMATIC" if settings.makes_backups else "DEACTIVATED"),
        created_at=session.created_at,
        created_by=session.created_by,
        ec2_instance_type=StreamingInstanceType(session.ec2_instance_type).value,
        launch_profile_id=session.launch_profile_id,
        max_backups_to_retain=settings.backups_to_retain,
        owned_by=session.owned_by,
        session_id=session.session_id,
        session_persistence_mode=SessionPersistenceMode(_activated(is_on=settings.is_persistent)),
        started_at=session.started_at,
        started_by=session.started_by,
        started_from_backup_id=session.started_from_backup_id,
        state=StreamingSessionState(session.state),
        status_code=StreamingSessionStatusCode(session.status.code),
        status_message=session.status.message,
        stop_at=session.stop_at,
        stopped_at=session.stopped_at,
        stopped_by=session.stopped_by,
        streaming_image_id=session.streaming_image_id,
        tags=tags,
        terminate_at=session.terminate_at,
        updated_at=session.updated_at,
        updated_by=session.updated_by,
        volume_configuration=VolumeConfiguration(
            iops=volume.iops, size=volume.size_in_gib, throughput=volume.throughput
        )
        if volume
        else None,
        volume_retention_mode=VolumeRetentionMode(session.volume_retention) if session.volume_retention else None,
    )


def shown_backup(backup: SessionBackup, tags: Tags) -> StreamingSessionBackup:
    return StreamingSessionBackup(
        arn=backup.arn,
        backup_id=backup.backup_id,
        created_at=backup.created_at,
        launch_profile_id=backup.launch_profile_id,
        owned_by=backup.owned_by,
        session_id=backup.session_id,
        state=StreamingSessionState(backup.state),
        status_code=StreamingSessionStatusCode(backup.status.code),
        status_message=backup.status.message,
        tags=tags,
    )


def shown_stream(stream: SessionStream, url: str | None) -> StreamingSessionStream:
    return StreamingSessionStream(
        created_at=stream.created_at,
        created_by=stream.created_by,
        expires_at=stream.expires_at,
        owned_by=stream.owned_by,
        state=StreamingSessionStreamState(stream.state),
        status_code=StreamingSessionStreamStatusCode(stream.status_code),
        stream_id=stream.stream_id,
        url=url,
    )


def _activated(*, is_on: bool) -> str:
    return "ACTIVATED" if is_on else "DEACTIVATED"


@operation(
    "CreateStreamingSession",
    raises=(*_WISHES, LimitExceeded, NotSupported),
    note="Without streamingImageId or ec2InstanceType the only one of the launch profile. Instance types are sizes: there is "
    "no graphics processor. An image that cannot be streamed any more ends in CREATE_FAILED, AMI_VALIDATION_ERROR.",
)
async def create_streaming_session(
    request: CreateStreamingSessionRequest, caller: Caller, services: AppStreamServices
) -> CreateStreamingSessionResult:
    wanted = NewSession(
        studio_id=request.studio_id,
        launch_profile_id=request.launch_profile_id,
        streaming_image_id=request.streaming_image_id,
        ec2_instance_type=request.ec2_instance_type,
        owned_by=request.owned_by,
        tags=request.tags,
    )
    session = await services.nimble.sessions.create(call_of("CreateStreamingSession", request, caller), wanted)
    return CreateStreamingSessionResult(session=await _with_tags(session, caller, services))


@operation("GetStreamingSession", raises=(NotFound,), is_pure_read=True)
async def get_streaming_session(
    request: GetStreamingSessionRequest, caller: Caller, services: AppStreamServices
) -> GetStreamingSessionResult:
    found = await services.nimble.sessions.get(caller.scope, request.studio_id, request.session_id)
    return GetStreamingSessionResult(session=shown(*found))


@operation(
    "ListStreamingSessions",
    raises=(InvalidCombination, NotFound),
    note="Deleted sessions are left out. sessionIds may name several, with commas between them.",
    is_pure_read=True,
)
async def list_streaming_sessions(
    request: ListStreamingSessionsRequest, caller: Caller, services: AppStreamServices
) -> ListStreamingSessionsResult:
    ids = request.session_ids.split(",") if request.session_ids is not None else None
    wanted = SessionFilter(owned_by=request.owned_by, created_by=request.created_by, session_ids=ids)
    page, next_token = await services.nimble.sessions.page(caller.scope, request.studio_id, wanted, request.next_token)
    return ListStreamingSessionsResult(sessions=tuple(shown(*one) for one in page), next_token=next_token)


@operation(
    "StartStreamingSession",
    raises=_WISHES,
    note="A session whose volume was deleted starts with a fresh one, or with that of the backup.",
)
async def start_streaming_session(
    request: StartStreamingSessionRequest, caller: Caller, services: AppStreamServices
) -> StartStreamingSessionResult:
    call = call_of("StartStreamingSession", request, caller)
    session = await services.nimble.sessions.start(call, request.studio_id, request.session_id, request.backup_id)
    return StartStreamingSessionResult(session=await _with_tags(session, caller, services))


@operation(
    "StopStreamingSession",
    raises=_WISHES,
    note="ValidationException when the launch profile gives no time to be stopped. volumeRetentionMode is RETAIN unless it is given.",
)
async def stop_streaming_session(
    request: StopStreamingSessionRequest, caller: Caller, services: AppStreamServices
) -> StopStreamingSessionResult:
    mode = request.volume_retention_mode
    session = await services.nimble.sessions.stop(
        call_of("StopStreamingSession", request, caller),
        request.studio_id,
        request.session_id,
        VolumeRetention(mode) if mode else None,
    )
    return StopStreamingSessionResult(session=await _with_tags(session, caller, services))


@operation(
    "DeleteStreamingSession",
    raises=_WISHES,
    note="Its disk and its backups go with it. A deleted one again is success.",
)
async def delete_streaming_session(
    request: DeleteStreamingSessionRequest, caller: Caller, services: AppStreamServices
) -> DeleteStreamingSessionResult:
    call = call_of("DeleteStreamingSession", request, caller)
    session = await services.nimble.sessions.delete(call, request.studio_id, request.session_id)
    return DeleteStreamingSessionResult(session=await _with_tags(session, caller, services))


@operation(
    "CreateStreamingSessionStream",
    raises=_WISHES,
    note="Without expirationInSeconds the URL can be opened for 120 s. It opens the session page of the portal.",
)
async def create_streaming_session_stream(
    request: CreateStreamingSessionStreamRequest, caller: Caller, services: AppStreamServices
) -> CreateStreamingSessionStreamResult:
    stream = await services.nimble.streams.create(
        call_of("CreateStreamingSessionStream", request, caller),
        request.studio_id,
        request.session_id,
        request.expiration_in_seconds,
    )
    return CreateStreamingSessionStreamResult(stream=shown_stream(stream, None))


@operation("GetStreamingSessionStream", raises=(NotFound,), is_pure_read=True)
async def get_streaming_session_stream(
    request: GetStreamingSessionStreamRequest, caller: Caller, services: AppStreamServices
) -> GetStreamingSessionStreamResult:
    found = await services.nimble.streams.get(caller.scope, request.studio_id, request.session_id, request.stream_id)
    return GetStreamingSessionStreamResult(stream=shown_stream(*found))


@operation("GetStreamingSessionBackup", raises=(NotFound,), is_pure_read=True)
async def get_streaming_session_backup(
    request: GetStreamingSessionBackupRequest, caller: Caller, services: AppStreamServices
) -> GetStreamingSessionBackupResult:
    found = await services.nimble.session_backups.get(caller.scope, request.studio_id, request.backup_id)
    return GetStreamingSessionBackupResult(streaming_session_backup=shown_backup(*found))


@operation(
    "ListStreamingSessionBackups",
    raises=(InvalidCombination, NotFound),
    note="Deleted backups are left out.",
    is_pure_read=True,
)
async def list_streaming_session_backups(
    request: ListStreamingSessionBackupsRequest, caller: Caller, services: AppStreamServices
) -> ListStreamingSessionBackupsResult:
    page, next_token = await services.nimble.session_backups.page(
        caller.scope, request.studio_id, request.owned_by, request.next_token
    )
    backups = tuple(shown_backup(*one) for one in page)
    return ListStreamingSessionBackupsResult(streaming_session_backups=backups, next_token=next_token)


async def _with_tags(session: StudioSession, caller: Caller, services: AppStreamServices) -> StreamingSession:
    return shown(*await services.nimble.sessions.get(caller.scope, session.studio_id, session.session_id))
