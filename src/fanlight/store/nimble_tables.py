"""Nimble Studio's tables. See `store.tables`, whose metadata they share."""

from sqlalchemy import BigInteger, Column, Index, String, Table

from fanlight.domain.nimble.memberships import Persona
from fanlight.domain.nimble.resources import ResourceState
from fanlight.store.columns import Json, LongText, Name, UtcDateTime, one_of
from fanlight.store.tables import metadata

nimble_resources = Table(
    "nimble_resources",
    metadata,
    Column("resource_id", Name, primary_key=True),
    Column("kind", String, nullable=False),
    Column("account_id", String, nullable=False),
    Column("region", String, nullable=False),
    Column("studio_id", Name, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("state", String, nullable=False),
    Column("status_code", String, nullable=False),
    Column("status_message", LongText, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", String, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("updated_by", String, nullable=False),
    Column("state_since", UtcDateTime, nullable=False),
    # What only its own kind has, and nobody searches.
    Column("content", Json, nullable=False),
    Index(None, "account_id", "region", "kind", "resource_id"),
    Index(None, "studio_id", "kind"),
    one_of("state", ResourceState),
)

nimble_calls = Table(
    "nimble_calls",
    metadata,
    Column("account_id", String, primary_key=True),
    Column("region", String, primary_key=True),
    Column("operation", String, primary_key=True),
    Column("token", String, primary_key=True),
    Column("fingerprint", String, nullable=False),
    Column("resource_id", String, nullable=False),
    Column("called_at", UtcDateTime, nullable=False),
    Index(None, "called_at"),
)

nimble_memberships = Table(
    "nimble_memberships",
    metadata,
    Column("account_id", String, primary_key=True),
    Column("region", String, primary_key=True),
    Column("owner_id", String, primary_key=True),
    Column("principal_id", Name, primary_key=True),
    Column("identity_store_id", String, nullable=False),
    Column("persona", String, nullable=False),
    Column("sid", String),
    Column("joined_at", UtcDateTime, nullable=False),
    Index(None, "principal_id"),
    one_of("persona", Persona),
)

nimble_eula_acceptances = Table(
    "nimble_eula_acceptances",
    metadata,
    Column("studio_id", String, primary_key=True),
    Column("eula_id", Name, primary_key=True),
    Column("acceptance_id", String, nullable=False, unique=True),
    Column("account_id", String, nullable=False),
    Column("region", String, nullable=False),
    Column("accepted_at", UtcDateTime, nullable=False),
    Column("accepted_by", String, nullable=False),
)
