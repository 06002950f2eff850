# ruff: noqa: ASYNC240 - a build has the event loop to itself
"""Make a Debian root file system: bootstrap, packages, accounts, files, commands, and a clean-up that keeps it small."""

import os
import shlex
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from fanlight.images.recipes import Recipe, RecipeCommand, RecipeFile, RecipeUser
from fanlight.images.shell import Shell

SNAPSHOTS = "http://snapshot.debian.org"
KEYRINGS = ("/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp")
# Documentation that nobody reads in a stream; licences stay.
DPKG_CONFIG = """force-unsafe-io
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/lintian/*
path-exclude=/usr/share/help/*
"""
DPKG_CONFIG_PATH = "etc/dpkg/dpkg.cfg.d/fanlight"
NO_DAEMONS_PATH = "usr/sbin/policy-rc.d"
# What the operator set for the host's apt and the mirror may need: never sources, keys or hooks.
APT_SETTINGS = (
    "Acquire::http::Proxy", "Acquire::https::Proxy", "Acquire::Check-Valid-Until", "Acquire::Check-Date", "Acquire::Retries",
)  # fmt: skip
APT_CONFIG_PATH = "etc/apt/apt.conf.d/90fanlight-build"
APT_OPTIONS = "-q -o APT::Status-Fd=3 -o Dpkg::Use-Pty=0 -o APT::Sandbox::User=root -o APT::Keep-Downloaded-Packages=1"
LEFT_BEHIND = (
    "var/lib/apt/lists", "var/cache/apt", "var/cache/debconf", "var/log", "tmp", "run", "root/.cache",
)  # fmt: skip
DOWNLOAD_SHARE = 0.35  # of the time that apt takes; only a progress bar depends on it

OnFraction = Callable[[float], None]


class Rootfs:
    """A root file system below `path`, on the way to become an image."""

    def __init__(self, path: Path, shell: Shell, mirror: str) -> None:
        self.path = path
        self._shell = shell
        self._mirror = mirror.rstrip("/")

    async def bootstrap(self, suite: str, cached: Path, snapshot: str = "") -> None:
        """Fill it with a minimal Debian; `cached` is a tarball of one, made when it is not there. Raises CommandFailed.

        `snapshot` is a time of Debian's past: all packages come from its archive as it was then.
        """
        if snapshot:
            self._mirror = f"{SNAPSHOTS}/archive/debian/{snapshot}"
        if not cached.exists():
            keyring = next((k for k in KEYRINGS if Path(k).exists()), KEYRINGS[0])
            command = ["debootstrap", "--variant=minbase", f"--keyring={keyring}", suite, str(self.path), self._mirror]
            await self._shell.run(command)
            fresh = cached.with_suffix(".new")
            await self._shell.run(["tar", "--numeric-owner", "-C", str(self.path), "-cf", str(fresh), "."])
            fresh.replace(cached)
        else:
            await self.unpack(cached)
        self._write(
            "etc/apt/sources.list", self._snapshot_sources(suite, snapshot) if snapshot else self._sources(suite)
        )

    async def unpack(self, archive: Path) -> None:
        options = ["--numeric-owner", "--xattrs", "--xattrs-include=*", "-C", str(self.path)]
        await self._shell.run(["tar", *options, "-xf", str(archive)])

    async def pack(self, archive: Path, *, newest: int | None = None) -> None:
        """Write the archive. `newest` is a time since the epoch: younger files get it, so that equal builds are equal."""
        options = ["--numeric-owner", "--xattrs", "--xattrs-include=*", "--sort=name", "-C", str(self.path)]
        if newest is not None:
            times = "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime"
            options += ["--format=posix", times, f"--mtime=@{newest}", "--clamp-mtime"]
        await self._shell.run(["tar", *options, "--use-compress-program=zstd -T0 -3", "-cf", str(archive), "."])

    async def install(self, packages: Sequence[str], on_fraction: OnFraction) -> None:
        """Bring what is there up to date and install `packages` without recommendations. Raises CommandFailed."""
        self._write(DPKG_CONFIG_PATH, DPKG_CONFIG)
        self._write(NO_DAEMONS_PATH, "#!/bin/sh\nexit 101\n", 0o755)
        self._write(APT_CONFIG_PATH, _host_apt_settings())
        self._write("etc/resolv.conf", Path("/etc/resolv.conf").read_text(encoding="utf-8"))
        # apt makes the descriptor of its status lines non-blocking, so they need a pipe that nothing else writes to.
        script = f"""rm -f /etc/apt/apt.conf.d/docker-clean
get() {{ {{ apt-get {APT_OPTIONS} "$@" 3>&1 >&4 2>&4 | cat; }} 4>&1; }}
get update
get -y --no-install-recommends dist-upgrade
get -y --no-install-recommends install {shlex.join(packages)}"""
        await self._shell.run_inside(
            self.path, ["bash", "-o", "pipefail", "-ec", script], on_line=lambda line: _apt_fraction(line, on_fraction)
        )

    async def add_user(self, user: RecipeUser) -> None:
        """Make an account with a locked password and a group of the same number."""
        script = f"""groupadd --gid {user.uid} {user.name}
useradd --uid {user.uid} --gid {user.uid} --home-dir {shlex.quote(user.home)} --create-home \
  --shell {shlex.quote(user.shell)} {user.name}"""
        await self._shell.run_inside(self.path, ["sh", "-ec", script])

    async def add_file(self, file: RecipeFile) -> None:
        await self.add_bytes(file.path, file.data, file.mode, file.owner)

    async def add_bytes(self, path: str, content: bytes, mode: int = 0o644, owner: str = "") -> None:
        """Write a file from inside, where a link in the path cannot lead to a file of the host."""
        quoted = shlex.quote(path)
        script = f'mkdir -p "$(dirname {quoted})"; rm -f {quoted}; cat > {quoted}; '
        script += f"chown {owner} {quoted}; " if owner else ""
        script += f"chmod {mode:o} {quoted}"
        await self._shell.run_inside(self.path, ["sh", "-ec", script], give=content)

    async def run_recipe_command(self, command: RecipeCommand) -> None:
        await self._shell.run_confined(self.path, ["sh", "-ec", command.run], has_network=command.network)

    async def run(self, command: str) -> None:
        await self._shell.run_inside(self.path, ["sh", "-ec", command])

    async def versions(self) -> str:
        """Return `package=version` lines of everything installed."""
        lines: list[str] = []
        query = ["dpkg-query", "-W", "-f", "${Package}=${Version}\\n"]
        await self._shell.run_inside(self.path, query, on_line=lines.append)
        return "\n".join(lines)

    async def finish(self) -> None:
        """Lock root and remove what only the build needed."""
        await self.run("passwd --lock root; rm -f /etc/machine-id /var/lib/dbus/machine-id; touch /etc/machine-id")
        contents = " ".join(f"/{each}" for each in LEFT_BEHIND)
        await self.run(
            f"for each in {contents}; do [ ! -d $each ] || find $each -xdev -mindepth 1 -delete 2>/dev/null || true; done; "
            "rm -rf /boot/* /var/backups/*; mkdir -p /run/fanlight/host /run/fanlight/guest /opt/fanlight/runtime"
        )
        for path in (NO_DAEMONS_PATH, APT_CONFIG_PATH):
            (self.path / path).unlink(missing_ok=True)
        self._write("etc/resolv.conf", "")

    def _sources(self, suite: str) -> str:
        lines = [f"deb {self._mirror} {suite} main", f"deb {self._mirror} {suite}-updates main"]
        if self._mirror.endswith("/debian"):  # Debian's own layout: security updates stand beside it
            lines.append(f"deb {self._mirror}-security {suite}-security main")
        return "\n".join(lines) + "\n"

    @staticmethod
    def _snapshot_sources(suite: str, snapshot: str) -> str:
        # A list of the past has expired; its signature is checked as ever.
        parts = ((f"debian/{snapshot}", suite), (f"debian/{snapshot}", f"{suite}-updates"))
        security = (f"debian-security/{snapshot}", f"{suite}-security")
        return "".join(
            f"deb [check-valid-until=no] {SNAPSHOTS}/archive/{place} {name} main\n"
            for place, name in (*parts, security)
        )

    def _write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Replace a file of a system that nothing untrusted has touched yet; a link there is replaced, not followed."""
        target = self.path / path
        target.unlink(missing_ok=True)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        target.chmod(mode)


async def apply_recipe(rootfs: Rootfs, recipe: Recipe, on_fraction: OnFraction) -> None:
    """Carry out everything a recipe asks for but its base and its applications. Raises CommandFailed."""
    await rootfs.install(recipe.packages, on_fraction)
    for user in recipe.users:
        await rootfs.add_user(user)
    for file in recipe.files:
        await rootfs.add_file(file)
    for command in recipe.commands:
        await rootfs.run_recipe_command(command)


def _host_apt_settings() -> str:
    """Return the host's settings of APT_SETTINGS, as configuration."""
    lines = []
    for name in APT_SETTINGS:
        asked = ["apt-config", "shell", "VALUE", name]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)  # noqa: S603 - constant
        if done.returncode == 0 and done.stdout.startswith("VALUE="):
            value = shlex.split(done.stdout.strip().removeprefix("VALUE="))[0]
            lines.append(f'{name} "{value}";\n')
    return "".join(lines)


def _apt_fraction(line: str, on_fraction: OnFraction) -> None:
    """Understand apt's status lines: `dlstatus:3:42.1:…` while loading, `pmstatus:name:42.1:…` while installing."""
    kind, _, rest = line.partition(":")
    if kind not in ("dlstatus", "pmstatus"):
        return
    try:
        percent = float(rest.split(":")[1])
    except (IndexError, ValueError):
        return
    share = DOWNLOAD_SHARE * percent if kind == "dlstatus" else DOWNLOAD_SHARE * 100 + (1 - DOWNLOAD_SHARE) * percent
    on_fraction(min(share / 100, 1.0))
