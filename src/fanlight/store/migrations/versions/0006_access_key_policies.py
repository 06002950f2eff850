"""What an access key may do."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("access_keys", sa.Column("policy", sa.Text()))
