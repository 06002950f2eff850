"""A program of the session's user, inside the instance, that copies, pastes and prints as applications do (GTK)."""

import json
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from e2e.instances import USER_ID, Instances

PATIENCE_IN_SECONDS = 20.0
PROGRAM = r"""
import glob, json, os, sys
for path in glob.glob("/proc/[0-9]*"):
    try:
        if os.stat(path).st_uid == os.getuid() and open(path + "/comm").read().strip() == "openbox":
            for entry in open(path + "/environ").read().split("\0"):
                name, _, value = entry.partition("=")
                os.environ[name] = value
    except OSError:
        pass
import gi
gi.require_version("Gtk", "3.0")
from gi.repository import Gdk, GdkPixbuf, GLib, Gtk

def clipboard(name):
    return Gtk.Clipboard.get(Gdk.Atom.intern(name, False))

def printed(title):
    operation, lines = Gtk.PrintOperation(), []
    operation.set_n_pages(1)
    operation.set_job_name(title)
    settings = Gtk.PrintSettings()
    settings.set_printer("Print-to-my-device")
    operation.set_print_settings(settings)
    operation.connect("draw-page", lambda _, context, page: context.get_cairo_context().show_text("hello"))
    try:
        operation.run(Gtk.PrintOperationAction.PRINT, None)
        return operation.get_status_string()
    except GLib.Error as error:
        return error.message

def do(command, value):
    if command == "copy":
        clipboard("CLIPBOARD").set_text(value, -1)
    elif command == "copy image":
        clipboard("CLIPBOARD").set_image(GdkPixbuf.Pixbuf.new(GdkPixbuf.Colorspace.RGB, False, 8, value, value))
    elif command == "paste":
        return clipboard(value).wait_for_text()
    elif command == "paste image":
        image = clipboard("CLIPBOARD").wait_for_image()
        return image and [image.get_width(), image.get_height()]
    elif command == "print":
        return printed(value)
    elif command == "environment":
        return os.environ.get(value)
    return None

def heard(source, condition):
    line = sys.stdin.readline()
    if not line:
        Gtk.main_quit()
        return False
    answer = do(*json.loads(line))
    Gdk.flush()
    print(json.dumps(answer), flush=True)
    return True

GLib.io_add_watch(0, GLib.PRIORITY_DEFAULT, GLib.IO_IN | GLib.IO_HUP, heard)
print("null", flush=True)
Gtk.main()
"""


class Desk:
    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def does(self, command: str, value: object = None) -> Any:
        """Have the program copy, paste or print, and return what it says."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([command, value]) + "\n")
        self._process.stdin.flush()
        return self.says()

    def says(self) -> Any:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE_IN_SECONDS)
        assert ready, "the program in the session does not answer"
        line = self._process.stdout.readline()
        assert line, "the program in the session ended"
        return json.loads(line)


@contextmanager
def desk_in(instances: Instances, instance_id: str) -> Iterator[Desk]:
    command = [
        "incus", "exec", "--project", instances.project, "--user", str(USER_ID), "--group", str(USER_ID), "-T",
        instance_id, "--", "python3", "-c", PROGRAM,
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        desk = Desk(process)
        desk.says()
        try:
            yield desk
        finally:
            process.kill()
