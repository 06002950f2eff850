"""The tables of the first version.

A migration is frozen: it spells every name out and uses nothing of `store.tables` or the domain, which move on.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

_Name = sa.String().with_variant(sa.String(collation="C"), "postgresql")
_Time = sa.DateTime().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
_Json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_LIVE = sa.text("state IN ('PENDING', 'ACTIVE')")


def upgrade() -> None:
    _fleets()
    _stacks()
    _associations()
    _images()
    _instances()
    _streaming_sessions()
    _tags()
    _access_keys()


def _must(kind: sa.types.TypeEngine[Any], *names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind, nullable=False) for name in names]


def _may(kind: sa.types.TypeEngine[Any], *names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind, nullable=True) for name in names]


def _fleets() -> None:
    op.create_table(
        "fleets",
        *_must(sa.String(), "fleet_id", "account_id", "region"),
        *_must(_Name, "name"),
        *_must(sa.String(), "state"),
        *_must(sa.BigInteger(), "version"),
        *_must(sa.String(), "fleet_type", "stream_view", "image_name", "image_arn", "instance_type", "platform"),
        *_must(
            sa.Integer(),
            "desired_instances",
            "max_user_duration_in_seconds",
            "disconnect_timeout_in_seconds",
            "idle_disconnect_timeout_in_seconds",
        ),
        *_may(sa.Text(), "display_name", "description"),
        *_must(sa.Boolean(), "enable_default_internet_access"),
        *_must(_Time, "created_at"),
        *_must(_Json, "errors"),
        *_must(sa.Integer(), "launch_failures"),
        *_may(_Time, "retry_at"),
        sa.PrimaryKeyConstraint("fleet_id", name="pk_fleets"),
        sa.UniqueConstraint("account_id", "region", "name", name="uq_fleets_account_id_region_name"),
        sa.CheckConstraint("state IN ('STARTING', 'RUNNING', 'STOPPING', 'STOPPED')", name="ck_fleets_state"),
        sa.CheckConstraint("fleet_type IN ('ALWAYS_ON', 'ON_DEMAND')", name="ck_fleets_fleet_type"),
        sa.CheckConstraint("stream_view IN ('APP', 'DESKTOP')", name="ck_fleets_stream_view"),
    )


def _stacks() -> None:
    op.create_table(
        "stacks",
        *_must(sa.String(), "stack_id", "account_id", "region"),
        *_must(_Name, "name"),
        *_must(sa.BigInteger(), "version"),
        *_may(sa.Text(), "display_name", "description", "redirect_url", "feedback_url"),
        *_must(_Json, "enabled_actions"),
        *_must(_Time, "created_at"),
        sa.PrimaryKeyConstraint("stack_id", name="pk_stacks"),
        sa.UniqueConstraint("account_id", "region", "name", name="uq_stacks_account_id_region_name"),
    )


def _associations() -> None:
    op.create_table(
        "associations",
        *_must(sa.String(), "account_id", "region"),
        *_must(_Name, "stack_name", "fleet_name"),
        sa.PrimaryKeyConstraint("account_id", "region", "stack_name", "fleet_name", name="pk_associations"),
        sa.ForeignKeyConstraint(
            ["account_id", "region", "stack_name"],
            ["stacks.account_id", "stacks.region", "stacks.name"],
            name="fk_associations_stacks",
        ),
        sa.ForeignKeyConstraint(
            ["account_id", "region", "fleet_name"],
            ["fleets.account_id", "fleets.region", "fleets.name"],
            name="fk_associations_fleets",
        ),
    )
    op.create_index(
        "ix_associations_account_id_region_fleet_name", "associations", ["account_id", "region", "fleet_name"]
    )


def _images() -> None:
    op.create_table(
        "images",
        *_must(sa.String(), "image_id", "account_id", "region"),
        *_must(_Name, "name"),
        *_must(sa.String(), "store_ref"),
        *_must(sa.BigInteger(), "version"),
        *_must(sa.String(), "state", "visibility", "platform"),
        *_may(sa.Text(), "display_name", "description"),
        *_must(_Json, "applications"),
        *_may(sa.String(), "base_image_name"),
        *_must(sa.String(), "agent_version"),
        *_must(sa.Boolean(), "image_builder_supported"),
        *_must(_Json, "supported_instance_families"),
        *_must(_Time, "created_at"),
        *_may(_Time, "public_base_image_released_at"),
        sa.PrimaryKeyConstraint("image_id", name="pk_images"),
        sa.UniqueConstraint("account_id", "region", "name", name="uq_images_account_id_region_name"),
        sa.CheckConstraint(
            "state IN ('PENDING', 'AVAILABLE', 'FAILED', 'COPYING', 'DELETING', 'CREATING', 'IMPORTING', 'VALIDATING')",
            name="ck_images_state",
        ),
        sa.CheckConstraint("visibility IN ('PUBLIC', 'PRIVATE', 'SHARED')", name="ck_images_visibility"),
    )


def _instances() -> None:
    op.create_table(
        "instances",
        *_must(sa.String(), "instance_id", "account_id", "region", "fleet_id", "image_ref", "state"),
        *_must(sa.BigInteger(), "version"),
        *_may(sa.String(), "session_id"),
        *_must(_Time, "launched_at"),
        *_may(_Time, "accepted_at", "ready_at"),
        *_may(sa.Text(), "retire_reason"),
        sa.PrimaryKeyConstraint("instance_id", name="pk_instances"),
        sa.CheckConstraint("state IN ('LAUNCHING', 'READY', 'IN_USE', 'RETIRING')", name="ck_instances_state"),
    )
    op.create_index("ix_instances_fleet_id_state", "instances", ["fleet_id", "state"])


def _streaming_sessions() -> None:
    reasons = (
        "('USER', 'EXPIRED_BY_ADMINISTRATOR', 'DISCONNECT_TIMEOUT', 'MAX_DURATION', 'FLEET_STOPPED', "
        "'INSTANCE_LOST', 'NO_CAPACITY', 'START_FAILED')"
    )
    op.create_table(
        "streaming_sessions",
        *_must(_Name, "session_id"),
        *_must(sa.String(), "account_id", "region", "stack_name", "fleet_name", "fleet_id", "user_id"),
        *_must(sa.String(), "authentication_type", "state"),
        *_must(sa.BigInteger(), "version"),
        *_may(sa.String(), "instance_id", "application_id"),
        *_may(sa.Text(), "session_context"),
        *_must(_Time, "created_at", "max_expires_at"),
        *_may(_Time, "started_at", "connected_since", "disconnected_at", "idle_since", "ended_at"),
        *_may(sa.String(), "end_requested", "end_reason"),
        *_must(sa.Text(), "progress"),
        sa.PrimaryKeyConstraint("session_id", name="pk_streaming_sessions"),
        sa.CheckConstraint("state IN ('PENDING', 'ACTIVE', 'EXPIRED')", name="ck_streaming_sessions_state"),
        sa.CheckConstraint(f"end_requested IN {reasons}", name="ck_streaming_sessions_end_requested"),
        sa.CheckConstraint(f"end_reason IN {reasons}", name="ck_streaming_sessions_end_reason"),
    )
    table = "streaming_sessions"
    pair = ["account_id", "region", "stack_name", "fleet_name"]
    op.create_index("ix_streaming_sessions_pair", table, [*pair, "session_id"])
    op.create_index("ix_streaming_sessions_user", table, [*pair, "user_id", "session_id"])
    op.create_index("ix_streaming_sessions_instance", table, [*pair, "instance_id", "session_id"])
    op.create_index("ix_streaming_sessions_ended_at", table, ["ended_at"])
    op.create_index("ix_streaming_sessions_live", table, ["fleet_id"], sqlite_where=_LIVE, postgresql_where=_LIVE)
    op.create_index(
        "uq_streaming_sessions_live",
        table,
        [*pair, "user_id", "authentication_type"],
        unique=True,
        sqlite_where=_LIVE,
        postgresql_where=_LIVE,
    )


def _tags() -> None:
    op.create_table(
        "tags",
        *_must(sa.String(), "arn"),
        *_must(_Name, "key"),
        *_must(sa.Text(), "value"),
        sa.PrimaryKeyConstraint("arn", "key", name="pk_tags"),
    )


def _access_keys() -> None:
    op.create_table(
        "access_keys",
        *_must(_Name, "access_key_id"),
        *_must(sa.String(), "secret_access_key", "account_id"),
        *_may(sa.Text(), "session_token"),
        *_may(_Time, "expires_at"),
        *_must(_Time, "created_at"),
        sa.PrimaryKeyConstraint("access_key_id", name="pk_access_keys"),
    )
