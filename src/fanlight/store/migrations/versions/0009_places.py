"""Several sessions on an instance: how many places it has, who holds them, and whether it takes more."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"

_Json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    defaults: tuple[sa.Column[Any], ...] = (
        sa.Column("places", sa.Integer(), nullable=False, server_default="1"),
        sa.Column("session_ids", _Json, nullable=False, server_default="[]"),
        sa.Column("session_count", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("is_draining", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    for column in defaults:
        op.add_column("instances", column)
    instances = sa.table(
        "instances",
        *(sa.column(name) for name in ("instance_id", "session_id", "session_count")),
        sa.column("session_ids", _Json),
    )
    connection = op.get_bind()
    held = connection.execute(
        sa.select(instances.c.instance_id, instances.c.session_id).where(instances.c.session_id.is_not(None))
    ).all()
    for instance_id, session_id in held:
        connection.execute(
            sa.update(instances)
            .where(instances.c.instance_id == instance_id)
            .values(session_ids=[session_id], session_count=1)
        )
    op.drop_column("instances", "session_id")
    op.drop_index("ix_instances_fleet_id_state", "instances")
    op.create_index("ix_instances_counts", "instances", ["fleet_id", "state", "is_draining", "places", "session_count"])
