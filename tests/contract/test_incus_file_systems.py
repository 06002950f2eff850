"""Directories of the host in real instances: written to by both, owned as on the host, and taken away when withdrawn."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fanlight.domain.errors import LaunchRefused
from fanlight.domain.file_systems import FileSystemMount
from fanlight.drivers.incus.driver import IncusDriver
from fanlight.drivers.incus.file_systems import PLACE, FileSystemMounts
from incus_rig import IncusRig, empty, incus_rig, running

pytestmark = pytest.mark.incus

WRITE = """
import os
os.mkdir('/mnt/projects/shot')
os.chown('/mnt/projects/shot', 1000, 1000)
open('/mnt/projects/shot/root', 'w')
for path, mode in (('/mnt/projects/secret', 'r'), ('/mnt/library/new', 'w')):
    try:
        open(path, mode)
    except OSError as error:
        print(error.errno)
print(os.stat('/mnt/library/brush').st_uid)
os.setgid(1000)
os.setuid(1000)
open('/mnt/projects/shot/take', 'w').write('one')
"""
OFFER = '[file_systems.projects]\npath = "{0}/projects"\nshare_name = "p"\n'
LIBRARY = '[file_systems.library]\npath = "{0}/library"\nshare_name = "l"\nread_only = true\n'


@pytest.fixture
def rig() -> Iterator[IncusRig]:
    with incus_rig() as made:
        yield made


async def test_a_directory_is_mounted_shifted_and_withdrawn(rig: IncusRig) -> None:
    place = Path(tempfile.mkdtemp(prefix="fanlight-shared-"))
    place.chmod(0o755)
    for name in ("projects", "library"):
        (place / name).mkdir()
    (place / "library" / "brush").write_text("round")
    os.chown(place / "library" / "brush", 1001, 1001)
    os.chown(place / "projects", 1000, 1000)
    (place / "projects" / "secret").touch(mode=0o600)
    file = place / "file-systems.toml"
    file.write_text((OFFER + LIBRARY).format(place))
    settings = rig.settings.model_copy(update={"nimble_file_systems_file": file})
    mounts = tuple(FileSystemMount(name=name, mount_point=f"/mnt/{name}") for name in ("projects", "library"))
    spec, still = rig.new_spec(file_systems=mounts), rig.new_spec(file_systems=mounts)
    driver, later = IncusDriver(settings), IncusDriver(settings)
    try:
        await driver.prepare()
        with pytest.raises(LaunchRefused, match="No file system"):
            await driver.launch(rig.new_spec(file_systems=(FileSystemMount(name="etc", mount_point="/mnt/etc"),)))
        await running(driver, spec, still)
        said = await rig.python_in(spec.instance_id, WRITE)
        assert said.output.split() == ["13", "30", "1001"], said.output  # EACCES, EROFS
        owners = {one.name: one.stat().st_uid for one in (place / "projects").rglob("*")}
        assert owners == {"secret": 0, "shot": 1000, "root": 65_534, "take": 1000}
        await driver.stop(still.instance_id)
        await driver.start(still.instance_id)
        seen = await rig.run_in(still.instance_id, "/bin/busybox", "cat", "/mnt/projects/shot/take")
        assert seen.output == "one"
        await driver.stop(still.instance_id)

        file.write_text(LIBRARY.format(place))
        await later.prepare()
        await later.start(still.instance_id)
        listed = await rig.run_in(still.instance_id, "/bin/busybox", "ls", "-A", "/mnt/projects", "/mnt/library")
        assert "shot" not in listed.output
        assert "brush" in listed.output
        await later.terminate(still.instance_id)
        await later.terminate(spec.instance_id)
        assert (place / "projects" / "shot" / "take").read_text() == "one"
        assert str(PLACE / rig.settings.incus_project) not in Path("/proc/self/mountinfo").read_text()
    finally:
        await driver.close()
        await later.close()
        await empty(rig.settings)
        for instance_id in (spec.instance_id, still.instance_id):
            FileSystemMounts(rig.settings.incus_project).remove(instance_id)
        shutil.rmtree(place)
