"""What a session was allowed when it was made. Sessions that live through the upgrade have nothing there."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    op.add_column("streaming_sessions", sa.Column("user_settings", json))
    op.add_column("streaming_sessions", sa.Column("time_zone", sa.String()))
