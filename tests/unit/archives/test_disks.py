"""qcow2 disks: their ext4 root file system comes out as a tarball would, and hostile ones are refused in words."""

import io
import re
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from archive_samples import ENTRY, PASSWD
from disk_samples import ext4, gpt, mbr, qcow2
from fanlight.archives import ArchiveRefused, limits
from fanlight.archives.confined import draw
from fanlight.archives.normalise import Report, normalise
from fanlight.archives.spawn import read_archive

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
PROGRAMS = ("Xvfb", "openbox", "pulseaudio", "dbus-daemon", "dash", "edit")
USABLE: dict[str, bytes | str] = {
    "etc/passwd": PASSWD,
    **{f"usr/bin/{name}": b"#!/bin/sh\n" for name in PROGRAMS},
    "bin": "usr/bin",
    "usr/bin/sh": "dash",
    "usr/share/applications/edit.desktop": ENTRY,
    "usr/share/long": "/" + "n" * 100,
    "usr/lib/large": bytes(range(256)) * 4000,
    "run/left": b"of the last start",
}


def normalised(tmp_path: Path, disk: bytes) -> tuple[Report, dict[str, tarfile.TarInfo], tarfile.TarFile]:
    path = tmp_path / "disk"
    path.write_bytes(disk)
    out = io.BytesIO()
    with path.open("rb") as file:
        report = normalise(file.fileno(), len(disk), out, None, draw)
    out.seek(0)
    opened = tarfile.open(fileobj=out)  # noqa: SIM115 - of memory
    return report, {info.name.removeprefix("./"): info for info in opened.getmembers()}, opened


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A root file system, with what only ext4 can say of its files."""
    folder = tmp_path_factory.mktemp("ext4")
    (folder / "capability").write_bytes(CAPABILITY)
    return ext4(
        folder,
        USABLE,
        commands=[
            f"ea_set -f {folder}/capability /usr/bin/edit security.capability",
            "set_inode_field /usr/bin/edit uid 70",
            "set_inode_field /usr/bin/edit mtime @1700000000",
            "set_inode_field /usr/bin/dash mode 0104755",
            "ln /usr/bin/dash /usr/bin/zdash",
            "set_inode_field /usr/bin/dash links_count 2",
            "cd /usr/lib",
            "mknod pipe p",
            "mknod null c 1 3",
        ],
    )


@pytest.mark.parametrize(
    "around",
    [
        qcow2,
        lambda system: qcow2(system, version=2),
        lambda system: qcow2(system, compression="zlib"),
        lambda system: qcow2(mbr((0x82, bytes(2**20)), (0x83, system)), compression="zstd"),
        lambda system: qcow2(gpt(bytes(2**20), system), compression="zlib", version=2),
    ],
    ids=["alone", "version 2", "zlib", "zstd, behind a swap partition", "gpt"],
)
def test_the_root_file_system_of_a_disk_comes_out(
    tmp_path: Path, system: bytes, around: Callable[[bytes], bytes]
) -> None:
    report, got, opened = normalised(tmp_path, around(system))
    assert report.missing == ()
    assert [one.name for one in report.applications] == ["edit"]
    assert (got["usr/bin/edit"].uid, got["usr/bin/edit"].mtime) == (70, 1_700_000_000)
    kept = got["usr/bin/edit"].pax_headers["SCHILY.xattr.security.capability"]
    assert kept.encode("utf-8", "surrogateescape") == CAPABILITY
    assert (got["usr/bin/dash"].mode, got["usr/bin/zdash"].linkname) == (0o4755, "./usr/bin/dash")
    assert (got["bin"].linkname, got["usr/share/long"].linkname) == ("usr/bin", "/" + "n" * 100)
    large = opened.extractfile(got["usr/lib/large"])
    assert large is not None
    assert large.read() == USABLE["usr/lib/large"]
    assert not {"usr/lib/pipe", "usr/lib/null", "run/left", "lost+found"} & set(got)


def test_a_file_with_holes_reads_as_zeros_there(tmp_path: Path) -> None:
    (tmp_path / "tree/usr").mkdir(parents=True)
    with (tmp_path / "tree/usr/sparse").open("wb") as file:
        file.seek(3 * 2**20)
        file.write(b"end")
        file.truncate(5 * 2**20)
    system = ext4(tmp_path, {"etc/passwd": PASSWD}, options=("-b", "1024", "-O", "^has_journal"))
    _, got, opened = normalised(tmp_path, qcow2(system))
    sparse = opened.extractfile(got["usr/sparse"])
    assert sparse is not None
    assert sparse.read() == (bytes(3 * 2**20) + b"end").ljust(5 * 2**20, b"\0")


def test_directories_of_many_blocks_are_read_whole(tmp_path: Path) -> None:
    names = {f"usr/share/many/{number:04}-{'n' * 100}": b"" for number in range(900)}
    system = ext4(tmp_path, {"etc/passwd": PASSWD} | names, options=("-b", "1024"))
    _, got, _ = normalised(tmp_path, qcow2(system))
    assert set(names) <= set(got)


async def test_the_confined_process_reads_disks(tmp_path: Path, system: bytes) -> None:
    (tmp_path / "in").write_bytes(qcow2(gpt(system), compression="zstd"))
    found = await read_archive(tmp_path / "in", tmp_path / "out")
    assert (found.missing, [one.name for one in found.applications]) == ((), ["edit"])


def _with(disk: bytes, at: int, code: str, *values: int) -> bytes:
    return disk[:at] + struct.pack(code, *values) + disk[at + struct.calcsize(code) :]


HOSTILE_HEADERS: dict[str, tuple[int, str, int, str]] = {
    "a backing file": (8, ">Q", 4096, "difference to another file"),
    "encryption": (32, ">I", 2, "is encrypted"),
    "an external data file": (72, ">Q", 4, "keeps its data in another file"),
    "a corrupt one": (72, ">Q", 2, "says of itself that it is corrupt"),
    "unknown features": (72, ">Q", 1 << 40, "features that are not read"),
    "version 1": (4, ">I", 1, "of version 1"),
    "a giant": (24, ">Q", 2**62, "more than 1024 GiB"),
    "tiny clusters": (20, ">I", 3, "clusters of 2^3 bytes"),
    "huge clusters": (20, ">I", 60, "clusters of 2^60 bytes"),
    "too small a table": (36, ">I", 0, "a table of 0 entries"),
    "a giant table": (36, ">I", 2**32 - 1, "a table of 4,294,967,295 entries"),
    "a table beyond the end": (40, ">Q", 2**62, "beyond the end of the file"),
    "unknown compression": (104, ">B", 9, "compressed in an unknown way"),
}


@pytest.mark.parametrize("name", HOSTILE_HEADERS)
def test_a_hostile_qcow2_header_is_refused(tmp_path: Path, system: bytes, name: str) -> None:
    at, code, value, says = HOSTILE_HEADERS[name]
    with pytest.raises(ArchiveRefused, match=re.escape(says)):
        normalised(tmp_path, _with(qcow2(system), at, code, value))


def test_clusters_beyond_the_file_and_broken_ones_are_refused(tmp_path: Path, system: bytes) -> None:
    table_at = 2 * 65_536
    with pytest.raises(ArchiveRefused, match="beyond the end of the file"):
        normalised(tmp_path, _with(qcow2(system), table_at, ">Q", 1 << 63 | 1 << 40))
    with pytest.raises(ArchiveRefused, match="compressed cluster of the qcow2 disk is damaged"):
        normalised(tmp_path, _with(qcow2(system), table_at, ">Q", 1 << 62 | 65_536))
    with pytest.raises(ArchiveRefused, match="beyond the end of the file"):
        normalised(tmp_path, qcow2(system)[:200_000])


SUPERBLOCK = 1024
HOSTILE_SUPERBLOCKS: dict[str, tuple[int, str, int, str]] = {
    "a journal to replay": (96, "<I", 0x2C6, "shut the machine down"),
    "ext3": (96, "<I", 0x2, "is an ext2 or ext3"),
    "encryption": (96, "<I", 0x102C2, "uses what is not read: encryption"),
    "unknown features": (96, "<I", 0x8002C2, "uses what is not read: 0x800000"),
    "large blocks": (24, "<I", 6, "blocks of more than 4 KiB"),
    "more blocks than the disk": (4, "<I", 2**31, "larger than where it stands"),
    "no blocks": (4, "<I", 0, "is damaged"),
    "no inodes in a group": (40, "<I", 0, "is damaged"),
    "no blocks in a group": (32, "<I", 0, "is damaged"),
    "giant descriptors": (254, "<H", 4096, "is damaged"),
    "more inodes than groups": (0, "<I", 2**32 - 1, "is damaged"),
    "tiny inodes": (88, "<H", 1, "is damaged"),
}


@pytest.mark.parametrize("name", HOSTILE_SUPERBLOCKS)
def test_a_hostile_superblock_is_refused(tmp_path: Path, system: bytes, name: str) -> None:
    at, code, value, says = HOSTILE_SUPERBLOCKS[name]
    with pytest.raises(ArchiveRefused, match=says):
        normalised(tmp_path, qcow2(_with(system, SUPERBLOCK + at, code, value)))


@pytest.mark.parametrize(
    ("commands", "says"),
    [
        (["ln /usr /etc/again"], "stands in more than one place"),
        (["ln / /etc/again"], "stands in more than one place"),
        (["set_inode_field /etc/passwd uid 70000"], "belongs to 70000:0"),
        (["set_inode_field /etc/passwd flags 0"], "as ext2 and ext3 did"),
        (["set_inode_field /etc/passwd flags 0x80800"], "encrypted"),
        (["set_inode_field /etc/passwd mode 0"], "no kind that is known"),
        (["set_inode_field /etc/passwd block[0] 0"], "extents of a file are damaged"),
        (["set_inode_field /usr/lib/large size 99999999999"], "is larger than 16 GiB"),
        (["set_inode_field /usr/share/long size 4000000"], "a link to nowhere"),
        (["set_inode_field /usr size 99999999999"], "too large"),
    ],
)
def test_a_hostile_file_system_is_refused(tmp_path: Path, commands: list[str], says: str) -> None:
    with pytest.raises(ArchiveRefused, match=says):
        normalised(tmp_path, qcow2(ext4(tmp_path, USABLE, commands=commands)))


def test_extents_that_go_in_circles_are_refused(tmp_path: Path, system: bytes) -> None:
    """A node of extents that is its own child would be walked for ever."""
    folder = tmp_path / "made"
    folder.mkdir()
    block = 100
    node = struct.pack("<HHHHI", 0xF30A, 2, 340, 4, 0) + b"".join(
        struct.pack("<IIHH", first, block, 0, 0) for first in (0, 1)
    )
    root = struct.pack("<HHHHI", 0xF30A, 1, 4, 5, 0) + struct.pack("<IIHH", 0, block, 0, 0)
    words = struct.unpack("<6I", root)
    commands = [f"set_inode_field /usr/lib/large block[{number}] {word}" for number, word in enumerate(words)]
    made = ext4(folder, USABLE, commands=commands, options=("-b", "4096"))
    with pytest.raises(ArchiveRefused, match="extents of a file are damaged"):
        normalised(tmp_path, qcow2(_with(made, block * 4096, f"{len(node)}B", *node)))


def test_names_that_lead_out_are_refused(tmp_path: Path) -> None:
    made = ext4(tmp_path, USABLE | {"etc/NAME-THAT": b""}, options=("-O", "^metadata_csum"))
    for name in (b"../../root", b"a/b/c/d/ee", b"a\0b\0c\0d\0e\0"):
        with pytest.raises(ArchiveRefused, match="A directory has the name"):
            normalised(tmp_path, qcow2(made.replace(b"NAME-THAT\0", name[:9] + b"\0")))


@pytest.mark.parametrize(
    ("disk", "says"),
    [
        (bytes(2**20), "has no ext4 file system"),
        (mbr((0x83, b"XFSB".ljust(2**20, b"\0"))), "it has XFS"),
        (mbr((0x8E, (bytes(512) + b"LABELONE").ljust(2**20, b"\0"))), "it has a volume group"),
        (gpt(b"LUKS\xba\xbe".ljust(2**20, b"\0")), "it has an encrypted volume"),
        (_with(mbr((0x83, bytes(512))), 446 + 12, "<I", 2**31), "ends beyond it"),
        (_with(gpt(bytes(512)), 512 + 80, "<I", 2**31), "a table of 2,147,483,648 partitions"),
        (_with(gpt(bytes(512)), 512 + 72, "<Q", 2**62), "beyond its end"),
    ],
)
def test_a_disk_without_a_root_says_what_it_has(tmp_path: Path, disk: bytes, says: str) -> None:
    with pytest.raises(ArchiveRefused, match=says):
        normalised(tmp_path, qcow2(disk))


def test_two_systems_on_a_disk_are_a_question(tmp_path: Path, system: bytes) -> None:
    with pytest.raises(ArchiveRefused, match="2 root file systems"):
        normalised(tmp_path, qcow2(gpt(system, system)))


def test_a_disk_with_too_many_files_is_refused(tmp_path: Path, system: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_MEMBERS", 5)
    with pytest.raises(ArchiveRefused, match="more than 5 members"):
        normalised(tmp_path, qcow2(system))
