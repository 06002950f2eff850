"""What an access key may do."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("access_keys", sa.Column("policy", sa.Text()))
