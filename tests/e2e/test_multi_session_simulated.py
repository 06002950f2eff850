"""Several sessions on one instance, with the whole control plane on the simulated engine."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from simulated_system import SCOPE, System, running_system, until

from fanlight.control.views import SessionViews
from fanlight.domain.errors import NotFound, NotPermitted
from fanlight.domain.fleets import FleetState, FleetType
from fanlight.domain.instances import Instance, InstanceState
from fanlight.domain.ports import SessionPhase
from fanlight.domain.streaming_sessions import EndReason, SessionState, StreamingSession
from fanlight.services.session_instances import DrainStatus


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    async with running_system(tmp_path) as made:
        yield made


def is_active(session: StreamingSession) -> bool:
    return session.state is SessionState.ACTIVE


async def a_fleet(system: System, *, sessions: int, each: int, **members: Any) -> None:
    shared = {
        "max_sessions_per_instance": each,
        "desired_sessions": sessions,
        "desired_instances": -(-sessions // each),
    }
    await system.make_fleet(**shared | members)
    await system.start()


async def come(system: System, *users: str) -> list[StreamingSession]:
    made = [await system.open(user) for user in users]
    return [await system.session_becomes(session.session_id, is_active) for session in made]


async def leave(system: System, session: StreamingSession) -> None:
    await system.services.sessions.request_end(session.session_id, EndReason.USER)
    await system.session_becomes(session.session_id, lambda s: not s.is_live)


async def instance(system: System, instance_id: str | None) -> Instance | None:
    return next((i for i in await system.instances() if i.instance_id == instance_id), None)


async def held(system: System, instance_id: str | None, count: int) -> Instance:
    async def probe() -> Instance | None:
        found = await instance(system, instance_id)
        return found if found and len(found.session_ids) == count else None

    found = await until(probe, within=10, what=f"{count} sessions on {instance_id}")
    assert isinstance(found, Instance)
    return found


async def gone(system: System, instance_id: str | None) -> None:
    async def probe() -> bool:
        return await instance(system, instance_id) is None

    await until(probe, within=10, what=f"{instance_id} gone")


async def numbers(system: System) -> tuple[int, ...]:
    """Return desired, active, available, actual, draining, active and unused there."""
    described = await system.services.fleets.describe(SCOPE, names=("cad",))
    sessions = described[0][0].capacity.sessions
    assert sessions is not None
    return (
        sessions.desired, sessions.active, sessions.available, sessions.actual,
        sessions.draining, sessions.draining_active, sessions.draining_unused,
    )  # fmt: skip


async def test_users_fill_an_instance_before_the_next_and_have_a_seat_and_a_socket_each(system: System) -> None:
    await a_fleet(system, sessions=4, each=2)
    assert [i.places for i in await system.instances()] == [2, 2]
    ada, bob, cid = await come(system, "ada", "bob", "cid")
    assert ada.instance_id == bob.instance_id != cid.instance_id
    status = system.agents.status(str(ada.instance_id))
    assert status is not None
    assert [(r.session_id, r.seat, r.phase) for r in status.sessions] == [
        (ada.session_id, 0, SessionPhase.IN_SESSION),
        (bob.session_id, 1, SessionPhase.IN_SESSION),
    ]
    guest = system.driver._homes / str(ada.instance_id) / "guest"
    assert {p.name for p in guest.iterdir()} == {"stream-0.sock", "stream-1.sock"}
    assert await numbers(system) == (4, 3, 1, 4, 0, 0, 0)


async def test_a_place_that_is_left_is_taken_by_the_next_on_a_new_seat(system: System) -> None:
    await a_fleet(system, sessions=2, each=2)
    ada, bob = await come(system, "ada", "bob")
    status = system.agents.status(str(bob.instance_id))
    assert status is not None
    seats = {report.session_id: report.seat for report in status.sessions}  # they came together: either was first
    assert sorted(seats.values()) == [0, 1]
    await leave(system, ada)
    await held(system, ada.instance_id, 1)
    assert await numbers(system) == (2, 1, 1, 2, 0, 0, 0)
    (cid,) = await come(system, "cid")
    assert cid.instance_id == bob.instance_id
    status = system.agents.status(str(bob.instance_id))
    assert status is not None
    assert {r.session_id: (r.seat, r.phase) for r in status.sessions} == {
        ada.session_id: (seats[ada.session_id], SessionPhase.ENDED),
        bob.session_id: (seats[bob.session_id], SessionPhase.IN_SESSION),
        cid.session_id: (2, SessionPhase.IN_SESSION),
    }
    assert (await system.session(bob.session_id)).state is SessionState.ACTIVE


async def test_the_instance_goes_with_its_last_user_and_a_fresh_one_comes(system: System) -> None:
    await a_fleet(system, sessions=2, each=2)
    ada, bob = await come(system, "ada", "bob")
    await leave(system, ada)
    await held(system, ada.instance_id, 1)
    await leave(system, bob)
    await gone(system, ada.instance_id)
    (cid,) = await come(system, "cid")
    assert cid.instance_id != ada.instance_id


async def test_a_rush_of_users_overbooks_nothing_and_nobody_who_has_a_place_waits(system: System) -> None:
    await a_fleet(system, sessions=12, each=4)
    users = [f"user-{number}" for number in range(15)]
    opened = await asyncio.gather(*(system.open(user) for user in users))

    async def twelve_active() -> list[StreamingSession]:
        found = [await system.session(session.session_id) for session in opened]
        return found if sum(map(is_active, found)) == 12 else []

    found = await until(twelve_active, within=20, what="twelve sessions")
    on = Counter(s.instance_id for s in found if s.instance_id)
    assert sorted(on.values()) == [4, 4, 4]
    waiting = [s for s in found if s.instance_id is None]
    assert len(waiting) == 3
    # Who leaves makes room for who waits.
    await leave(system, next(s for s in found if is_active(s)))

    async def one_more() -> bool:
        return any([is_active(await system.session(s.session_id)) for s in waiting])

    await until(one_more, within=10, what="a waiting user comes in")
    assert all(len(i.session_ids) <= 4 for i in await system.instances())


async def test_a_drained_instance_takes_nobody_and_is_replaced_when_it_is_empty(system: System) -> None:
    await a_fleet(system, sessions=2, each=2)
    (ada,) = await come(system, "ada")
    drains = system.services.session_instances
    assert await drains.drain_statuses([ada]) == {ada.session_id: DrainStatus.ACTIVE}
    for _ in range(2):
        await drains.drain(SCOPE, ada.session_id)
    assert await drains.drain_statuses([ada]) == {ada.session_id: DrainStatus.DRAINING}
    assert await numbers(system) == (2, 0, 0, 0, 1, 1, 1)
    bob = await system.open("bob")
    await system.settle()
    assert (await system.session(bob.session_id)).instance_id is None
    assert is_active(await system.session(ada.session_id))
    await leave(system, ada)
    bob = await system.session_becomes(bob.session_id, is_active)
    assert bob.instance_id != ada.instance_id
    assert await numbers(system) == (2, 1, 1, 2, 0, 0, 0)


async def test_who_cannot_be_drained(system: System) -> None:
    await system.make_fleet(desired_instances=1)
    await system.start()
    (ada,) = await come(system, "ada")
    drains = system.services.session_instances
    with pytest.raises(NotPermitted, match="single-session"):
        await drains.drain(SCOPE, ada.session_id)
    assert await drains.drain_statuses([ada]) == {ada.session_id: DrainStatus.NOT_APPLICABLE}
    with pytest.raises(NotFound):
        await drains.drain(SCOPE, "no-such-session")
    waiting = await system.open("bob")
    with pytest.raises(NotPermitted, match="no instance"):
        await drains.drain(SCOPE, waiting.session_id)
    await leave(system, ada)
    with pytest.raises(NotFound):
        await drains.drain(SCOPE, ada.session_id)


async def test_fewer_sessions_are_wanted_and_the_users_stay(system: System) -> None:
    await a_fleet(system, sessions=4, each=2)
    ada, bob, cid = await come(system, "ada", "bob", "cid")
    await system.change_fleet(desired_sessions=2, desired_instances=1)

    async def drains() -> bool:
        found = await instance(system, cid.instance_id)
        return found is not None and found.is_draining

    await until(drains, within=10, what="the emptier instance drains")
    assert all([is_active(await system.session(s.session_id)) for s in (ada, bob, cid)])
    await leave(system, cid)
    await gone(system, cid.instance_id)
    await system.settle()
    assert [i.instance_id for i in await system.instances()] == [ada.instance_id]


async def test_on_demand_an_instance_is_shared_from_its_launch_on(system: System) -> None:
    await a_fleet(system, sessions=4, each=2, fleet_type=FleetType.ON_DEMAND)
    assert await numbers(system) == (4, 0, 4, 4, 0, 0, 0)
    found = await come(system, "ada", "bob", "cid", "dan")
    assert sorted(Counter(s.instance_id for s in found).values()) == [2, 2]
    assert await numbers(system) == (4, 4, 0, 4, 0, 0, 0)
    for session in found:
        await leave(system, session)

    async def empty() -> bool:
        return not await system.instances()

    await until(empty, within=10, what="no instance left")


async def test_a_fleet_that_stops_ends_all_sessions_of_its_instances(system: System) -> None:
    await a_fleet(system, sessions=4, each=4)
    found = await come(system, "ada", "bob", "cid")
    await system.services.fleets.stop(SCOPE, "cad")
    await system.fleet_becomes(FleetState.STOPPED)
    assert {(await system.session(s.session_id)).end_reason for s in found} == {EndReason.FLEET_STOPPED}


async def test_an_instance_that_dies_takes_its_sessions_and_no_others(system: System) -> None:
    await a_fleet(system, sessions=4, each=2)
    ada, bob, cid = await come(system, "ada", "bob", "cid")
    await system.driver.halt(str(ada.instance_id))
    for lost in (ada, bob):
        ended = await system.session_becomes(lost.session_id, lambda s: not s.is_live)
        assert ended.end_reason is EndReason.INSTANCE_LOST
    assert is_active(await system.session(cid.session_id))


async def test_everybody_stays_when_the_control_plane_starts_again(tmp_path: Path) -> None:
    async with running_system(tmp_path) as first:
        await a_fleet(first, sessions=2, each=2)
        ada, bob = await come(first, "ada", "bob")
    async with running_system(tmp_path) as second:

        async def heard() -> bool:
            status = second.agents.status(str(ada.instance_id))
            return status is not None and status.session(bob.session_id) is not None

        await until(heard, within=10, what="the agent again")
        await second.settle()
        assert is_active(await second.session(ada.session_id))
        await leave(second, ada)
        assert (await held(second, bob.instance_id, 1)).state is InstanceState.IN_USE
        assert is_active(await second.session(bob.session_id))


async def test_the_gateway_is_sent_to_the_socket_of_the_users_own_seat(system: System, tmp_path: Path) -> None:
    await a_fleet(system, sessions=2, each=2)
    ada, bob = await come(system, "ada", "bob")
    uids = {0: 1001, 1: 10_003}
    views = SessionViews(
        system.transactions, system.agents, system.clock, tmp_path / "run", lambda _instance_id, seat: uids[seat]
    )
    guest = tmp_path / "run" / "instances" / str(ada.instance_id) / "guest"
    for session, seat in ((ada, 0), (bob, 1)):
        view = await views.of(session)
        assert (view.stream_socket, view.stream_uid) == (str(guest / f"stream-{seat}.sock"), uids[seat])
