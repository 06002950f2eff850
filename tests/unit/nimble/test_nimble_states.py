"""The life of studios, components, launch profiles and streaming images, cell by cell, and how each change ends."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from fanlight.api.spec.nimble_model import nimble_table
from fanlight.domain.errors import NotAvailable
from fanlight.domain.nimble import launch_profiles, studio_components, studios
from fanlight.domain.nimble.identifiers import ResourceKind, arn_of, new_id, new_studio_id, read_arn
from fanlight.domain.nimble.resources import LIFE, ResourceEvent, ResourceState, Status, moved
from fanlight.domain.places import Scope

MATRIX = """
                    UPDATE_REQUESTED    DELETE_REQUESTED    SUCCEEDED  FAILED         FAILURE_SHOWN
CREATE_IN_PROGRESS  -                   -                   READY      CREATE_FAILED  -
READY               UPDATE_IN_PROGRESS  DELETE_IN_PROGRESS  -          -              -
UPDATE_IN_PROGRESS  -                   -                   READY      UPDATE_FAILED  -
DELETE_IN_PROGRESS  -                   -                   DELETED    DELETE_FAILED  -
DELETED             -                   -                   -          -              -
DELETE_FAILED       UPDATE_IN_PROGRESS  DELETE_IN_PROGRESS  -          -              READY
CREATE_FAILED       -                   DELETE_IN_PROGRESS  -          -              -
UPDATE_FAILED       UPDATE_IN_PROGRESS  DELETE_IN_PROGRESS  -          -              READY
"""
NOW = datetime(2026, 1, 1, tzinfo=UTC)
HERE = Scope("000000000000", "us-west-2")
STUDIO = studios.Studio(
    resource_id="us-west-2:stid-1",
    studio_id="us-west-2:stid-1",
    scope=HERE,
    status=Status(code="STUDIO_CREATED"),
    created_at=NOW,
    updated_at=NOW,
    state_since=NOW,
    name="n",
    display_name="d",
    admin_role_arn="a",
    user_role_arn="u",
    portal_url="p",
    sso_client_id="s",
)


def cells() -> list[tuple[ResourceState, ResourceEvent, ResourceState | None]]:
    head, *lines = MATRIX.strip().splitlines()
    events = [ResourceEvent(name) for name in head.split()]
    return [
        (ResourceState(line.split()[0]), event, None if cell == "-" else ResourceState(cell))
        for line in lines
        for event, cell in zip(events, line.split()[1:], strict=True)
    ]


@pytest.mark.parametrize(("state", "event", "expected"), cells(), ids=str)
def test_the_table(state: ResourceState, event: ResourceEvent, expected: ResourceState | None) -> None:
    before = replace(STUDIO, state=state)
    if expected is None:
        with pytest.raises(NotAvailable, match=state):
            moved(before, event, STUDIO.status, NOW)
    else:
        assert moved(before, event, STUDIO.status, NOW).state is expected


def test_the_table_has_every_state_and_event() -> None:
    assert len(cells()) == len(ResourceState) * len(ResourceEvent)
    assert set(LIFE.table.values()) | {LIFE.initial} == set(ResourceState)


@pytest.mark.parametrize("shape", ["StudioState", "StudioComponentState", "LaunchProfileState", "StreamingImageState"])
def test_the_states_are_the_model_s(shape: str) -> None:
    assert {state.value for state in ResourceState} == set(nimble_table()["shapes"][shape]["enum"])


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (studio_components.ComponentType, "StudioComponentType"),
        (studio_components.ComponentSubtype, "StudioComponentSubtype"),
        (studio_components.ScriptPlatform, "LaunchProfilePlatform"),
        (studio_components.RunContext, "StudioComponentInitializationScriptRunContext"),
        (studios.StudioKeyType, "StudioEncryptionConfigurationKeyType"),
        (launch_profiles.Switch, "AutomaticTerminationMode"),
        (launch_profiles.ValidationType, "LaunchProfileValidationType"),
    ],
)
def test_the_enums_are_the_model_s(kind: type, shape: str) -> None:
    assert [member.value for member in kind] == nimble_table()["shapes"][shape]["enum"]  # type: ignore[attr-defined]


IMAGE, STUDIO_COMPONENT, PROFILE = (
    ResourceKind.STREAMING_IMAGE,
    ResourceKind.STUDIO_COMPONENT,
    ResourceKind.LAUNCH_PROFILE,
)


@pytest.mark.parametrize(
    ("contents", "event", "code"),
    [
        ({}, "SUCCEEDED", "STUDIO_DELETED"),
        ({IMAGE: 1}, "FAILED", "STUDIO_WITH_STREAMING_IMAGES_NOT_DELETED"),
        ({STUDIO_COMPONENT: 2, IMAGE: 1}, "FAILED", "STUDIO_WITH_STUDIO_COMPONENTS_NOT_DELETED"),
        ({PROFILE: 1, STUDIO_COMPONENT: 2, IMAGE: 1}, "FAILED", "STUDIO_WITH_LAUNCH_PROFILES_NOT_DELETED"),
    ],
)
def test_a_studio_goes_when_it_is_empty(contents: dict[ResourceKind, int], event: str, code: str) -> None:
    going = replace(STUDIO, state=ResourceState.DELETE_IN_PROGRESS)
    found, status = studios.settle_studio(going, contents)
    assert (found, status.code) == (event, code)
    assert code in nimble_table()["shapes"]["StudioStatusCode"]["enum"]


def test_ids_and_arns_have_the_service_s_forms() -> None:
    studio_id, other = new_studio_id("us-west-2"), new_id()
    assert len(other) == 22
    assert not any(new_id().startswith("-") for _ in range(1000)), "the AWS CLI takes that for an option"
    assert studio_id.startswith("us-west-2:stid-")
    arn = arn_of(HERE, ResourceKind.STUDIO, studio_id)
    assert arn == f"arn:aws:nimble:us-west-2:000000000000:studio/{studio_id.removeprefix('us-west-2:')}"
    assert read_arn(HERE, arn) == (ResourceKind.STUDIO, studio_id)
    assert read_arn(HERE, arn_of(HERE, IMAGE, other)) == (IMAGE, other)
    assert read_arn(Scope("1", "us-west-2"), arn) is None
    assert read_arn(HERE, arn.replace("studio/", "desk/")) is None
