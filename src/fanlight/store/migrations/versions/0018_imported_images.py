"""Which images came from an archive, or from one that did."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.add_column("images", sa.Column("is_imported", sa.Boolean(), nullable=False, server_default=sa.false()))
    # What an import is under way for says so in its task; of those that are finished nobody knows any more.
    images = sa.table("images", sa.column("state", sa.String()), sa.column("is_imported", sa.Boolean()))
    op.execute(images.update().where(images.c.state.in_(("IMPORTING", "VALIDATING"))).values(is_imported=True))
