"""Sessions remember that their stream was cut because nobody used it."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column(
        "streaming_sessions",
        sa.Column("is_idle_disconnected", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
