"""Nimble Studio: members of studios and launch profiles, and EULAs that studios accepted."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0019"
down_revision = "0018"

_Name = sa.String().with_variant(sa.String(collation="C"), "postgresql")
_Time = sa.DateTime().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    op.create_table(
        "nimble_memberships",
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("owner_id", sa.String(), nullable=False),
        sa.Column("principal_id", _Name, nullable=False),
        sa.Column("identity_store_id", sa.String(), nullable=False),
        sa.Column("persona", sa.String(), nullable=False),
        sa.Column("sid", sa.String(), nullable=True),
        sa.Column("joined_at", _Time, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "region", "owner_id", "principal_id", name=op.f("pk_nimble_memberships")),
        sa.CheckConstraint("persona IN ('ADMINISTRATOR', 'USER')", name=op.f("ck_nimble_memberships_persona")),
    )
    op.create_index(op.f("ix_nimble_memberships_principal_id"), "nimble_memberships", ["principal_id"])
    op.create_table(
        "nimble_eula_acceptances",
        sa.Column("studio_id", sa.String(), nullable=False),
        sa.Column("eula_id", _Name, nullable=False),
        sa.Column("acceptance_id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("region", sa.String(), nullable=False),
        sa.Column("accepted_at", _Time, nullable=False),
        sa.Column("accepted_by", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("studio_id", "eula_id", name=op.f("pk_nimble_eula_acceptances")),
        sa.UniqueConstraint("acceptance_id", name=op.f("uq_nimble_eula_acceptances_acceptance_id")),
    )
