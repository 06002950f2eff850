"""Access keys that belong to a member of Nimble studios."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.add_column("access_keys", sa.Column("person", sa.String(), nullable=True))
