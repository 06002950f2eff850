"""The drawn test picture: who streams what, what was typed, and a clock that moves."""

import io
from dataclasses import dataclass
from datetime import datetime

from PIL import Image, ImageDraw, ImageFont

_BACKGROUND, _INK, _FAINT, _PAPER = (24, 34, 48), (236, 240, 245), (140, 156, 176), (250, 250, 246)
_BARS = ((214, 69, 65), (245, 171, 53), (77, 175, 124), (65, 131, 215), (155, 89, 182))
_MARGIN, _LINE, _TEXT_LINES = 24, 30, 8
_QUALITY = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    session_id: str
    user_id: str
    applications: tuple[str, ...]
    typed: str
    frame: int
    shown_at: datetime


def draw(scene: Scene, width: int, height: int) -> bytes:
    """Return the scene as a JPEG of that size."""
    image = Image.new("RGB", (width, height), _BACKGROUND)
    pen = ImageDraw.Draw(image)
    large, small = ImageFont.load_default(24), ImageFont.load_default(16)
    for index, colour in enumerate(_BARS):
        left = index * width // len(_BARS)
        pen.rectangle((left, 0, left + width // len(_BARS), 12), fill=colour)
    pen.text((_MARGIN, 28), "Fanlight test picture", font=large, fill=_INK)
    pen.text((_MARGIN, 64), f"{scene.shown_at:%H:%M:%S} UTC   frame {scene.frame}", font=large, fill=_INK)
    about = (
        f"session  {scene.session_id}",
        f"user  {scene.user_id}",
        f"applications  {', '.join(scene.applications) or 'the desktop'}",
    )
    for index, line in enumerate(about):
        pen.text((_MARGIN, 104 + index * 24), line, font=small, fill=_FAINT)
    _paper(pen, scene.typed, width, height, large)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()


def _paper(
    pen: ImageDraw.ImageDraw,
    typed: str,
    width: int,
    height: int,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """Show the last lines of what was typed on a sheet, with a caret behind them."""
    top = 188
    if height < top + _LINE or width < 4 * _MARGIN:
        return
    pen.rectangle((_MARGIN, top, width - _MARGIN, height - _MARGIN), fill=_PAPER)
    for index, line in enumerate((typed + "|").split("\n")[-_TEXT_LINES:]):
        pen.text((_MARGIN + 12, top + 10 + index * _LINE), line, font=font, fill=_BACKGROUND)
