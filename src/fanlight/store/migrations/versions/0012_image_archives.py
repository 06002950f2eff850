"""Archives of images in S3: the names they have as machine images, and the tasks that write them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"

_Json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_Name = sa.String().with_variant(sa.String(collation="C"), "postgresql")
_Time = sa.DateTime().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
_STATES = ("EXPORTING", "COMPLETED", "FAILED", "TIMED_OUT")


def upgrade() -> None:
    op.create_table(
        "machine_images",
        sa.Column("ami_id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("name", _Name, nullable=False),
        sa.Column("bucket", sa.String(), nullable=False),
        sa.Column("object_key", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("image_name", sa.String(), nullable=False),
        sa.Column("created_at", _Time, nullable=False),
        sa.PrimaryKeyConstraint("ami_id", name=op.f("pk_machine_images")),
        sa.UniqueConstraint("account_id", "region", "name", name=op.f("uq_machine_images_account_id_region_name")),
    )
    op.create_table(
        "image_exports",
        sa.Column("task_id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("image_id", sa.String(), nullable=False),
        sa.Column("image_arn", sa.String(), nullable=False),
        sa.Column("ami_id", sa.String(), nullable=False),
        sa.Column("ami_name", sa.String(), nullable=False),
        sa.Column("ami_description", sa.Text(), nullable=False),
        sa.Column("bucket", sa.String(), nullable=False),
        sa.Column("object_key", sa.Text(), nullable=False),
        sa.Column("tags", _Json, nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("error_code", sa.String(), nullable=False),
        sa.Column("error_message", sa.Text(), nullable=False),
        sa.Column("created_at", _Time, nullable=False),
        sa.PrimaryKeyConstraint("task_id", name=op.f("pk_image_exports")),
        sa.CheckConstraint(
            f"state IN ({', '.join(repr(state) for state in _STATES)})", name=op.f("ck_image_exports_state")
        ),
    )
    op.create_index(
        op.f("ix_image_exports_account_id_region_created_at"), "image_exports", ["account_id", "region", "created_at"]
    )
