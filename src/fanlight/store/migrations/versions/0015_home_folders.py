"""Storage connectors of stacks and of the sessions made from them, and why what is behind them cannot be used now."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"

_MaybeJson = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    for table in ("stacks", "streaming_sessions"):
        op.add_column(table, sa.Column("storage_connectors", _MaybeJson))
    op.add_column("stacks", sa.Column("storage_problem", sa.Text()))
