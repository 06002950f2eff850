"""Icons: found as the desktop would find them, and drawn anew."""

import io
from pathlib import Path

import pytest
from PIL import Image

from fanlight.images.icons import encode_png, find_icon
from fanlight.images.recipes import RecipeApplication
from fanlight.images.yaml_reader import RecipeInvalid

EDITOR = RecipeApplication(name="editor", display_name="Editor", launch_path="/usr/bin/editor")


def desktop_entry(root: Path, name: str, text: str) -> None:
    directory = root / "usr/share/applications"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_text(f"[Desktop Entry]\n{text}\n")


def icon(root: Path, path: str) -> str:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(b"x")
    return "/" + path


def test_icon_of_the_entry_that_starts_the_program_is_found(tmp_path: Path) -> None:
    desktop_entry(tmp_path, "a.desktop", "Exec=/usr/bin/other %F\nIcon=other")
    desktop_entry(tmp_path, "b.desktop", "Exec=editor --new %F\nIcon=org.editor")
    icon(tmp_path, "usr/share/icons/hicolor/48x48/apps/other.png")
    wanted = icon(tmp_path, "usr/share/icons/hicolor/48x48/apps/org.editor.png")
    assert find_icon(tmp_path, EDITOR) == wanted


@pytest.mark.parametrize(
    ("present", "best"),
    [
        (("48x48/apps/e.png", "128x128/apps/e.png", "512x512/apps/e.png"), "128x128/apps/e.png"),
        (("48x48/apps/e.png", "scalable/apps/e.svg"), "scalable/apps/e.svg"),
        (("16x16/apps/e.png", "64x64/apps/e.png"), "64x64/apps/e.png"),
        (("48x48/apps/e.png", "256x256/apps/e.png"), "256x256/apps/e.png"),
    ],
)
def test_best_size_is_chosen(tmp_path: Path, present: tuple[str, ...], best: str) -> None:
    desktop_entry(tmp_path, "e.desktop", "Exec=editor\nIcon=e")
    for path in present:
        icon(tmp_path, f"usr/share/icons/hicolor/{path}")
    assert find_icon(tmp_path, EDITOR) == f"/usr/share/icons/hicolor/{best}"


def test_missing_icon_says_what_to_do(tmp_path: Path) -> None:
    desktop_entry(tmp_path, "broken.desktop", "Exec='unfinished\nIcon=e")
    desktop_entry(tmp_path, "e.desktop", "Exec=editor\nIcon=../../../etc/passwd")
    with pytest.raises(RecipeInvalid, match="Give the path of a PNG"):
        find_icon(tmp_path, EDITOR)


def test_entry_that_leads_out_of_the_image_is_not_read(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    desktop_entry(outside, "e.desktop", "Exec=editor\nIcon=e")
    root = tmp_path / "root"
    (root / "usr/share/applications").mkdir(parents=True)
    (root / "usr/share/applications/e.desktop").symlink_to(outside / "usr/share/applications/e.desktop")
    icon(root, "usr/share/icons/hicolor/48x48/apps/e.png")
    with pytest.raises(RecipeInvalid):
        find_icon(root, EDITOR)


def picture(size: tuple[int, int], kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(out, kind, **options)
    return out.getvalue()


def test_picture_is_made_small_and_loses_all_but_pixels() -> None:
    from PIL.PngImagePlugin import PngInfo

    note = PngInfo()
    note.add_text("Comment", "<script>")
    made = encode_png(picture((512, 256), pnginfo=note))
    assert b"script" not in made
    with Image.open(io.BytesIO(made)) as opened:
        assert (opened.format, opened.size, opened.mode) == ("PNG", (128, 64), "RGBA")


@pytest.mark.parametrize(
    "bad", [b"", b"<svg xmlns='http://www.w3.org/2000/svg'/>", picture((8, 8))[:40], picture((3000, 3000))]
)
def test_what_is_no_icon_is_refused(bad: bytes) -> None:
    with pytest.raises((ValueError, OSError)):
        encode_png(bad)
