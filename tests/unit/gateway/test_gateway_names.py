"""Names that come from browsers and guests never leave the folder that they belong to."""

import time
from pathlib import Path

import pytest

from fanlight.gateway.client_files import ClientFiles
from fanlight.gateway.listings import MAX_ENTRIES, MAX_LISTING_IN_BYTES, FileEntry, entries_of, is_plain_name
from fanlight.services.image_files import MAX_ICON_IN_BYTES, ImageFiles
from gateway_guests import INDEX

PNG = b"\x89PNG\r\n\x1a\n" + b"rest"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    icons = tmp_path / "images" / "sample" / "icons"
    icons.mkdir(parents=True)
    (icons / "editor.png").write_bytes(PNG)
    (icons / "page.png").write_bytes(b"<svg onload=alert(1)>")
    (icons / "link.png").symlink_to(tmp_path / "secret.png")
    (icons / "large.png").write_bytes(PNG + b"0" * MAX_ICON_IN_BYTES)
    (tmp_path / "secret.png").write_bytes(PNG)
    (icons / "drawing.svg").write_bytes(b"<svg/>")
    client = tmp_path / "runtime" / "2.1.0" / "client"
    (client / "src").mkdir(parents=True)
    (client / "src" / "selkies-core.js").write_text("export {};" * 500)
    (client / "index.html").write_text("<html>")
    (client / "secret.js").symlink_to(tmp_path / "secret.png")
    (tmp_path / "runtime" / "current").symlink_to("2.1.0")
    return tmp_path


def test_an_icon_is_found(data_dir: Path) -> None:
    assert ImageFiles(data_dir).icon("sample", "editor.png") == PNG


@pytest.mark.parametrize(
    ("store_ref", "name"),
    [
        ("sample", "missing.png"),
        ("sample", "page.png"),  # not a PNG inside
        ("sample", "drawing.svg"),
        ("sample", "link.png"),
        ("sample", "large.png"),
        ("sample", "../../../secret.png"),
        ("sample", "..%2f..%2f..%2fsecret.png"),
        ("..", "secret.png"),
        ("sample/icons/../..", "editor.png"),
        ("", "editor.png"),
        (".", "editor.png"),
        ("sample", "editor.png\x00"),
        ("sample", "editor.png\n"),
    ],
)
def test_what_is_no_icon_of_an_image_is_not_there(data_dir: Path, store_ref: str, name: str) -> None:
    assert ImageFiles(data_dir).icon(store_ref, name) is None


def test_the_client_is_addressed_by_version_and_content(data_dir: Path) -> None:
    files = ClientFiles(data_dir)
    base = files.base()

    assert base is not None
    assert base.startswith("/client/2.1.0/")
    (data_dir / "runtime" / "2.1.0" / "client" / "src" / "selkies-core.js").write_text("changed")
    assert files.base() != base


def test_a_session_gets_the_client_of_the_runtime_that_its_instance_mounts(data_dir: Path) -> None:
    newer = data_dir / "runtime" / "2.2.0" / "client" / "src"
    newer.mkdir(parents=True)
    (newer / "selkies-core.js").write_text("export const newer = true;")
    (data_dir / "runtime" / "current").unlink()
    (data_dir / "runtime" / "current").symlink_to("2.2.0")
    files = ClientFiles(data_dir)
    current = files.base()

    assert current is not None
    assert current.startswith("/client/2.2.0/")
    assert str(files.base("2.1.0")).startswith("/client/2.1.0/")
    for unknown in (None, "", "2.0.0", "..", "../2.1.0", "current/..", "2.1.0/client"):
        assert files.base(unknown) == current, unknown


def test_a_client_file_is_compressed_once(data_dir: Path) -> None:
    files = ClientFiles(data_dir)
    found = files.client_file("2.1.0", "src/selkies-core.js")

    assert found is not None
    assert found.compressed is not None
    assert len(found.compressed) < len(found.body)
    assert files.client_file("2.1.0", "src/selkies-core.js") is found


@pytest.mark.parametrize(
    ("version", "steps"),
    [
        ("2.1.0", "index.html"),  # the guest's page is never ours
        ("2.1.0", "secret.js"),
        ("2.1.0", "src/../src/selkies-core.js"),
        ("2.1.0", "../client/src/selkies-core.js"),
        ("2.1.0", "/src/selkies-core.js"),
        ("2.1.0", "src//selkies-core.js"),
        ("2.1.0", "src"),
        ("2.1.0", ""),
        ("..", "runtime/2.1.0/client/src/selkies-core.js"),
        ("9.9.9", "src/selkies-core.js"),
    ],
)
def test_what_is_no_client_file_is_not_there(data_dir: Path, version: str, steps: str) -> None:
    assert ClientFiles(data_dir).client_file(version, steps) is None


def test_without_a_runtime_there_is_no_client(tmp_path: Path) -> None:
    assert ClientFiles(tmp_path).base() is None


def test_a_guests_listing_becomes_plain_names() -> None:
    assert entries_of(INDEX) == [
        FileEntry("reports", True, "2026-11-21 06:00", "-"),  # noqa: FBT003
        FileEntry("a & b.txt", False, "2026-11-21 06:00", "1.5 KiB"),  # noqa: FBT003
    ]


def test_rows_are_read_as_the_stream_server_indents_them() -> None:
    row = """
            <tr>
                <td><a href="%C3%A4%22%3Cb%3E.txt">\u00e4&quot;&lt;b&gt;.txt</a></td>
                <td>Nov 21, 2026 6:00 &amp; more</td>
                <td>3 B</td>
            </tr>"""
    page = f"<table><thead><tr><th>File Name</th></tr></thead><tbody>{row}</tbody></table>"

    assert entries_of(page.encode()) == [
        FileEntry('\u00e4"<b>.txt', False, "Nov 21, 2026 6:00 & more", "3 B"),  # noqa: FBT003
    ]


@pytest.mark.parametrize(
    "words",
    [
        b"<a ",
        b'<a b="',
        b"<!--",
        b"<![CDATA[",
        b"<",
        b"&",
        b"<tr>",
        b"<tr><td>",
        b'<tr><td><a href="',
        b'<tr>\n<td><a href="a">' + b"x" * 4_000,
        b"<tr>" + b" " * 4_000,
        b'<tr><td><a href="a">a</a></td><td>' + b"&#1" * 21,
        b'<tr><td><a href="' + b"%25" * 300 + b'">',
    ],
)
def test_a_hostile_listing_does_not_hold_up_the_others(words: bytes) -> None:
    """Everybody's streams share the event loop that reads it."""
    page = (b"<tr><td>" + words * (MAX_LISTING_IN_BYTES // len(words)))[:MAX_LISTING_IN_BYTES]
    started = time.thread_time()

    assert entries_of(page) == []
    assert time.thread_time() - started < 0.2


def test_a_row_that_is_too_long_and_rows_that_are_too_many_are_left_out() -> None:
    row = b'<tr><td><a href="a">%s</a></td><td></td><td></td></tr>'

    assert entries_of(row % (b"x" * 5_000) + row % b"x") == [FileEntry("a", False, "", "")]  # noqa: FBT003
    assert len(entries_of(row % b"x" * (MAX_ENTRIES + 100))) == MAX_ENTRIES


@pytest.mark.parametrize("junk", [b"", b"\xff\xfe\x00", b"<tr><td><a href=", b"<table>" * 5000, b"<!--" * 1000])
def test_a_listing_of_junk_is_empty(junk: bytes) -> None:
    assert entries_of(junk) == []


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\nb", "a\x00", "x" * 256, "\u202etxt.exe"])
def test_no_plain_name(name: str) -> None:
    assert not is_plain_name(name)


@pytest.mark.parametrize("name", ["a", "a b & c.txt", "日本語.pdf", "..hidden", "x" * 255])
def test_a_plain_name(name: str) -> None:
    assert is_plain_name(name)
