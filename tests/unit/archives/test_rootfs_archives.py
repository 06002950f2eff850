"""Archives: what becomes a clean root file system, and what of a hostile one is refused before anything sees it."""

import io
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from PIL import Image

from archive_samples import (
    PASSWD,
    directory,
    gzipped,
    hard_link,
    member,
    oci,
    program,
    symlink,
    tar,
    usable,
)
from fanlight.archives import ArchiveRefused, limits
from fanlight.archives.confined import draw
from fanlight.archives.normalise import Report, Wanted, normalise
from fanlight.archives.spawn import read_archive
from fanlight.domain.images import Application

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
EDITOR = Application(name="edit", display_name="Editor", launch_path="/usr/bin/edit")


def normalised(tmp_path: Path, archive: bytes, wanted: Wanted | None = None) -> tuple[Report, bytes]:
    path = tmp_path / "archive"
    path.write_bytes(archive)
    out = io.BytesIO()
    with path.open("rb") as file:
        report = normalise(file.fileno(), len(archive), out, wanted, draw)
    return report, out.getvalue()


def entries(tarball: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(tarball)) as opened:
        return {info.name.removeprefix("./"): info for info in opened.getmembers()}


def contents(tarball: bytes, path: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(tarball)) as opened:
        file = opened.extractfile(f"./{path}")
        assert file is not None
        return file.read()


# ── Honest archives ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_root_file_system_comes_out_as_it_went_in_with_links_last(tmp_path: Path) -> None:
    members = [
        *usable(),
        member("./usr/bin/su", b"s", mode=0o4755, uid=0, gid=42, mtime=1_700_000_000),
        hard_link("./usr/bin/su2", "./usr/bin/su"),
        symlink("./usr/lib64", "/etc"),
        member("./usr/share/" + "n" * 150, b"long"),
        member("./usr/share/ca/Főtanúsítvány.crt", b"name"),
    ]
    report, tarball = normalised(tmp_path, tar(members))
    assert report.missing == ()
    assert report.applications == (EDITOR,)
    got = entries(tarball)
    assert (got["usr/bin/su"].mode, got["usr/bin/su"].gid, got["usr/bin/su"].mtime) == (0o4755, 42, 1_700_000_000)
    assert got["usr/bin/su2"].islnk()
    assert got["usr/bin/su2"].linkname == "./usr/bin/su"
    assert (got["usr/lib64"].linkname, got["bin"].linkname) == ("/etc", "usr/bin")
    assert contents(tarball, "usr/share/" + "n" * 150) == b"long"
    assert contents(tarball, "usr/share/ca/Főtanúsítvány.crt") == b"name"
    order = [info.type for info in got.values()]
    assert order.index(tarfile.SYMTYPE) > max(i for i, kind in enumerate(order) if kind == tarfile.REGTYPE)


@pytest.mark.parametrize("pack", [gzipped, lzma.compress, zstandard.compress, bytes])
def test_every_compression_gives_the_same_tarball(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    assert normalised(tmp_path, pack(tar(usable()))) == normalised(tmp_path, tar(usable()))


def test_what_the_instance_makes_anew_is_left_out_and_mount_points_are_there(tmp_path: Path) -> None:
    members = [
        *usable(),
        member("./dev/sda", type=tarfile.BLKTYPE, devmajor=8),
        member("./proc/1", b"x"),
        member("./run/secret", b"x"),
        member("./.dockerenv", b""),
        member("./etc/machine-id", b"0123"),
        member("./etc/resolv.conf", b"nameserver 192.0.2.1"),
    ]
    report, tarball = normalised(tmp_path, tar(members))
    got = entries(tarball)
    assert report.left_out == 4
    assert not {"dev/sda", "proc/1", "run/secret", ".dockerenv"} & set(got)
    assert all(got[path].isdir() for path in ("dev", "run/fanlight/host", "run/fanlight/guest", "opt/fanlight/runtime"))
    assert got["tmp"].mode == 0o1777
    assert (got["etc/machine-id"].size, got["etc/resolv.conf"].size) == (0, 0)


def test_file_capabilities_are_kept_and_every_other_attribute_is_dropped(tmp_path: Path) -> None:
    value = CAPABILITY.decode("utf-8", "surrogateescape")
    pax = {
        "SCHILY.xattr.security.capability": value,
        "SCHILY.xattr.user.note": "x",
        "SCHILY.xattr.trusted.overlay": "y",
    }
    _, tarball = normalised(tmp_path, tar([*usable(), member("./usr/bin/ping", b"p", mode=0o755, pax=pax)]))
    kept = entries(tarball)["usr/bin/ping"].pax_headers
    assert kept == {"SCHILY.xattr.security.capability": value}


def test_layers_add_replace_and_take_away(tmp_path: Path) -> None:
    lower = tar(
        [
            *usable(),
            member("etc/old", b"1"),
            member("srv/a/one", b"1"),
            member("srv/a/two", b"2"),
            member("srv/b/three", b"3"),
            hard_link("srv/kept", "srv/a/one"),
            directory("opt/tool"),
            member("opt/tool/file", b"4"),
        ]
    )
    upper = tar(
        [
            member("etc/.wh.old"),
            member("etc/passwd", PASSWD + b"new:x:1002:1002::/:/bin/sh\n"),
            member("srv/a/new", b"5"),
            member("srv/a/.wh..wh..opq"),
            member("srv/.wh.b"),
            member("opt/tool", b"now a file"),
        ]
    )
    report, tarball = normalised(tmp_path, oci([lower, gzipped(upper)]))
    got = set(entries(tarball))
    assert report.missing == ()
    assert {"srv/a/new", "srv/kept", "opt/tool"} <= got
    assert not {"etc/old", "srv/a/one", "srv/a/two", "srv/b", "srv/b/three", "opt/tool/file"} & got
    assert not any(".wh." in path for path in got)
    assert (contents(tarball, "srv/kept"), contents(tarball, "opt/tool")) == (b"1", b"now a file")
    assert contents(tarball, "etc/passwd").endswith(b"/:/bin/sh\n")


def picture(size: int = 300) -> bytes:
    out = io.BytesIO()
    Image.new("RGBA", (size, size), (200, 10, 10)).save(out, "PNG")
    return out.getvalue()


def test_icons_are_found_by_name_drawn_anew_and_small(tmp_path: Path) -> None:
    icons = [
        member("./usr/share/icons/hicolor/48x48/apps/edit.png", picture(48)),
        member("./usr/share/icons/hicolor/512x512/apps/edit.png", picture(512)),
    ]
    report, _ = normalised(tmp_path, tar([*usable(), *icons]))
    with Image.open(io.BytesIO(report.icons["edit"])) as drawn:
        assert (drawn.format, drawn.size) == ("PNG", (256, 256))


@pytest.mark.parametrize("bad", [b"", b"\x89PNG\r\n\x1a\nrubbish", b"<svg/>", picture(2049)])
def test_a_picture_that_is_none_is_no_icon_and_no_failure(tmp_path: Path, bad: bytes) -> None:
    report, _ = normalised(tmp_path, tar([*usable(), member("./usr/share/pixmaps/edit.png", bad)]))
    assert report.icons == {}
    assert report.applications == (EDITOR,)


def test_what_a_session_needs_and_the_request_names_is_missed_in_words(tmp_path: Path) -> None:
    wanted = Wanted(icons={"cad": "/opt/cad/icon.png"}, programs={"cad": "/opt/cad/bin/cad"})
    archive = tar([member("etc/passwd", b"user:x:1234:1234::/:/bin/sh\n"), program("usr/bin/Xvfb")])
    report, _ = normalised(tmp_path, archive, wanted)
    assert report.missing == (
        "the program /usr/bin/openbox",
        "the program /usr/bin/pulseaudio",
        "the program /usr/bin/dbus-daemon",
        "the program /bin/sh",
        "the account user with uid 1000",
        "the account display with uid 1001",
        "/opt/cad/bin/cad, which the application cad starts",
        "a readable PNG at /opt/cad/icon.png, the icon of the application cad",
    )


# ── Hostile archives ──────────────────────────────────────────────────────────────────────────────────────────────────


def raw(kind: bytes, content: bytes, *, size: int | None = None) -> bytes:
    """Return one member with a header of any kind and any length."""
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, len(content) if size is None else size
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


def pax(text: bytes) -> bytes:
    length = len(text) + 3
    record = f"{length} ".encode() + text
    while len(record) != length:
        length = len(record)
        record = f"{length} ".encode() + text
    return raw(b"x", record)


def wrong_digest(archive: bytes) -> bytes:
    return archive.replace(b"root:x:0:0", b"root:x:0:1")


HOSTILE: dict[str, tuple[bytes, str]] = {
    "an absolute path": (tar([member("/etc/passwd", b"x")]), "is an absolute path"),
    "a path that climbs": (tar([member("etc/../../x", b"x")]), "leads out of its directory"),
    "a hard link that climbs": (tar([hard_link("x", "../../etc/shadow")]), "leads out of its directory"),
    "an absolute hard link": (tar([hard_link("x", "/etc/shadow")]), "is an absolute path"),
    "a hard link to nothing": (tar([hard_link("x", "etc/shadow")]), "which is no file before it"),
    "a hard link to a link": (
        tar([symlink("a", "/etc/shadow"), hard_link("x", "a")]),
        "which is no file before it",
    ),
    "a hard link to itself": (tar([hard_link("x", "x")]), "which is no file before it"),
    "writing through a link": (
        tar([symlink("etc", "/etc"), member("etc/passwd", b"x")]),
        "Something stands below 'etc'",
    ),
    "a link instead of a directory": (
        tar([directory("srv"), member("srv/x"), symlink("srv", "/etc")]),
        "is both a directory and a symbolic link",
    ),
    "a directory instead of a link": (
        tar([symlink("srv", "/etc"), directory("srv")]),
        "is both a symbolic link and a directory",
    ),
    "a file below a file": (
        tar([member("a", b"x"), member("a/b", b"x")]),
        "Something stands below 'a', which is a file",
    ),
    "the root is a link": (tar([symlink("./", "/")]), "The root of the file system is a symbolic link"),
    "a block device": (tar([member("srv/sda", type=tarfile.BLKTYPE, devmajor=8)]), "is a device"),
    "a character device": (tar([member("x", type=tarfile.CHRTYPE, devmajor=1, devminor=1)]), "is a device"),
    "a named pipe": (tar([member("x", type=tarfile.FIFOTYPE)]), "is a named pipe"),
    "a mount point behind a link": (tar([*usable(), symlink("opt", "/etc")]), "'/opt' must be a directory"),
    "the runtime as a file": (tar([*usable(), member("opt/fanlight/runtime")]), "'/opt/fanlight/runtime' must be a"),
    "an id of another instance": (tar([member("x", uid=70_000)]), "belongs to 70000:0"),
    "an id from an extension header": (tar([member("x", pax={"uid": "1000000"})]), "belongs to 1000000:0"),
    "capabilities for another root": (
        tar([member("x", b"x", pax={"SCHILY.xattr.security.capability": "a" * 24})]),
        "has file capabilities in a form that is not taken",
    ),
    "a path in a global header": (
        raw(b"g", b"19 path=etc/passwd\n") + tar([member("x")]),
        "sets 'path' for all its members at once",
    ),
    "an endless extension header": (raw(b"x", b"", size=10**12), "An extension header has 1000000000000 bytes"),
    "an endless long name": (raw(b"L", b"", size=10**9), "An extension header has 1000000000 bytes"),
    "a negative length in a header": (raw(b"x", b"-5 path=x\n"), "An extension header is malformed"),
    "a length beyond the header": (raw(b"x", b"999 path=x\n"), "An extension header is malformed"),
    "a size that is no number": (pax(b"size=1e9\n"), "a number that is none"),
    "a size of eighteen nines": (pax(b"size=" + b"9" * 18 + b"\n") + tar([member("x")]), "is larger than 16 GiB"),
    "sparse members": (pax(b"GNU.sparse.major=1\n"), "has sparse members"),
    "sparse members of old": (raw(b"S", b""), "of the unknown kind b'S'"),
    "a member of several volumes": (raw(b"M", b""), "of the unknown kind b'M'"),
    "a link with content": (raw(b"1", b"x" * 512), "is a hard link with content"),
    "a directory with content": (raw(b"5", b"x" * 512), "is a directory with content"),
    "a name with a zero byte": (pax(b"path=a\0b\n"), "has a zero byte"),
    "a name with control characters": (tar([member("a\x1b[2J", b"x")]), "has control characters"),
    "a name that is too long": (tar([member("a" * 300, b"x")]), "a name longer than 255 bytes"),
    "a path that is too long": (tar([member("/".join(["a" * 200] * 6), b"x")]), "is longer than 1024"),
    "a path that is too deep": (tar([member("a/" * 100 + "x", b"x")]), "or deeper than 64"),
    "no tar": (b"MZ" + b"x" * 2000, "is damaged or no tar"),
    "a tar that is cut off": (tar(usable())[:1200], "ends too early"),
    "gzip that is cut off": (gzipped(tar(usable()))[:-20], "is damaged, cut off"),
    "gzip with a wrong checksum": (gzipped(tar(usable()))[:-8] + bytes(8), "is damaged, cut off"),
    "zstd that is cut off": (zstandard.compress(tar(usable()))[:-20], "ends too early"),
    "bzip2": (b"BZh91AY&SY" + b"x" * 100, "is compressed with bzip2"),
    "nothing": (b"", "ends too early"),
    "an empty tar": (tar([]), "The archive is empty"),
    "something behind the end": (tar(usable()) + b"x" * 5 * 2**20, "stands behind the end"),
    "a qcow2 disk that is cut off": (b"QFI\xfb\0\0\0\x03" + bytes(60), "is cut off"),
    "a layer through a link below": (
        oci([tar([symlink("srv", "/etc")]), tar([member("srv/passwd", b"x")])]),
        "A layer writes through 'srv'",
    ),
    "a whiteout of the directory itself": (oci([tar([member("srv/.wh..")])]), "takes away nothing that can be named"),
    "a whiteout of the parent": (oci([tar([member("srv/.wh...")])]), "takes away nothing that can be named"),
    "a layer with another digest": (wrong_digest(oci([tar(usable())])), "has another content than its digest says"),
    "no layers": (oci([]), "has no layers"),
    "too many layers": (oci([tar([member("x")])] * 129), "has 129 layers"),
    "a layer of an unknown kind": (
        oci([tar(usable())], manifest=lambda m: m["layers"][0].update(mediaType="application/x-encrypted")),
        "which is not read",
    ),
    "a layer of another size": (
        oci([tar(usable())], manifest=lambda m: m["layers"][0].update(size=1)),
        "does not have the size that its manifest says",
    ),
    "a layer that is not there": (
        oci([tar(usable())], manifest=lambda m: m["layers"][0].update(digest="sha256:" + "0" * 64)),
        "lacks the blob",
    ),
    "a digest that is a path": (
        oci([tar(usable())], manifest=lambda m: m["layers"][0].update(digest="sha256:../../index.json")),
        "only sha256 is read",
    ),
    "layers that are no list": (oci([], manifest=lambda m: m.update(layers={"a": 1})), "has no list of layers"),
    "no image for this processor": (
        oci([tar(usable())], index=lambda i: i["manifests"][0]["platform"].update(architecture="s390x")),
        "has 0 images for linux/",
    ),
    "two images for this processor": (
        oci([tar(usable())], index=lambda i: i["manifests"].append(i["manifests"][0])),
        "has 2 images for linux/",
    ),
    "an index that is no JSON": (oci([tar(usable())], blobs={"index.json": b"[" * 100_000}), "is not JSON"),
    "an index that is a list": (oci([tar(usable())], blobs={"index.json": b"[]"}), "is no JSON object"),
    "an index that is too large": (
        oci([tar(usable())], blobs={"index.json": b" " * (limits.MAX_MANIFEST_IN_BYTES + 1)}),
        "at most 4,194,304 are read",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused_in_words(tmp_path: Path, name: str) -> None:
    archive, says = HOSTILE[name]
    with pytest.raises(ArchiveRefused) as caught:
        normalised(tmp_path, archive)
    assert says in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("limit", "value", "archive", "says"),
    [
        ("MAX_MEMBERS", 3, tar([member(f"m{n}") for n in range(4)]), "more than 3 members"),
        ("MAX_MEMBERS", 5, tar([member("a/b/c/d/e/f")]), "more than 5 members"),
        ("MAX_TOTAL_IN_BYTES", 2**30, gzipped(tar([member("m", bytes(2**20))]) * 1), ""),
        ("MAX_TOTAL_IN_BYTES", 1000, gzipped(tar([member(f"m{n}", bytes(600)) for n in range(2)])), "more than 0 GiB"),
        (
            "MAX_TOTAL_IN_BYTES",
            1000,
            oci([tar([member(f"m{n}", bytes(600))]) for n in range(2)]),
            "The (layers|archive) ha(ve|s) more than",
        ),
        ("MAX_FILE_IN_BYTES", 1000, tar([member("m", bytes(2000))]), "is larger than"),
    ],
)
def test_too_much_of_anything_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, limit: str, value: int, archive: bytes, says: str
) -> None:
    monkeypatch.setattr(limits, limit, value)
    if not says:
        normalised(tmp_path, archive)
        return
    with pytest.raises(ArchiveRefused, match=says):
        normalised(tmp_path, archive)


def test_links_in_circles_lead_nowhere(tmp_path: Path) -> None:
    circle = [symlink("usr/bin/loop", "loop"), symlink("a", "b"), symlink("b", "/a"), symlink("c", "../../..")]
    wanted = Wanted(icons={}, programs={name: f"/{name}/x" for name in ("a", "b", "c", "usr/bin/loop")})
    report, _ = normalised(tmp_path, tar([*usable(), *circle]), wanted)
    assert len(report.missing) == 4


# ── The process ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_process_gives_tarball_and_report(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(gzipped(tar([*usable(), member("./usr/share/pixmaps/edit.png", picture())])))
    found = await read_archive(tmp_path / "in", tmp_path / "out")
    assert (found.applications, found.missing) == ((EDITOR,), ())
    assert set(found.icons) == {"edit"}
    with zstandard.ZstdDecompressor().stream_reader(io.BytesIO((tmp_path / "out").read_bytes())) as reader:
        assert "usr/bin/edit" in entries(reader.read())


async def test_the_process_refuses_as_the_function_does(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(tar([member("/etc/passwd", b"x")]))
    with pytest.raises(ArchiveRefused, match="is an absolute path"):
        await read_archive(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize(
    ("status", "said", "expected"),
    [
        (0, b"", ArchiveRefused),
        (0, b"[]", ArchiveRefused),
        (0, b'{"applications": [{"nonsense": 1}]}', ArchiveRefused),
        (0, b"[" * 100_000, ArchiveRefused),
        (-9, b"", ArchiveRefused),
        (1, b"{}", OSError),
    ],
)
def test_a_process_that_was_taken_over_is_not_believed(status: int, said: bytes, expected: type[Exception]) -> None:
    from fanlight.archives.spawn import _found

    with pytest.raises(expected):
        _found(status, said, b"words")
