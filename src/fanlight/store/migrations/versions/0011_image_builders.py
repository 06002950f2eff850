"""Image builders."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"

_Name = sa.String().with_variant(sa.String(collation="C"), "postgresql")
_Time = sa.DateTime().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
_Json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_STATES = (
    "'PENDING', 'UPDATING_AGENT', 'RUNNING', 'STOPPING', 'STOPPED', 'REBOOTING', 'SNAPSHOTTING', 'DELETING', 'FAILED', "
    "'UPDATING', 'PENDING_QUALIFICATION', 'PENDING_SYNCING_APPS', 'SYNCING_APPS', 'PENDING_IMAGE_IMPORT'"
)


def upgrade() -> None:
    op.create_table(
        "image_builders",
        *_must(sa.String(), "builder_id", "account_id", "region"),
        *_must(_Name, "name"),
        *_must(sa.String(), "state"),
        *_must(sa.BigInteger(), "version"),
        *_must(
            sa.String(),
            *("image_name", "image_arn", "image_ref", "instance_id", "instance_type", "platform", "agent_version"),
        ),
        *_may(sa.Text(), "display_name", "description"),
        *_may(_Json, "vpc_config"),
        *_must(sa.Boolean(), "enable_default_internet_access"),
        *_must(_Json, "access_endpoints"),
        *_may(sa.Integer(), "root_volume_in_gib"),
        *_may(sa.Boolean(), "disable_imdsv1"),
        *_must(_Time, "created_at", "begun_at"),
        *_may(_Time, "accepted_at"),
        *_must(sa.Boolean(), "has_run"),
        *_must(sa.Integer(), "launch_failures"),
        *_may(_Time, "retry_at"),
        *_may(_Json, "reason"),
        *_must(_Json, "errors"),
        *_may(_Json, "network_interface"),
        *_may(sa.String(), "snapshot_image_id"),
        *_must(sa.Boolean(), "is_prepared"),
        sa.PrimaryKeyConstraint("builder_id", name="pk_image_builders"),
        sa.UniqueConstraint("account_id", "region", "name", name="uq_image_builders_account_id_region_name"),
        sa.UniqueConstraint("instance_id", name="uq_image_builders_instance_id"),
        sa.CheckConstraint(f"state IN ({_STATES})", name="ck_image_builders_state"),
    )


def _must(kind: sa.types.TypeEngine[Any], *names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind, nullable=False) for name in names]


def _may(kind: sa.types.TypeEngine[Any], *names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind, nullable=True) for name in names]
