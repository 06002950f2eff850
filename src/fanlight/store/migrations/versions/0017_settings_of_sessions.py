"""Which group's settings of applications a session has."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.add_column("streaming_sessions", sa.Column("settings_group", sa.String()))
