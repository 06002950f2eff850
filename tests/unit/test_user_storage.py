"""Names of home folders, secrets of doors, and which doors a session has."""

from datetime import UTC, datetime, timedelta

import pytest

from fanlight.domain.door_plan import plan_doors
from fanlight.domain.instances import Instance, InstanceState
from fanlight.domain.places import Scope
from fanlight.domain.stacks import Stack
from fanlight.domain.streaming_sessions import SessionState, StreamingSession
from fanlight.domain.user_storage import StorageConnector, StorageKind, home_bucket, home_prefix
from fanlight.services.door_tokens import DoorTokens

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HERE = Scope("123456789012", "eu-west-1")
HOME = StorageConnector(kind=StorageKind.HOMEFOLDERS)


def session(state: SessionState = SessionState.ACTIVE, *connectors: StorageConnector) -> StreamingSession:
    return StreamingSession(
        session_id="s-1", scope=HERE, stack_name="design", fleet_name="cad", fleet_id="f", user_id="ada", state=state,
        instance_id="i-1", created_at=NOW, max_expires_at=NOW + timedelta(hours=1), storage_connectors=connectors,
    )  # fmt: skip


def instance(*sessions: str, state: InstanceState = InstanceState.IN_USE) -> Instance:
    return Instance(
        instance_id="i-1", scope=HERE, fleet_id="f", image_ref="x", launched_at=NOW, session_ids=sessions, state=state
    )


def stack(*connectors: StorageConnector) -> Stack:
    return Stack(stack_id="st", scope=HERE, name="design", created_at=NOW, storage_connectors=connectors)


def test_names_are_those_of_the_service() -> None:
    assert home_bucket(HERE) == "appstream2-36fb080bb8-eu-west-1-123456789012"
    digest = "a0bcb1da11f480d9b5b3e90f91243143eac04cfccfbdc777e740fab628a1cd13"
    assert home_prefix("API", "testuser@mydomain.com") == f"user/custom/{digest}/"
    assert home_prefix("SAML", "testuser@mydomain.com") == f"user/federated/{digest}/"
    assert home_prefix("API", "Testuser@mydomain.com") != home_prefix("API", "testuser@mydomain.com")


def test_a_session_keeps_its_door_from_claim_to_flush() -> None:
    for state in SessionState:
        assert plan_doors(session(state, HOME), instance("s-1"), stack(HOME)) == {StorageKind.HOMEFOLDERS}
    flushing = instance("s-1", state=InstanceState.FLUSHING)
    assert plan_doors(session(SessionState.EXPIRED, HOME), flushing, stack(HOME)) == {StorageKind.HOMEFOLDERS}


@pytest.mark.parametrize("place", [None, instance(), instance("s-2"), instance("s-1", state=InstanceState.RETIRING)])
def test_who_has_no_place_has_no_door(place: Instance | None) -> None:
    assert not plan_doors(session(SessionState.ACTIVE, HOME), place, stack(HOME))
    assert not plan_doors(None, place, stack(HOME))


def test_what_the_stack_gets_later_is_for_later_sessions() -> None:
    assert not plan_doors(session(SessionState.ACTIVE), instance("s-1"), stack(HOME))


@pytest.mark.parametrize("now", [None, stack()])
def test_what_the_stack_loses_is_given_back_at_the_end_alone(now: Stack | None) -> None:
    assert not plan_doors(session(SessionState.ACTIVE, HOME), instance("s-1"), now)
    assert plan_doors(session(SessionState.EXPIRED, HOME), instance("s-1"), now) == {StorageKind.HOMEFOLDERS}


def test_each_door_has_a_secret_of_its_own_that_a_restart_does_not_change() -> None:
    tokens = DoorTokens(b"k" * 32)
    first = tokens.token_of("s-1", StorageKind.HOMEFOLDERS)
    assert DoorTokens(b"k" * 32).token_of("s-1", StorageKind.HOMEFOLDERS) == first
    others = {
        tokens.token_of("s-2", StorageKind.HOMEFOLDERS),
        tokens.token_of("s-1", StorageKind.ONE_DRIVE),
        DoorTokens(b"l" * 32).token_of("s-1", StorageKind.HOMEFOLDERS),
    }
    assert len(others | {first}) == 4
