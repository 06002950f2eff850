"""The machines of studios' streaming sessions on the simulated engine: every edge of their life, and what goes wrong."""

import json
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from simulated_system import SCOPE, System, running_system, stopped_system, until

from fanlight.domain.errors import (
    CapacityExhausted,
    DriverUnavailable,
    InvalidCombination,
    NotAvailable,
    NotFound,
    SnapshotRefused,
    UrlRefused,
)
from fanlight.domain.file_systems import FileSystemWish, SharedDirectory
from fanlight.domain.instances import new_instance_id
from fanlight.domain.nimble.calls import Call
from fanlight.domain.nimble.identifiers import new_id
from fanlight.domain.nimble.session_backups import SessionBackup
from fanlight.domain.nimble.session_changes import CREATING
from fanlight.domain.nimble.sessions import (
    InitializationScript,
    ScriptContext,
    SessionSettings,
    StudioSession,
    StudioSessionCode,
    StudioSessionState,
    Volume,
    VolumeRetention,
)
from fanlight.domain.nimble.streams import StreamState
from fanlight.domain.ports import InstanceRole, ObservedInstance, Power
from fanlight.domain.stacks import UserAction
from fanlight.domain.streaming_sessions import EndReason, SessionState, StreamingSession
from fanlight.drivers.simulated import Faults

pytestmark = pytest.mark.timeout(60)

_S = StudioSessionState
STUDIO = "us-east-1:stid-0123456789abcdef"
STOPPABLE = SessionSettings(max_length=timedelta(hours=2), max_stopped_length=timedelta(hours=1))
LASTING = SessionSettings(
    is_persistent=True, makes_backups=True, backups_to_retain=2, volume=Volume(size_in_gib=100, iops=3000)
)


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fl-") as path:
        yield Path(path)


@pytest.fixture
async def system(data_dir: Path) -> AsyncIterator[System]:
    async with running_system(data_dir) as made:
        yield made


def call(operation: str) -> Call:
    return Call(scope=SCOPE, operation=operation, caller="AKID", fingerprint=uuid4().hex)


async def create(system: System, settings: SessionSettings = LASTING, **members: Any) -> StudioSession:
    """Add a session as its service does, without a launch profile."""
    now = system.clock.now()
    fresh: dict[str, Any] = {
        "session_id": new_id(), "scope": SCOPE, "studio_id": STUDIO, "status": CREATING, "launch_profile_id": "profile",
        "streaming_image_id": "image", "ec2_instance_type": "g4dn.xlarge", "image_ref": "fanlight-sample",
        "instance_id": new_instance_id(), "agent_version": "simulated", "settings": settings, "owned_by": "artist",
        "created_by": "AKID", "updated_by": "AKID", "started_by": "AKID", "created_at": now, "updated_at": now,
        "started_at": now, "begun_at": now,
    }  # fmt: skip
    async with system.transactions.begin(write=True) as work:
        session = await work.studio_sessions.add(StudioSession(**fresh | members))
        await work.commit()
    system.reconcilers.wake("studio_session", session.session_id)
    return session


async def now_is(system: System, session: StudioSession) -> StudioSession:
    return (await system.services.nimble.sessions.get(SCOPE, STUDIO, session.session_id))[0]


async def becomes(system: System, session: StudioSession, state: StudioSessionState) -> StudioSession:
    async def probe() -> StudioSession | None:
        found = await now_is(system, session)
        return found if found.state is state else None

    found: StudioSession = await until(probe, within=20, what=f"session {state}")
    return found


async def ready(system: System, settings: SessionSettings = LASTING, **members: Any) -> StudioSession:
    return await becomes(system, await create(system, settings, **members), _S.READY)


async def stop(system: System, session: StudioSession, retention: VolumeRetention | None = None) -> StudioSession:
    stopping = await system.services.nimble.sessions.stop(call("stop"), STUDIO, session.session_id, retention)
    assert stopping.state is _S.STOP_IN_PROGRESS
    return await becomes(system, session, _S.STOPPED)


async def start(system: System, session: StudioSession, backup_id: str | None = None) -> StudioSession:
    starting = await system.services.nimble.sessions.start(call("start"), STUDIO, session.session_id, backup_id)
    assert starting.state is _S.START_IN_PROGRESS
    return await becomes(system, session, _S.READY)


async def delete(system: System, session: StudioSession) -> StudioSession:
    await system.services.nimble.sessions.delete(call("delete"), STUDIO, session.session_id)
    return await becomes(system, session, _S.DELETED)


async def machines(system: System) -> dict[str, ObservedInstance]:
    return {one.instance_id: one for one in await system.driver.observe()}


async def backups(system: System, session: StudioSession) -> list[SessionBackup]:
    async with system.transactions.begin() as work:
        return list(await work.session_backups.of_session(session.session_id))


async def open_stream(system: System, session: StudioSession) -> StreamingSession:
    """Open the URL of a new stream as the portal does."""
    stream = await system.services.nimble.streams.create(call("stream"), STUDIO, session.session_id, None)
    assert stream.state is StreamState.CREATE_IN_PROGRESS

    async def url() -> str | None:
        return (await system.services.nimble.streams.get(SCOPE, STUDIO, session.session_id, stream.stream_id))[1]

    query = parse_qs(urlsplit(await until(url, within=10, what="the stream READY")).query)
    grant = await system.services.sessions.redeem(query["parameters"][0], query["signature"][0])
    opened = await system.services.sessions.open_session(grant, None)
    return await system.session_becomes(opened.session_id, lambda one: one.state is SessionState.ACTIVE)


async def test_a_session_has_a_machine_of_its_own_with_the_size_of_its_volume(system: System) -> None:
    session = await ready(system)
    assert (session.status.code, session.has_run) == (StudioSessionCode.STREAMING_SESSION_READY, True)
    assert (session.stop_at, session.terminate_at) == (session.begun_at + timedelta(minutes=690), None)
    [machine] = (await machines(system)).values()
    assert (machine.instance_id, machine.power) == (session.instance_id, Power.RUNNING)
    record = system.driver.record_of(session.instance_id)
    assert record is not None
    assert (record.spec.role, record.spec.cpu_count, record.spec.memory_in_mib, record.spec.disk_in_gib) == (
        InstanceRole.WORKSTATION, 4, 16_384, 100,
    )  # fmt: skip


async def test_stop_keeps_the_machine_and_start_brings_the_same_one_back(system: System) -> None:
    session = await ready(system, replace(LASTING, makes_backups=False))
    stopped = await stop(system, session)
    assert (stopped.status.code, stopped.stopped_by) == (StudioSessionCode.STREAMING_SESSION_STOPPED, "AKID")
    assert (await machines(system))[session.instance_id].power is Power.STOPPED
    await system.pass_time(timedelta(days=30))  # it is persistent: nothing ends it
    assert (await now_is(system, session)).state is _S.STOPPED
    again = await start(system, session)
    assert (again.instance_id, again.status.code) == (session.instance_id, StudioSessionCode.STREAMING_SESSION_STARTED)
    assert await backups(system, session) == []


async def test_each_stop_makes_a_backup_and_the_oldest_goes(system: System) -> None:
    session = await ready(system)
    seen = []
    for _ in range(3):
        await stop(system, session)
        await until(lambda: _all_ready(system, session), within=10, what="backups settled")
        seen.append((await backups(system, session))[-1])
        await start(system, session)
    kept = await backups(system, session)
    assert [one.backup_id for one in kept] == [one.backup_id for one in seen[1:]]
    record = system.driver.record_of(session.instance_id)
    assert record is not None
    assert record.snapshots == [one.snapshot for one in kept]
    oldest, _ = await system.services.nimble.session_backups.get(SCOPE, STUDIO, seen[0].backup_id)
    assert oldest.state is _S.DELETED


async def _all_ready(system: System, session: StudioSession) -> bool:
    return all(one.state is _S.READY for one in await backups(system, session))


async def test_a_session_starts_from_a_backup_of_its_own_alone(system: System) -> None:
    session, other = await ready(system), await ready(system)
    await stop(system, session)
    await stop(system, other)
    [backup], [foreign] = await backups(system, session), await backups(system, other)
    with pytest.raises(NotFound):
        await system.services.nimble.sessions.start(call("x"), STUDIO, session.session_id, foreign.backup_id)
    again = await start(system, session, backup.backup_id)
    assert (again.started_from_backup_id, again.restoring_backup_id) == (backup.backup_id, None)
    assert again.instance_id == session.instance_id


async def test_a_deleted_volume_is_not_started_again_but_its_backup_is(system: System) -> None:
    session = await ready(system)
    stopped = await stop(system, session, VolumeRetention.DELETE)
    assert stopped.instance_id != session.instance_id
    [backup] = await backups(system, session)
    fresh = await start(system, session)
    assert fresh.instance_id == stopped.instance_id
    assert set(await machines(system)) == {session.instance_id, fresh.instance_id}  # the first has the backup
    await system.pass_time(timedelta(minutes=10))
    assert session.instance_id in await machines(system), "a sweep took the backup for an orphan"
    await stop(system, session)
    restored = await start(system, session, backup.backup_id)
    assert restored.instance_id == session.instance_id
    await delete(system, session)
    assert await machines(system) == {}


async def test_the_machine_of_a_deleted_volume_goes_with_its_last_backup(system: System) -> None:
    session = await ready(system, replace(LASTING, backups_to_retain=1))
    await stop(system, session, VolumeRetention.DELETE)
    fresh = await start(system, session)
    await stop(system, session)

    async def only_the_fresh_one() -> bool:
        await system.pass_time(timedelta(minutes=1))
        return set(await machines(system)) == {fresh.instance_id}

    await until(only_the_fresh_one, within=40, what="the machine without backups gone")
    assert [one.instance_id for one in await backups(system, session)] == [fresh.instance_id]


class Refusing:
    """Lets no snapshot be made."""

    def __init__(self, part: Any) -> None:
        self._part = part

    def __getattr__(self, name: str) -> Any:
        async def refuse(*_: Any) -> None:
            raise SnapshotRefused("the pool is full")

        return refuse if name == "create" else getattr(self._part, name)


async def test_a_volume_stays_when_its_backup_failed(data_dir: Path) -> None:
    async with running_system(data_dir, around=Refusing) as system:
        session = await ready(system)
        stopped = await stop(system, session, VolumeRetention.DELETE)
        assert (stopped.instance_id, stopped.volume_retention) == (session.instance_id, VolumeRetention.RETAIN)
        assert await backups(system, session) == []
        async with system.transactions.begin() as work:
            kept = await work.session_backups.page(SCOPE, STUDIO, limit=9)
        assert [(one.state, one.status.message) for one in kept] == [(_S.CREATE_FAILED, "the pool is full")]
        assert (await start(system, session)).instance_id == session.instance_id


async def test_a_deleted_volume_without_backups_leaves_no_machine(system: System) -> None:
    session = await ready(system, STOPPABLE)
    await stop(system, session, VolumeRetention.DELETE)
    assert await machines(system) == {}
    assert (await start(system, session)).instance_id != session.instance_id


async def test_a_deleted_session_leaves_nothing_and_is_seen_deleted_for_a_while(system: System) -> None:
    session = await ready(system)
    await open_stream(system, session)
    await stop(system, session)
    await delete(system, session)
    assert await machines(system) == {}
    assert await backups(system, session) == []
    again = await system.services.nimble.sessions.delete(call("again"), STUDIO, session.session_id)
    assert again.state is _S.DELETED
    await system.pass_time(timedelta(minutes=29))
    await system.pass_time(timedelta(minutes=2))
    with pytest.raises(NotFound):
        await now_is(system, session)


async def test_a_session_that_may_be_stopped_is_and_is_deleted_when_that_lasts_too_long(system: System) -> None:
    session = await ready(system, STOPPABLE)
    assert (session.stop_at, session.terminate_at) == (session.begun_at + timedelta(hours=2), None)
    await system.pass_time(timedelta(hours=2, seconds=1))
    stopped = await becomes(system, session, _S.STOPPED)
    assert (stopped.stopped_by, stopped.terminate_at) == ("artist", stopped.begun_at + timedelta(hours=1))
    await system.pass_time(timedelta(hours=1, seconds=1))
    await becomes(system, session, _S.DELETED)
    assert await machines(system) == {}


async def test_a_session_that_may_not_be_stopped_is_deleted_at_its_end(system: System) -> None:
    session = await ready(system, SessionSettings(max_length=timedelta(minutes=1)))
    assert (session.stop_at, session.terminate_at) == (None, session.begun_at + timedelta(minutes=1))
    with pytest.raises(InvalidCombination, match="maxStoppedSessionLengthInMinutes"):
        await system.services.nimble.sessions.stop(call("stop"), STUDIO, session.session_id, None)
    await system.pass_time(timedelta(seconds=61))
    await becomes(system, session, _S.DELETED)


async def test_states_refuse_what_they_do_not_allow(system: System) -> None:
    sessions = system.services.nimble.sessions
    session = await ready(system)
    with pytest.raises(NotAvailable, match=r"READY\. Only one that is STOPPED"):
        await sessions.start(call("start"), STUDIO, session.session_id, None)
    await stop(system, session)
    assert (await sessions.stop(call("again"), STUDIO, session.session_id, None)).state is _S.STOPPED
    with pytest.raises(NotAvailable, match=r"STOPPED\. A stream needs"):
        await system.services.nimble.streams.create(call("stream"), STUDIO, session.session_id, None)
    with pytest.raises(NotFound):
        await sessions.get(SCOPE, "us-east-1:stid-another", session.session_id)


async def test_a_stream_opens_the_portal_until_it_expires(system: System) -> None:
    settings = replace(LASTING, has_clipboard=True, upload_root="$HOME/MyFiles")
    session = await ready(system, settings)
    opened = await open_stream(system, session)
    assert (opened.user_id, opened.instance_id, opened.max_expires_at) == (
        "artist", session.instance_id, session.stop_at,
    )  # fmt: skip
    assert opened.user_settings.enabled_actions == {
        UserAction.CLIPBOARD_COPY_FROM_LOCAL_DEVICE, UserAction.CLIPBOARD_COPY_TO_LOCAL_DEVICE, UserAction.FILE_UPLOAD,
    }  # fmt: skip
    assert (await open_stream(system, session)).session_id == opened.session_id, "who comes again, comes back"
    await system.services.sessions.record_connection(opened.session_id, is_connected=True)
    await system.services.sessions.record_connection(opened.session_id, is_connected=False)
    stream = await system.services.nimble.streams.create(call("short"), STUDIO, session.session_id, 60)
    await system.settle()
    _, url = await system.services.nimble.streams.get(SCOPE, STUDIO, session.session_id, stream.stream_id)
    await system.pass_time(timedelta(seconds=61))
    found, none = await system.services.nimble.streams.get(SCOPE, STUDIO, session.session_id, stream.stream_id)
    assert (found.state, none) == (StreamState.DELETED, None)
    query = parse_qs(urlsplit(str(url)).query)
    with pytest.raises(UrlRefused) as refused:
        await system.services.sessions.redeem(query["parameters"][0], query["signature"][0])
    assert refused.value.code == "EXPIRED"
    await system.pass_time(timedelta(hours=3))  # nobody is connected, and the session goes on
    assert (await system.session(opened.session_id)).state is SessionState.ACTIVE


async def test_a_clock_that_was_ahead_lets_nothing_live_longer(system: System) -> None:
    system.clock.added = timedelta(days=365)
    session = await ready(system, STOPPABLE)
    stream = await system.services.nimble.streams.create(call("stream"), STUDIO, session.session_id, 3600)
    await system.settle()
    system.clock.added = timedelta()

    async def corrected() -> StudioSession | None:
        await system.pass_time(timedelta(0))
        found = await now_is(system, session)
        return found if found.begun_at < session.begun_at else None

    found: StudioSession = await until(corrected, within=40, what="times corrected")
    assert found.stop_at == found.begun_at + timedelta(hours=2)

    async def is_over() -> bool:
        one, _ = await system.services.nimble.streams.get(SCOPE, STUDIO, session.session_id, stream.stream_id)
        return one.state is StreamState.DELETED

    await until(is_over, within=40, what="the stream of the future over")
    await system.pass_time(timedelta(hours=2, seconds=1))
    await becomes(system, session, _S.STOPPED)


async def test_the_end_of_a_session_on_the_desktop_leaves_the_machine_and_a_stop_ends_it(system: System) -> None:
    session = await ready(system)
    first = await open_stream(system, session)
    await system.services.sessions.request_end(first.session_id, EndReason.USER)
    await system.session_becomes(first.session_id, lambda one: one.state is SessionState.EXPIRED)
    second = await open_stream(system, session)
    assert second.session_id != first.session_id
    await stop(system, session)
    ended = await system.session(second.session_id)
    assert (ended.state, ended.end_reason) == (SessionState.EXPIRED, EndReason.FLEET_STOPPED)


def script(text: str, context: ScriptContext = ScriptContext.SYSTEM_INITIALIZATION) -> InitializationScript:
    return InitializationScript(context=context, component="licences", text=text, parameters=(("SERVER", "lic1"),))


async def test_system_scripts_run_one_after_the_other_before_a_session_is_ready(system: System) -> None:
    session = await ready(system, scripts=(script("echo 1"), script("echo 2")))
    agent = system.agents.status(session.instance_id)
    assert agent is not None
    assert agent.work is not None
    assert agent.work.work_id.endswith("-1")


async def test_a_system_script_that_fails_makes_the_session_fail_and_leaves_no_machine(system: System) -> None:
    session = await create(system, scripts=(script("exit 1"),))
    failed = await becomes(system, session, _S.CREATE_FAILED)
    assert failed.status.code == StudioSessionCode.INITIALIZATION_SCRIPT_ERROR
    assert failed.status.message == "The system script of the studio component licences failed: it ended with 1"
    await until(lambda: _is_empty(system), within=10, what="no machine")


async def _is_empty(system: System) -> bool:
    return await machines(system) == {}


async def test_user_scripts_run_for_each_session_on_the_desktop_and_a_failing_one_stops_nothing(system: System) -> None:
    user = ScriptContext.USER_INITIALIZATION
    session = await ready(system, scripts=(script("exit 1", user), script("echo 2", user)))
    opened = await open_stream(system, session)

    async def ran() -> bool:
        agent = system.agents.status(session.instance_id)
        return agent is not None and agent.work is not None and agent.work.work_id == f"{opened.session_id}-1"

    await until(ran, within=10, what="the second script")
    assert (await now_is(system, session)).state is _S.READY


async def test_an_unknown_image_and_a_domain_are_told_by_their_codes(system: System) -> None:
    lost = await becomes(system, await create(system, image_ref="ami-0123"), _S.CREATE_FAILED)
    assert lost.status.code == StudioSessionCode.AMI_VALIDATION_ERROR
    joined = await create(system, replace(LASTING, joins_directory=True))
    failed = await becomes(system, joined, _S.CREATE_FAILED)
    assert failed.status.code == StudioSessionCode.ACTIVE_DIRECTORY_DOMAIN_JOIN_ERROR
    network = await becomes(system, await create(system, subnet_ids=("subnet-1",)), _S.CREATE_FAILED)
    assert network.status.code == StudioSessionCode.NETWORK_INTERFACE_ERROR


async def test_want_of_room_is_waited_out_for_a_while(data_dir: Path) -> None:
    faults = Faults(launch_error=CapacityExhausted("full"))
    async with running_system(data_dir, faults=faults) as system:
        session = await create(system)
        await until(lambda: _says(system, session, "full"), within=10, what="the first failure")
        assert (await now_is(system, session)).state is _S.CREATE_IN_PROGRESS
        await system.pass_time(timedelta(minutes=6))
        failed = await becomes(system, session, _S.CREATE_FAILED)
        assert failed.status.code == StudioSessionCode.INSUFFICIENT_CAPACITY


async def _says(system: System, session: StudioSession, text: str) -> bool:
    return text in (await now_is(system, session)).status.message


async def test_a_machine_that_stands_still_by_itself_is_started_again(system: System) -> None:
    session = await ready(system)
    await system.driver.halt(session.instance_id)

    async def runs() -> bool:
        return (await machines(system))[session.instance_id].power is Power.RUNNING

    await until(runs, within=20, what="the machine runs again")
    assert (await now_is(system, session)).state is _S.READY
    assert (await open_stream(system, session)).instance_id == session.instance_id


async def test_a_machine_that_is_lost_is_told_and_can_be_deleted(system: System) -> None:
    session = await ready(system)
    await system.driver.lose(session.instance_id)
    await system.pass_time(timedelta(seconds=10))
    lost = await becomes(system, session, _S.STOP_FAILED)
    assert "does not have the machine" in lost.status.message
    await delete(system, session)


async def test_what_was_asked_for_while_nobody_was_there_is_done_by_the_next_process(data_dir: Path) -> None:
    async with stopped_system(data_dir) as system:
        async with system.reconciling():
            session = await ready(system)
        await system.services.nimble.sessions.stop(call("stop"), STUDIO, session.session_id, None)
        async with system.reconciling():
            await becomes(system, session, _S.STOPPED)
        [backup] = await backups(system, session)
        await system.services.nimble.sessions.start(call("start"), STUDIO, session.session_id, backup.backup_id)
        async with system.reconciling():
            await becomes(system, session, _S.READY)
        await system.services.nimble.sessions.delete(call("delete"), STUDIO, session.session_id)
        async with system.reconciling():
            await becomes(system, session, _S.DELETED)
            assert await machines(system) == {}


class Hiccup:
    """Lets the n-th act on the world fail, before it is done or when it has been: nobody knows which, as after a crash."""

    ACTS = frozenset({"launch", "start", "stop", "terminate", "send", "create", "restore", "delete"})

    def __init__(self, point: int) -> None:
        self.left = point

    def happen(self) -> None:
        self.left -= 1
        if self.left == -1:
            raise DriverUnavailable("a hiccup")

    def around(self, part: Any) -> Any:
        return Hiccuping(part, self)


class Hiccuping:
    def __init__(self, part: Any, hiccup: Hiccup) -> None:
        self._part, self._hiccup = part, hiccup

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        return self._acting(found) if name in Hiccup.ACTS else found

    def _acting(self, act: Any) -> Any:
        async def acting(*arguments: Any) -> Any:
            self._hiccup.happen()
            answer = await act(*arguments)
            self._hiccup.happen()
            return answer

        return acting


async def whole_life(system: System) -> None:
    session = await ready(system, scripts=(script("echo 1"),))
    await stop(system, session)
    [backup] = await backups(system, session)
    await start(system, session, backup.backup_id)
    await stop(system, session, VolumeRetention.DELETE)
    await until(lambda: _all_ready(system, session), within=10, what="backups settled")
    assert len(await backups(system, session)) == 2
    fresh = await start(system, session)
    assert set(await machines(system)) == {session.instance_id, fresh.instance_id}
    await delete(system, session)
    assert await machines(system) == {}


@pytest.mark.timeout(120)
async def test_a_life_comes_to_its_end_whatever_act_on_the_world_is_cut_off() -> None:
    points = datetime.now(UTC).day % 6  # other points each day; the life has some 27
    while True:
        hiccup = Hiccup(points)
        with tempfile.TemporaryDirectory(prefix="fl-") as home:
            async with running_system(Path(home), around=hiccup.around) as system:
                await whole_life(system)
        if hiccup.left >= 0:
            break  # the life is shorter
        points += 6
    assert points > 20, "the life is shorter than the test thinks"


async def test_file_systems_are_mounted_where_they_are_configured_and_a_session_says_what_it_lacks(
    data_dir: Path,
) -> None:
    projects = FileSystemWish(component="projects", share_name="p", mount_point="/mnt/p")
    wished = replace(LASTING, file_systems=(projects, replace(projects, component="cache", share_name="c")))
    offered = (SharedDirectory(name="projects", path=Path("/srv/p"), share_name="p"),)
    async with running_system(data_dir, file_systems=offered) as system:
        session = await ready(system, wished)
        assert session.status.message == (
            "The streaming session is ready. Not mounted: cache: the operator has not configured its file system."
        )
        await stop(system, session)
        assert "Not mounted: cache" in (await start(system, session)).status.message
        record = json.loads((data_dir / "simulated" / "instances" / f"{session.instance_id}.json").read_text())
        assert record["spec"]["file_systems"] == [{"name": "projects", "mount_point": "/mnt/p"}]
    # The operator offers both by now: a fresh disk gets them, the old one would not have.
    both = (*offered, SharedDirectory(name="cache", path=Path("/srv/c"), share_name="c"))
    wishes = (projects, replace(projects, component="cache", share_name="c", mount_point="/mnt/c"))
    async with running_system(data_dir, file_systems=both) as system:
        assert "Not mounted: cache" in (await now_is(system, session)).status.message
        fresh = await ready(system, replace(LASTING, file_systems=wishes))
        assert fresh.status.message == "The streaming session is ready."
        await stop(system, session)
        await stop(system, fresh)
    # What a machine was made with and finds empty now is told, until the operator offers it again.
    async with running_system(data_dir, file_systems=both[1:]) as system:
        lost = "Not mounted: projects: the operator has withdrawn its file system, /mnt/p is empty."
        assert (await start(system, fresh)).status.message == f"The streaming session was started. {lost}"
        said = (await start(system, session)).status.message
        assert "cache: the operator has not configured" in said
        assert said.endswith("projects: the operator has withdrawn its file system, /mnt/p is empty.")
    async with running_system(data_dir, file_systems=both) as system:
        await system.driver.stop(fresh.instance_id)  # from within, while it is READY: it is started again

        async def says_so() -> bool:
            await system.pass_time(timedelta(0))
            return (await now_is(system, fresh)).status.message == "The streaming session was started."

        await until(says_so, within=40, what="nothing missing")
