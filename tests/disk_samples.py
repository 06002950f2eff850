"""Disks for tests: an ext4 file system of a few files, partition tables around it, and the qcow2 file that holds them."""

import shutil
import struct
import subprocess
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import zstandard

_SECTOR = 512
_CLUSTER = 65_536
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def ext4(
    folder: Path,
    files: Mapping[str, bytes | str],
    *,
    size: int = 4 * 2**20,
    options: Sequence[str] = (),
    commands: Sequence[str] = (),
) -> bytes:
    """Return a file system. Text is the target of a symbolic link; `commands` are those of debugfs; all belongs to root."""
    tree, image = folder / "tree", folder / "image"
    for name, content in files.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.symlink_to(content)
        else:
            path.write_bytes(content)
            path.chmod(0o755)
    tree.chmod(0o755)
    with image.open("wb") as file:
        file.truncate(size)
    owners = ["-E", "root_owner=0:0,hash_seed=12345678-1234-1234-1234-123456789012", "-U", "clear"]
    _run("mkfs.ext4", "-q", "-F", "-m", "0", *owners, *options, "-d", str(tree), str(image))
    if commands:
        (folder / "commands").write_text("\n".join(commands) + "\n")
        _run("debugfs", "-w", "-f", str(folder / "commands"), str(image))
    made = image.read_bytes()
    shutil.rmtree(tree)
    return made


def mbr(*parts: tuple[int, bytes]) -> bytes:
    """Return a disk with these partitions (kind, content), one after the other."""
    table, body = b"", b""
    for kind, content in parts:
        first = 2048 + len(body) // _SECTOR
        table += struct.pack("<4sB3sII", b"\0" * 4, kind, b"\0" * 3, first, len(content) // _SECTOR)
        body += content
    return (bytes(446) + table.ljust(64, b"\0") + b"\x55\xaa").ljust(2048 * _SECTOR, b"\0") + body


def gpt(*parts: bytes) -> bytes:
    entries, body = b"", b""
    for number, content in enumerate(parts):
        first = 2048 + len(body) // _SECTOR
        last = first + len(content) // _SECTOR - 1
        entries += struct.pack("<16s16sQQQ72s", b"kind" * 4, bytes([number + 1]) * 16, first, last, 0, b"")
        body += content
    header = struct.pack("<8s64sQII", b"EFI PART", b"", 2, 128, 128)
    protective = mbr((0xEE, b""))[:_SECTOR]
    return (protective + header.ljust(_SECTOR, b"\0") + entries).ljust(2048 * _SECTOR, b"\0") + body


def qcow2(disk: bytes, *, version: int = 3, compression: str = "") -> bytes:
    """Return the file. `compression`: none, zlib or zstd. Clusters of zeros are left out."""
    clusters = -(-len(disk) // _CLUSTER)
    per_table = _CLUSTER // 8
    tables = -(-clusters // per_table)
    l1_at, l2_at = _CLUSTER, 2 * _CLUSTER
    data_at = l2_at + tables * _CLUSTER
    entries, data = [], bytearray()
    for number in range(clusters):
        content = disk[number * _CLUSTER : (number + 1) * _CLUSTER].ljust(_CLUSTER, b"\0")
        if not any(content):
            entries.append(1 if version > 2 else 0)
        elif compression:
            packed = _packed(content, compression)
            offset = data_at + len(data)
            sectors = (offset % _SECTOR + len(packed) - 1) // _SECTOR
            entries.append(1 << 62 | sectors << (62 - 8) | offset)
            data += packed
        else:
            data += bytes(-len(data) % _CLUSTER)
            entries.append(1 << 63 | (data_at + len(data)))
            data += content
    header = struct.pack(
        ">4sIQIIQIIQQIIQ", b"QFI\xfb", version, 0, 0, 16, len(disk), 0, tables, l1_at, 0, 0, 0, 0
    )  # fmt: skip
    if version > 2:
        is_zstd = compression == "zstd"
        header += struct.pack(">QQQIIB7s", 8 if is_zstd else 0, 0, 0, 4, 112, is_zstd, b"")
    l1 = struct.pack(f">{tables}Q", *(1 << 63 | (l2_at + number * _CLUSTER) for number in range(tables)))
    l2 = struct.pack(f">{clusters}Q", *entries).ljust(tables * _CLUSTER, b"\0")
    return header.ljust(_CLUSTER, b"\0") + l1.ljust(_CLUSTER, b"\0") + l2 + bytes(data)


def _packed(content: bytes, compression: str) -> bytes:
    if compression == "zstd":
        return zstandard.compress(content)
    packer = zlib.compressobj(9, zlib.DEFLATED, -12)
    return packer.compress(content) + packer.flush()


def _run(program: str, *arguments: str) -> None:
    found = shutil.which(program, path=_PATH)
    assert found, f"{program} is not installed: run scripts/host-setup --for-tests"
    done = subprocess.run([found, *arguments], capture_output=True, check=False, env={"PATH": _PATH})
    assert done.returncode == 0, done.stderr.decode()
