"""Every code of the service has a cause here, or a reason why it never occurs."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fanlight.api.spec import appstream_model
from fanlight.domain.errors import (
    CapacityExhausted,
    DomainError,
    DriverUnavailable,
    ImageMissing,
    LaunchRefused,
    NotSupported,
    SecurityGroupMissing,
    SubnetExhausted,
    SubnetMissing,
    SubnetUnusable,
)
from fanlight.domain.fleet_errors import (
    NEVER,
    TABLE,
    FleetError,
    FleetErrorCause,
    FleetErrorCode,
    is_answered_by_a_launch,
    is_standing,
    problem_of,
)
from fanlight.domain.fleets import Fleet
from fanlight.domain.places import Scope
from fanlight.reconcilers.launch_failures import settled

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CAUSE = FleetErrorCause


def test_the_codes_are_the_model_s() -> None:
    assert {code.value for code in FleetErrorCode} == set(appstream_model().shape_for("FleetErrorCode").enum)


@pytest.mark.parametrize("code", FleetErrorCode)
def test_a_code_has_a_cause_or_never_occurs(code: FleetErrorCode) -> None:
    assert (code in {row.code for row in TABLE.values()}) is not (code in NEVER)


def test_every_cause_has_a_code_and_says_what_it_means_and_what_to_do() -> None:
    assert set(TABLE) == set(FleetErrorCause)
    for text in [*(t for row in TABLE.values() for t in (row.means, row.remedy)), *NEVER.values()]:
        assert text.endswith(".")


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (ImageMissing("sample"), CAUSE.IMAGE_NOT_IN_ENGINE),
        (CapacityExhausted("The disk is full."), CAUSE.NO_ROOM),
        (DriverUnavailable("No answer."), CAUSE.ENGINE_AWAY),
        (SubnetMissing("No such subnet."), CAUSE.SUBNET_MISSING),
        (SubnetUnusable("No bridge."), CAUSE.SUBNET_UNUSABLE),
        (SubnetExhausted("All in use."), CAUSE.SUBNET_EXHAUSTED),
        (SecurityGroupMissing("No such group."), CAUSE.SECURITY_GROUP_MISSING),
        (NotSupported("Not offered."), CAUSE.NOT_OFFERED),
        (LaunchRefused("No such profile."), CAUSE.LAUNCH_REFUSED),
    ],
)
def test_a_launch_that_fails_has_its_cause_and_keeps_the_engine_s_words(error: DomainError, cause: CAUSE) -> None:
    problem = problem_of(error)
    assert (problem.cause, problem.message.endswith(str(error))) == (cause, True)


def fleet(*causes: CAUSE, **members: Any) -> Fleet:
    return Fleet(
        fleet_id="f",
        scope=Scope("000000000000", "us-east-1"),
        name="cad",
        image_name="Sample",
        image_arn="arn",
        instance_type="stream.standard.medium",
        platform="UBUNTU_PRO_2404",
        desired_instances=1,
        created_at=NOW,
        errors=tuple(FleetError(cause, "x", NOW) for cause in causes),
        launch_failures=2,
        retry_at=NOW,
        **members,
    )


@pytest.mark.parametrize("cause", FleetErrorCause)
def test_what_a_launch_that_succeeds_proves(cause: CAUSE) -> None:
    """Standing causes are the plan's; a failed boot is over when one booted; all else when one was accepted."""
    before, later = fleet(cause), NOW + timedelta(seconds=1)
    over = fleet().without_errors(())
    assert settled(before, later, is_booted=False) == (over if is_answered_by_a_launch(cause) else before)
    assert settled(before, later, is_booted=True) == (before if is_standing(cause) else over)
    assert settled(before, NOW - timedelta(seconds=1), is_booted=True) == before


def test_the_back_off_lasts_while_an_error_is_left() -> None:
    both = fleet(CAUSE.NO_ROOM, CAUSE.BOOT_FAILED)
    after = settled(both, NOW, is_booted=False)
    assert [error.cause for error in after.errors] == [CAUSE.BOOT_FAILED]
    assert (after.launch_failures, after.retry_at) == (2, NOW)


def test_an_error_takes_the_place_of_an_older_one_of_its_cause() -> None:
    newer = FleetError(CAUSE.NO_ROOM, "y", NOW + timedelta(seconds=1))
    assert [e.message for e in fleet(CAUSE.NO_ROOM, CAUSE.BOOT_FAILED).with_error(newer).errors] == ["x", "y"]
