"""What stacks have beyond first light: lengths, settings group, embedding, endpoints, protocol, redirection."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

_Json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    for name in ("maximum_lengths", "embed_host_domains", "access_endpoints", "content_redirection"):
        op.add_column("stacks", sa.Column(name, _Json))
    op.add_column("stacks", sa.Column("settings_group", sa.Text()))
    for name in ("preferred_protocol", "storage_connector_authentication"):
        op.add_column("stacks", sa.Column(name, sa.String()))
