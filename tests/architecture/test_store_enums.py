"""One truth for every closed set of values: the service model's enum, the domain's, and the CHECK in the database."""

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect

from fanlight.api.spec import appstream_model
from fanlight.domain.alarms import AlarmState, Comparison, MissingData
from fanlight.domain.fleet_errors import FleetErrorCode
from fanlight.domain.fleets import FleetState, FleetType, StreamView
from fanlight.domain.image_builders import ImageBuilderState, StateChangeCode
from fanlight.domain.image_exports import ExportState
from fanlight.domain.images import ImageFailure, ImageState, Visibility
from fanlight.domain.instances import InstanceState
from fanlight.domain.nimble.memberships import Persona
from fanlight.domain.nimble.resources import ResourceState
from fanlight.domain.nimble.sessions import StudioSessionState, VolumeRetention
from fanlight.domain.nimble.streams import StreamState
from fanlight.domain.scaling import ActivityStatus
from fanlight.domain.stacks import UserAction
from fanlight.domain.streaming_sessions import ConnectionState, EndReason, SessionState
from fanlight.store import open_store
from fanlight.store.tables import metadata

MODEL_ENUMS: Mapping[type[StrEnum], str] = {
    FleetState: "FleetState",
    FleetErrorCode: "FleetErrorCode",
    StreamView: "StreamView",
    ImageState: "ImageState",
    ImageFailure: "ImageStateChangeReasonCode",
    Visibility: "VisibilityType",
    ImageBuilderState: "ImageBuilderState",
    StateChangeCode: "ImageBuilderStateChangeReasonCode",
    ExportState: "ExportImageTaskState",
    SessionState: "SessionState",
    ConnectionState: "SessionConnectionState",
    UserAction: "Action",
}
# We cannot make what the others stand for: ELASTIC fleets.
PARTIAL_ENUMS: Mapping[type[StrEnum], str] = {FleetType: "FleetType"}

CHECKED_COLUMNS: Mapping[tuple[str, str], type[StrEnum]] = {
    ("fleets", "state"): FleetState,
    ("fleets", "fleet_type"): FleetType,
    ("fleets", "stream_view"): StreamView,
    ("images", "state"): ImageState,
    ("images", "visibility"): Visibility,
    ("images", "failure"): ImageFailure,
    ("image_builders", "state"): ImageBuilderState,
    ("image_exports", "state"): ExportState,
    ("instances", "state"): InstanceState,
    ("streaming_sessions", "state"): SessionState,
    ("streaming_sessions", "end_requested"): EndReason,
    ("streaming_sessions", "end_reason"): EndReason,
    ("nimble_resources", "state"): ResourceState,
    ("nimble_memberships", "persona"): Persona,
    ("metric_alarms", "state"): AlarmState,
    ("metric_alarms", "comparison"): Comparison,
    ("metric_alarms", "missing_data"): MissingData,
    ("scaling_activities", "status"): ActivityStatus,
    ("studio_sessions", "state"): StudioSessionState,
    ("studio_sessions", "volume_retention"): VolumeRetention,
    ("studio_session_backups", "state"): StudioSessionState,
    ("studio_session_streams", "state"): StreamState,
}


def members_in_model(shape: str) -> set[str]:
    return set(appstream_model().shape_for(shape).enum)


@pytest.mark.parametrize(("ours", "shape"), MODEL_ENUMS.items(), ids=lambda value: getattr(value, "__name__", value))
def test_our_enum_is_the_model_s(ours: type[StrEnum], shape: str) -> None:
    assert {member.value for member in ours} == members_in_model(shape)


@pytest.mark.parametrize(("ours", "shape"), PARTIAL_ENUMS.items(), ids=lambda value: getattr(value, "__name__", value))
def test_our_partial_enum_has_nothing_the_model_lacks(ours: type[StrEnum], shape: str) -> None:
    assert {member.value for member in ours} < members_in_model(shape)


async def test_every_check_in_a_migrated_database_is_the_domain_s_enum(tmp_path: Path) -> None:
    def checks(connection: Connection) -> dict[tuple[str, str], set[str]]:
        found = {}
        for table in metadata.tables:
            for check in inspect(connection).get_check_constraints(table):
                column, listed = re.fullmatch(r"(\w+) IN \((.*)\)", check["sqltext"]).groups()
                found[table, column] = set(re.findall(r"'(\w+)'", listed))
        return found

    async with open_store(f"sqlite:///{tmp_path / 'fanlight.db'}") as store:
        await store.upgrade()
        async with store._engine.connect() as connection:
            found = await connection.run_sync(checks)
    assert found == {place: {member.value for member in kind} for place, kind in CHECKED_COLUMNS.items()}


async def test_the_migrations_build_the_tables_that_the_code_uses(tmp_path: Path) -> None:
    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    async with open_store(f"sqlite:///{tmp_path / 'fanlight.db'}") as store:
        await store.upgrade()
        async with store._engine.connect() as connection:
            assert await connection.run_sync(differences) == []
