"""Icons of images: those of images made here in DATA_DIR/state/images, those of recipes in DATA_DIR/images.

The first directory is the api process's own, because what is in it came from a guest and went through our hands; the
second is root's. Names are checked before they meet a path, and the last step follows no link.
"""

import os
import re
import shutil
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

MAX_ICON_IN_BYTES = 1024 * 1024
_PNG = b"\x89PNG\r\n\x1a\n"
_STEP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
# Files are written before the row is: a directory so young may be waiting for its row.
_YOUNG_IN_SECONDS = 3600


class ImageFiles:
    """Every method works on files: call it in a thread."""

    def __init__(self, data_dir: Path) -> None:
        self._made, self._public = data_dir / "state" / "images", data_dir / "images"

    def put_icons(self, store_ref: str, icons: Mapping[str, bytes]) -> None:
        """Keep the icons of an image that is made here, in place of those it had. Raises OSError."""
        home = self._made / _checked(store_ref) / "icons"
        shutil.rmtree(home, ignore_errors=True)
        for directory in (self._made, home.parent, home):
            directory.mkdir(mode=0o700, parents=directory == self._made, exist_ok=True)
        for name, picture in icons.items():
            file = home / _checked(name)
            file.touch(mode=0o600)
            file.write_bytes(picture)

    def copy_icons(self, store_ref: str, new_store_ref: str) -> None:
        """Give an image that is made here the icons of another. Raises OSError."""
        found = next(iter(self._homes(store_ref)), None)
        names = [path.name for path in found.glob("*.png")] if found else []
        pictures = {name: picture for name in names if (picture := self.icon(store_ref, name)) is not None}
        self.put_icons(new_store_ref, pictures)

    def icon(self, store_ref: str, name: str) -> bytes | None:
        """Return an icon, or None when there is none or it is no PNG."""
        if not _is_step(store_ref) or not _is_step(name) or not name.endswith(".png"):
            return None
        for home in self._homes(store_ref):
            with suppress(OSError):
                body = _read(home / name)
                return body if body.startswith(_PNG) else None
        return None

    def forget(self, store_ref: str) -> None:
        """Remove what is kept for an image that was made here; unknown is success."""
        shutil.rmtree(self._made / _checked(store_ref), ignore_errors=True)

    def forget_all_but(self, store_refs: Collection[str]) -> None:
        """Remove what no image has any more."""
        if not self._made.is_dir():
            return
        old = time.time() - _YOUNG_IN_SECONDS
        for home in self._made.iterdir():
            if home.name not in store_refs and home.stat().st_mtime < old:
                self.forget(home.name)

    def _homes(self, store_ref: str) -> list[Path]:
        homes = (place / _checked(store_ref) / "icons" for place in (self._made, self._public))
        return [home for home in homes if home.is_dir()]


def _is_step(name: str) -> bool:
    return _STEP.fullmatch(name) is not None and ".." not in name


def _checked(name: str) -> str:
    """Raises ValueError for what would be a path."""
    if not _is_step(name):
        raise ValueError("a name of an image's file is not a path")
    return name


def _read(path: Path) -> bytes:
    """Raises OSError, also for what is no plain file or too large."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        body = file.read(MAX_ICON_IN_BYTES + 1)
    if len(body) > MAX_ICON_IN_BYTES:
        raise OSError(f"{path.name} is too large")
    return body
