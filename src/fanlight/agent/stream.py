"""The stream server, Selkies, in a process of its own that runs as the display user.

It imports all that is slow to import and waits. Selkies reads its settings once, when its own modules are imported,
and they belong to the session: so none of those modules is touched before the settings are here. What the agent says
and hears goes over the descriptor given as the first argument: it sends one JSON object with the settings, this
process says `warm` before it.
"""

import asyncio
import contextlib
import ctypes.util
import importlib
import json
import logging
import os
import socket
import sys
import time
from typing import Any

from fanlight.agent import copy_limits
from fanlight.agent.copy_limits import CopyLimits

WARM = b"warm\n"
INITIAL_SIZE = "1280x800"  # until the browser says its own; the X server starts as large as it can ever be
X_WAIT_IN_SECONDS = 20.0
MAX_SETTINGS_BYTES = 65_536

# Everything that takes time and reads no setting. Found with `python -X importtime -c "import selkies.__main__"`.
SLOW_IMPORTS = (
    "uvloop", "aiohttp", "aiohttp.web", "PIL.Image", "PIL.ImageOps", "pixelflux", "pcmflux", "pulsectl_asyncio",
    "cryptography.x509", "prometheus_client", "msgpack", "aiofiles", "psutil", "pynvml", "watchdog.observers",
    "selkies", "selkies.commands", "selkies.logs", "selkies.Xlib.display", "selkies.Xlib.XK", "selkies.Xlib.ext.randr",
    "selkies.Xlib.ext.xfixes", "selkies.Xlib.ext.xinput", "selkies.Xlib.ext.xtest", "selkies.Xlib.ext.res",
    "selkies.x11_xkb", "selkies.server_keysym_map", "selkies.display_utils", "selkies.display_utils_xrandr",
    "selkies.ice", "selkies.webrtc", "email.feedparser", "html.parser", "urllib.request", "concurrent.futures.thread",
)  # fmt: skip
READS_SETTINGS = "selkies.settings"


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    # Libraries are found by their names alone; the search would run the image's ldconfig.
    ctypes.util.find_library = lambda name: None  # noqa: ARG005
    for name in SLOW_IMPORTS:
        importlib.import_module(name)
    if READS_SETTINGS in sys.modules:
        raise SystemExit(f"{READS_SETTINGS} was imported before there were settings: fix SLOW_IMPORTS")
    _shrink_display()
    channel.sendall(WARM)
    with channel, channel.makefile("rb") as lines:
        line = lines.readline(MAX_SETTINGS_BYTES)
    if not line:
        return  # the agent has gone
    _serve(json.loads(line))


def _shrink_display() -> None:
    """Set a modest size, so that nothing is drawn on the many pixels that the X server has in reserve."""
    from selkies.display_utils import resize_display

    deadline = time.monotonic() + X_WAIT_IN_SECONDS
    while True:
        with contextlib.suppress(Exception):
            if asyncio.run(resize_display(INITIAL_SIZE)):
                return
        if time.monotonic() > deadline:
            raise SystemExit("the X server does not answer")
        time.sleep(0.01)


def _serve(settings: dict[str, str]) -> None:
    """Be Selkies until told to stop. `settings` are Selkies' names in its own spelling, and ours for CopyLimits."""
    limits = CopyLimits.taken_from(settings)
    os.environ.update({f"SELKIES_{name.upper()}": value for name, value in settings.items()})
    sys.argv = ["selkies"]
    # The gateway connects as another user, and uploaded files must be the user's to edit: both are kept from everybody
    # else by the directories they are in. The group that all display accounts are in gets nothing: a seat's stream is
    # not for the other seats.
    os.umask(0o070)
    entry = importlib.import_module("selkies.__main__")
    _hand_uploads_to_the_user(importlib.import_module("selkies.stream_server"))
    # A print scheduler that the image may have must not become the display account's: `print_server` is the printer.
    importlib.import_module("selkies.printing").PrintQueue.programs = staticmethod(lambda: None)
    copy_limits.enforce(
        limits, importlib.import_module("selkies.input_handler"), importlib.import_module("selkies.websockets_mode")
    )
    logging.getLogger(__name__).info("stream server starts")
    entry.main()


def _hand_uploads_to_the_user(stream_server: Any) -> None:
    """Selkies creates uploads with mode 0644 and owned by this process: let the user of the folder write them too."""
    finalize = stream_server._finalize_upload  # noqa: SLF001 - the pinned version; an end-to-end test uploads a file

    def finalize_for_everybody(staging: str, dest: str) -> Any:
        os.chmod(staging, 0o666)  # noqa: PTH101, S103 - the folder admits the user and this process only
        return finalize(staging, dest)

    stream_server._finalize_upload = finalize_for_everybody  # noqa: SLF001


if __name__ == "__main__":
    main()
