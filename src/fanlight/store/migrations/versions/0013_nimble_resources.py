"""Nimble Studio: what stands in studios, and the client tokens of calls."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"

_Json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_Name = sa.String().with_variant(sa.String(collation="C"), "postgresql")
_Time = sa.DateTime().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
_STATES = (
    "CREATE_IN_PROGRESS",
    "READY",
    "UPDATE_IN_PROGRESS",
    "DELETE_IN_PROGRESS",
    "DELETED",
    "DELETE_FAILED",
    "CREATE_FAILED",
    "UPDATE_FAILED",
)


def upgrade() -> None:
    op.create_table(
        "nimble_resources",
        sa.Column("resource_id", _Name, nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("studio_id", _Name, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("status_code", sa.String(), nullable=False),
        sa.Column("status_message", sa.Text(), nullable=False),
        sa.Column("created_at", _Time, nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("updated_at", _Time, nullable=False),
        sa.Column("updated_by", sa.String(), nullable=False),
        sa.Column("state_since", _Time, nullable=False),
        sa.Column("content", _Json, nullable=False),
        sa.PrimaryKeyConstraint("resource_id", name=op.f("pk_nimble_resources")),
        sa.CheckConstraint(
            f"state IN ({', '.join(repr(state) for state in _STATES)})", name=op.f("ck_nimble_resources_state")
        ),
    )
    op.create_index(
        op.f("ix_nimble_resources_account_id_region_kind_resource_id"),
        "nimble_resources",
        ["account_id", "region", "kind", "resource_id"],
    )
    op.create_index(op.f("ix_nimble_resources_studio_id_kind"), "nimble_resources", ["studio_id", "kind"])
    op.create_table(
        "nimble_calls",
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("operation", sa.String(), nullable=False),
        sa.Column("token", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("resource_id", sa.String(), nullable=False),
        sa.Column("called_at", _Time, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "operation", "token", name=op.f("pk_nimble_calls")),
    )
    op.create_index(op.f("ix_nimble_calls_called_at"), "nimble_calls", ["called_at"])
