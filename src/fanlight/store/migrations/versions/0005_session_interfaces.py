"""The network interface of a session's instance."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column(
        "streaming_sessions", sa.Column("network_interface", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"))
    )
