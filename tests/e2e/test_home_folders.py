"""Home folders in real sessions: what programs save is in S3, what S3 tools put there is seen, nobody else reads it."""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import boto3
import pytest
from shared_instances import Person

from e2e.administrators import Administrator
from e2e.browsers import Visitor
from e2e.installation import KEY_ID, SECRET, Installation, wait_for
from e2e.instances import Instances
from fanlight.agentwire.messages import StorageMount
from fanlight.domain.user_storage import StorageDoor, StorageKind
from fanlight.drivers.incus.driver import IncusDriver
from fanlight.storage.sessions import SessionDoors, on_this_host
from images_rig import Guest, guest
from incus_rig import IncusRig

pytestmark = pytest.mark.incus

BUCKET = "appstream2-36fb080bb8-us-east-1-000000000000"
USER = "home-alice"
PREFIX = f"user/custom/{sha256(USER.encode()).hexdigest()}/"
HOME = "/home/user/MyFiles/HomeFolder"
NAMES = ("-rf", "a\nb", "\u202etxt.exe", "<b>&amp;", "%2e%2e", "x" * 255, "ü" * 127, " ", "a\\b", "C:", "~")


@pytest.fixture
def s3(installation: Installation) -> Iterator[Any]:
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{installation.s3_port}",
        region_name="us-east-1",
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SECRET,
    )
    yield client
    client.close()


@pytest.fixture
def home_stack(fleet: str, administrator: Administrator) -> Iterator[str]:
    administrator.client.update_stack(Name=fleet, StorageConnectors=[{"ConnectorType": "HOMEFOLDERS"}])
    yield fleet
    administrator.client.update_stack(Name=fleet, DeleteStorageConnectors=True)


def keys(s3: Any) -> set[str]:
    found = s3.list_objects_v2(Bucket=BUCKET, Prefix=PREFIX).get("Contents", ())
    return {one["Key"].removeprefix(PREFIX) for one in found}


@pytest.mark.browser
def test_what_a_program_saves_is_in_s3_and_in_the_next_session(
    home_stack: str, administrator: Administrator, new_visitor: Callable[..., Visitor], instances: Instances, s3: Any
) -> None:
    def does(instance_id: str, script: str) -> str:
        done = instances.run(instance_id, "bash", "-c", script, as_user=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    def is_mounted(instance_id: str) -> bool:
        return instances.run(instance_id, "mountpoint", "-q", HOME).returncode == 0

    new_visitor().open(administrator.url(home_stack, USER, "text-editor"))
    first = administrator.instance_of(home_stack, USER)
    wait_for(lambda: is_mounted(first), timeout=20, what="the home folder")
    does(first, f"head -c 3000000 /dev/urandom >{HOME}/picture.raw; mkdir -p {HOME}/a/b; echo deep >{HOME}/a/b/c")
    wait_for(lambda: {"picture.raw", "a/b/c"} <= keys(s3), timeout=20, what="the files in S3")
    written = instances.read(first, f"{HOME}/picture.raw")
    assert s3.get_object(Bucket=BUCKET, Key=f"{PREFIX}picture.raw")["Body"].read() == written

    s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}from outside.txt", Body=b"by an S3 tool")
    wait_for(
        lambda: instances.read(first, f"{HOME}/from outside.txt") == b"by an S3 tool",
        timeout=60,
        what="what an S3 tool put there",
        interval=1,
    )
    # Saved at the last moment: it has arrived when the session has ended.
    does(first, f"head -c 20000000 /dev/zero >{HOME}/last.raw")
    administrator.expire(home_stack, USER)
    wait_for(lambda: "last.raw" in keys(s3), timeout=30, what="what was saved last")
    wait_for(lambda: first not in instances.names(), timeout=60, what="the end of the instance")
    assert s3.head_object(Bucket=BUCKET, Key=f"{PREFIX}last.raw")["ContentLength"] == 20_000_000

    administrator.wait_for_capacity(home_stack)
    new_visitor().open(administrator.url(home_stack, USER, "text-editor"))
    second = administrator.instance_of(home_stack, USER)
    assert second != first
    wait_for(lambda: is_mounted(second), timeout=20, what="the home folder in the next session")
    assert instances.read(second, f"{HOME}/picture.raw") == written
    assert does(second, f"cat {HOME}/a/b/c") == "deep\n"
    administrator.expire(home_stack, USER)


class Household:
    """Two users of one instance, whose doors are served by the test."""

    def __init__(self, rig: IncusRig, made: Guest, first_uid: int, directory: Path) -> None:
        (made.directory / "host" / "storage").mkdir(exist_ok=True)
        self._rig, self._guest, self._first_uid = rig, made, first_uid
        self._buckets = directory
        (rig.run_dir / "storage").mkdir(exist_ok=True)
        self.doors = SessionDoors(rig.run_dir, on_this_host(directory))
        self.doors.prepare()

    def stored(self, name: str) -> Path:
        return self._buckets / "b" / name

    async def come(self, name: str) -> Person:
        door = StorageDoor(
            session_id=name, kind=StorageKind.HOMEFOLDERS, instance_id=self._guest.instance_id,
            first_uid=self._first_uid, token=f"of {name}", bucket="b", prefix=f"{name}/",
        )  # fmt: skip
        self.stored(name).mkdir(parents=True, exist_ok=True)
        await self.doors.open(door)
        mount = StorageMount(kind=door.kind, socket=door.socket_name, token=door.token, folder="HomeFolder")
        person = await Person(self._rig, self._guest, name).come(settings={}, storage=(mount,))

        def is_mounted(_: object) -> bool:
            report = self._guest.session(name)
            return report is not None and [one.state for one in report.storage] == ["MOUNTED"]

        await self._guest.until(is_mounted)
        return person


@contextlib.asynccontextmanager
async def household(rig: IncusRig, directory: Path) -> AsyncIterator[Household]:
    async with guest(rig, places=2) as made:
        await made.until_phase("READY")
        driver = IncusDriver(rig.settings)
        try:
            (observed,) = [one for one in await driver.observe() if one.instance_id == made.instance_id]
        finally:
            await driver.close()
        assert observed.first_uid is not None
        made_household = Household(rig, made, observed.first_uid, directory)
        try:
            yield made_household
        finally:
            await made_household.doors.close_all()


async def test_users_of_one_instance_have_a_folder_each_and_leave_nothing_of_it(rig: IncusRig, tmp_path: Path) -> None:
    async with household(rig, tmp_path) as house:
        ada, bob = await house.come("ada"), await house.come("bob")
        await ada.does("echo secret >~/MyFiles/HomeFolder/hers; chmod 666 ~/MyFiles/HomeFolder/hers")
        assert "secret" in await ada.does("cat ~/MyFiles/HomeFolder/hers")
        assert "hers" not in await bob.does("ls -a ~/MyFiles/HomeFolder; mount; df; cat /proc/self/mountinfo")
        for path in (f"{ada.home}/MyFiles/HomeFolder/hers", "/var/cache/fanlight", "/run/seats/0/storage"):
            assert await bob.fails_to(f"cat {path} || ls {path}")
        assert "secret" not in await bob.does(f"cat {ada.home}/MyFiles/HomeFolder/*")
        # Nor does she find what opens her own files, or the device with which others could be mounted.
        for path in ("/var/cache/fanlight", "/run/seats/0/storage", "/run/fanlight/host/storage"):
            assert await ada.fails_to(f"ls {path}")
        assert await ada.fails_to("cat /dev/fuse")
        assert "of ada" not in await ada.does("cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr '\\0' ' '")

        # Whatever a file is called, it arrives under that name; a link is refused.
        saves = "; ".join(f"printf %s ok >./{_quoted(name)}" for name in NAMES)
        await ada.does(f"mkdir ~/MyFiles/HomeFolder/names; cd ~/MyFiles/HomeFolder/names; {saves}")
        for link in ("/etc/passwd", "../..", f"{bob.home}/MyFiles"):
            assert await ada.fails_to(f"ln -s {link} ~/MyFiles/HomeFolder/link")
        assert await ada.fails_to("mv ~/MyFiles/HomeFolder ~/MyFiles/Other")
        await bob.does("echo his >~/MyFiles/HomeFolder/his")
        await ada.leave()
        left = await bob.as_root("ls -d /var/cache/fanlight/0 /run/seats/0; pgrep -af 'rclone mount'; cat /proc/mounts")
        assert left.output.count("No such file") == 2, left.output
        assert left.output.count("rclone mount") == 1, "of Bob alone"
        stored = {path.name for path in (house.stored("ada") / "names").iterdir()}
        assert {name for name in NAMES if name not in stored} == set()
        assert (house.stored("ada") / "hers").read_text() == "secret\n"
        assert not any(path.is_symlink() for path in house.stored("ada").rglob("*"))
        await bob.leave()
        assert (house.stored("bob") / "his").read_text() == "his\n"


async def test_links_that_were_planted_in_the_store_show_nothing_of_this_host(rig: IncusRig, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of the host")
    async with household(rig, tmp_path) as house:
        house.stored("ada").mkdir(parents=True)
        (house.stored("ada") / "link").symlink_to(tmp_path / "secret")
        (house.stored("ada") / "up").symlink_to("..")
        (house.stored("ada") / "file").write_text("hers")
        ada = await house.come("ada")
        said = await ada.does("cd ~/MyFiles/HomeFolder && ls && cat link; ls up; cat file")
        assert "of the host" not in said
        assert "hers" in said


def _quoted(name: str) -> str:
    return "'" + name.replace("'", "'\\''") + "'"
