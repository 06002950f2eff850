"""Home folders when something breaks: nothing that was saved is lost, and what goes on is said.

The endpoint is one of somebody else, which can be killed, filled and set back; instances, agents and mounts are real.
"""

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import pytest

from e2e.administrators import Administrator
from e2e.foreign_s3 import ForeignS3
from e2e.installation import Installation, wait_for
from e2e.instances import USER_HOME, Instances
from e2e.portal_users import PortalUser
from images_rig import TEST_DIR

pytestmark = [pytest.mark.incus]
STACKS = ("faults-one", "faults-two")
FOLDER = f"{USER_HOME}/MyFiles/HomeFolder"
MEGABYTE = 1 << 20
QUOTA_IN_MIB = 300  # of each user; only one of these tests comes near it


def _lives(client: Any, stack: str, fleet: str) -> list[Any]:
    found = client.describe_sessions(StackName=stack, FleetName=fleet)["Sessions"]
    return [one for one in found if one["State"] != "EXPIRED"]


def prefix_of(user: str) -> str:
    return f"user/custom/{sha256(user.encode()).hexdigest()}"


@pytest.fixture(scope="module")
def s3(real_installation: Installation, shared_fleet: str) -> Iterator[ForeignS3]:
    """The installation with this endpoint, as long as the tests of this module take, and two stacks with home folders."""
    before = real_installation.settings
    with ForeignS3(TEST_DIR / "foreign-s3") as made:
        real_installation.stop()
        real_installation.settings = {**before, **made.settings, "home_folder_quota_in_mib": str(QUOTA_IN_MIB)}
        try:
            real_installation.start()
            client = real_installation.client()
            for stack in STACKS:
                client.create_stack(Name=stack, StorageConnectors=[{"ConnectorType": "HOMEFOLDERS"}])
                client.associate_fleet(StackName=stack, FleetName=shared_fleet)
            yield made
            for stack in STACKS:
                wait_for(lambda stack=stack: not _lives(client, stack, shared_fleet), timeout=20, what="all ends")
                client.disassociate_fleet(StackName=stack, FleetName=shared_fleet)
                client.delete_stack(Name=stack)
        finally:
            real_installation.stop()
            real_installation.settings = before
            real_installation.start()


@dataclass
class Worker:
    """A user at work in a session."""

    name: str
    page: PortalUser
    instance_id: str
    instances: Instances
    s3: ForeignS3

    def run(self, script: str, *arguments: str, timeout: float = 60) -> str:
        done = self.instances.run(
            self.instance_id, "sh", "-euc", script, "sh", *arguments, as_user=True, timeout=timeout
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    def save(self, name: str, size: int) -> str:
        """Save so many random bytes; return their digest, taken of what was there before."""
        script = 'head -c "$2" /dev/urandom >~/source; cp ~/source "$1"; sha256sum <~/source'
        return self.run(script, f"{FOLDER}/{name}", str(size)).split()[0]

    def stored(self, name: str) -> str | None:
        """Return the digest of what the endpoint has under the documented key."""
        path = self.s3.stored(f"{prefix_of(self.name)}/{name}")
        return sha256(path.read_bytes()).hexdigest() if path.exists() else None

    def arrives(self, name: str, digest: str, within: float = 40) -> None:
        wait_for(lambda: self.stored(name) == digest, timeout=within, what=f"{name}, whole", interval=0.2)

    def is_gone(self) -> bool:
        return self.instance_id not in self.instances.names()


@pytest.fixture
def work(
    s3: ForeignS3, installation: Installation, shared_fleet: str, administrator: Administrator, instances: Instances
) -> Iterator[Callable[..., Worker]]:
    """Return a function that gives a user a session with a mounted home folder."""
    began: list[str] = []

    def begin(user: str, stack: str = STACKS[0], *, is_mounted: bool = True) -> Worker:
        administrator.wait_for_capacity(shared_fleet)
        url = administrator.client.create_streaming_url(StackName=stack, FleetName=shared_fleet, UserId=user)
        page = PortalUser(url["StreamingURL"])
        page.begin()
        found = administrator.client.describe_sessions(
            StackName=stack, FleetName=shared_fleet, UserId=user, AuthenticationType="API"
        )["Sessions"]
        [session] = [one for one in found if one["State"] == "ACTIVE"]
        began.append(session["Id"])
        if is_mounted:
            page.folder_becomes("MOUNTED")
        return Worker(user, page, session["InstanceId"], instances, s3)

    yield begin
    s3.is_skewed = False
    if s3.process is None:
        s3.start()
    for session_id in began:
        installation.client().expire_session(SessionId=session_id)


def test_an_endpoint_that_dies_in_the_middle_of_a_large_file_gets_it_whole(
    work: Callable[..., Worker], s3: ForeignS3
) -> None:
    ada = work("faults-ada")
    before = s3.received
    digest = ada.save("large.bin", 200 * MEGABYTE)
    wait_for(lambda: s3.received > before + 20 * MEGABYTE, timeout=40, what="a part of it sent", interval=0.01)
    s3.kill()
    assert ada.stored("large.bin") != digest
    ada.page.folder_becomes("OFFLINE", unsent=True)
    small = ada.save("meanwhile.txt", 10)
    s3.start()
    ada.arrives("large.bin", digest)
    ada.arrives("meanwhile.txt", small)
    ada.page.folder_becomes("MOUNTED", unsent=False)
    ada.page.end()
    ada.page.everything_is_saved()


def test_an_instance_that_is_killed_is_started_again_for_what_was_saved(
    work: Callable[..., Worker], s3: ForeignS3, instances: Instances
) -> None:
    ada = work("faults-bob")
    s3.kill()
    digest = ada.save("report.odt", 3 * MEGABYTE)
    ada.page.folder_becomes("OFFLINE", unsent=True)
    subprocess.run(["incus", "stop", "--force", "--project", instances.project, ada.instance_id], check=True)
    wait_for(lambda: ada.page.session()["state"] == "EXPIRED", timeout=40, what="the end of the session")
    assert ada.page.session()["unsent"]["count"] == 1
    s3.start()
    ada.arrives("report.odt", digest, within=60)
    ada.page.everything_is_saved()
    wait_for(ada.is_gone, timeout=30, what="the end of the instance")


def test_fanlight_that_is_killed_goes_on_with_writing_and_with_flushing(
    work: Callable[..., Worker], s3: ForeignS3, installation: Installation, administrator: Administrator
) -> None:
    ada = work("faults-eve")
    first = ada.save("first.bin", 50 * MEGABYTE)
    installation.kill_everything()
    second = ada.save("second.txt", 1000)  # the session and its programs do not care
    installation.start()
    ada.arrives("first.bin", first)
    ada.arrives("second.txt", second)
    ada.page.folder_becomes("MOUNTED", unsent=False)  # the endpoint is still asked to note when a file was changed

    ada.run('ls "$1"', FOLDER)  # what was not looked at for a while cannot be looked at now
    s3.kill()
    third = ada.save("third.bin", 5 * MEGABYTE)
    ada.page.end()
    wait_for(lambda: (ada.page.session()["unsent"] or {}).get("count") == 1, timeout=30, what="a flush that waits")
    administrator.wait_for_capacity("e2e-applications")
    installation.kill_everything()
    installation.start()
    s3.start()
    ada.arrives("third.bin", third, within=60)
    ada.page.everything_is_saved()
    wait_for(ada.is_gone, timeout=30, what="the end of the instance")


def test_a_full_bucket_is_said_and_what_did_not_fit_is_kept(work: Callable[..., Worker], s3: ForeignS3) -> None:
    ada = work("faults-dan")
    ballast = s3.directory / "ballast"
    ballast.write_bytes(b"")
    subprocess.run(["sh", "-c", f"cat /dev/zero >{ballast}"], check=False, stderr=subprocess.DEVNULL)
    digest = ada.save("drawing.bin", 4 * MEGABYTE)
    ada.page.folder_becomes("OFFLINE", unsent=True)
    ada.page.end()
    assert ada.stored("drawing.bin") != digest
    ballast.unlink()
    ada.arrives("drawing.bin", digest, within=60)
    ada.page.everything_is_saved()


def test_a_program_hears_at_once_what_does_not_fit_and_what_fits_is_kept(
    work: Callable[..., Worker], s3: ForeignS3
) -> None:
    def fits(name: str, size: int) -> str:
        """Save it as soon as there is room; return the digest."""
        ada.run('head -c "$1" /dev/urandom >~/source', str(size))
        copy = 'cp ~/source "$1" 2>&1 && echo saved || true'
        wait_for(lambda: "saved" in ada.run(copy, f"{FOLDER}/{name}"), timeout=60, what=f"room for {name}")
        return ada.run("sha256sum <~/source").split()[0]

    before = s3.stored(f"{prefix_of('faults-kay')}/before.bin")
    before.parent.mkdir(parents=True)
    with before.open("wb") as file:
        file.truncate((QUOTA_IN_MIB - 20) * MEGABYTE)
    ada = work("faults-kay")
    said = ada.run('dd if=/dev/zero of="$1" bs=1M count=21 2>&1 || true', f"{FOLDER}/large.bin")
    assert "Disk quota exceeded" in said
    ada.run('rm "$1"', f"{FOLDER}/large.bin")
    small = fits("small.bin", 15 * MEGABYTE)
    said = ada.run('cp ~/source "$1" 2>&1 || true', f"{FOLDER}/again.bin")
    assert "Disk quota exceeded" in said
    room = ada.run('df --output=size,avail --block-size=1M "$1" | tail -n 1', FOLDER).split()
    assert int(room[0]) == QUOTA_IN_MIB
    assert int(room[1]) <= 5
    ada.run('rm "$1"/before.bin "$1"/again.bin', FOLDER)
    more = fits("more.bin", 30 * MEGABYTE)
    ada.page.end()
    ada.arrives("small.bin", small)
    ada.arrives("more.bin", more)
    ada.page.everything_is_saved()
    assert sorted(path.name for path in before.parent.iterdir()) == ["more.bin", "small.bin"]


def test_an_endpoint_with_another_clock_is_told_to_the_administrator_and_nothing_is_lost(
    work: Callable[..., Worker], s3: ForeignS3, administrator: Administrator
) -> None:
    def errors() -> list[dict[str, Any]]:
        return list(administrator.client.describe_stacks(Names=[STACKS[0]])["Stacks"][0].get("StackErrors", ()))

    ada = work("faults-zoe")
    s3.is_skewed = True
    digest = ada.save("notes.txt", 2000)
    kim = work("faults-kim", is_mounted=False)  # sessions start all the same
    kim.page.folder_becomes("OFFLINE")
    wait_for(errors, timeout=50, what="a StackError")
    assert errors()[0]["ErrorCode"] == "STORAGE_CONNECTOR_ERROR"
    ada.page.folder_becomes("OFFLINE", unsent=True)
    s3.is_skewed = False
    ada.arrives("notes.txt", digest)
    kim.page.folder_becomes("MOUNTED")
    wait_for(lambda: not errors(), timeout=50, what="no StackError any more")


def test_two_sessions_of_one_user_keep_all_they_saved_and_of_one_file_the_last(work: Callable[..., Worker]) -> None:
    first, second = work("faults-amy", STACKS[0]), work("faults-amy", STACKS[1])
    assert first.instance_id != second.instance_id
    mine, yours = first.save("mine.bin", 2 * MEGABYTE), second.save("yours.bin", 2 * MEGABYTE)
    one = first.save("same.bin", 3 * MEGABYTE)
    first.arrives("same.bin", one)
    two = second.save("same.bin", MEGABYTE)
    second.arrives("same.bin", two)
    for worker in (first, second):
        worker.page.end()
        worker.page.everything_is_saved()
    assert [first.stored(name) for name in ("mine.bin", "yours.bin", "same.bin")] == [mine, yours, two]
