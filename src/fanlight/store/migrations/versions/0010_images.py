"""Images that are made here: what is left to do, what went wrong, how large they are, and with whom they are shared."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"

_Json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_Name = sa.String().with_variant(sa.String(collation="C"), "postgresql")
_FAILURES = (
    "INTERNAL_ERROR",
    "IMAGE_BUILDER_NOT_AVAILABLE",
    "IMAGE_COPY_FAILURE",
    "IMAGE_UPDATE_FAILURE",
    "IMAGE_IMPORT_FAILURE",
)


def upgrade() -> None:
    op.add_column("images", sa.Column("base_image_arn", sa.String()))
    op.add_column("images", sa.Column("image_builder_name", sa.String()))
    # In words of SQL that both databases understand: SQLite takes a constraint together with its column only.
    members = ", ".join(f"'{failure}'" for failure in _FAILURES)
    op.execute(
        f"ALTER TABLE images ADD COLUMN failure VARCHAR CONSTRAINT ck_images_failure CHECK (failure IN ({members}))"
    )
    op.add_column("images", sa.Column("failure_message", sa.Text(), nullable=False, server_default=""))
    op.add_column("images", sa.Column("errors", _Json, nullable=False, server_default="[]"))
    op.add_column("images", sa.Column("size_in_bytes", sa.BigInteger()))
    op.add_column("images", sa.Column("progress", sa.Text(), nullable=False, server_default=""))
    op.add_column("images", sa.Column("task", _Json))
    # Every base so far is a public image, and those are of no region.
    images_table = sa.table("images", sa.column("base_image_name"), sa.column("base_image_arn"))
    op.get_bind().execute(
        sa.update(images_table)
        .where(images_table.c.base_image_name.is_not(None))
        .values(base_image_arn="arn:aws:appstream:::image/" + images_table.c.base_image_name)
    )
    op.drop_column("images", "base_image_name")
    op.create_table(
        "image_permissions",
        sa.Column("image_id", sa.String(), nullable=False),
        sa.Column("shared_account_id", _Name, nullable=False),
        sa.Column("allow_fleet", sa.Boolean(), nullable=False),
        sa.Column("allow_image_builder", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("image_id", "shared_account_id", name=op.f("pk_image_permissions")),
        sa.ForeignKeyConstraint(["image_id"], ["images.image_id"], name=op.f("fk_image_permissions_images")),
    )
    op.create_index(op.f("ix_image_permissions_shared_account_id"), "image_permissions", ["shared_account_id"])
