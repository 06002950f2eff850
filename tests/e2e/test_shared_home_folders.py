"""Home folders on an instance that two users share: a folder each, which nobody else sees and which leaves nothing."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from shared_instances import Person

from fanlight.agentwire.messages import StorageMount
from fanlight.domain.user_storage import StorageDoor, StorageKind
from fanlight.drivers.incus.driver import IncusDriver
from fanlight.storage.sessions import SessionDoors, on_this_host
from images_rig import Guest, guest
from incus_rig import IncusRig

pytestmark = pytest.mark.incus

NAMES = ("-rf", "a\nb", "\u202etxt.exe", "<b>&amp;", "%2e%2e", "x" * 255, "ü" * 127, " ", "a\\b", "C:", "~")


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
        assert left.output.count("bin/rclone mount") == 1, "of Bob alone"
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
