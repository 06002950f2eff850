"""Pictures that come from a guest: drawn anew, so that what is shown on a trusted page are pixels and nothing else."""

import io

from PIL import Image

LARGEST_IN_PIXELS = 256
MAX_BYTES = 1024 * 1024
_FORMATS = ("PNG", "JPEG", "BMP")


class NotAPicture(ValueError):
    """It cannot be an icon; the text says why."""


def clean_icon(picture: bytes) -> bytes:
    """Return the picture as a PNG of our own making. Raises NotAPicture: too large, or not a picture."""
    if len(picture) > MAX_BYTES:
        raise NotAPicture(f"it has more than {MAX_BYTES} bytes")
    try:
        return _drawn_anew(picture)
    except NotAPicture:
        raise
    # The decoders of broken files raise whatever they stumble over.
    except Exception as error:
        raise NotAPicture("it is not a PNG, JPEG or BMP picture") from error


def _drawn_anew(picture: bytes) -> bytes:
    # The size stands in the head; nothing is decoded before it is known to be small.
    with Image.open(io.BytesIO(picture), formats=_FORMATS) as opened:
        if max(opened.size) > LARGEST_IN_PIXELS:
            raise NotAPicture(f"it is larger than {LARGEST_IN_PIXELS} by {LARGEST_IN_PIXELS} pixels")
        pixels = opened.convert("RGBA")
    clean = Image.new("RGBA", pixels.size)
    clean.paste(pixels)
    out = io.BytesIO()
    clean.save(out, "PNG", optimize=True)
    return out.getvalue()
