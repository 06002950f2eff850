"""A repository of Debian packages on a machine of its own, whose packages a test makes as it goes."""

import contextlib
import hashlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from e2e.installation import wait_for
from e2e.isolation import ip
from images_rig import RUN_NUMBER

NAME = f"flpkg{RUN_NUMBER}"
# Public by its number and nobody's any more (see `isolation`): instances with a way to the internet reach it.
HOST, PEER = (f"192.88.99.{128 + 4 * RUN_NUMBER + at}" for at in (1, 2))
PORT = 8000
PACKAGE = "fanlight-hello"

# An application of one window, with nothing but the mounted runtime to draw it.
APPLICATION = """#!/opt/fanlight/runtime/bin/python3 -I
import sys
sys.path.append("/opt/fanlight/runtime/site-packages")
from selkies.Xlib import display
shown = display.Display()
screen = shown.screen()
window = screen.root.create_window(0, 0, 300, 200, 0, screen.root_depth)
window.set_wm_name("hello {version}")
window.map()
while True:
    shown.next_event()
"""
BROKEN = "#!/bin/sh\necho the new version lacks its licence >&2\nexit 3\n"


@dataclass(frozen=True)
class Repository:
    directory: Path

    @property
    def source(self) -> str:
        """The line of sources.list."""
        return f"deb [trusted=yes] http://{PEER}:{PORT} ./\n"

    def publish(self, version: str, *, is_broken: bool = False, application: str = APPLICATION) -> Path:
        """Add a version of the package, whose program is `application`; return its file."""
        root = self.directory.with_name(f"{PACKAGE}-{version}")
        program = root / "usr" / "bin" / PACKAGE
        program.parent.mkdir(parents=True)
        program.write_text(BROKEN if is_broken else application.format(version=version))
        program.chmod(0o755)
        control = f"Package: {PACKAGE}\nVersion: {version}\nArchitecture: all\nMaintainer: Tests <tests@example.org>\n"
        control += "Description: says hello\n"
        (root / "DEBIAN").mkdir()
        (root / "DEBIAN" / "control").write_text(control)
        package = self.directory / f"{PACKAGE}_{version}_all.deb"
        subprocess.run(
            ["dpkg-deb", "--build", "--root-owner-group", str(root), str(package)], check=True, capture_output=True
        )
        content = package.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        entry = f"{control}Filename: ./{package.name}\nSize: {len(content)}\nSHA256: {digest}\n\n"
        with (self.directory / "Packages").open("a") as index:
            index.write(entry)
        index_content = (self.directory / "Packages").read_bytes()
        line = f" {hashlib.sha256(index_content).hexdigest()} {len(index_content)} Packages\n"
        (self.directory / "Release").write_text(f"Suite: tests\nSHA256:\n{line}")
        return package


@contextlib.contextmanager
def package_repository(directory: Path) -> Iterator[Repository]:
    """Serve an empty repository from a network namespace; `directory` is made."""
    directory.mkdir()
    wire, server = f"{NAME}h", None
    ip("netns", "add", NAME)
    try:
        ip("link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", NAME)
        ip("address", "add", f"{HOST}/30", "dev", wire)
        ip("link", "set", wire, "up")
        ip("-n", NAME, "address", "add", f"{PEER}/30", "dev", "eth0")
        ip("-n", NAME, "link", "set", "eth0", "up")
        ip("-n", NAME, "route", "add", "default", "via", HOST)
        words = [sys.executable, "-m", "http.server", "--bind", PEER, "--directory", str(directory), str(PORT)]
        server = subprocess.Popen(
            ["ip", "netns", "exec", NAME, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for(_listens, timeout=20, what="the repository answers")
        yield Repository(directory)
    finally:
        if server is not None:
            server.terminate()
            server.wait(10)
        ip("netns", "delete", NAME)


def _listens() -> bool:
    listening = subprocess.run(
        ["ip", "netns", "exec", NAME, "ss", "-ltn"], capture_output=True, text=True, check=False
    ).stdout
    return f":{PORT}" in listening
