"""Which instance a session sits on: a table, and what holds whatever comes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanlight.domain.fleets import Fleet
from fanlight.domain.instances import Instance, InstanceState
from fanlight.domain.placement import may_launch, place
from fanlight.domain.places import Scope

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SCOPE = Scope("000000000000", "us-east-1")


def instance(name: str, users: int = 0, *, places: int = 3, age: int = 0, **members: Any) -> Instance:
    state = InstanceState.IN_USE if users else InstanceState.READY
    began = NOW - timedelta(seconds=age)
    values: dict[str, Any] = {
        "instance_id": name, "scope": SCOPE, "fleet_id": "f", "image_ref": "sample", "state": state, "places": places,
        "session_ids": tuple(f"{name}-{n}" for n in range(users)), "launched_at": began, "ready_at": began,
    }  # fmt: skip
    return Instance(**values | members)


def fleet(**members: Any) -> Fleet:
    values: dict[str, Any] = {
        "fleet_id": "f", "scope": SCOPE, "name": "cad", "image_name": "Sample", "image_arn": "arn",
        "instance_type": "stream.standard.small", "platform": "UBUNTU_PRO_2404", "desired_instances": 2,
        "max_sessions_per_instance": 3, "desired_sessions": 6, "created_at": NOW,
    }  # fmt: skip
    return Fleet(**values | members)


@pytest.mark.parametrize(
    ("instances", "ahead", "chosen"),
    [
        ([], 0, None),
        ([instance("a"), instance("b", age=9)], 0, "b"),
        # The fullest that has a place
        ([instance("a", age=9), instance("b", 1), instance("c", 2), instance("d", 3)], 0, "c"),
        ([instance("a", 1), instance("b", 1, age=9)], 0, "b"),
        ([instance("a", 3), instance("b", 3)], 0, None),
        # Who has waited longer has the first places
        ([instance("a", 2)], 1, None),
        ([instance("a", 2), instance("b", 2)], 1, "a"),
        ([instance("a")], 2, "a"),
        ([instance("a")], 3, None),
        # Nobody comes to what drains, leaves, or is not there yet
        ([instance("a", 1, is_draining=True)], 0, None),
        ([instance("a", state=InstanceState.RETIRING)], 0, None),
        ([instance("a", state=InstanceState.LAUNCHING, ready_at=None)], 0, None),
        # Launched on demand for somebody: it has more places although it boots
        ([instance("a", 1, ready_at=None)], 0, "a"),
        ([instance("a", 1, places=1), instance("b", places=1)], 0, "b"),
    ],
)  # fmt: skip
def test_where_the_next_session_sits(instances: list[Instance], ahead: int, chosen: str | None) -> None:
    found = place(instances, ahead=ahead)
    assert (found.instance_id if found else None) == chosen


def test_an_instance_with_an_older_image_is_the_last_choice() -> None:
    outdated = instance("a", 1, image_ref="last-year")
    fresh = instance("b")
    assert place([outdated, fresh], ahead=0, image_ref=fresh.image_ref) == fresh
    assert place([outdated], ahead=0, image_ref=fresh.image_ref) == outdated
    assert place([outdated, fresh], ahead=0) == outdated, "nobody knows which is older"


@pytest.mark.parametrize(
    ("users", "ahead", "launches"), [([], 0, True), ([3], 0, True), ([3, 3], 0, False), ([3], 2, True), ([3], 3, False)]
)
def test_on_demand_so_many_are_launched_as_those_in_front_leave(users: list[int], ahead: int, launches: bool) -> None:  # noqa: FBT001 - a column
    live = [instance(f"i-{number}", held) for number, held in enumerate(users)]
    assert may_launch(fleet(), live, ahead=ahead) is launches


@given(st.lists(st.tuples(st.integers(1, 4), st.booleans()), max_size=6), st.lists(st.sampled_from("+-d"), max_size=60))
def test_no_instance_ever_has_more_sessions_than_places(shapes: list[tuple[int, bool]], story: list[str]) -> None:
    """Sessions come, go, and instances are drained, in any order."""
    instances = [
        instance(f"i-{number}", places=places, is_draining=is_draining)
        for number, (places, is_draining) in enumerate(shapes)
    ]
    for step, event in enumerate(story):
        if event == "+" and (chosen := place(instances, ahead=0)) is not None:
            assert not chosen.is_draining
            instances[instances.index(chosen)] = chosen.claimed_by(f"s-{step}")
        elif event == "-" and (used := [i for i in instances if i.session_ids]):
            instances[instances.index(used[0])] = used[0].without(used[0].session_ids[0])
        assert all(len(i.session_ids) <= i.places for i in instances)
        assert len({s for i in instances for s in i.session_ids}) == sum(len(i.session_ids) for i in instances)
