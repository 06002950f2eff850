"""The process that reads archives: `python -m fanlight.archives.confined REQUEST REPORT`, both file descriptors.

The archive is descriptor 0, a file; the tarball (zstd) goes to 1; nothing else is open. Before the first byte is read it
gives up what it may have: started by root, it has no network, an empty directory for its root, and a user that nothing
else runs as; always, no new privileges, no new processes, bounds of memory, time and output.
"""

import ctypes
import errno
import io
import json
import os
import resource
import sys
from typing import Any

import zstandard
from PIL import GifImagePlugin, IcoImagePlugin, Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin, XpmImagePlugin

from fanlight.archives import ArchiveRefused, limits
from fanlight.archives.normalise import Wanted, normalise

NOBODY_ELSE = 2_147_000_001  # no account has this number, no range of instances reaches it
REFUSED = 3  # exit status: the report says why
_CLONE_NEWIPC, _CLONE_NEWNET = 0x08000000, 0x40000000
_PR_SET_NO_NEW_PRIVS, _PR_SET_DUMPABLE = 38, 4
_MEMORY_IN_BYTES = 3 * 2**30
_CPU_IN_SECONDS = 3600
_LEVEL = 3
_ICON_FORMATS = ("PNG", "XPM", "GIF", "JPEG", "ICO", "WEBP")
_ICON_SIZE, _MAX_ICON_PIXELS = 256, 2048 * 2048
# Loaded before the doors close, not when a picture is met.
_PLUGINS = (GifImagePlugin, IcoImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin, XpmImagePlugin)


def main(request: int, report: int) -> int:
    with os.fdopen(request, "rb") as file:
        asked = json.loads(file.read())
    Image.init()
    _give_up(asked["root"])
    size = os.fstat(0).st_size
    try:
        with (
            os.fdopen(1, "wb", closefd=False) as target,
            zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).stream_writer(target, closefd=False) as packed,
        ):
            found = normalise(0, size, packed, _wanted(asked["wanted"]), draw, prefix=asked["prefix"]).as_json()
    except ArchiveRefused as refused:
        _say(report, {"refused": str(refused)})
        return REFUSED
    except MemoryError:
        _say(report, {"refused": "The archive needs more memory than reading one may take."})
        return REFUSED
    except OSError as error:
        if error.errno not in (errno.EFBIG, errno.ENOSPC):
            raise
        _say(report, {"refused": f"The content of the archive has no room on the server: {error.strerror}."})
        return REFUSED
    _say(report, found)
    return 0


def draw(picture: bytes) -> bytes | None:
    """Return the picture as a fresh PNG of at most 256 by 256 pixels, None when it is none."""
    try:
        with Image.open(io.BytesIO(picture), formats=_ICON_FORMATS) as opened:
            if opened.width * opened.height > _MAX_ICON_PIXELS:
                return None
            pixels = opened.convert("RGBA")
        pixels.thumbnail((_ICON_SIZE, _ICON_SIZE), Image.Resampling.LANCZOS)
        clean = Image.new("RGBA", pixels.size)
        clean.paste(pixels)
        out = io.BytesIO()
        clean.save(out, "PNG", optimize=True)
    except Exception:  # noqa: BLE001 - whatever a decoder of pictures says of hostile bytes: there is no icon
        return None
    return out.getvalue()


def _give_up(root: str) -> None:
    """Raises OSError when a root process cannot give up what it has: then nothing is read."""
    libc = ctypes.CDLL(None, use_errno=True)
    for kind, most in (
        (resource.RLIMIT_AS, _MEMORY_IN_BYTES),
        (resource.RLIMIT_CPU, _CPU_IN_SECONDS),
        (resource.RLIMIT_FSIZE, limits.MAX_TOTAL_IN_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))
    if os.geteuid() == 0:
        if libc.unshare(_CLONE_NEWIPC | _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "the archive reader cannot leave the network")
        os.chroot(root)
        os.chdir("/")
        os.setgroups([])
        os.setresgid(NOBODY_ELSE, NOBODY_ELSE, NOBODY_ELSE)
        os.setresuid(NOBODY_ELSE, NOBODY_ELSE, NOBODY_ELSE)
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 or libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "the archive reader keeps privileges")


def _wanted(asked: Any) -> Wanted | None:
    return None if asked is None else Wanted(icons=asked["icons"], programs=asked["programs"])


def _say(report: int, words: dict[str, Any]) -> None:
    with os.fdopen(report, "wb") as file:
        file.write(json.dumps(words).encode())


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
