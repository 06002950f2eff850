"""The tables. What the domain promises and SQL can enforce is enforced here.

Every resource is keyed by account and region; enums are CHECK constraints over the domain's enums; each state row has
a `version` that grows with every change. The migrations under `migrations/` build the same tables step by step; a
test compares the two.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    text,
)

from fanlight.domain.fleets import FleetState, FleetType, StreamView
from fanlight.domain.image_builders import ImageBuilderState
from fanlight.domain.images import ImageFailure, ImageState, Visibility
from fanlight.domain.instances import InstanceState
from fanlight.domain.streaming_sessions import EndReason, SessionState
from fanlight.store.columns import Json, LongText, MaybeJson, Name, UtcDateTime, one_of

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

fleets = Table(
    "fleets",
    metadata,
    Column("fleet_id", String, primary_key=True),
    Column("account_id", String, nullable=False),
    Column("region", String, nullable=False),
    Column("name", Name, nullable=False),
    Column("state", String, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("fleet_type", String, nullable=False),
    Column("stream_view", String, nullable=False),
    Column("image_name", String, nullable=False),
    Column("image_arn", String, nullable=False),
    Column("instance_type", String, nullable=False),
    Column("platform", String, nullable=False),
    Column("desired_instances", Integer, nullable=False),
    Column("max_user_duration_in_seconds", Integer, nullable=False),
    Column("disconnect_timeout_in_seconds", Integer, nullable=False),
    Column("idle_disconnect_timeout_in_seconds", Integer, nullable=False),
    Column("display_name", LongText),
    Column("description", LongText),
    Column("enable_default_internet_access", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("errors", Json, nullable=False),
    Column("launch_failures", Integer, nullable=False),
    Column("retry_at", UtcDateTime),
    Column("vpc_config", MaybeJson),
    Column("max_sessions_per_instance", Integer),
    Column("desired_sessions", Integer),
    Column("root_volume_in_gib", Integer),
    Column("disable_imdsv1", Boolean),
    UniqueConstraint("account_id", "region", "name"),
    one_of("state", FleetState),
    one_of("fleet_type", FleetType),
    one_of("stream_view", StreamView),
)

stacks = Table(
    "stacks",
    metadata,
    Column("stack_id", String, primary_key=True),
    Column("account_id", String, nullable=False),
    Column("region", String, nullable=False),
    Column("name", Name, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("display_name", LongText),
    Column("description", LongText),
    Column("redirect_url", LongText),
    Column("feedback_url", LongText),
    Column("enabled_actions", Json, nullable=False),
    Column("maximum_lengths", Json),
    Column("settings_group", LongText),
    Column("embed_host_domains", Json),
    Column("access_endpoints", Json),
    Column("preferred_protocol", String),
    Column("content_redirection", Json),
    Column("storage_connector_authentication", String),
    Column("storage_connectors", MaybeJson),
    Column("storage_problem", LongText),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("account_id", "region", "name"),
)

associations = Table(
    "associations",
    metadata,
    Column("account_id", String, primary_key=True),
    Column("region", String, primary_key=True),
    Column("stack_name", Name, primary_key=True),
    Column("fleet_name", Name, primary_key=True),
    # A fleet or stack that stands in an association cannot be deleted, whatever the code above forgets.
    ForeignKeyConstraint(["account_id", "region", "stack_name"], ["stacks.account_id", "stacks.region", "stacks.name"]),
    ForeignKeyConstraint(["account_id", "region", "fleet_name"], ["fleets.account_id", "fleets.region", "fleets.name"]),
    Index(None, "account_id", "region", "fleet_name"),
)

images = Table(
    "images",
    metadata,
    Column("image_id", String, primary_key=True),
    # Both are empty for public images, which every account sees in every region.
    Column("account_id", String, nullable=False),
    Column("region", String, nullable=False),
    Column("name", Name, nullable=False),
    Column("store_ref", String, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("state", String, nullable=False),
    Column("visibility", String, nullable=False),
    Column("platform", String, nullable=False),
    Column("display_name", LongText),
    Column("description", LongText),
    Column("applications", Json, nullable=False),
    Column("base_image_arn", String),
    Column("image_builder_name", String),
    Column("agent_version", String, nullable=False),
    Column("image_builder_supported", Boolean, nullable=False),
    Column("is_imported", Boolean, nullable=False),
    Column("supported_instance_families", Json, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("public_base_image_released_at", UtcDateTime),
    Column("failure", String),
    Column("failure_message", LongText, nullable=False),
    Column("errors", Json, nullable=False),
    Column("size_in_bytes", BigInteger),
    Column("progress", LongText, nullable=False),
    Column("task", MaybeJson),
    UniqueConstraint("account_id", "region", "name"),
    one_of("state", ImageState),
    one_of("visibility", Visibility),
    one_of("failure", ImageFailure),
)

image_permissions = Table(
    "image_permissions",
    metadata,
    Column("image_id", String, primary_key=True),
    Column("shared_account_id", Name, primary_key=True),
    Column("allow_fleet", Boolean, nullable=False),
    Column("allow_image_builder", Boolean, nullable=False),
    # An image that is shared cannot be removed, whatever the code above forgets.
    ForeignKeyConstraint(["image_id"], ["images.image_id"]),
    Index(None, "shared_account_id"),
)

image_builders = Table(
    "image_builders",
    metadata,
    Column("builder_id", String, primary_key=True),
    Column("account_id", String, nullable=False),
    Column("region", String, nullable=False),
    Column("name", Name, nullable=False),
    Column("state", String, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("image_name", String, nullable=False),
    Column("image_arn", String, nullable=False),
    Column("image_ref", String, nullable=False),
    Column("instance_id", String, nullable=False),
    Column("instance_type", String, nullable=False),
    Column("platform", String, nullable=False),
    Column("agent_version", String, nullable=False),
    Column("display_name", LongText),
    Column("description", LongText),
    Column("vpc_config", MaybeJson),
    Column("enable_default_internet_access", Boolean, nullable=False),
    Column("access_endpoints", Json, nullable=False),
    Column("root_volume_in_gib", Integer),
    Column("disable_imdsv1", Boolean),
    Column("created_at", UtcDateTime, nullable=False),
    Column("begun_at", UtcDateTime, nullable=False),
    Column("accepted_at", UtcDateTime),
    Column("has_run", Boolean, nullable=False),
    Column("launch_failures", Integer, nullable=False),
    Column("retry_at", UtcDateTime),
    Column("reason", MaybeJson),
    Column("errors", Json, nullable=False),
    Column("network_interface", MaybeJson),
    Column("snapshot_image_id", String),
    Column("is_prepared", Boolean, nullable=False),
    UniqueConstraint("account_id", "region", "name"),
    UniqueConstraint("instance_id"),
    one_of("state", ImageBuilderState),
)

instances = Table(
    "instances",
    metadata,
    Column("instance_id", String, primary_key=True),
    Column("account_id", String, nullable=False),
    Column("region", String, nullable=False),
    Column("fleet_id", String, nullable=False),
    Column("image_ref", String, nullable=False),
    Column("state", String, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("places", Integer, nullable=False),
    Column("session_ids", Json, nullable=False),
    Column("session_count", Integer, nullable=False),
    Column("is_draining", Boolean, nullable=False),
    Column("launched_at", UtcDateTime, nullable=False),
    Column("accepted_at", UtcDateTime),
    Column("ready_at", UtcDateTime),
    Column("retire_reason", LongText),
    one_of("state", InstanceState),
    # Covers the counting of DescribeFleets: it reads this index and never the rows.
    Index("ix_instances_counts", "fleet_id", "state", "is_draining", "places", "session_count"),
)

_PAIR = ("account_id", "region", "stack_name", "fleet_name")
streaming_sessions = Table(
    "streaming_sessions",
    metadata,
    Column("session_id", Name, primary_key=True),
    Column("account_id", String, nullable=False),
    Column("region", String, nullable=False),
    Column("stack_name", String, nullable=False),
    Column("fleet_name", String, nullable=False),
    Column("fleet_id", String, nullable=False),
    Column("user_id", String, nullable=False),
    Column("authentication_type", String, nullable=False),
    Column("state", String, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("instance_id", String),
    Column("application_id", String),
    Column("session_context", LongText),
    Column("created_at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("max_expires_at", UtcDateTime, nullable=False),
    Column("connected_since", UtcDateTime),
    Column("disconnected_at", UtcDateTime),
    Column("is_idle_disconnected", Boolean, nullable=False),
    Column("idle_since", UtcDateTime),
    Column("end_requested", String),
    Column("end_reason", String),
    Column("ended_at", UtcDateTime),
    Column("progress", LongText, nullable=False),
    Column("user_settings", Json),
    Column("time_zone", String),
    Column("network_interface", MaybeJson),
    Column("storage_connectors", MaybeJson),
    Column("unsent", MaybeJson),
    Column("lost_before", MaybeJson),
    Column("settings_loss", String(32)),
    Column("settings_group", String),
    one_of("state", SessionState),
    one_of("end_requested", EndReason),
    one_of("end_reason", EndReason),
    # One for each way to page through the sessions of a stack and a fleet: all, a user's, an instance's.
    Index("ix_streaming_sessions_pair", *_PAIR, "session_id"),
    Index("ix_streaming_sessions_user", *_PAIR, "user_id", "session_id"),
    Index("ix_streaming_sessions_instance", *_PAIR, "instance_id", "session_id"),
    Index(None, "ended_at"),
)
IS_LIVE = text("state IN ('PENDING', 'ACTIVE')")
HAS_UNSENT = text("unsent IS NOT NULL")
Index(
    "ix_streaming_sessions_unsent",
    *(streaming_sessions.c[name] for name in ("account_id", "region", "user_id")),
    sqlite_where=HAS_UNSENT,
    postgresql_where=HAS_UNSENT,
)
Index("ix_streaming_sessions_live", streaming_sessions.c.fleet_id, sqlite_where=IS_LIVE, postgresql_where=IS_LIVE)
Index(
    # One live session per user, stack, fleet and way of signing in: two browsers race, the database decides.
    "uq_streaming_sessions_live",
    *(streaming_sessions.c[name] for name in (*_PAIR, "user_id", "authentication_type")),
    unique=True,
    sqlite_where=IS_LIVE,
    postgresql_where=IS_LIVE,
)

tags = Table(
    "tags",
    metadata,
    Column("arn", String, primary_key=True),
    Column("key", Name, primary_key=True),
    Column("value", LongText, nullable=False),
)

access_keys = Table(
    "access_keys",
    metadata,
    Column("access_key_id", Name, primary_key=True),
    Column("secret_access_key", String, nullable=False),
    Column("account_id", String, nullable=False),
    Column("session_token", LongText),
    Column("expires_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("policy", LongText),
    Column("person", String),
)
