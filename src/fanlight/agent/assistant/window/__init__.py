"""The graphical Image Assistant: the same operations as the command line, in six steps.

Tk comes with the runtime, so the window needs nothing of the image it is shown in. It runs as root, like the command
line, and its steps change the catalogue at once: whoever closes it goes on where they were.
"""

import os
import sys

from fanlight.agentwire import RUNTIME_DIRECTORY


def name_libraries() -> None:
    """Let Tcl find the scripts that it and Tk are made of: those of the runtime."""
    os.environ.setdefault("TCL_LIBRARY", f"{RUNTIME_DIRECTORY}/lib/tcl")
    os.environ.setdefault("TK_LIBRARY", f"{RUNTIME_DIRECTORY}/lib/tk")


def main() -> None:
    if os.geteuid() != 0:
        sys.exit("The Image Assistant needs root: sudo -n fanlight-image-assistant-window")
    name_libraries()
    from fanlight.agent.assistant.window.frame import AssistantWindow

    AssistantWindow().mainloop()
