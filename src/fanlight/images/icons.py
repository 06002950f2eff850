"""Find the icon of an application inside an image and make a small PNG of it.

Icons are shown on a trusted page, so whatever the image has is drawn anew: vector pictures inside the image, and the
pixels are encoded again here.
"""

import configparser
import io
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from fanlight.images.recipes import AUTO_ICON, RecipeApplication
from fanlight.images.shell import CommandFailed, Shell
from fanlight.images.yaml_reader import RecipeInvalid

SIZE_IN_PIXELS = 128
MAX_SOURCE_BYTES = 4 * 1024 * 1024
MAX_SOURCE_PIXELS = 2048 * 2048
DESKTOP_ENTRIES = "usr/share/applications"
ICON_ROOTS = ("usr/share/icons/hicolor", "usr/share/icons", "usr/share/pixmaps")
DRAWN = "/run/fanlight-icon"  # inside the image, only while it is built
_SIZE = re.compile(r"/(\d+)x\d+/")


async def make_icon(root: Path, shell: Shell, application: RecipeApplication) -> bytes:
    """Return a PNG of at most 128 by 128 pixels. Raises RecipeInvalid when there is none or it cannot be drawn."""
    source = application.icon if application.icon != AUTO_ICON else find_icon(root, application)
    quoted = shlex.quote(source)
    if source.endswith((".svg", ".svgz")):
        draw = (
            f"rsvg-convert --width {SIZE_IN_PIXELS} --height {SIZE_IN_PIXELS} --keep-aspect-ratio -o {DRAWN} {quoted}"
        )
    else:
        draw = f"cp -L {quoted} {DRAWN}"
    try:
        await shell.run_inside(root, ["sh", "-ec", f"rm -f {DRAWN}; {draw}"])
        picture = _read(root / DRAWN.lstrip("/"))
        (root / DRAWN.lstrip("/")).unlink()
        return encode_png(picture)
    except (CommandFailed, OSError, ValueError, Image.DecompressionBombError) as error:
        raise RecipeInvalid(
            f"application {application.name}: the icon {source} cannot be drawn: {error}\n"
            "Name a PNG in the recipe (icon: /path/in/the/image.png); for an SVG the image needs the package librsvg2-bin."
        ) from error


def encode_png(picture: bytes) -> bytes:
    """Return the picture as a fresh PNG within the size limit, with nothing but pixels. Raises ValueError, OSError."""
    with Image.open(io.BytesIO(picture), formats=("PNG", "XPM", "GIF", "JPEG", "ICO", "WEBP")) as opened:
        if opened.width * opened.height > MAX_SOURCE_PIXELS:
            raise ValueError(f"{opened.width} by {opened.height} pixels are too many")
        pixels = opened.convert("RGBA")
    pixels.thumbnail((SIZE_IN_PIXELS, SIZE_IN_PIXELS), Image.Resampling.LANCZOS)
    clean = Image.new("RGBA", pixels.size)
    clean.paste(pixels)
    out = io.BytesIO()
    clean.save(out, "PNG", optimize=True)
    return out.getvalue()


def find_icon(root: Path, application: RecipeApplication) -> str:
    """Return the path, inside the image, of the icon that the desktop entry of `launch_path` names."""
    for name in _icon_names(root, Path(application.launch_path).name):
        if name.startswith("/"):
            return name
        found = sorted(_icon_files(root, name), key=_preference)
        if found:
            return "/" + found[0]
    raise RecipeInvalid(
        f"application {application.name}: no desktop entry in /{DESKTOP_ENTRIES} that starts {application.launch_path} has an"
        " icon that is installed. Give the path of a PNG (icon: /path/in/the/image.png)."
    )


def _icon_names(root: Path, program: str) -> Iterator[str]:
    for entry in sorted((root / DESKTOP_ENTRIES).glob("*.desktop")):
        if entry.is_symlink():
            continue  # it could lead to the host's files
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        try:
            parser.read_string(entry.read_text(encoding="utf-8", errors="replace"))
            section = parser["Desktop Entry"]
            words = shlex.split(section.get("Exec", ""))
        except (configparser.Error, KeyError, ValueError):
            continue
        if words and Path(words[0]).name == program and section.get("Icon"):
            yield section["Icon"]


def _icon_files(root: Path, name: str) -> Iterator[str]:
    if "/" in name or any(c in name for c in "*?["):
        return
    for directory in ICON_ROOTS:
        for suffix in (".png", ".svg", ".xpm"):
            for found in (root / directory).glob(f"**/{name}{suffix}"):
                yield str(found.relative_to(root))


def _preference(path: str) -> tuple[bool, int, str]:
    """The application's own theme first; then bitmaps of just our size or larger, vector, and the largest below."""
    match = _SIZE.search(path)
    size = int(match[1]) if match else 0
    if path.endswith(".svg"):
        rank = 1 if "symbolic" not in path else 10_000
    else:
        rank = size - SIZE_IN_PIXELS if size >= SIZE_IN_PIXELS else 1_000 - size
    return "/hicolor/" not in path and "/pixmaps/" not in path, rank, path


def _read(path: Path) -> bytes:
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        picture = file.read(MAX_SOURCE_BYTES + 1)
    if len(picture) > MAX_SOURCE_BYTES:
        raise ValueError(f"it has more than {MAX_SOURCE_BYTES} bytes")
    return picture
