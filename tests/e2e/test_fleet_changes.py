"""What only a real engine proves of fleets: a changed image under a session, the root volume, an error that comes and goes."""

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from e2e.administrators import Administrator
from e2e.browsers import Visitor
from e2e.installation import Installation, wait_for

pytestmark = [pytest.mark.incus, pytest.mark.browser]

NAME = "e2e-changes"
BASE_IMAGE, BASE_ALIAS, SAMPLE_ALIAS = "Fanlight-Base-Debian13", "fanlight-base", "fanlight-sample"
GIB = 1024**3


@pytest.fixture
def changed(administrator: Administrator) -> Iterator[str]:
    administrator.make(NAME, capacity=2, start=False, RootVolumeConfig={"VolumeSizeInGb": 200})
    yield NAME
    administrator.remove(NAME)


def incus(installation: Installation, *words: str) -> str:
    command = ["incus", "--project", installation.settings["incus_project"], *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def images_by_instance(installation: Installation) -> Mapping[str, str]:
    """Return the image of each instance of the fleet that runs now, as the engine has it."""
    label = "user.fanlight.label."
    listed = json.loads(incus(installation, "list", "--format", "json"))
    configs = {each["name"]: each["config"] or {} for each in listed if each["status"] == "Running"}  # None: going
    return {name: config[f"{label}image"] for name, config in configs.items() if config.get(f"{label}fleet") == NAME}


def status(administrator: Administrator) -> Mapping[str, Any]:
    return dict(administrator.fleet(NAME)["ComputeCapacityStatus"])


def test_a_running_fleet_changes_its_image_around_a_session_and_sizes_its_disks(
    changed: str, installation: Installation, administrator: Administrator, new_visitor: Callable[..., Visitor]
) -> None:
    administrator.start(changed)
    ada = new_visitor()
    ada.open(administrator.url(changed, "changes-ada", "text-editor"))
    ada.wait_for_picture()
    used = administrator.instance_of(changed, "changes-ada")
    administrator.wait_for_capacity(changed, available=1)
    assert status(administrator) == {"Desired": 2, "Running": 2, "InUse": 1, "Available": 1}
    assert root_limit(installation, used) == 200 * GIB

    updated = administrator.client.update_fleet(Name=changed, ImageName=BASE_IMAGE)["Fleet"]
    assert (updated["ImageName"], updated["State"]) == (BASE_IMAGE, "RUNNING")

    def replaced() -> bool:
        found = images_by_instance(installation)
        return sorted(found.values()) == [BASE_ALIAS, SAMPLE_ALIAS] and found[used] == SAMPLE_ALIAS

    wait_for(replaced, timeout=30, what="the free instance is of the new image, the used one is left alone")
    administrator.wait_for_capacity(changed, available=1)
    assert status(administrator) == {"Desired": 2, "Running": 2, "InUse": 1, "Available": 1}
    assert administrator.instance_of(changed, "changes-ada") == used
    ada.wait_for_text("File")

    administrator.expire(changed, "changes-ada")
    administrator.wait_for_capacity(changed, available=2)
    assert set(images_by_instance(installation).values()) == {BASE_ALIAS}
    assert status(administrator) == {"Desired": 2, "Running": 2, "InUse": 0, "Available": 2}


def root_limit(installation: Installation, instance_id: str) -> int:
    """Return the bytes that the file system allows the root of an instance."""
    pool, project = installation.settings["incus_pool"], installation.settings["incus_project"]
    path = f"/var/lib/incus/storage-pools/{pool}/containers/{project}_{instance_id}"
    shown = subprocess.run(
        ["btrfs", "qgroup", "show", "--raw", "-r", "-f", path], check=True, capture_output=True, text=True, timeout=30
    ).stdout
    return int(shown.strip().splitlines()[-1].split()[3])


def test_an_image_that_the_engine_lacks_is_told_and_forgotten_when_it_is_there(
    changed: str, installation: Installation, administrator: Administrator
) -> None:
    fingerprint = next(
        line.split(",")[1]
        for line in incus(installation, "image", "alias", "list", "--format", "csv").splitlines()
        if line.split(",")[0] == BASE_ALIAS
    )
    administrator.client.update_fleet(Name=changed, ImageName=BASE_IMAGE, ComputeCapacity={"DesiredInstances": 1})
    incus(installation, "image", "alias", "delete", BASE_ALIAS)
    try:
        administrator.client.start_fleet(Name=changed)

        def told() -> list[Any]:
            return list(administrator.fleet(changed)["FleetErrors"])

        (error,) = wait_for(told, timeout=20, what="the error")
        assert error["ErrorCode"] == "IMAGE_NOT_FOUND"
        assert BASE_ALIAS in error["ErrorMessage"]
        assert administrator.fleet(changed)["State"] == "STARTING"
    finally:
        incus(installation, "image", "alias", "create", BASE_ALIAS, fingerprint)
    wait_for(lambda: administrator.fleet(changed)["State"] == "RUNNING", timeout=90, what="RUNNING")
    fleet = administrator.fleet(changed)
    assert (fleet["FleetErrors"], fleet["ImageName"]) == ([], BASE_IMAGE)
