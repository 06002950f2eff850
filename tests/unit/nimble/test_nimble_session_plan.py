"""Streaming sessions, streams and backups of Nimble Studio as clients see them; their machines stand still here."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from test_nimble_streaming_images import add_image

from fanlight.domain.nimble.identifiers import new_id
from fanlight.domain.nimble.resources import ResourceState, Status
from fanlight.domain.nimble.session_backups import SessionBackup
from fanlight.domain.nimble.sessions import SessionSettings, StudioSession, StudioSessionState, Volume, VolumeRetention
from fanlight.domain.places import Scope
from nimble_rig import KEY, Nimble, Studio, ask, new_profile

HERE = Scope(KEY.account_id, "us-east-1")
NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
_S = StudioSessionState
LASTING = SessionSettings(is_persistent=True, makes_backups=True, backups_to_retain=2, volume=Volume(size_in_gib=200))


async def add(studio: Studio, state: StudioSessionState = _S.READY, **members: Any) -> StudioSession:
    fresh: dict[str, Any] = {
        "session_id": new_id(), "scope": HERE, "studio_id": studio.studio_id, "state": state,
        "status": Status(code="STREAMING_SESSION_READY", message="It is ready."), "launch_profile_id": "profile",
        "streaming_image_id": "image", "ec2_instance_type": "g4dn.xlarge", "image_ref": "sample", "instance_id": "i-1",
        "agent_version": "v", "settings": LASTING, "owned_by": "artist", "created_by": "lead", "updated_by": "lead",
        "started_by": "lead", "created_at": NOW, "updated_at": NOW, "started_at": NOW, "begun_at": NOW, "has_run": True,
    }  # fmt: skip
    async with studio.nimble.store.transactions.begin(write=True) as work:
        session = await work.studio_sessions.add(StudioSession(**fresh | members))
        await work.commit()
    return session


async def backup_of(studio: Studio, session: StudioSession, state: StudioSessionState = _S.READY) -> SessionBackup:
    backup = SessionBackup(
        backup_id=new_id(), scope=HERE, studio_id=studio.studio_id, state=state, status=session.status,
        session_id=session.session_id, launch_profile_id="profile", owned_by="artist", instance_id="i-1",
        snapshot="backup-1", created_at=NOW, state_since=NOW,
    )  # fmt: skip
    async with studio.nimble.store.transactions.begin(write=True) as work:
        backup = await work.session_backups.add(backup)
        await work.commit()
    return backup


async def refused(method: Any, **arguments: Any) -> tuple[str, int, str]:
    with pytest.raises(ClientError) as error:
        await ask(method, **arguments)
    response = error.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Message"]


async def test_a_session_is_answered_whole(studio: Studio) -> None:
    session = await add(studio, stop_at=NOW + timedelta(minutes=690), volume_retention=VolumeRetention.RETAIN)
    arn = f"arn:aws:nimble:us-east-1:{KEY.account_id}:streaming-session/{session.session_id}"
    await ask(studio.api.tag_resource, resourceArn=arn, tags={"shot": "042"})
    answer = await ask(studio.api.get_streaming_session, studioId=studio.studio_id, sessionId=session.session_id)
    assert answer["session"] == {
        "arn": arn, "automaticTerminationMode": "DEACTIVATED", "backupMode": "AUTOMATIC", "createdAt": NOW,
        "createdBy": "lead", "ec2InstanceType": "g4dn.xlarge", "launchProfileId": "profile", "maxBackupsToRetain": 2,
        "ownedBy": "artist", "sessionId": session.session_id, "sessionPersistenceMode": "ACTIVATED", "startedAt": NOW,
        "startedBy": "lead", "state": "READY", "statusCode": "STREAMING_SESSION_READY", "statusMessage": "It is ready.",
        "stopAt": NOW + timedelta(minutes=690), "streamingImageId": "image", "tags": {"shot": "042"}, "updatedAt": NOW,
        "updatedBy": "lead", "volumeConfiguration": {"size": 200}, "volumeRetentionMode": "RETAIN",
    }  # fmt: skip


# What each state makes of each wish: the state that follows, or the code of the refusal. An empty list is a table's gap.
_AS_IT_IS = object()
_WISHES: dict[StudioSessionState, tuple[Any, Any, Any]] = {
    # state:                 stop                   start                    delete
    _S.CREATE_IN_PROGRESS: ("ConflictException", "ConflictException", "ConflictException"),
    _S.READY: ("STOP_IN_PROGRESS", "ConflictException", "DELETE_IN_PROGRESS"),
    _S.CREATE_FAILED: ("ConflictException", "ConflictException", "DELETE_IN_PROGRESS"),
    _S.STOP_IN_PROGRESS: (_AS_IT_IS, "ConflictException", "ConflictException"),
    _S.STOPPED: (_AS_IT_IS, "START_IN_PROGRESS", "DELETE_IN_PROGRESS"),
    _S.STOP_FAILED: ("STOP_IN_PROGRESS", "ConflictException", "DELETE_IN_PROGRESS"),
    _S.START_IN_PROGRESS: ("ConflictException", _AS_IT_IS, "ConflictException"),
    _S.START_FAILED: ("ConflictException", "START_IN_PROGRESS", "DELETE_IN_PROGRESS"),
    _S.DELETE_IN_PROGRESS: ("ConflictException", "ConflictException", _AS_IT_IS),
    _S.DELETED: ("ConflictException", "ConflictException", _AS_IT_IS),
    _S.DELETE_FAILED: ("ConflictException", "ConflictException", "DELETE_IN_PROGRESS"),
}


@pytest.mark.parametrize("state", _WISHES)
async def test_every_state_answers_every_wish_as_the_table_says(studio: Studio, state: StudioSessionState) -> None:
    for wish, expected in zip(("stop", "start", "delete"), _WISHES[state], strict=True):
        session = await add(studio, state)
        named = {"studioId": studio.studio_id, "sessionId": session.session_id}
        method = getattr(studio.api, f"{wish}_streaming_session")
        if isinstance(expected, str) and expected.endswith("Exception"):
            code, status, text = await refused(method, **named)
            assert (code, status) == (expected, 409), wish
            assert str(state) in text
        else:
            answer = await ask(method, **named)
            assert answer["session"]["state"] == (state if expected is _AS_IT_IS else expected), wish


def test_every_state_is_in_the_table() -> None:
    assert set(_WISHES) == set(_S)


async def test_a_stop_that_the_profile_gives_no_time_for_is_refused(studio: Studio) -> None:
    session = await add(studio, settings=replace(LASTING, is_persistent=False))
    named = {"studioId": studio.studio_id, "sessionId": session.session_id}
    code, status, text = await refused(studio.api.stop_streaming_session, **named)
    assert (code, status) == ("ValidationException", 400)
    assert "maxStoppedSessionLengthInMinutes 0" in text


async def test_a_stop_stamps_who_and_when_and_adds_the_backup_that_it_makes(studio: Studio) -> None:
    session = await add(studio)
    named = {"studioId": studio.studio_id, "sessionId": session.session_id}
    stopping = (await ask(studio.api.stop_streaming_session, **named, volumeRetentionMode="DELETE"))["session"]
    assert (stopping["stoppedBy"], stopping["updatedBy"]) == (KEY.access_key_id, KEY.access_key_id)
    assert (stopping["stoppedAt"], stopping["volumeRetentionMode"]) == (stopping["updatedAt"], "DELETE")
    assert "stopAt" not in stopping
    listed = await ask(studio.api.list_streaming_session_backups, studioId=studio.studio_id)
    [backup] = listed["streamingSessionBackups"]
    assert (backup["sessionId"], backup["state"], backup["statusCode"]) == (
        session.session_id, "CREATE_IN_PROGRESS", "STREAMING_SESSION_CREATE_IN_PROGRESS",
    )  # fmt: skip
    assert f"studio_session {session.session_id}" in studio.nimble.woken


async def test_the_same_stop_with_its_token_again_does_nothing(studio: Studio) -> None:
    session = await add(studio)
    named = {"studioId": studio.studio_id, "sessionId": session.session_id, "clientToken": "once"}
    await ask(studio.api.stop_streaming_session, **named)
    await ask(studio.api.stop_streaming_session, **named)
    listed = await ask(studio.api.list_streaming_session_backups, studioId=studio.studio_id)
    assert len(listed["streamingSessionBackups"]) == 1
    code, _, _ = await refused(studio.api.stop_streaming_session, **named, volumeRetentionMode="DELETE")
    assert code == "ValidationException"


async def test_a_start_from_a_backup_names_it_and_others_are_refused(studio: Studio) -> None:
    session, other = await add(studio, _S.STOPPED), await add(studio, _S.STOPPED)
    ready, leaving = await backup_of(studio, session), await backup_of(studio, session, _S.DELETE_IN_PROGRESS)
    foreign = await backup_of(studio, other)
    named = {"studioId": studio.studio_id, "sessionId": session.session_id}
    assert (await refused(studio.api.start_streaming_session, **named, backupId=foreign.backup_id))[:2] == (
        "ResourceNotFoundException", 404,
    )  # fmt: skip
    assert (await refused(studio.api.start_streaming_session, **named, backupId=leaving.backup_id))[
        0
    ] == "ConflictException"
    started = (await ask(studio.api.start_streaming_session, **named, backupId=ready.backup_id))["session"]
    assert (started["state"], started["startedFromBackupId"]) == ("START_IN_PROGRESS", ready.backup_id)
    assert started["startedAt"] > NOW


async def test_lists_leave_deleted_ones_out_and_filter(studio: Studio) -> None:
    mine, hers = await add(studio), await add(studio, owned_by="she", created_by="she")
    await add(studio, _S.DELETED)

    async def ids(**wanted: str) -> set[str]:
        page = await ask(studio.api.list_streaming_sessions, studioId=studio.studio_id, **wanted)
        return {one["sessionId"] for one in page["sessions"]}

    assert await ids() == {mine.session_id, hers.session_id}
    assert await ids(ownedBy="she") == {hers.session_id}
    assert await ids(createdBy="lead") == {mine.session_id}
    assert await ids(sessionIds=f"{mine.session_id},nobody") == {mine.session_id}
    backup, gone = await backup_of(studio, mine), await backup_of(studio, mine, _S.DELETED)
    found = await ask(studio.api.get_streaming_session_backup, studioId=studio.studio_id, backupId=gone.backup_id)
    assert found["streamingSessionBackup"]["state"] == "DELETED"
    page = await ask(studio.api.list_streaming_session_backups, studioId=studio.studio_id, ownedBy="artist")
    assert [one["backupId"] for one in page["streamingSessionBackups"]] == [backup.backup_id]


async def test_lists_are_paged(studio: Studio) -> None:
    made = {(await add(studio)).session_id for _ in range(51)}
    paginator = studio.api.get_paginator("list_streaming_sessions")
    pages = await ask(lambda: list(paginator.paginate(studioId=studio.studio_id)))
    assert [len(page["sessions"]) for page in pages] == [50, 1]
    assert {one["sessionId"] for page in pages for one in page["sessions"]} == made
    code, _, _ = await refused(
        studio.api.list_streaming_sessions, studioId=studio.studio_id, ownedBy="x", nextToken=pages[0]["nextToken"]
    )
    assert code == "ValidationException"


async def test_a_stream_lasts_as_long_as_it_is_asked_for(studio: Studio) -> None:
    session = await add(studio)
    named = {"studioId": studio.studio_id, "sessionId": session.session_id}
    stream = (await ask(studio.api.create_streaming_session_stream, **named, expirationInSeconds=3600))["stream"]
    assert (stream["state"], stream["statusCode"], stream["ownedBy"]) == (
        "CREATE_IN_PROGRESS", "STREAM_CREATE_IN_PROGRESS", "artist",
    )  # fmt: skip
    assert stream["expiresAt"] - stream["createdAt"] == timedelta(seconds=3600)
    assert "url" not in stream
    default = (await ask(studio.api.create_streaming_session_stream, **named))["stream"]
    assert default["expiresAt"] - default["createdAt"] == timedelta(seconds=120)
    code, _, text = await refused(studio.api.create_streaming_session_stream, **named, expirationInSeconds=3601)
    assert code == "ValidationException", text
    other = await add(studio)
    again = {"studioId": studio.studio_id, "sessionId": other.session_id, "streamId": stream["streamId"]}
    assert (await refused(studio.api.get_streaming_session_stream, **again))[0] == "ResourceNotFoundException"


async def test_another_account_and_another_studio_see_nothing(nimble: Nimble, studio: Studio) -> None:
    session = await add(studio)
    other = studio.studio_id[:-1] + ("a" if studio.studio_id[-1] != "a" else "b")
    for studio_id, session_id in ((other, session.session_id), (studio.studio_id, "nobody")):
        code, status, _ = await refused(studio.api.get_streaming_session, studioId=studio_id, sessionId=session_id)
        assert (code, status) == ("ResourceNotFoundException", 404)
    elsewhere = nimble.client(region="us-west-2")
    code, _, _ = await refused(elsewhere.get_streaming_session, studioId=studio.studio_id, sessionId=session.session_id)
    assert code == "ResourceNotFoundException"


async def test_a_session_copies_what_its_profile_says(studio: Studio) -> None:
    image = await add_image(studio)
    made = await studio.call("create_streaming_image", ec2ImageId=image.ami_id, name="artists")
    scripts = [
        {"platform": "LINUX", "runContext": "USER_INITIALIZATION", "script": "one", "launchProfileProtocolVersion": "2021-03-31"},
        {"platform": "WINDOWS", "runContext": "SYSTEM_INITIALIZATION", "script": "dir", "launchProfileProtocolVersion": "2021-03-31"},
        {"platform": "LINUX", "runContext": "SYSTEM_INITIALIZATION", "script": "two", "launchProfileProtocolVersion": "2021-03-31"},
    ]  # fmt: skip
    component = await studio.component(
        initializationScripts=scripts, scriptParameters=[{"key": "SERVER", "value": "lic1"}]
    )
    stream = {
        "clipboardMode": "ENABLED", "maxSessionLengthInMinutes": 60, "sessionPersistenceMode": "ACTIVATED",
        "sessionBackup": {"mode": "AUTOMATIC", "maxBackupsToRetain": 3}, "ec2InstanceTypes": ["g5.xlarge", "g4dn.xlarge"],
        "sessionStorage": {"mode": ["UPLOAD"], "root": {"linux": "/mnt/uploads"}}, "volumeConfiguration": {"size": 100},
    }  # fmt: skip
    wanted = {**new_profile(component, made["streamingImage"]["streamingImageId"], **stream)}
    profile_id = (await studio.call("create_launch_profile", **wanted))["launchProfile"]["launchProfileId"]
    code, _, text = await refused(
        studio.api.create_streaming_session, studioId=studio.studio_id, launchProfileId=profile_id
    )
    assert (code, text) == (
        "ValidationException",
        "The launch profile offers several instance types. Name one of: g5.xlarge, g4dn.xlarge.",
    )
    code, _, text = await refused(
        studio.api.create_streaming_session,
        studioId=studio.studio_id, launchProfileId=profile_id, ec2InstanceType="g3.4xlarge",
    )  # fmt: skip
    assert code == "ValidationException"
    answer = await ask(
        studio.api.create_streaming_session,
        studioId=studio.studio_id, launchProfileId=profile_id, ec2InstanceType="g5.xlarge", ownedBy="artist", tags={"a": "b"},
    )  # fmt: skip
    shown = answer["session"]
    assert (shown["state"], shown["ownedBy"], shown["createdBy"], shown["tags"], shown["volumeConfiguration"]) == (
        "CREATE_IN_PROGRESS", "artist", KEY.access_key_id, {"a": "b"}, {"size": 100},
    )  # fmt: skip
    async with studio.nimble.store.transactions.begin() as work:
        session = await work.studio_sessions.find(shown["sessionId"])
    assert session is not None
    assert (session.image_ref, session.settings) == (
        image.store_ref,
        SessionSettings(
            has_clipboard=True, upload_root="/mnt/uploads", max_length=timedelta(hours=1), is_persistent=True,
            makes_backups=True, backups_to_retain=3, volume=Volume(size_in_gib=100),
        ),
    )  # fmt: skip
    uploads, *own = session.scripts
    assert (uploads.context, uploads.parameters) == (
        "SYSTEM_INITIALIZATION",
        (("FANLIGHT_UPLOAD_ROOT", "/mnt/uploads"),),
    )
    assert [(one.context, one.text, one.parameters) for one in own] == [
        ("SYSTEM_INITIALIZATION", "two", (("SERVER", "lic1"),)),
        ("USER_INITIALIZATION", "one", (("SERVER", "lic1"),)),
    ]
    await studio.call("delete_launch_profile", launchProfileId=profile_id)
    profile = (await studio.call("get_launch_profile", launchProfileId=profile_id))["launchProfile"]
    assert profile["statusCode"] == "LAUNCH_PROFILE_WITH_STREAM_SESSIONS_NOT_DELETED"


async def test_a_session_needs_a_profile_and_an_image_that_are_ready(studio: Studio) -> None:
    named = {"studioId": studio.studio_id}
    code, status, _ = await refused(studio.api.create_streaming_session, **named, launchProfileId="nobody")
    assert (code, status) == ("ResourceNotFoundException", 404)
    image_id = await studio.image(state=ResourceState.READY)
    component = await studio.component()
    made = await studio.call("create_launch_profile", **new_profile(component, image_id))
    profile_id = made["launchProfile"]["launchProfileId"]
    await studio.call("delete_streaming_image", streamingImageId=image_id)
    code, status, text = await refused(studio.api.create_streaming_session, **named, launchProfileId=profile_id)
    assert (code, status) == ("ConflictException", 409)
    assert "is DELETED" in text


@pytest.mark.parametrize("quotas", ["aws,Nimble Studio streaming sessions=2"])
async def test_a_session_more_than_the_quota_is_402_and_one_counts_until_it_is_deleted(studio: Studio) -> None:
    image = await add_image(studio)
    made = await studio.call("create_streaming_image", ec2ImageId=image.ami_id, name="artists")
    types = {"ec2InstanceTypes": ["g4dn.xlarge", "g5.xlarge"]}
    profile = new_profile(await studio.component(), made["streamingImage"]["streamingImageId"], **types)
    profile_id = (await studio.call("create_launch_profile", **profile))["launchProfile"]["launchProfileId"]
    wanted = {"studioId": studio.studio_id, "launchProfileId": profile_id, "ec2InstanceType": "g4dn.xlarge"}
    code, status, text = await refused(studio.api.create_streaming_session, **wanted | {"ec2InstanceType": "g5.xlarge"})
    assert (code, status) == ("ServiceQuotaExceededException", 402)
    assert "'Nimble Studio G5 streaming sessions'" in text
    await add(studio, _S.DELETED)
    await add(studio, _S.STOPPED)
    token = {"clientToken": "second"}
    second = await ask(studio.api.create_streaming_session, **wanted, **token)
    code, status, text = await refused(studio.api.create_streaming_session, **wanted)
    assert (code, status) == ("ServiceQuotaExceededException", 402)
    assert "'Nimble Studio streaming sessions'" in text
    again = await ask(studio.api.create_streaming_session, **wanted, **token)
    assert again["session"]["sessionId"] == second["session"]["sessionId"]
