"""Shared file systems: which directory stands for what a component names, where it may be mounted, and how it gets there."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fanlight.config import Settings
from fanlight.doctor.file_systems import directory_on_host, examine_file_systems
from fanlight.domain.errors import LaunchRefused
from fanlight.domain.file_systems import (
    MOST_MOUNTS,
    FileSystemMount,
    FileSystemWish,
    SharedDirectory,
    mistake_in_mount_point,
    overlapping,
    plan_mounts,
)
from fanlight.domain.ports import InstanceRole, InstanceSpec
from fanlight.drivers.incus import wire
from fanlight.drivers.incus.file_systems import FIRST_ID, FileSystemMounts, can_shift, names_in
from fanlight.file_systems_file import FileSystemsFileInvalid, read_file_systems

ACCOUNT = "000000000000"
PROJECTS = SharedDirectory(name="projects", path=Path("/srv/projects"), share_name="projects")
CACHE = SharedDirectory(
    name="cache", path=Path("/srv/cache"), endpoint="fs-1", file_system_id="id-1", is_read_only=True
)
WISH = FileSystemWish(component="files", share_name="projects", mount_point="/mnt/projects")
MOUNTS = """\
20 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
21 20 0:40 / /srv/nfs rw,nosuid,nodev - nfs4 server:/x rw
22 20 8:2 / /srv/with\\040space rw,nosuid,nodev,relatime shared:2 - xfs /dev/sdb rw
"""


@pytest.mark.parametrize("place", ["/mnt", "/mnt/projects", "/opt/studio", "/studio/show 1", "/srv/.cache", "/users"])
def test_what_is_nobody_s_may_be_a_mount_point(place: str) -> None:
    assert mistake_in_mount_point(place) == ""


@pytest.mark.parametrize(
    "place",
    [
        "", "mnt", "/", "//", "/mnt/", "/mnt//a", "/mnt/../etc", "/mnt/./a", "/..", "$HOME/files", "/usr", "/usr/local", "/etc",
        "/home/user", "/run/fanlight/host", "/opt", "/opt/fanlight", "/opt/fanlight/runtime", "/proc/self", "/tmp", "/var/lib",
        "/root", "/lib64", "/mnt/a\nb", "/mnt/a,b", "/mnt/a\\b", "/mnt/a\0", f"/{'a' * 255}",
    ],
)  # fmt: skip
def test_what_is_the_machine_s_own_or_no_plain_path_may_not(place: str) -> None:
    assert mistake_in_mount_point(place)


def test_places_within_each_other_overlap_and_neighbours_do_not() -> None:
    assert overlapping(["/mnt/a", "/mnt/ab", "/mnt/b"]) == ""
    assert overlapping(["/mnt/a", "/mnt/b", "/mnt/a"]) == "/mnt/a"
    assert overlapping(["/mnt/a/b", "/mnt/a"]) == "/mnt/a"


def test_a_wish_gets_the_first_directory_that_stands_for_all_it_says() -> None:
    other = replace(CACHE, name="other")
    mounts, left_out = plan_mounts(
        [WISH, replace(WISH, endpoint="fs-1", file_system_id="id-1", share_name=None, mount_point="/mnt/cache")],
        [PROJECTS, CACHE, other],
        ACCOUNT,
    )
    assert [(mount.name, mount.mount_point) for mount in mounts] == [
        ("projects", "/mnt/projects"), ("cache", "/mnt/cache"),
    ]  # fmt: skip
    assert left_out == ()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"share_name": "else"}, "has not configured"),
        ({"share_name": None}, "has not configured"),
        ({"mount_point": None}, "no linuxMountPoint"),
        ({"mount_point": "/etc"}, "own system"),
        ({"mount_point": "$HOME/x"}, "not an absolute path"),
    ],
)
def test_what_cannot_be_mounted_is_left_out_with_the_reason(change: Mapping[str, Any], why: str) -> None:
    mounts, (reason,) = plan_mounts([replace(WISH, **change)], [PROJECTS], ACCOUNT)
    assert mounts == ()
    assert reason.startswith("files: ")
    assert why in reason


def test_one_place_has_one_file_system_and_a_machine_not_too_many() -> None:
    mounts, (reason,) = plan_mounts([WISH, replace(WISH, mount_point="/mnt")], [PROJECTS], ACCOUNT)
    assert len(mounts) == 1
    assert "mounted at /mnt already" in reason
    many = [replace(WISH, mount_point=f"/mnt/{number}") for number in range(MOST_MOUNTS + 1)]
    assert [len(part) for part in plan_mounts(many, [PROJECTS], ACCOUNT)] == [MOST_MOUNTS, 1]


def test_a_directory_of_some_accounts_is_nobody_else_s() -> None:
    ours = replace(PROJECTS, accounts=frozenset({ACCOUNT}))
    assert plan_mounts([WISH], [ours], ACCOUNT)[1] == ()
    assert "has not configured" in plan_mounts([WISH], [ours], "111111111111")[1][0]


# ── The file ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def settings_of(tmp_path: Path, content: str) -> Settings:
    file = tmp_path / "file-systems.toml"
    file.write_text(content)
    return Settings(data_dir=tmp_path / "data", compute="simulated", nimble_file_systems_file=file)


def test_the_file_names_directories(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real")
    content = (
        f'[file_systems.a]\npath = "{tmp_path}/link"\nshare_name = "x"\nread_only = true\naccounts = ["{ACCOUNT}"]\n'
    )
    assert read_file_systems(settings_of(tmp_path, content)) == (
        SharedDirectory(
            name="a", path=tmp_path / "real", share_name="x", is_read_only=True, accounts=frozenset({ACCOUNT})
        ),
    )
    assert read_file_systems(Settings()) == ()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("[file_systems", "not TOML"),
        ('[file_systems.a]\npath = "/srv/a"\n', "needs endpoint"),
        ('[file_systems.a]\npath = "srv/a"\nshare_name = "x"\n', "file_systems.a.path"),
        ('[file_systems.a]\npath = "/srv/a,/etc"\nshare_name = "x"\n', "file_systems.a.path"),
        ('[file_systems.A]\npath = "/srv/a"\nshare_name = "x"\n', "file_systems.A"),
        ('[file_systems.a]\npath = "/srv/a"\nshare_name = "x"\nwritable = true\n', "writable"),
        ('[file_systems.a]\npath = "/srv/a"\nshare_name = "x"\naccounts = ["1"]\n', "accounts"),
        ('[file_systems.a]\npath = "/"\nshare_name = "x"\n', "file_systems.a.path"),
        ('[file_systems.a]\npath = "/srv/.."\nshare_name = "x"\n', "belongs to"),
        ('[file_systems.a]\npath = "/var/lib/incus/storage-pools"\nshare_name = "x"\n', "belongs to"),
        ('[file_systems.a]\npath = "DATA"\nshare_name = "x"\n', "belongs to"),
        ('[file_systems.a]\npath = "/srv/../var/lib"\nshare_name = "x"\n', "belongs to"),
    ],
)
def test_a_file_that_is_half_understood_is_refused_whole(tmp_path: Path, content: str, why: str) -> None:
    with pytest.raises(FileSystemsFileInvalid, match=why):
        read_file_systems(settings_of(tmp_path, content.replace("DATA", str(tmp_path / "data" / "state"))))


# ── The engine ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_kernel_s_list_says_where_owners_can_be_shifted() -> None:
    places = {"/srv/nfs": False, "/srv/nfs/a": False, "/srv/nfsx": True, "/srv/with space": True, "/": True}
    assert {place: can_shift(Path(place), MOUNTS) for place in places} == places
    assert not can_shift(Path("/srv"), f"{MOUNTS}23 20 0:41 / /srv rw - fuse.x x rw\n")


def test_a_mount_is_a_disk_device_of_a_directory_that_the_operator_named(tmp_path: Path) -> None:
    mounts, offered = FileSystemMounts("project"), {"projects": replace(PROJECTS, path=tmp_path)}
    mount = FileSystemMount(name="projects", mount_point="/mnt/p")
    devices = mounts.devices_of("i-1", [mount], offered)
    (device,) = devices.values()
    assert device == {"type": "disk", "source": str(mounts.root / "i-1" / "projects"), "path": "/mnt/p"}
    assert names_in({"root": {"type": "disk", "path": "/"}, **devices}) == ["projects"]
    with pytest.raises(LaunchRefused, match="No file system of the name etc"):
        mounts.devices_of("i-1", [replace(mount, name="etc")], offered)
    with pytest.raises(LaunchRefused, match="is missing"):
        mounts.devices_of("i-1", [mount], {"projects": replace(PROJECTS, path=tmp_path / "gone")})


SPEC = InstanceSpec(
    instance_id="i-1", image_ref="a", cpu_count=1, memory_in_mib=1, disk_in_gib=1, has_internet_access=False,
    role=InstanceRole.WORKSTATION, file_systems=(FileSystemMount(name="projects", mount_point="/mnt/p"),),
)  # fmt: skip


def test_the_wire_takes_names_and_places_and_never_a_directory() -> None:
    body = wire.write_spec(SPEC)
    assert wire.read_spec(body) == SPEC
    good = body["file_systems"][0]
    for wrong in (
        {**good, "source": "/etc"},
        {**good, "name": "../x"},
        {**good, "name": 1},
        {**good, "mount_point": "/usr"},
        {"name": "projects"},
        "projects",
    ):
        with pytest.raises(wire.MalformedRequest, match="file_systems"):
            wire.read_spec({**body, "file_systems": [wrong]})
    for many in ([good, good], [{**good, "mount_point": f"/mnt/{one}"} for one in range(MOST_MOUNTS + 1)], None):
        with pytest.raises(wire.MalformedRequest, match="file_systems"):
            wire.read_spec({**body, "file_systems": many})


# ── The doctor ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_doctor_tells_what_is_missing_and_what_belongs_to_nobody(tmp_path: Path) -> None:
    (missing,) = directory_on_host(replace(PROJECTS, path=tmp_path / "gone"))
    assert (missing.level, "is not there" in missing.what) == ("warning", True)
    here = replace(PROJECTS, path=tmp_path)
    (nobody_s,) = directory_on_host(here, f"1 1 0:1 / {tmp_path} rw,nosuid,nodev - nfs4 x rw\n")
    assert "owners cannot be shifted" in nobody_s.what
    local = f"1 1 0:1 / {tmp_path} rw - ext4 x rw\n"
    assert directory_on_host(replace(here, is_read_only=True), local)[0].level == "ok"
    (found,) = directory_on_host(here, local)
    owners = tmp_path.stat()
    is_the_system_s = min(owners.st_uid, owners.st_gid) < FIRST_ID
    assert (found.level, "belongs to the" in found.what) == (("warning", True) if is_the_system_s else ("ok", False))


def test_the_doctor_refuses_what_the_service_would(tmp_path: Path) -> None:
    assert examine_file_systems(Settings()) == []
    (finding,) = examine_file_systems(settings_of(tmp_path, "[file_systems"))
    assert finding.level == "fatal"
