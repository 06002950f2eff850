"""The packages of an image: are there updates, and install all of them. By the image's own apt, as its root.

Looking and upgrading are one question to apt, asked with the same options: what a look finds is what an upgrade
installs, and after it there is nothing to find.
"""

import contextlib
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from fanlight.agent.commands import CommandFailed, Commands

APT = "/usr/bin/apt-get"
# A repository that cannot be read is an error, not silence: without it nobody knows what there is. Ubuntu gives some
# updates to some machines first, by a number that every instance has anew: then a look would not foresee an upgrade.
OPTIONS = (
    "-q",
    "-o", "APT::Update::Error-Mode=any",
    "-o", "APT::Get::Always-Include-Phased-Updates=true",
    "-o", "Acquire::Retries=1",
    "-o", "Acquire::http::Timeout=20",
    "-o", "Acquire::https::Timeout=20",
    "-o", "DPkg::Lock::Timeout=60",
    "-o", "Dpkg::Use-Pty=0",
)  # fmt: skip
# Files of the administrator stay as they are; nobody is there to be asked.
INSTALLING = (
    "-y", "-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold",
)  # fmt: skip
QUIET = {
    "DEBIAN_FRONTEND": "noninteractive",
    "DEBCONF_NONINTERACTIVE_SEEN": "true",
    "APT_LISTCHANGES_FRONTEND": "none",
    "NEEDRESTART_SUSPEND": "1",
    "UCF_FORCE_CONFFOLD": "1",
}
UPDATE_LIMIT_IN_SECONDS, SIMULATION_LIMIT_IN_SECONDS, UPGRADE_LIMIT_IN_SECONDS = 600.0, 120.0, 2 * 3600.0
DOWNLOAD_SHARE = 0.4  # of the time that an upgrade takes; only a number for people depends on it
_FORESEEN = re.compile(r"^Inst (\S+)", re.MULTILINE)
_FRACTION = re.compile(r"(dl|pm)status:[^:]*:([0-9.]+):")
_NO_DAEMONS = "usr/sbin/policy-rc.d"
_LISTS, _CACHE = "var/lib/apt/lists", "var/cache/apt"

OnProgress = Callable[[str], None]


class NoPackages(CommandFailed):
    """The image has no apt, or its apt has no repository."""


class Packages:
    def __init__(self, commands: Commands, *, root: Path = Path("/")) -> None:
        self._commands, self._root = commands, root

    async def look(self, on_progress: OnProgress) -> Sequence[str]:
        """Return the packages that an upgrade would install. Raises CommandFailed when nobody can know."""
        if not (self._root / APT.lstrip("/")).exists():
            raise NoPackages("the image has no apt: only images of the Debian family can be updated")
        on_progress("reading the package repositories")
        await self._apt("update", ["update"], UPDATE_LIMIT_IN_SECONDS)
        known = await self._apt("repositories", ["indextargets", "Identifier: Packages"], SIMULATION_LIMIT_IN_SECONDS)
        if not known.strip():
            raise NoPackages("the image names no package repository in /etc/apt: nothing can be found out")
        on_progress("comparing versions")
        foreseen = await self._apt("simulation", ["--simulate", "dist-upgrade"], SIMULATION_LIMIT_IN_SECONDS)
        return tuple(dict.fromkeys(_FORESEEN.findall(foreseen)))

    async def upgrade(self, on_progress: OnProgress) -> int:
        """Install every update; return how many packages that were. Raises CommandFailed."""
        # What an administrator left half done would fail everything after it.
        await self._commands.run(
            "configure", ["/usr/bin/dpkg", "--configure", "-a"], limit_in_seconds=600.0, environment=QUIET
        )
        found = await self.look(on_progress)
        with _no_daemons(self._root / _NO_DAEMONS):
            await self._commands.run(
                "upgrade",
                lambda status: [APT, *OPTIONS, *INSTALLING, "-o", f"APT::Status-Fd={status}", "dist-upgrade"],
                limit_in_seconds=UPGRADE_LIMIT_IN_SECONDS,
                environment=QUIET,
                on_status=lambda line: _tell(line, len(found), on_progress),
            )
        left = await self._apt("verification", ["--simulate", "dist-upgrade"], SIMULATION_LIMIT_IN_SECONDS)
        if remaining := _FORESEEN.findall(left):
            raise CommandFailed(f"these packages could not be updated: {' '.join(remaining)}")
        return len(found)

    def forget_downloads(self) -> None:
        """Leave no package and no list behind: they would be part of the image."""
        for directory in (_LISTS, _CACHE):
            shutil.rmtree(self._root / directory, ignore_errors=True)
            (self._root / directory / "partial").mkdir(parents=True, exist_ok=True)

    async def _apt(self, name: str, words: Sequence[str], limit_in_seconds: float) -> str:
        return await self._commands.run(
            name, [APT, *OPTIONS, *words], limit_in_seconds=limit_in_seconds, environment=QUIET
        )


@contextlib.contextmanager
def _no_daemons(policy: Path) -> Iterator[None]:
    """Let no package start a daemon meanwhile, as Debian's policy-rc.d has it; an image's own file stays."""
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink(missing_ok=True)


def _tell(line: str, count: int, on_progress: OnProgress) -> None:
    """Understand apt's status lines: `dlstatus:3:42.1:…` while loading, `pmstatus:name:42.1:…` while installing."""
    if found := _FRACTION.match(line):
        part = float(found[2]) / 100
        done = part * DOWNLOAD_SHARE if found[1] == "dl" else DOWNLOAD_SHARE + part * (1 - DOWNLOAD_SHARE)
        on_progress(f"upgrading {count} packages: {int(done * 20) * 5} %")
