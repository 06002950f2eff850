"""The tables of imports and exports. See `store.tables`, whose metadata they share."""

from sqlalchemy import BigInteger, Column, Index, String, Table, UniqueConstraint

from fanlight.domain.image_exports import ExportState
from fanlight.store.columns import Json, LongText, Name, UtcDateTime, one_of
from fanlight.store.tables import metadata

machine_images = Table(
    "machine_images",
    metadata,
    Column("ami_id", String, primary_key=True),
    Column("account_id", String, nullable=False),
    Column("region", String, nullable=False),
    Column("name", Name, nullable=False),
    Column("bucket", String, nullable=False),
    Column("object_key", LongText, nullable=False),
    Column("description", LongText, nullable=False),
    Column("image_name", String, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("account_id", "region", "name"),
)

image_exports = Table(
    "image_exports",
    metadata,
    Column("task_id", String, primary_key=True),
    Column("account_id", String, nullable=False),
    Column("region", String, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("image_id", String, nullable=False),
    Column("image_arn", String, nullable=False),
    Column("ami_id", String, nullable=False),
    Column("ami_name", String, nullable=False),
    Column("ami_description", LongText, nullable=False),
    Column("bucket", String, nullable=False),
    Column("object_key", LongText, nullable=False),
    Column("tags", Json, nullable=False),
    Column("state", String, nullable=False),
    Column("error_code", String, nullable=False),
    Column("error_message", LongText, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index(None, "account_id", "region", "created_at"),
    one_of("state", ExportState),
)
