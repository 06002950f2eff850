"""Streaming sessions of studios, with their backups and streams."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0013"

_Name = sa.String().with_variant(sa.String(collation="C"), "postgresql")
_Time = sa.DateTime().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
_Json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_STATES = (
    "'CREATE_IN_PROGRESS', 'DELETE_IN_PROGRESS', 'READY', 'DELETED', 'CREATE_FAILED', 'DELETE_FAILED', "
    "'STOP_IN_PROGRESS', 'START_IN_PROGRESS', 'STOPPED', 'STOP_FAILED', 'START_FAILED'"
)
_STREAM_STATES = "'READY', 'CREATE_IN_PROGRESS', 'DELETE_IN_PROGRESS', 'DELETED', 'CREATE_FAILED', 'DELETE_FAILED'"


def upgrade() -> None:
    op.create_table(
        "studio_sessions",
        *_must(_Name, "session_id"),
        *_must(sa.String(), "account_id", "region", "studio_id"),
        *_must(sa.BigInteger(), "version"),
        *_must(sa.String(), "state", "status_code"),
        *_must(sa.Text(), "status_message"),
        *_must(sa.String(), "launch_profile_id", "streaming_image_id", "ec2_instance_type", "image_ref"),
        *_must(sa.String(), "instance_id", "agent_version"),
        *_must(_Json, "subnet_ids", "security_group_ids", "settings", "scripts"),
        *_must(sa.String(), "owned_by", "created_by", "updated_by", "started_by"),
        *_may(sa.String(), "stopped_by"),
        *_must(_Time, "created_at", "updated_at", "started_at"),
        *_may(_Time, "stopped_at", "stop_at", "terminate_at"),
        *_may(sa.String(), "started_from_backup_id", "volume_retention"),
        *_must(_Time, "begun_at"),
        *_may(_Time, "accepted_at"),
        *_must(sa.Boolean(), "has_run"),
        *_must(sa.Integer(), "launch_failures"),
        *_may(_Time, "retry_at"),
        *_may(sa.String(), "restoring_backup_id"),
        sa.PrimaryKeyConstraint("session_id", name="pk_studio_sessions"),
        sa.CheckConstraint(f"state IN ({_STATES})", name="ck_studio_sessions_state"),
        sa.CheckConstraint("volume_retention IN ('RETAIN', 'DELETE')", name="ck_studio_sessions_volume_retention"),
    )
    op.create_table(
        "studio_session_backups",
        *_must(_Name, "backup_id"),
        *_must(sa.String(), "account_id", "region", "studio_id"),
        *_must(sa.BigInteger(), "version"),
        *_must(sa.String(), "state", "status_code"),
        *_must(sa.Text(), "status_message"),
        *_must(sa.String(), "session_id", "launch_profile_id", "owned_by", "instance_id", "snapshot"),
        *_must(_Time, "created_at", "state_since"),
        sa.PrimaryKeyConstraint("backup_id", name="pk_studio_session_backups"),
        sa.CheckConstraint(f"state IN ({_STATES})", name="ck_studio_session_backups_state"),
    )
    op.create_table(
        "studio_session_streams",
        *_must(_Name, "stream_id"),
        *_must(sa.String(), "account_id", "region", "studio_id", "session_id"),
        *_must(sa.BigInteger(), "version"),
        *_must(sa.String(), "state", "owned_by", "created_by"),
        *_must(_Time, "created_at", "expires_at", "state_since"),
        sa.PrimaryKeyConstraint("stream_id", name="pk_studio_session_streams"),
        sa.CheckConstraint(f"state IN ({_STREAM_STATES})", name="ck_studio_session_streams_state"),
    )
    for table, columns in (
        ("studio_sessions", ("instance_id", "studio_id", "launch_profile_id")),
        ("studio_session_backups", ("session_id", "instance_id", "studio_id")),
        ("studio_session_streams", ("session_id",)),
    ):
        for column in columns:
            op.create_index(f"ix_{table}_{column}", table, [column])


def _must(kind: sa.types.TypeEngine[Any], *names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind, nullable=False) for name in names]


def _may(kind: sa.types.TypeEngine[Any], *names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind, nullable=True) for name in names]
