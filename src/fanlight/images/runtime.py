# ruff: noqa: ASYNC240 - a build has the event loop to itself
"""Build the runtime that is mounted into every instance: its own Python, Selkies, the agent, and the stream client.

DATA_DIR/runtime/<version>/ never changes once it is there; `current` is a link to the newest. The version is the day
of the build and a hash of everything that went in, so building again with nothing changed builds nothing.
"""

import hashlib
import shutil
import sys
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

import fanlight
from fanlight.images.rootfs import OnFraction, Rootfs
from fanlight.images.shell import Shell

BUILDER = 1  # raise it when the way of building changes what comes out
SUITE = "trixie"  # brings the interpreter that runtime.txt is locked for
PYTHON_VERSION = "3.13"
PACKAGES = (
    "python3.13-minimal", "libpython3.13-stdlib", "patchelf",
    "python3-tk",  # the window of the Image Assistant
    # What Selkies' extension modules are linked with.
    "libx11-6", "libxext6", "libxcb1", "libice6", "libsm6", "libgbm1", "libpixman-1-0", "libxkbcommon0", "libpulse0",
)  # fmt: skip
NEWEST_MANYLINUX = 41  # the C library of SUITE
MOUNTED_AT = "/opt/fanlight/runtime"
PARTS = ("agent", "agentwire")  # of the package fanlight; nothing else goes into an instance
_LAUNCHER = """#!{mounted_at}/bin/python3 -IS
import sys

sys.path.append("{mounted_at}/site-packages")
from {module} import main

main()
"""
LAUNCHERS = {
    "fanlight-init": "fanlight.agent.__main__",
    "fanlight-stream": "fanlight.agent.stream",
    "fanlight-files": "fanlight.agent.files_server",
    "fanlight-printer": "fanlight.agent.print_server",
    "fanlight-settings": "fanlight.agent.kept_settings.transfers",
    "fanlight-image-assistant": "fanlight.agent.assistant.command_line",
    "fanlight-image-assistant-window": "fanlight.agent.assistant.window",
    "fanlight-menu": "fanlight.agent.assistant.menus",
    "fusermount3": "fanlight.agent.folder_mounts",  # rclone asks for it by this name
}
WEB_ROOT = "site-packages/selkies/selkies_web"


def content_hash(requirements: Path) -> str:
    """Return the hash that the runtime of these requirements and of this source would carry."""
    digest = hashlib.sha256(f"{BUILDER} {SUITE} {PACKAGES} {_LAUNCHER}".encode())
    digest.update(requirements.read_bytes())
    digest.update(Path(__file__).with_name("assemble_runtime.py").read_bytes())
    for path in _sources():
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def current_version(runtimes: Path) -> str | None:
    """Return the version that new instances get, or None when no runtime was built."""
    link = runtimes / "current"
    return link.readlink().name if link.is_symlink() and (link / "VERSION").is_file() else None


async def build_runtime(
    *,
    runtimes: Path,
    work: Path,
    bootstrap: Path,
    requirements: Path,
    shell: Shell,
    mirror: str,
    on_fraction: OnFraction,
) -> str:
    """Return the version, after building it if it is not there. Raises CommandFailed; nothing is left half done."""
    hashed = content_hash(requirements)
    ready = next((p.name for p in runtimes.glob(f"??-??-????-{hashed}") if (p / "VERSION").is_file()), None)
    if ready is None:
        ready = f"{datetime.now(UTC):%m-%d-%Y}-{hashed}"
        fresh = work / "runtime"
        fresh.mkdir()
        tools = Rootfs(work / "tools", shell, mirror)
        tools.path.mkdir()
        await tools.bootstrap(SUITE, bootstrap)
        on_fraction(0.2)
        await tools.install(PACKAGES, lambda f: on_fraction(0.2 + 0.3 * f))
        await _install_wheels(fresh / "site-packages", requirements, shell)
        on_fraction(0.8)
        _add_our_parts(fresh, ready)
        shutil.copyfile(Path(__file__).with_name("assemble_runtime.py"), tools.path / "assemble.py")
        await shell.run_inside(tools.path, [f"python{PYTHON_VERSION}", "/assemble.py"], binds={fresh: MOUNTED_AT})
        _seal(fresh)
        runtimes.mkdir(parents=True, exist_ok=True)
        fresh.rename(runtimes / ready)
    _point_current_at(runtimes, ready)
    on_fraction(1.0)
    return ready


def prune(runtimes: Path, in_use: Collection[str]) -> None:
    """Remove runtimes that no instance is labelled with; the current one stays."""
    for path in runtimes.glob("??-??-????-*"):
        if path.name not in in_use and path.name != current_version(runtimes):
            shutil.rmtree(path, ignore_errors=True)


async def _install_wheels(target: Path, requirements: Path, shell: Shell) -> None:
    platforms = [f"--platform=manylinux_2_{minor}_x86_64" for minor in range(NEWEST_MANYLINUX, 4, -1)]
    await shell.run(
        [
            sys.executable, "-m", "pip", "install", "--quiet", "--quiet", "--ignore-requires-python", "--target", str(target), "--no-deps", "--require-hashes",
            "--only-binary=:all:", "--no-compile", "--disable-pip-version-check", "--root-user-action=ignore",
            "--implementation=cp", f"--python-version={PYTHON_VERSION}", "--abi=cp313", "--abi=abi3", "--abi=none",
            *platforms, "--platform=manylinux2014_x86_64", "--requirement", str(requirements),
        ],
        secret_free_name=f"pip install --requirement {requirements.name}",
    )  # fmt: skip


def _sources() -> list[Path]:
    package = Path(fanlight.__file__).parent
    kinds = ("*.py", "*.png")
    return [
        package / "__init__.py",
        *sorted(p for part in PARTS for kind in kinds for p in (package / part).rglob(kind)),
    ]


def _add_our_parts(fresh: Path, version: str) -> None:
    package = Path(fanlight.__file__).parent
    for source in _sources():
        target = fresh / "site-packages" / "fanlight" / source.relative_to(package)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    (fresh / "bin").mkdir()
    for name, module in LAUNCHERS.items():
        launcher = fresh / "bin" / name
        launcher.write_text(_LAUNCHER.format(mounted_at=MOUNTED_AT, module=module), encoding="utf-8")
    shutil.move(fresh / "site-packages" / "bin" / "rclone", fresh / "bin" / "rclone")
    # The gateway serves the stream client from here; Selkies itself finds it through the link.
    shutil.move(fresh / WEB_ROOT, fresh / "client")
    (fresh / WEB_ROOT).symlink_to("../../client")
    (fresh / "VERSION").write_text(version + "\n", encoding="utf-8")


def _seal(fresh: Path) -> None:
    """Readable by everybody, writable by nobody but root; executables are those of bin and the loader."""
    executable = {*(fresh / "bin").iterdir(), fresh / "ld.so"}
    for path in (fresh, *fresh.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path in executable else 0o644)


def _point_current_at(runtimes: Path, version: str) -> None:
    fresh = runtimes / ".current.new"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(version)
    fresh.replace(runtimes / "current")
