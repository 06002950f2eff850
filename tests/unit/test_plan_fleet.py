"""What a fleet needs next: the table is the specification."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanlight.domain.fleet_errors import FleetError, FleetErrorCause, Problem
from fanlight.domain.fleet_plan import (
    BecomeRunning,
    BecomeStopped,
    Drain,
    EndSession,
    Launch,
    Report,
    Retire,
    Settle,
    Wait,
    plan_fleet,
)
from fanlight.domain.fleets import Fleet, FleetState, FleetType
from fanlight.domain.instances import Instance, InstanceState
from fanlight.domain.places import Scope
from fanlight.domain.streaming_sessions import EndReason, StreamingSession

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SCOPE = Scope("000000000000", "us-east-1")
IMAGE = "sample"


def fleet(**members: Any) -> Fleet:
    return Fleet(
        **{
            "fleet_id": "f",
            "scope": SCOPE,
            "name": "cad",
            "state": FleetState.RUNNING,
            "image_name": "Sample",
            "image_arn": "arn",
            "instance_type": "stream.standard.small",
            "platform": "UBUNTU_PRO_2404",
            "desired_instances": 2,
            "created_at": NOW,
        }
        | members
    )


def instances(picture: str) -> list[Instance]:
    """Read `launching ready ready:old in_use retiring`: one word an instance, `:x` its image, oldest first."""
    made = []
    for number, word in enumerate(picture.split()):
        state, _, image = word.partition(":")
        made.append(
            Instance(
                instance_id=f"i-{number}",
                scope=SCOPE,
                fleet_id="f",
                image_ref=image or IMAGE,
                state=InstanceState(state.upper()),
                session_ids=(f"s-{number}",) if state == "in_use" else (),
                launched_at=NOW + timedelta(seconds=number),
            )
        )
    return made


def session(number: int, **members: Any) -> StreamingSession:
    return StreamingSession(
        **{
            "session_id": f"s-{number}",
            "scope": SCOPE,
            "stack_name": "x",
            "fleet_name": "cad",
            "fleet_id": "f",
            "user_id": "u",
            "created_at": NOW,
            "max_expires_at": NOW + timedelta(hours=1),
        }
        | members
    )


STARTING, RUNNING, STOPPING, STOPPED = FleetState
ON_DEMAND = {"fleet_type": FleetType.ON_DEMAND}
ABOVE, OTHER_IMAGE = "above the desired capacity", "made from another image"


@pytest.mark.parametrize(
    ("members", "picture", "steps"),
    [
        ({}, "", [Launch(2, IMAGE)]),
        ({}, "ready ready", []),
        ({}, "launching", [Launch(1, IMAGE)]),
        ({}, "in_use in_use", []),
        ({}, "in_use retiring", [Launch(1, IMAGE)]),
        ({}, "ready ready ready", [Retire("i-0", ABOVE)]),
        ({}, "ready launching ready", [Retire("i-1", ABOVE)]),
        ({"desired_instances": 0}, "in_use ready launching", [Retire("i-2", ABOVE), Retire("i-1", ABOVE)]),
        ({"desired_instances": 1}, "in_use in_use in_use", []),
        ({"desired_instances": 1}, "in_use ready", [Retire("i-1", ABOVE)]),
        # Half of the free instances stay until the new image has proved that it boots.
        ({}, "ready:old ready:old", [Retire("i-0", OTHER_IMAGE), Launch(1, IMAGE)]),
        ({}, "ready:old launching", []),
        ({}, "ready:old ready", [Retire("i-0", OTHER_IMAGE), Launch(1, IMAGE)]),
        ({"desired_instances": 5}, "ready:old " * 5, [*(Retire(f"i-{n}", OTHER_IMAGE) for n in range(3)), Launch(3, IMAGE)]),
        ({"desired_instances": 5}, "ready:old ready:old launching launching launching", []),
        ({"desired_instances": 1}, "ready:old", [Retire("i-0", OTHER_IMAGE), Launch(1, IMAGE)]),
        ({"desired_instances": 2}, "in_use:old ready:old", [Retire("i-1", OTHER_IMAGE), Launch(1, IMAGE)]),
        # What is above the capacity goes first from the other image.
        ({"desired_instances": 1}, "ready ready:old", [Retire("i-1", ABOVE)]),
        ({"state": STARTING}, "ready:old ready:old", [Retire("i-0", OTHER_IMAGE), Retire("i-1", OTHER_IMAGE), Launch(2, IMAGE)]),
        ({}, "in_use:old ready", []),
        ({}, "launching:old launching:old", [Retire("i-0", OTHER_IMAGE), Retire("i-1", OTHER_IMAGE), Launch(2, IMAGE)]),
        ({"retry_at": NOW + timedelta(seconds=9)}, "ready", [Wait(NOW + timedelta(seconds=9), "the last launch failed")]),
        ({"retry_at": NOW}, "ready", [Launch(1, IMAGE)]),
        ({"state": STARTING}, "ready launching", []),
        ({"state": STARTING}, "ready ready", [BecomeRunning()]),
        ({"state": STARTING}, "ready in_use", [BecomeRunning()]),
        ({"state": STARTING, "desired_instances": 0}, "", [BecomeRunning()]),
        ({"state": STARTING}, "ready:old ready", [Retire("i-0", OTHER_IMAGE), Launch(1, IMAGE)]),
        (ON_DEMAND, "", []),
        (ON_DEMAND, "in_use", []),
        (ON_DEMAND, "in_use ready launching", [Retire("i-2", ABOVE), Retire("i-1", ABOVE)]),
        (ON_DEMAND | {"state": STARTING}, "", [BecomeRunning()]),
        ({"state": STOPPING}, "ready launching in_use", [Retire("i-0", "the fleet stops"), Retire("i-1", "the fleet stops")]),
        ({"state": STOPPING}, "retiring", []),
        ({"state": STOPPING}, "", [BecomeStopped()]),
        # What only sends files is no capacity, and nobody waits for it
        ({}, "flushing ready", [Launch(1, IMAGE)]),
        ({"state": STARTING}, "flushing ready ready", [BecomeRunning()]),
        ({"state": STOPPING}, "flushing", [BecomeStopped()]),
        ({"state": STOPPING}, "flushing retiring", []),
        (ON_DEMAND, "flushing", []),
        ({"state": STOPPED}, "", []),
        ({"state": STOPPED}, "ready", [Retire("i-0", "the fleet stops")]),
    ],
)  # fmt: skip
def test_the_next_steps_of_a_fleet(members: dict[str, Any], picture: str, steps: list[object]) -> None:
    assert plan_fleet(fleet(**members), instances(picture), (), image_ref=IMAGE, now=NOW) == steps


GONE = Problem(FleetErrorCause.IMAGE_UNKNOWN, "The image Sample does not exist any more.")


@pytest.mark.parametrize("kind", FleetType)
def test_with_a_standing_problem_a_fleet_says_so_and_launches_nothing(kind: FleetType) -> None:
    starting = fleet(state=STARTING, fleet_type=kind)
    assert plan_fleet(starting, [], (), image_ref=None, now=NOW, problems=[GONE]) == [Report(GONE)]
    assert plan_fleet(starting, [], (), image_ref=IMAGE, now=NOW, problems=[GONE]) == [Report(GONE)]


def test_with_a_standing_problem_a_running_fleet_keeps_what_it_has() -> None:
    assert plan_fleet(fleet(), instances("ready:old ready"), (), image_ref=IMAGE, now=NOW, problems=[GONE]) == [
        Report(GONE)
    ]
    assert plan_fleet(
        fleet(desired_instances=1), instances("ready ready"), (), image_ref=None, now=NOW, problems=[GONE]
    ) == [
        Report(GONE),
        Retire("i-0", ABOVE),
    ]


@pytest.mark.parametrize(
    ("members", "picture", "problems", "gone"),
    [
        ({}, "ready", [GONE], []),
        ({}, "ready", [], ["IMAGE_UNKNOWN"]),
        ({}, "ready launching", [], ["IMAGE_UNKNOWN"]),
        # Nothing is left to launch, so no launch fails any more.
        ({}, "ready in_use", [], ["IMAGE_UNKNOWN", "NO_ROOM"]),
        ({"desired_instances": 1}, "ready", [], ["IMAGE_UNKNOWN", "NO_ROOM"]),
        # On demand the next user shows whether there is room.
        (ON_DEMAND, "", [], ["IMAGE_UNKNOWN"]),
    ],
)
def test_errors_go_when_their_cause_is_gone(
    members: dict[str, Any], picture: str, problems: list[Problem], gone: list[str]
) -> None:
    errors = tuple(FleetError(FleetErrorCause(cause), "x", NOW) for cause in ("IMAGE_UNKNOWN", "NO_ROOM"))
    steps = plan_fleet(
        fleet(errors=errors, **members), instances(picture), (), image_ref=IMAGE, now=NOW, problems=problems
    )
    assert [sorted(step.causes) for step in steps if isinstance(step, Settle)] == ([gone] if gone else [])


def test_a_subnet_that_only_the_engine_misses_is_told_until_it_is_asked_again() -> None:
    errors = (FleetError(FleetErrorCause.SUBNET_MISSING, "x", NOW),)
    refused = fleet(errors=errors, retry_at=NOW + timedelta(seconds=1))
    assert not any(isinstance(s, Settle) for s in plan_fleet(refused, [], (), image_ref=IMAGE, now=NOW))
    later = plan_fleet(refused, [], (), image_ref=IMAGE, now=NOW + timedelta(seconds=1))
    assert Settle(frozenset({FleetErrorCause.SUBNET_MISSING})) in later


def test_a_stopping_fleet_ends_its_sessions_once_and_waits_for_them() -> None:
    asked, unasked = session(0, end_requested=EndReason.USER), session(1)
    steps = plan_fleet(fleet(state=STOPPING), [], (asked, unasked), image_ref=IMAGE, now=NOW)
    assert steps == [EndSession("s-1", EndReason.FLEET_STOPPED)]


words = st.sampled_from(
    ["launching", "ready", "in_use", "retiring", "flushing", "ready:old", "launching:old", "in_use:old"]
)


@given(
    st.lists(words, max_size=12),
    st.integers(0, 8),
    st.sampled_from(FleetState),
    st.sampled_from(FleetType),
    st.booleans(),
)
def test_plans_carried_out_come_to_an_end_and_touch_no_user(
    picture: list[str],
    desired: int,
    state: FleetState,
    kind: FleetType,
    has_image: bool,  # noqa: FBT001 - drawn
) -> None:
    """Whatever there is: when what was launched boots, some rounds later nothing is left to launch or to retire."""
    after = instances(" ".join(picture))
    wished = fleet(desired_instances=desired, state=state, fleet_type=kind)
    image_ref = IMAGE if has_image else None
    for round_number in range(12):
        steps = [
            step
            for step in plan_fleet(wished, after, (), image_ref=image_ref, now=NOW)
            if isinstance(step, Launch | Retire)
        ]
        if not steps:
            break
        free = max(desired - sum(i.is_in_use for i in after), 0)
        is_always_on = kind is FleetType.ALWAYS_ON and state is RUNNING
        after = carry_out(steps, after, f"n-{round_number}", free // 2 if is_always_on else 0)
    assert plan_fleet(wished, after, (), image_ref=image_ref, now=NOW) == [] or state is not RUNNING
    live = [i for i in after if not i.is_leaving]
    if state in (STARTING, RUNNING) and kind is FleetType.ALWAYS_ON and has_image:
        assert len(live) == max(desired, sum(i.is_in_use for i in live))
        assert {i.image_ref for i in live if not i.is_in_use} <= {IMAGE}


def carry_out(steps: Sequence[Launch | Retire], before: Sequence[Instance], prefix: str, least: int) -> list[Instance]:
    """Return what there is then, with everything booted. `least` so many of the free ones stay when others are replaced."""
    after = list(before)
    for step in steps:
        if isinstance(step, Retire):
            retired = next(i for i in after if i.instance_id == step.instance_id)
            assert not retired.is_in_use
            assert not retired.is_leaving
            after.remove(retired)
    free_before, free_after = (sum(i.state is InstanceState.READY for i in some) for some in (before, after))
    if least and any(isinstance(step, Retire) and step.why == OTHER_IMAGE for step in steps):
        assert free_after >= min(free_before, least)
    for step in steps:
        if isinstance(step, Launch):
            after += [
                Instance(
                    instance_id=f"{prefix}-{n}", scope=SCOPE, fleet_id="f", image_ref=step.image_ref, launched_at=NOW
                )
                for n in range(step.count)
            ]
    return [replace(i, state=InstanceState.READY) if i.state is InstanceState.LAUNCHING else i for i in after]


# ── Several sessions on an instance ───────────────────────────────────────────────────────────────────────────────────


def shared(name: str, users: int, *, places: int = 3, is_draining: bool = False) -> Instance:
    return Instance(
        instance_id=name,
        scope=SCOPE,
        fleet_id="f",
        image_ref=IMAGE,
        state=InstanceState.IN_USE if users else InstanceState.READY,
        places=places,
        session_ids=tuple(f"{name}-{number}" for number in range(users)),
        is_draining=is_draining,
        launched_at=NOW,
    )


SHARED = {"max_sessions_per_instance": 3}


@pytest.mark.parametrize(
    ("desired", "picture", "steps"),
    [
        (2, [shared("a", 1), shared("b", 3)], []),
        # An instance that drains counts until it is gone: it is replaced then
        (2, [shared("a", 1, is_draining=True), shared("b", 3)], []),
        # Empty ones go first; then the emptiest take no more users
        (1, [shared("a", 1), shared("b", 0)], [Retire("b", "above the desired capacity")]),
        (1, [shared("a", 2), shared("b", 1), shared("c", 3)], [Drain("b", "above the desired capacity"), Drain("a", "above the desired capacity")]),
        (1, [shared("a", 2, is_draining=True), shared("b", 1)], []),
        (0, [shared("a", 2)], [Drain("a", "above the desired capacity")]),
        # Another number of sessions for each instance: users stay, empty ones are replaced
        (2, [shared("a", 1, places=2), shared("b", 0, places=2)],
         [Retire("b", "made for another number of sessions"), Launch(1, IMAGE)]),
        # An instance for one takes nobody anyway
        (0, [shared("a", 1, places=1)], []),
    ],
)  # fmt: skip
def test_instances_with_several_sessions(desired: int, picture: list[Instance], steps: list[object]) -> None:
    wished = fleet(desired_instances=desired, desired_sessions=3 * desired, **SHARED)
    assert plan_fleet(wished, picture, (), image_ref=IMAGE, now=NOW) == steps
