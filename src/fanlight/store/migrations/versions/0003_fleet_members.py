"""What fleets have beyond first light: subnets, sessions per instance, root volume, metadata service."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"

_Json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.add_column("fleets", sa.Column("vpc_config", _Json))
    for name in ("max_sessions_per_instance", "desired_sessions", "root_volume_in_gib"):
        op.add_column("fleets", sa.Column(name, sa.Integer()))
    op.add_column("fleets", sa.Column("disable_imdsv1", sa.Boolean()))
