"""When doors to users' files are opened and closed, and what stacks say of buckets: on the simulated engine."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from recording_storage import RecordingStorage
from simulated_system import SCOPE, System, running_system, until

from fanlight.domain.stacks import Stack, StackError, StackErrorCode
from fanlight.domain.streaming_sessions import SessionState, StreamingSession
from fanlight.domain.user_storage import StorageKind, home_bucket, home_prefix, settings_bucket, settings_prefix
from fanlight.reconcilers import doors as reconciler
from fanlight.services.stack_members import ApplicationSettings
from fanlight.services.stacks import StackChange
from fanlight.services.storage_connectors import WantedConnector

pytestmark = pytest.mark.timeout(60)
SETTINGS = ApplicationSettings(is_enabled=True, settings_group="drawing")
HOME = (WantedConnector(connector_type="HOMEFOLDERS"),)


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fl-") as path:
        yield Path(path)


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> RecordingStorage:
    monkeypatch.setattr(reconciler, "LOOK_INTERVAL_IN_SECONDS", 0.02)
    return RecordingStorage()


@pytest.fixture
async def system(data_dir: Path, storage: RecordingStorage) -> AsyncIterator[System]:
    async with running_system(data_dir, storage=storage, home_folder_quota_in_bytes=5_000_000) as made:
        yield made


async def with_home(system: System) -> None:
    await system.make_fleet(desired_instances=1)
    await system.services.stacks.update(SCOPE, "cad", StackChange(storage_connectors=HOME))
    await system.start()


async def active(system: System, user: str = "ada") -> StreamingSession:
    opened = await system.open(user)
    return await system.session_becomes(opened.session_id, lambda s: s.state is SessionState.ACTIVE)


async def doors_become(storage: RecordingStorage, expected: set[tuple[str, StorageKind]]) -> None:
    async def look() -> bool:
        return set(storage.open_doors) == expected

    await until(look, within=10, what=f"{expected}, there are {set(storage.open_doors)}")


async def stack_of(system: System) -> Stack:
    async with system.transactions.begin() as work:
        return await work.stacks.get(SCOPE, "cad")


async def test_a_session_has_its_users_door_while_it_lives(system: System, storage: RecordingStorage) -> None:
    await with_home(system)
    session = await active(system)
    await doors_become(storage, {(session.session_id, StorageKind.HOMEFOLDERS)})
    door = storage.open_doors[session.session_id, StorageKind.HOMEFOLDERS]
    assert (door.instance_id, door.bucket) == (session.instance_id, home_bucket(SCOPE))
    assert (door.prefix, door.quota_in_bytes) == (home_prefix("API", "ada"), 5_000_000)
    assert home_bucket(SCOPE) in storage.buckets
    await system.services.sessions.expire(SCOPE, session.session_id)
    await doors_become(storage, set())


async def test_who_leaves_a_shared_instance_leaves_no_door_behind(system: System, storage: RecordingStorage) -> None:
    await system.make_fleet(desired_instances=1, desired_sessions=2, max_sessions_per_instance=2)
    await system.services.stacks.update(SCOPE, "cad", StackChange(storage_connectors=HOME))
    await system.start()
    ada, bob = await active(system, "ada"), await active(system, "bob")
    assert ada.instance_id == bob.instance_id
    both = {(one.session_id, StorageKind.HOMEFOLDERS) for one in (ada, bob)}
    await doors_become(storage, both)
    await system.services.sessions.expire(SCOPE, ada.session_id)
    await doors_become(storage, {(bob.session_id, StorageKind.HOMEFOLDERS)})
    assert (await system.session(bob.session_id)).state is SessionState.ACTIVE


async def test_a_stack_without_connectors_opens_nothing(system: System, storage: RecordingStorage) -> None:
    await system.make_fleet(desired_instances=1)
    await system.start()
    await active(system)
    await system.settle()
    assert (storage.open_doors, storage.buckets) == ({}, set())


async def test_a_restarted_storage_process_gets_the_same_doors_again(system: System, storage: RecordingStorage) -> None:
    await with_home(system)
    session = await active(system)
    expected = {(session.session_id, StorageKind.HOMEFOLDERS)}
    await doors_become(storage, expected)
    before = dict(storage.open_doors)
    storage.restart()
    await doors_become(storage, expected)
    assert storage.open_doors == before, "the token is derived, so that the instance goes on with what it has"


async def test_after_a_restart_of_fanlight_doors_are_kept_and_strangers_closed(
    data_dir: Path, storage: RecordingStorage
) -> None:
    async with running_system(data_dir, storage=storage) as system:
        await with_home(system)
        session = await active(system)
        await doors_become(storage, {(session.session_id, StorageKind.HOMEFOLDERS)})
    left = storage.open_doors[session.session_id, StorageKind.HOMEFOLDERS]
    storage.open_doors["gone", StorageKind.HOMEFOLDERS] = left
    async with running_system(data_dir, storage=storage):
        await doors_become(storage, {(session.session_id, StorageKind.HOMEFOLDERS)})
    storage.restart()
    async with running_system(data_dir, storage=storage):
        await doors_become(storage, {(session.session_id, StorageKind.HOMEFOLDERS)})


async def test_a_connector_that_is_taken_away_closes_the_doors_of_running_sessions(
    system: System, storage: RecordingStorage
) -> None:
    await with_home(system)
    session = await active(system)
    await doors_become(storage, {(session.session_id, StorageKind.HOMEFOLDERS)})
    await system.services.stacks.update(SCOPE, "cad", StackChange(deletes_storage_connectors=True))
    await doors_become(storage, set())
    assert (await system.session(session.session_id)).state is SessionState.ACTIVE
    assert home_bucket(SCOPE) in storage.buckets


async def test_a_stack_says_that_its_bucket_cannot_be_used_until_it_can(
    system: System, storage: RecordingStorage
) -> None:
    storage.trouble = "The S3 endpoint http://s3 does not answer."
    await with_home(system)

    async def is_told() -> bool:
        return bool((await stack_of(system)).errors(()))

    await until(is_told, within=10, what="a stack error")
    assert (await stack_of(system)).errors(()) == (
        StackError(
            StackErrorCode.STORAGE_CONNECTOR_ERROR,
            f"The bucket {home_bucket(SCOPE)} of the home folders cannot be used. {storage.trouble} Sessions start without "
            "home folders until it can; this is looked at again by itself.",
        ),
    )
    session = await active(system)  # it starts all the same, and its door waits for the bucket
    await doors_become(storage, {(session.session_id, StorageKind.HOMEFOLDERS)})
    storage.trouble = None
    await system.pass_time(timedelta(seconds=6))

    async def is_mended() -> bool:
        return not await is_told()

    await until(is_mended, within=10, what="no stack error")


async def test_a_session_starts_without_the_storage_process(system: System, storage: RecordingStorage) -> None:
    storage.is_away = True
    await with_home(system)
    session = await active(system)
    storage.is_away = False
    await system.pass_time(timedelta(seconds=40))
    await doors_become(storage, {(session.session_id, StorageKind.HOMEFOLDERS)})


async def test_settings_of_applications_have_a_door_and_a_bucket_of_their_own(
    system: System, storage: RecordingStorage
) -> None:
    await with_home(system)
    await system.services.stacks.update(SCOPE, "cad", StackChange(application_settings=SETTINGS))
    session = await active(system)
    await doors_become(
        storage, {(session.session_id, kind) for kind in (StorageKind.HOMEFOLDERS, StorageKind.APPLICATION_SETTINGS)}
    )
    door = storage.open_doors[session.session_id, StorageKind.APPLICATION_SETTINGS]
    assert (door.bucket, door.prefix) == (settings_bucket(SCOPE), settings_prefix("drawing", "API", "ada"))
    assert door.quota_in_bytes == 4 * 2**30
    assert storage.buckets == {home_bucket(SCOPE), settings_bucket(SCOPE)}


async def test_settings_are_as_the_stack_said_when_the_session_began(system: System, storage: RecordingStorage) -> None:
    await with_home(system)
    before = await active(system, "ada")
    await system.services.stacks.update(SCOPE, "cad", StackChange(application_settings=SETTINGS))
    assert (await system.session(before.session_id)).settings_group is None
    await system.services.sessions.expire(SCOPE, before.session_id)
    await doors_become(storage, set())
    after = await active(system, "bob")
    both = {(after.session_id, kind) for kind in (StorageKind.HOMEFOLDERS, StorageKind.APPLICATION_SETTINGS)}
    await doors_become(storage, both)
    disabled = ApplicationSettings(is_enabled=False)
    await system.services.stacks.update(
        SCOPE, "cad", StackChange(application_settings=disabled, deletes_storage_connectors=True)
    )
    await doors_become(storage, {(after.session_id, StorageKind.APPLICATION_SETTINGS)})
    assert (await stack_of(system)).storage_buckets == ()


async def test_a_stack_says_that_the_bucket_of_settings_cannot_be_used(
    system: System, storage: RecordingStorage
) -> None:
    storage.trouble = "The S3 endpoint http://s3 does not answer."
    await system.make_fleet(desired_instances=1)
    await system.services.stacks.update(SCOPE, "cad", StackChange(application_settings=SETTINGS))

    async def is_told() -> bool:
        return bool((await stack_of(system)).errors(()))

    await until(is_told, within=10, what="a stack error")
    (error,) = (await stack_of(system)).errors(())
    assert error.code is StackErrorCode.STORAGE_CONNECTOR_ERROR
    assert error.message.startswith(
        f"The bucket {settings_bucket(SCOPE)} of the settings of applications cannot be used. {storage.trouble} "
    )
    await system.services.stacks.update(
        SCOPE, "cad", StackChange(application_settings=ApplicationSettings(is_enabled=False))
    )
    assert not await is_told()
