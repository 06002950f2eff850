"""Scaling and metrics: observations, alarms, scalable targets, policies, scheduled actions and activities.

A migration is frozen: it spells every name out and uses nothing of `store.tables` or the domain, which move on.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"

_Name = sa.String().with_variant(sa.String(collation="C"), "postgresql")
_Time = sa.DateTime().with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")
_Json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    _fleet_observations()
    _metric_alarms()
    _scalable_targets()
    _scaling_policies()
    _scheduled_actions()
    _scaling_activities()


def _must(kind: sa.types.TypeEngine[Any], *names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind, nullable=False) for name in names]


def _may(kind: sa.types.TypeEngine[Any], *names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind, nullable=True) for name in names]


def _fleet_observations() -> None:
    op.create_table(
        "fleet_observations",
        *_must(sa.String(), "account_id", "region"),
        *_must(_Name, "fleet_name"),
        *_must(_Time, "at"),
        *_must(sa.Boolean(), "is_always_on"),
        *_must(sa.Integer(), "available", "in_use", "pending", "insufficient_capacity_errors"),
        *_may(_Json, "slots"),
        sa.PrimaryKeyConstraint("account_id", "region", "fleet_name", "at", name="pk_fleet_observations"),
    )
    op.create_index("ix_fleet_observations_at", "fleet_observations", ["at"])


def _metric_alarms() -> None:
    op.create_table(
        "metric_alarms",
        *_must(sa.String(), "arn", "account_id", "region"),
        *_must(_Name, "name"),
        *_must(sa.BigInteger(), "version"),
        *_may(sa.Text(), "description"),
        *_must(sa.String(), "metric_name", "namespace"),
        *_may(sa.String(), "fleet_name"),
        *_must(_Json, "dimensions"),
        *_must(sa.String(), "statistic"),
        *_must(sa.Boolean(), "is_percentile"),
        *_must(sa.Integer(), "period_in_seconds", "evaluation_periods", "datapoints_to_alarm"),
        *_must(sa.Boolean(), "says_datapoints_to_alarm"),
        *_must(sa.Float(53), "threshold"),
        *_must(sa.String(), "comparison", "missing_data"),
        *_must(sa.Boolean(), "says_missing_data"),
        *_may(sa.String(), "unit"),
        *_must(sa.Boolean(), "actions_enabled"),
        *_must(_Json, "actions"),
        *_must(sa.Text(), "tracked_policy"),
        *_must(sa.String(), "state"),
        *_must(sa.Text(), "state_reason", "state_reason_data"),
        *_must(_Time, "state_updated_at", "state_changed_at", "configured_at"),
        sa.PrimaryKeyConstraint("arn", name="pk_metric_alarms"),
        sa.UniqueConstraint("account_id", "region", "name", name="uq_metric_alarms_account_id_region_name"),
        sa.CheckConstraint("state IN ('OK', 'ALARM', 'INSUFFICIENT_DATA')", name="ck_metric_alarms_state"),
        sa.CheckConstraint(
            "comparison IN ('GreaterThanOrEqualToThreshold', 'GreaterThanThreshold', 'LessThanThreshold', "
            "'LessThanOrEqualToThreshold')",
            name="ck_metric_alarms_comparison",
        ),
        sa.CheckConstraint(
            "missing_data IN ('breaching', 'notBreaching', 'ignore', 'missing')", name="ck_metric_alarms_missing_data"
        ),
    )


def _scalable_targets() -> None:
    op.create_table(
        "scalable_targets",
        *_must(sa.String(), "target_id", "account_id", "region", "fleet_id"),
        *_must(_Name, "fleet_name"),
        *_must(sa.BigInteger(), "version"),
        *_must(sa.Integer(), "min_capacity", "max_capacity"),
        *_must(sa.Text(), "role_arn"),
        *_must(sa.Boolean(), "scaling_in_suspended", "scaling_out_suspended", "scheduled_suspended"),
        *_may(sa.String(), "cooldown_direction"),
        *_may(sa.Integer(), "cooldown_base"),
        *_may(_Time, "cooldown_until", "decided_at"),
        *_must(_Time, "created_at"),
        sa.PrimaryKeyConstraint("target_id", name="pk_scalable_targets"),
        sa.UniqueConstraint(
            "account_id", "region", "fleet_name", name="uq_scalable_targets_account_id_region_fleet_name"
        ),
    )


def _scaling_policies() -> None:
    op.create_table(
        "scaling_policies",
        *_must(sa.String(), "policy_id", "account_id", "region"),
        *_must(_Name, "fleet_name", "name"),
        *_must(sa.BigInteger(), "version"),
        *_must(_Json, "rule"),
        *_must(_Time, "created_at"),
        sa.PrimaryKeyConstraint("policy_id", name="pk_scaling_policies"),
        sa.UniqueConstraint(
            "account_id", "region", "fleet_name", "name", name="uq_scaling_policies_account_id_region_fleet_name_name"
        ),
    )


def _scheduled_actions() -> None:
    op.create_table(
        "scheduled_actions",
        *_must(sa.String(), "action_id", "account_id", "region"),
        *_must(_Name, "fleet_name", "name"),
        *_must(sa.BigInteger(), "version"),
        *_must(sa.Text(), "schedule"),
        *_may(sa.String(), "timezone"),
        *_may(_Time, "starts_at", "ends_at"),
        *_may(sa.Integer(), "min_capacity", "max_capacity"),
        *_may(_Time, "next_run_at"),
        *_must(_Time, "created_at"),
        sa.PrimaryKeyConstraint("action_id", name="pk_scheduled_actions"),
        sa.UniqueConstraint(
            "account_id", "region", "fleet_name", "name", name="uq_scheduled_actions_account_id_region_fleet_name_name"
        ),
    )
    op.create_index("ix_scheduled_actions_next_run_at", "scheduled_actions", ["next_run_at"])


def _scaling_activities() -> None:
    op.create_table(
        "scaling_activities",
        *_must(_Name, "activity_id"),
        *_must(sa.String(), "account_id", "region", "fleet_id"),
        *_must(_Name, "fleet_name"),
        *_must(sa.BigInteger(), "version"),
        *_must(sa.Text(), "description", "cause"),
        *_must(sa.String(), "status"),
        *_may(sa.Text(), "status_message"),
        *_may(sa.Integer(), "from_capacity", "to_capacity"),
        *_must(_Time, "started_at"),
        *_may(_Time, "ended_at"),
        *_must(sa.Boolean(), "is_scaled"),
        *_may(_Json, "not_scaled"),
        sa.PrimaryKeyConstraint("activity_id", name="pk_scaling_activities"),
        sa.CheckConstraint(
            "status IN ('Pending', 'InProgress', 'Successful', 'Overridden', 'Unfulfilled', 'Failed')",
            name="ck_scaling_activities_status",
        ),
    )
    op.create_index(
        "ix_scaling_activities_newest", "scaling_activities", ["account_id", "region", "started_at", "activity_id"]
    )
    op.create_index("ix_scaling_activities_started_at", "scaling_activities", ["started_at"])
    op.create_index("ix_scaling_activities_status", "scaling_activities", ["status"])
