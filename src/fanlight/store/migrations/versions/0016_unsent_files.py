"""Files that users saved and that have not arrived: of which session, and instances that stay to send them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016"
down_revision = "0015"

_MaybeJson = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
_STATES = ("LAUNCHING", "READY", "IN_USE", "FLUSHING", "RETIRING")
_CHECK = "ck_instances_ck_instances_state"  # as it has been called from the beginning
_HAS_UNSENT = sa.text("unsent IS NOT NULL")


def upgrade() -> None:
    op.add_column("streaming_sessions", sa.Column("unsent", _MaybeJson))
    op.add_column("streaming_sessions", sa.Column("lost_before", _MaybeJson))
    op.create_index(
        "ix_streaming_sessions_unsent",
        "streaming_sessions",
        ["account_id", "region", "user_id"],
        sqlite_where=_HAS_UNSENT,
        postgresql_where=_HAS_UNSENT,
    )
    with op.batch_alter_table("instances") as instances:
        instances.drop_constraint(op.f(_CHECK), type_="check")
        instances.create_check_constraint(op.f(_CHECK), f"state IN ({', '.join(repr(state) for state in _STATES)})")
