"""Why the settings of applications were not kept at the end of a session."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.add_column("streaming_sessions", sa.Column("settings_loss", sa.String(32)))
