"""Pictures for the catalogue: always PNG, never larger than a host takes."""

import io
import subprocess
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from fanlight.agent.assistant.refusals import UNSUPPORTED_EXTENSION, AssistantRefuses, no_file, refused
from fanlight.agentwire.image_requests import MAX_ICON_BYTES

LARGEST = 256  # pixels in each direction, as AppStream has it
FOUND = 128  # what is found among the themes of the image is made this size
FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".bmp": "BMP"}
MAX_SOURCE_BYTES = 4 << 20
MAX_SOURCE_PIXELS = 2048 * 2048
DRAWING_LIMIT_IN_SECONDS = 10
_TILES = ("#2f6f9f", "#7a4f9f", "#3f7f5f", "#9f5f2f", "#9f3f5f", "#4f5f9f")


def chosen_icon(path: Path) -> bytes:
    """Return the picture that an administrator names. Raises AssistantRefuses."""
    if not path.is_file():
        raise no_file(str(path))
    if path.suffix.lower() not in FORMATS:
        raise refused(UNSUPPORTED_EXTENSION)
    picture = _read(path)
    if max(picture.size) > LARGEST:
        raise AssistantRefuses(
            f"The icon {path} has {picture.width} by {picture.height} pixels; at most {LARGEST} by {LARGEST} are possible."
        )
    return _encoded(picture)


def found_icon(path: Path) -> bytes | None:
    """Return the picture that a desktop entry names, made small, or None when there is nothing to be made of it."""
    try:
        picture = _read_vector(path) if path.suffix == ".svg" else _read(path)
    except AssistantRefuses:
        return None
    picture.thumbnail((FOUND, FOUND), Image.Resampling.LANCZOS)
    return _encoded(picture)


def drawn_icon(name: str) -> bytes:
    """Return a tile with the first letter of a name, for programs that bring no picture."""
    picture = Image.new("RGBA", (FOUND, FOUND))
    draw = ImageDraw.Draw(picture)
    draw.rounded_rectangle((4, 4, FOUND - 4, FOUND - 4), radius=22, fill=_TILES[sum(name.encode()) % len(_TILES)])
    draw.text(
        (FOUND / 2, FOUND / 2), (name[:1] or "?").upper(), fill="white", anchor="mm", font=ImageFont.load_default(72)
    )
    return _encoded(picture)


def _read_vector(path: Path) -> Image.Image:
    """The image itself may know how to draw it."""
    command = ["rsvg-convert", "--width", str(FOUND), "--height", str(FOUND), "--keep-aspect-ratio", str(path)]
    try:
        drawn = subprocess.run(command, capture_output=True, check=True, timeout=DRAWING_LIMIT_IN_SECONDS).stdout  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        raise AssistantRefuses(f"The icon {path} cannot be drawn: {error}") from error
    return _decoded(drawn, path)


def _read(path: Path) -> Image.Image:
    try:
        return _decoded(path.read_bytes(), path)
    except OSError as error:
        raise AssistantRefuses(f"The icon {path} cannot be read: {error}") from error


def _decoded(content: bytes, path: Path) -> Image.Image:
    if len(content) > MAX_SOURCE_BYTES:
        raise AssistantRefuses(f"The icon {path} has more than {MAX_SOURCE_BYTES} bytes.")
    try:
        with Image.open(io.BytesIO(content), formats=(*set(FORMATS.values()), "XPM", "GIF", "ICO")) as opened:
            if opened.width * opened.height > MAX_SOURCE_PIXELS:
                raise AssistantRefuses(f"The icon {path} has too many pixels.")
            return opened.convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise AssistantRefuses(f"The icon {path} is not a picture that can be read: {error}") from error


def _encoded(picture: Image.Image) -> bytes:
    for size in (LARGEST, FOUND):
        picture.thumbnail((size, size), Image.Resampling.LANCZOS)
        clean = Image.new("RGBA", picture.size)
        clean.paste(picture)
        out = io.BytesIO()
        clean.save(out, "PNG", optimize=True)
        if len(out.getvalue()) <= MAX_ICON_BYTES:
            break
    return out.getvalue()
