"""What of a home is kept, how it comes back, and what an archive that somebody made cannot do."""

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fanlight.agent.kept_settings import archives
from fanlight.agent.kept_settings.archives import Unfit, Unpacked, is_kept, pack, states_in, unpack
from fanlight.agent.kept_settings.versions import Listed, Version, newest_first, next_version, outdated

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
MIB = 1 << 20


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home" / "user"
    path.mkdir(parents=True)
    return path


@pytest.fixture
def next_home(tmp_path: Path) -> Path:
    path = tmp_path / "next" / "user3"
    path.mkdir(parents=True)
    return path


def write(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def packed(home: Path, before: dict[str, archives.State] | None = None, max_bytes: int = 0) -> io.BytesIO:
    output = io.BytesIO()
    pack(home, before or {}, output, max_bytes)
    output.seek(0)
    return output


def names_in(archive: io.BytesIO) -> list[str]:
    with tarfile.open(fileobj=archive, mode="r:gz") as opened:
        return opened.getnames()


def files_below(home: Path) -> dict[str, bytes]:
    return {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}


def made(*members: tarfile.TarInfo | tuple[str, bytes]) -> io.BytesIO:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w:gz") as archive:
        for each in members:
            if isinstance(each, tarfile.TarInfo):
                archive.addfile(each)
            else:
                member = tarfile.TarInfo(each[0])
                member.size = len(each[1])
                archive.addfile(member, io.BytesIO(each[1]))
    output.seek(0)
    return output


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        (".bashrc", True),
        (".config/app/settings.ini", True),
        (".local/share/applications/x.desktop", True),
        (".config", True),
        ("notes.txt", False),
        ("Desktop/.hidden", False),
        ("MyFiles/HomeFolder/.config", False),
        (".cache/thumb", False),
        (".local/share/Trash/files/x", False),
        (".local/share/Trasher", True),
        (".config/chromium/Default/Code Cache/js", False),
        (".config/chromium/Default/Preferences", True),
        (".config/../../etc/passwd", False),
        ("..", False),
        (".", False),
        ("", False),
        ("/etc/passwd", False),
        (".config//x", False),
        (".config/./x", False),
        (".config/x/", False),
        (".config/\0", False),
        (".c/" + "x" * 1024, False),
    ],
)
def test_what_is_a_setting(name: str, *, kept: bool) -> None:
    assert is_kept(name) is kept


def test_settings_come_back_as_they_were(home: Path, next_home: Path) -> None:
    write(home / ".config/app/settings.ini", "zoom=2").chmod(0o600)
    write(home / ".config/app/run.sh", "#!/bin/sh").chmod(0o755)
    write(home / ".config" / os.fsdecode(b"\xff\xfe name\n"), "odd")
    (home / ".local/share/empty").mkdir(parents=True)
    (home / ".config/current").symlink_to("app/settings.ini")
    (home / ".config/absolute").symlink_to(home / ".config/app")
    write(home / "MyFiles/HomeFolder/report.odt")
    write(home / ".cache/much", "y" * 1000)
    done = unpack(packed(home), next_home, MIB)
    assert done == Unpacked(entries=10, refused=0)
    assert files_below(next_home) == {name: said for name, said in files_below(home).items() if is_kept(name)}
    assert (next_home / ".config/current").read_text() == "zoom=2"
    assert (next_home / ".config/app/settings.ini").stat().st_mode & 0o777 == 0o600
    assert (next_home / ".config/app/run.sh").stat().st_mode & 0o777 == 0o755
    assert str((next_home / ".config/absolute").readlink()) == "app"
    assert (next_home / ".local/share/empty").is_dir()


def test_what_the_image_brought_is_not_kept_until_the_user_touches_it(home: Path) -> None:
    write(home / ".bashrc", "image")
    write(home / ".config/app.ini", "image")
    before = states_in(home)
    assert names_in(packed(home, before)) == []
    write(home / ".config/app.ini", "mine!")
    assert names_in(packed(home, before)) == [".config/app.ini"]


def test_a_change_of_the_same_length_and_time_is_seen(home: Path) -> None:
    file = write(home / ".vimrc", "one")
    before = states_in(home)
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    file.write_text("two")
    os.utime(file, ns=times)
    assert names_in(packed(home, before)) == [".vimrc"]


def test_the_same_settings_make_the_same_archive(home: Path, next_home: Path) -> None:
    for name in (".b", ".a", ".config/z", ".config/a"):
        write(home / name, name)
    (home / ".link").symlink_to(".a")
    first = packed(home)
    unpack(io.BytesIO(first.getvalue()), next_home, MIB)
    os.utime(next_home / ".config", (1, 1))
    os.utime(next_home / ".link", (1, 1), follow_symlinks=False)
    assert packed(next_home).getvalue() == first.getvalue()


def test_marks_sockets_and_links_out_of_the_home_are_no_settings(home: Path, tmp_path: Path) -> None:
    write(tmp_path / "elsewhere")
    (home / ".config").mkdir()
    (home / ".config/SingletonLock").symlink_to("ip-10-0-0-1-1234")
    (home / ".config/out").symlink_to(tmp_path / "elsewhere")
    (home / ".config/up").symlink_to("../../../elsewhere")
    os.mkfifo(home / ".config/pipe")
    assert names_in(packed(home)) == [".config"]


def test_a_tagged_directory_is_a_cache(home: Path) -> None:
    write(home / ".config/app/store/CACHEDIR.TAG")
    write(home / ".config/app/store/much")
    assert names_in(packed(home)) == [".config", ".config/app", ".config/app/store"]


def test_too_much_is_not_kept_in_part(home: Path) -> None:
    write(home / ".big", "x" * 101)
    with pytest.raises(Unfit, match="larger than 100 bytes"):
        pack(home, {}, io.BytesIO(), 100)


def test_too_many_are_not_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_ENTRIES", 3)
    for number in range(4):
        write(home / f".{number}")
    with pytest.raises(Unfit, match="more than 3 files"):
        packed(home)


def device(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = tarfile.CHRTYPE
    return member


HOSTILE: list[Callable[[], io.BytesIO]] = [
    lambda: made((".ok", b"x"), ("../escaped", b"x")),
    lambda: made((".ok", b"x"), ("/tmp/escaped", b"x")),
    lambda: made((".ok", b"x"), (".config/../../escaped", b"x")),
    lambda: made((".ok", b"x"), ("Desktop/evil.desktop", b"x")),
    lambda: made((".ok", b"x"), ("MyFiles/HomeFolder/report.odt", b"x")),
    lambda: made((".ok", b"x"), (".ok", b"y")),
    lambda: made((".ok", b"x"), device(".null")),
    lambda: made((".ok", b"x"), link(".hard", "/etc/passwd", tarfile.LNKTYPE)),
    lambda: made((".ok", b"x"), link(".out", "/etc/passwd")),
    lambda: made((".ok", b"x"), link(".out", "../other")),
    lambda: made((".ok", b"x"), link(".config/out", "a/../../../other")),
    lambda: made((".ok", b"x"), (".bomb", b"\0" * (2 * MIB))),
    lambda: io.BytesIO(made((".ok", b"x"), (".more", os.urandom(5000))).getvalue()[:-2000]),
    lambda: io.BytesIO(b"no archive at all"),
    lambda: io.BytesIO(gzip.compress(b"no tar at all" * 100)),
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_an_archive_that_was_not_made_here_leaves_nothing_in_the_home(number: int, home: Path) -> None:
    write(home / ".ok", "the image's")
    with pytest.raises(Unfit):
        unpack(HOSTILE[number](), home, MIB)
    assert files_below(home.parent) == {"user/.ok": b"the image's"}


def test_nothing_is_written_through_links_of_the_image(home: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (home / ".config").symlink_to(tmp_path / "elsewhere")
    (home / ".file").symlink_to(tmp_path / "elsewhere/file")
    (home / ".folder").mkdir()
    write(home / ".folder/image")
    done = unpack(made((".config/app", b"x"), (".file", b"mine"), (".folder", b"x"), (".fine", b"x")), home, MIB)
    assert done == Unpacked(entries=4, refused=2)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert (home / ".file").read_bytes() == b"mine"
    assert not (home / ".file").is_symlink()
    assert (home / ".fine").read_bytes() == b"x"


def test_no_entry_becomes_set_user_id(home: Path) -> None:
    member = tarfile.TarInfo(".tool")
    member.mode = 0o6755
    unpack(made(member), home, MIB)
    assert (home / ".tool").stat().st_mode & 0o7777 == 0o755


def version(minute: int, digit: str = "a") -> Version:
    return Version(NOON + timedelta(minutes=minute), 7, digit * 64)


def test_the_newest_whole_version_is_the_one() -> None:
    listed = [Listed(version(1), is_whole=True), Listed(version(3), is_whole=False), Listed(version(2), is_whole=True)]
    assert newest_first(listed) == [version(2), version(1)]


def test_a_version_is_the_newest_even_if_a_clock_was_set_back() -> None:
    listed = [Listed(version(60), is_whole=True)]
    assert next_version(listed, 9, "b" * 64, NOON).made_at == NOON + timedelta(minutes=60, seconds=1)
    assert next_version([], 9, "b" * 64, NOON) == Version(NOON, 9, "b" * 64)


def test_three_versions_stay_and_broken_ones_for_a_day() -> None:
    listed = [*(Listed(version(minute), is_whole=True) for minute in range(5)), Listed(version(9), is_whole=False)]
    assert outdated(listed, NOON + timedelta(hours=1)) == [version(1), version(0)]
    assert outdated(listed, NOON + timedelta(hours=25)) == [version(1), version(0), version(9)]
