"""The life of streaming sessions, their streams and their backups, cell by cell, and the codes that states come with."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import pytest

from fanlight.api.spec.nimble_model import nimble_table
from fanlight.domain.errors import TransitionRefused
from fanlight.domain.machine import Machine
from fanlight.domain.nimble import session_changes
from fanlight.domain.nimble.resources import Status
from fanlight.domain.nimble.session_backups import (
    BACKUP,
    BACKUP_BEGUN,
    BackupEvent,
    SessionBackup,
    moved_backup,
    new_backup_of,
)
from fanlight.domain.nimble.sessions import (
    STUDIO_SESSION,
    SessionSettings,
    StudioSession,
    StudioSessionCode,
    StudioSessionEvent,
    StudioSessionState,
    VolumeRetention,
)
from fanlight.domain.nimble.streams import STREAM, STREAM_CODES, StreamEvent, StreamState
from fanlight.domain.places import Scope

NOW = datetime(2026, 1, 1, tzinfo=UTC)
_S = StudioSessionState
# Columns by their order in the model of events; what is not said is refused.
SESSIONS = """
                    BECAME_READY START_FAILED  STOP_REQUESTED   STOPPED START_REQUESTED   INSTANCE_LOST DELETE_REQUESTED   DELETED
CREATE_IN_PROGRESS  READY        CREATE_FAILED -                -       -                 -             -                  -
READY               -            -             STOP_IN_PROGRESS -       -                 STOP_FAILED   DELETE_IN_PROGRESS -
CREATE_FAILED       -            -             -                -       -                 -             DELETE_IN_PROGRESS -
STOP_IN_PROGRESS    -            -             -                STOPPED -                 STOP_FAILED   -                  -
STOPPED             -            -             -                -       START_IN_PROGRESS -             DELETE_IN_PROGRESS -
STOP_FAILED         -            -             STOP_IN_PROGRESS -       -                 -             DELETE_IN_PROGRESS -
START_IN_PROGRESS   READY        START_FAILED  -                -       -                 -             -                  -
START_FAILED        -            -             -                -       START_IN_PROGRESS -             DELETE_IN_PROGRESS -
DELETE_IN_PROGRESS  -            -             -                -       -                 -             -                  DELETED
DELETED             -            -             -                -       -                 -             -                  -
DELETE_FAILED       -            -             -                -       -                 -             DELETE_IN_PROGRESS -
"""
BACKUPS = """
                    TAKEN  FAILED         DELETE_REQUESTED    DELETED
CREATE_IN_PROGRESS  READY  CREATE_FAILED  DELETE_IN_PROGRESS  -
READY               -      -              DELETE_IN_PROGRESS  -
DELETE_IN_PROGRESS  -      -              -                   DELETED
"""
STREAMS = """
                    OPENED  SESSION_NOT_READY  EXPIRED
CREATE_IN_PROGRESS  READY   CREATE_FAILED      -
READY               -       DELETED            DELETED
"""


def cells(matrix: str, machine: Machine[Any, Any], states: type[StrEnum], events: type[StrEnum]) -> Iterator[Any]:
    """Yield every pair of a state and an event with what follows; states without a line refuse everything."""
    head, *lines = matrix.strip().splitlines()
    table = {line.split()[0]: dict(zip(head.split(), line.split()[1:], strict=True)) for line in lines}
    assert set(head.split()) == set(events)
    assert set(table) <= set(states)
    for state in states:
        for event in events:
            yield machine, state, event, table.get(state, {}).get(event, "-")


@pytest.mark.parametrize(
    ("machine", "state", "event", "expected"),
    [
        *cells(SESSIONS, STUDIO_SESSION, StudioSessionState, StudioSessionEvent),
        *cells(BACKUPS, BACKUP, StudioSessionState, BackupEvent),
        *cells(STREAMS, STREAM, StreamState, StreamEvent),
    ],
    ids=lambda one: str(getattr(one, "kind", one)),
)
def test_the_tables(machine: Machine[Any, Any], state: StrEnum, event: StrEnum, expected: str) -> None:
    assert machine.allows(state, event) == (expected != "-")
    if expected == "-":
        with pytest.raises(TransitionRefused):
            machine.after(state, event)
    else:
        assert machine.after(state, event) == expected


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (StudioSessionState, "StreamingSessionState"),
        (StudioSessionCode, "StreamingSessionStatusCode"),
        (StreamState, "StreamingSessionStreamState"),
        (VolumeRetention, "VolumeRetentionMode"),
    ],
)
def test_the_names_are_the_model_s(kind: type[StrEnum], shape: str) -> None:
    assert {one.value for one in kind} == set(nimble_table()["shapes"][shape]["enum"])


def test_every_state_that_a_stream_comes_into_has_a_code() -> None:
    assert set(STREAM_CODES) == {STREAM.initial, *STREAM.table.values()}
    assert set(STREAM_CODES.values()) <= set(nimble_table()["shapes"]["StreamingSessionStreamStatusCode"]["enum"])


def session(state: StudioSessionState, **settings: Any) -> StudioSession:
    return StudioSession(
        session_id="s", scope=Scope("0", "us-east-1"), studio_id="t", state=state,
        status=Status(code="INTERNAL_ERROR"), launch_profile_id="p", streaming_image_id="i",
        ec2_instance_type="g4dn.xlarge", image_ref="r", instance_id="i-1", agent_version="v",
        settings=SessionSettings(**settings), owned_by="a", created_by="c", updated_by="c", started_by="c",
        created_at=NOW, updated_at=NOW, started_at=NOW, begun_at=NOW,
    )  # fmt: skip


def test_each_change_of_a_session_has_the_code_of_the_service() -> None:
    changes = {
        "STREAMING_SESSION_READY": session_changes.become_ready(session(_S.CREATE_IN_PROGRESS), NOW),
        "STREAMING_SESSION_STARTED": session_changes.become_ready(session(_S.START_IN_PROGRESS), NOW),
        "STREAMING_SESSION_STOP_IN_PROGRESS": session_changes.asked_to_stop(
            session(_S.READY), NOW, "u", VolumeRetention.RETAIN
        ),
        "STREAMING_SESSION_STOPPED": session_changes.become_stopped(session(_S.STOP_IN_PROGRESS), NOW),
        "STREAMING_SESSION_START_IN_PROGRESS": session_changes.asked_to_start(session(_S.STOPPED), NOW, "u", None),
        "STREAMING_SESSION_DELETE_IN_PROGRESS": session_changes.asked_to_delete(session(_S.STOPPED), NOW, "u"),
    }
    assert {code: changed.status.code for code, changed in changes.items()} == {code: code for code in changes}


@pytest.mark.parametrize(
    ("settings", "stops", "ends"),
    [
        ({}, False, True),  # may not be stopped: it ends
        ({"max_stopped_length": timedelta(minutes=5)}, True, False),
        ({"is_persistent": True}, True, False),
        ({"is_persistent": True, "terminates_automatically": True}, False, True),
        ({"is_persistent": True, "terminates_automatically": True, "max_stopped_length": timedelta(minutes=5)}, True, False),
    ],
)  # fmt: skip
def test_what_a_session_that_is_ready_is_to_come_to(settings: dict[str, Any], *, stops: bool, ends: bool) -> None:
    ready = session_changes.become_ready(session(_S.CREATE_IN_PROGRESS, max_length=timedelta(hours=2), **settings), NOW)
    assert (ready.stop_at, ready.terminate_at) == (
        NOW + timedelta(hours=2) if stops else None,
        NOW + timedelta(hours=2) if ends else None,
    )


def test_each_change_of_a_backup_has_the_code_of_the_session_s() -> None:
    fresh: SessionBackup = new_backup_of(session(_S.STOP_IN_PROGRESS), NOW)
    assert (fresh.state, fresh.status) == (_S.CREATE_IN_PROGRESS, BACKUP_BEGUN)
    taken = moved_backup(fresh, BackupEvent.TAKEN, NOW)
    going = moved_backup(taken, BackupEvent.DELETE_REQUESTED, NOW)
    gone = moved_backup(going, BackupEvent.DELETED, NOW)
    failed = moved_backup(fresh, BackupEvent.FAILED, NOW, "no room")
    assert [one.status.code for one in (taken, going, gone, failed)] == [
        "STREAMING_SESSION_READY",
        "STREAMING_SESSION_DELETE_IN_PROGRESS",
        "STREAMING_SESSION_DELETED",
        "INTERNAL_ERROR",
    ]
    assert failed.status.message == "no room"
